"""hccflow: reproducible tumour-imaging response studies, from hospital DICOM to survival curves."""

__version__ = "0.1.0"
