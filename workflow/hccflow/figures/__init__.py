"""Figures: one style, drawn from tables only."""
