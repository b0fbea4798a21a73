"""DICOM of one scan: a series for each channel, one file per slice, and liver and tumour as one segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from hccflow import __version__
from hccflow.phantom.anatomy import Anatomy
from hccflow.phantom.contrast import CHANNELS, INTERCEPT, SEG_NUMBER, Channel
from hccflow.phantom.identity import Identity, uid
from hccflow.phantom.parameters import Scanner

#: Patient coordinates (LPS, mm) of the centre of the volume.
CENTRE_MM = (4.0, -18.0, 42.0)


def geometry(scanner: Scanner) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions and origin of a scanner's volume in patient coordinates (LPS).

    Returns
    -------
    directions : array of shape (3, 3)
        Columns: unit vectors along increasing column, row and slice.
    origin : array of shape (3,)
        Centre of the first voxel in mm.
    """
    a, b = np.deg2rad(scanner.tilt_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    directions = about_z @ about_x
    half = (np.array(scanner.matrix) - 1) / 2 * np.array(scanner.spacing_mm)
    return directions, np.array(CENTRE_MM) - directions @ half


def phase_slices(
    who: Identity, scanner: Scanner, modality: str, phase: str, pixels: NDArray[np.uint16]
) -> list[Dataset]:
    """Slices of one channel as MR or CT Image Storage, in the order of their instance numbers."""
    common = _series_header(who, scanner, modality, phase)
    directions, origin = geometry(scanner)
    orientation = [round(float(v), 8) for v in directions[:, :2].T.ravel()]
    slices = []
    for number in range(1, len(pixels) + 1):
        k = len(pixels) - number if scanner.descending else number - 1
        position = origin + directions[:, 2] * k * scanner.spacing_mm[2]
        image = Dataset()
        image.update(common)
        image.SOPInstanceUID = uid(who.series_uids[phase], number)
        image.InstanceNumber = number
        image.ImagePositionPatient = [round(float(v), 6) for v in position]
        image.ImageOrientationPatient = orientation
        image.SliceLocation = round(float(position[2]), 4)
        image.PixelData = pixels[k].astype("<u2").tobytes()
        image.file_meta = FileMetaDataset()
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slices.append(image)
    return slices


def _series_header(who: Identity, scanner: Scanner, modality: str, phase: str) -> Dataset:
    """Everything that the slices of one series share, planted identities included."""
    columns, rows, _ = scanner.matrix
    channel = CHANNELS[modality][phase]
    day = f"{who.study:%Y%m%d}"
    # Scanning hours, the same for all channels of a study.
    start = 8 * 3600 + int(who.accession[3:]) % (9 * 3600)
    h = Dataset()
    h.SpecificCharacterSet = "ISO_IR 100"
    h.ImageType = ["ORIGINAL", "PRIMARY", "M" if modality == "MR" else "AXIAL"]
    h.SOPClassUID = MRImageStorage if modality == "MR" else CTImageStorage
    h.StudyDate = h.SeriesDate = h.AcquisitionDate = h.ContentDate = day
    h.StudyTime = _clock(start)
    h.SeriesTime = h.AcquisitionTime = h.ContentTime = _clock(start + 600 + channel.delay_s)
    h.AccessionNumber = who.accession
    h.Modality = modality
    h.Manufacturer = scanner.manufacturer
    h.InstitutionName = who.institution
    h.InstitutionAddress = who.address
    h.ReferringPhysicianName = who.physician
    h.StationName = who.station
    h.StudyDescription = "MRT Leber dynamisch" if modality == "MR" else "CT Abdomen mehrphasig"
    h.SeriesDescription = scanner.description(phase)
    h.OperatorsName = who.operator
    h.ManufacturerModelName = scanner.model
    h.PatientName = who.name
    h.PatientID = who.patient_id
    h.PatientBirthDate = f"{who.birth:%Y%m%d}"
    h.PatientSex = who.sex
    h.PatientAge = f"{who.age:03d}Y"
    h.PatientAddress = who.address
    h.PatientTelephoneNumbers = who.phone
    if channel.agent:
        h.ContrastBolusAgent = channel.agent
        h.ContrastBolusStartTime = _clock(start + 600)
        h.ContrastBolusVolume = 15
    h.BodyPartExamined = "LIVER"
    h.SliceThickness = scanner.spacing_mm[2]
    h.update(_mr(scanner, channel) if modality == "MR" else _ct(scanner))
    h.DeviceSerialNumber = who.serial
    h.SoftwareVersions = f"hccflow phantom {__version__}"
    h.ProtocolName = scanner.description(phase)
    h.PatientPosition = "HFS"
    h.StudyInstanceUID = who.study_uid
    h.SeriesInstanceUID = who.series_uids[phase]
    h.StudyID = who.accession
    h.SeriesNumber = channel.number
    h.AcquisitionNumber = 1
    h.FrameOfReferenceUID = who.frame_uid
    h.PositionReferenceIndicator = ""
    h.ImageComments = who.comment
    h.SamplesPerPixel = 1
    h.PhotometricInterpretation = "MONOCHROME2"
    h.Rows, h.Columns = rows, columns
    h.PixelSpacing = [scanner.spacing_mm[1], scanner.spacing_mm[0]]
    h.BitsAllocated, h.BitsStored, h.HighBit, h.PixelRepresentation = 16, 12, 11, 0
    h.RescaleIntercept, h.RescaleSlope = INTERCEPT[modality], scanner.slope
    h.RescaleType = "US" if modality == "MR" else "HU"
    private = h.private_block(0x0011, "KLINIKUM RIS", create=True)
    private.add_new(0x01, "LO", f"{who.given} {who.family}")
    private.add_new(0x02, "SH", who.patient_id)
    return h


def _mr(scanner: Scanner, channel: Channel) -> Dataset:
    """What an MR series says of its sequence."""
    h = Dataset()
    h.ScanningSequence = "GR"
    h.SequenceVariant = "SP"
    h.ScanOptions = "FS"
    h.MRAcquisitionType = "3D"
    h.RepetitionTime = scanner.tr_ms
    h.EchoTime = scanner.te_ms
    h.MagneticFieldStrength = scanner.field_t
    h.EchoTrainLength = 1
    h.FlipAngle = scanner.flip_deg
    for keyword, value in channel.header.items():
        setattr(h, keyword, value)
    return h


def _ct(scanner: Scanner) -> Dataset:
    """What a CT series says of its tube."""
    h = Dataset()
    h.KVP = scanner.kvp
    h.ScanOptions = "HELICAL MODE"
    h.ConvolutionKernel = "STANDARD"
    h.XRayTubeCurrent = 220
    h.ExposureTime = 500
    return h


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}"


