"""DICOM headers and geometry: what a series is, before anything is converted."""
