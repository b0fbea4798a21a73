"""Volumes and masks -> radiomic features, by PyRadiomics, on regions cropped so that nothing but the time changes."""