def segmentation(who: Identity, scanner: Scanner, reference: Sequence[Dataset], anatomy: Anatomy) -> Dataset:
    """Liver (with the tumour) and tumour as one DICOM SEG that references the first series."""
    masks = np.stack([anatomy.liver, anatomy.tumour], axis=-1).astype(np.uint8)
    if scanner.descending:
        masks = masks[::-1]
    seg = Segmentation(
        source_images=reference,
        pixel_array=masks,
        segmentation_type="BINARY",
        segment_descriptions=[
            SegmentDescription(1, "liver", codes.SCT.Organ, codes.SCT.Liver, "MANUAL"),
            SegmentDescription(2, "tumour", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Neoplasm, "MANUAL"),
        ],
        series_instance_uid=who.series_uids["seg"],
        series_number=SEG_NUMBER,
        sop_instance_uid=uid(who.series_uids["seg"], 1),
        instance_number=1,
        manufacturer="hccflow",
        manufacturer_model_name="phantom",
        software_versions=__version__,
        device_serial_number=who.serial,
        content_creator_name=who.physician,
        series_description="Segmentierung Leber Tumor",
    )
    # The library stamps the clock and a random UID; the same card must give the same bytes.
    day, clock = reference[0].ContentDate, reference[0].ContentTime
    seg.InstanceCreationDate = seg.ContentDate = day
    seg.InstanceCreationTime = seg.ContentTime = clock
    for equipment in seg.ContributingEquipmentSequence:
        if "ContributionDateTime" in equipment:
            equipment.ContributionDateTime = day + clock
    organization = uid(who.series_uids["seg"], "dimensions")
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    return seg


def to_bytes(image: Dataset) -> bytes:
    """The DICOM file of a data set."""
    buffer = BytesIO()
    dcmwrite(buffer, image, enforce_file_format=True)
    return buffer.getvalue()


def scan_series(
    who: Identity, scanner: Scanner, modality: str, anatomy: Anatomy
) -> tuple[dict[str, list[bytes]], bytes]:
    """Files of one scan without faults: slices of each channel by instance number, and the segmentation."""
    slices = {name: phase_slices(who, scanner, modality, name, pixels) for name, pixels in anatomy.phases.items()}
    seg = segmentation(who, scanner, next(iter(slices.values())), anatomy)
    return {name: [to_bytes(image) for image in images] for name, images in slices.items()}, to_bytes(seg)
