"""What a series or a segment is probably called: small tables of words, first match wins.

They only propose. The user reads ``series_report.tsv``, edits the column ``name`` of ``series.tsv``, and what stands
there counts.
"""

from __future__ import annotations

import re

#: Words of a series description or file name, and the channel that they suggest.
CHANNELS = (
    ("pre", r"pre|plain|native|nativ|unenh\w*|non.?contrast|nc|precontrast|mask.?phase"),
    ("arterial", r"art|arterial\w*|artery|arteriell\w*|hap|late.?art\w*"),
    ("portal", r"portal\w*|venous|pv|pvp|portovenous|porto.?ven\w*|ven"),
    ("hbp", r"hbp|hepatobiliar\w*|hepato.?biliar\w*|20.?min\w*"),
    ("delayed", r"delay\w*|late|equilib\w*|transitional|tp|5.?min\w*|3.?min\w*"),
    ("adc", r"adc"),
    ("dwi", r"dwi|diff\w*|b\d{2,4}"),
    ("t2", r"t2\w*|haste|ssfse|blade"),
    ("inphase", r"in.?phase|ip"),
    ("outphase", r"(out|opp\w*).?(of.?)?phase|op"),
    ("t1", r"t1\w*|vibe|lava|thrive|flash"),
    ("pet", r"pet|fdg|suv"),
    ("ct", r"ct"),
)
#: Words of a segment, ROI or mask file, and the structure that they suggest.
STRUCTURES = (
    ("tumour", r"tumou?rs?|gtv\w*|lesions?|hcc|mass|metasta\w*|neoplasm"),
    ("necrosis", r"necro\w*"),
    ("vessels", r"vessels?|vasculature"),
    ("liver", r"liver|hepar|leber|foie"),
    ("spleen", r"spleen"),
    ("aorta", r"aorta"),
)
#: Volumes of one dynamic series in the order of time, where their number is a usual one.
DYNAMIC = {4: ("pre", "arterial", "portal", "delayed"), 5: ("pre", "arterial", "portal", "delayed", "hbp")}
MASK_WORDS = r"mask|seg\w*|labels?|roi|annotation|gtv\w*|contour\w*"


def channel_name(description: str) -> str:
    """Channel that a description suggests, empty when no word of the table is in it."""
    return _first(CHANNELS, description)


def structure_name(label: str) -> str:
    """Structure that a label suggests, empty when no word of the table is in it."""
    return _first(STRUCTURES, label)


def is_mask_name(file_name: str) -> bool:
    """Whether a NIfTI file's name says that it is a mask."""
    return bool(_first((("mask", MASK_WORDS), *STRUCTURES), file_name))


def dynamic_name(which: int, count: int) -> str:
    """Name of the volume `which` (from 1) of `count` in one dynamic series."""
    return DYNAMIC[count][which - 1] if count in DYNAMIC else f"dyn{which}"


def _first(table: tuple[tuple[str, str], ...], text: str) -> str:
    words = re.sub(r"[^a-z0-9.]+", " ", text.lower())
    return next((name for name, pattern in table if re.search(rf"(?<![a-z0-9])({pattern})(?![a-z])", words)), "")
