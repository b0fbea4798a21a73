"""Small synthetic DICOM series for tests: a smooth blob on an oblique or axial grid, with every fault on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR, CT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
#: Planted in every file; no output may contain any of these.
IDENTITIES = (
    "Doe^Jane",
    "Doe",
    "MRN99887766",
    "19510203",
    "20240131",
    "Saint Elsewhere",
    "ACC5550123",
    "House^Gregory",
    "mailto:jane",
)


def uid(name: str) -> str:
    return generate_uid(entropy_srcs=[name])


def voxel(position: np.ndarray) -> np.ndarray:
    """Intensity at a place in mm, so that any reader's geometry can be checked against the values."""
    return 1000 + 10 * position[..., 0] + 5 * position[..., 1] + 3 * position[..., 2]


def write_series(
    folder: Path,
    *,
    name: str = "s",
    modality: str = "MR",
    size: tuple[int, int] = (20, 16),
    spacing: tuple[float, float] = (1.5, 2.0),
    positions: Sequence[Sequence[float]] | None = None,
    orientation: Sequence[float] = AXIAL,
    description: str = "Ax LAVA ART",
    patient: str = "MRN99887766",
    edit: Callable[[Dataset, int], None] | None = None,
) -> list[Path]:
    """Write one file per position; `size` is (columns, rows), `spacing` (row, column) as in PixelSpacing."""
    folder.mkdir(parents=True, exist_ok=True)
    positions = [(-10.0, -12.0, 3.0 * k) for k in range(6)] if positions is None else positions
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    i, j = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    paths = []
    for k, position in enumerate(positions):
        place = np.array(position) + (i * spacing[1])[..., None] * row + (j * spacing[0])[..., None] * column
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CT if modality == "CT" else MR
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid(f"{folder}{name}{k}")
        ds.Modality, ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = modality, description, 7, k + 1
        ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(f"study{patient}"), uid(f"{folder}{name}")
        ds.FrameOfReferenceUID = uid(f"frame{patient}")
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Doe^Jane", patient, "19510203"
        ds.StudyDate = ds.AcquisitionDate = "20240131"
        ds.StudyTime = ds.AcquisitionTime = ds.ContentTime = "101500"
        ds.InstitutionName, ds.AccessionNumber = "Saint Elsewhere", "ACC5550123"
        ds.ReferringPhysicianName, ds.ImageComments = "House^Gregory", "mailto:jane"
        ds.Manufacturer, ds.ManufacturerModelName = "SIEMENS", "Aera Doe"
        ds.EchoTime, ds.RepetitionTime, ds.MagneticFieldStrength = 1.9, 4.1, 1.5
        ds.Columns, ds.Rows = size
        ds.PixelSpacing, ds.SliceThickness = list(spacing), 3
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [float(v) for v in position], list(orientation)
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.PixelData = np.rint(voxel(place)).astype("<i2").tobytes()
        block = ds.private_block(0x0029, "HOSPITAL", create=True)
        block.add_new(0x01, "LO", "Doe^Jane MRN99887766")
        if edit is not None:
            edit(ds, k)
        path = folder / f"IM{k:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_seg(path: Path, source: Path, masks: dict[str, np.ndarray], **changes: object) -> Path:
    """Binary SEG of a written series by highdicom; masks by label, arrays (k, j, i)."""
    import highdicom as hd
    import pydicom

    images = sorted((pydicom.dcmread(p) for p in source.glob("*.dcm")), key=lambda d: d.ImagePositionPatient[2])
    for image in images:
        image.StudyID, image.PatientSex = "1", "F"
    tissue = hd.sr.CodedConcept("85756007", "SCT", "Tissue")
    segments = [hd.seg.SegmentDescription(n, label, tissue, tissue, "MANUAL") for n, label in enumerate(masks, 1)]
    seg = hd.seg.Segmentation(
        images, np.stack(list(masks.values()), axis=-1).astype(np.uint8), "BINARY", segments, uid(f"{path}"), 901,
        uid(f"{path}1"), 1, "tests", "tests", "1", "0", omit_empty_frames=True,
    )  # fmt: skip
    for name, value in changes.items():
        setattr(seg, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    seg.save_as(path)
    return path
