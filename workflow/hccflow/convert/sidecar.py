"""The sidecar of a volume: technical facts by a closed list, nothing that could name a person, a place or a day."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import SimpleITK as sitk  # noqa: N813 - its usual name
from pydicom.dataset import Dataset
from pydicom.uid import UID

from hccflow.dicom.headers import Header, number, text, transfer_syntax

#: Vendors by a word of their name; free text of the tag itself is never copied.
VENDORS = {
    "siemens": "Siemens", "philips": "Philips", "ge ": "GE", "general electric": "GE", "canon": "Canon",
    "toshiba": "Toshiba", "hitachi": "Hitachi", "fujifilm": "Fujifilm", "uih": "United Imaging",
    "united imaging": "United Imaging", "elscint": "Elscint", "picker": "Picker", "marconi": "Marconi",
    "neusoft": "Neusoft", "hologic": "Hologic", "esaote": "Esaote", "hccflow": "hccflow phantom",
}  # fmt: skip
#: Numeric tags, and the name and unit under which they are kept.
NUMBERS = {
    "MagneticFieldStrength": "field_strength_tesla",
    "RepetitionTime": "repetition_time_ms",
    "EchoTime": "echo_time_ms",
    "FlipAngle": "flip_angle_degrees",
    "KVP": "tube_voltage_kv",
    "SliceThickness": "slice_thickness_mm",
}
#: Enhanced multi-frame objects keep these elsewhere and under other names.
ENHANCED = {"EffectiveEchoTime": "EchoTime"}


def sidecar(header: Header | None, image: sitk.Image) -> dict[str, Any]:
    """Technical facts of one volume; `header` is any of its DICOM files, None for NIfTI."""
    facts: dict[str, Any] = {
        "spacing_mm": [round(v, 6) for v in image.GetSpacing()],
        "matrix": list(image.GetSize()),
        "source": "nifti" if header is None else "dicom",
    }
    if header is None or header.dataset is None:
        return facts
    dataset = header.dataset
    syntax = transfer_syntax(dataset)
    facts |= {
        "modality": modality if (modality := text(dataset, "Modality")) in ("CT", "MR", "PT", "NM", "US") else "other",
        "manufacturer": vendor(text(dataset, "Manufacturer")),
        "model": _model(dataset),
        "contrast": bool(text(dataset, "ContrastBolusAgent")),
        "transfer_syntax": UID(syntax).name if syntax and UID(syntax).is_transfer_syntax else "",
    }
    values = {key: number(dataset, tag) for tag, key in NUMBERS.items()}
    for inner in _functional_groups(dataset):
        for tag in inner.dir():
            key = NUMBERS.get(ENHANCED.get(tag, tag))
            if key and values[key] is None:
                values[key] = number(inner, tag)
    return facts | {key: value for key, value in values.items() if value is not None}


def dump(facts: dict[str, Any]) -> str:
    """Sidecar as the text of a JSON file."""
    return json.dumps(facts, indent=1, sort_keys=True) + "\n"


def vendor(manufacturer: str) -> str:
    """Vendor by a closed list: ``other`` where the tag says something else, empty where it says nothing."""
    low = f"{manufacturer.lower()} "
    return next((name for word, name in VENDORS.items() if word in low), "other" if manufacturer else "")


def _model(dataset: Dataset) -> str:
    """Model name, unless it does not look like one or shares a word with whatever identifies the patient."""
    model = text(dataset, "ManufacturerModelName")
    if not re.fullmatch(r"[A-Za-z0-9 .+/_-]{1,32}", model) or re.search(r"\d{5,}", model):
        return ""
    names = " ".join(text(dataset, tag) for tag in ("PatientName", "PatientID", "PatientBirthDate", "InstitutionName"))
    words = {word.casefold() for word in re.split(r"[^A-Za-z0-9]+", names) if len(word) > 2}
    return "" if words & {word.casefold() for word in re.split(r"[^A-Za-z0-9]+", model)} else model


def _functional_groups(dataset: Dataset) -> Iterator[Dataset]:
    for name in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for group in dataset.get(name) or []:
            for element in group:
                if element.VR == "SQ" and element.value:
                    yield element.value[0]
            break  # the first frame stands for all
