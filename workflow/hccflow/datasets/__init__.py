"""Adapters: published data sets, in the layout of their publisher, become cohort folders of hccflow."""
