"""convert: hospital DICOM or NIfTI to volumes, masks, sidecars and quality-control pictures without identities."""
