"""What a channel shows: intensity of each tissue, and what its header says.

MR intensities are relative to unenhanced liver until the scanner's gain; CT intensities are HU.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Intensity outside the body, by modality.
AIR = {"MR": 0.0, "CT": -1000.0}
#: Rescale intercept of the stored values, by modality.
INTERCEPT = {"MR": 0, "CT": -1024}
SEG_NUMBER = 901


@dataclass(frozen=True)
class Channel:
    """One phase or sequence: series number, seconds from the injection, tissues, and its own header values."""

    number: int
    delay_s: int
    tissue: dict[str, float]
    agent: str = "gadoterate meglumine"
    header: dict[str, str] = field(default_factory=dict)


def _tissues(
    fat: float, muscle: float, liver: float, spleen: float, spine: float, aorta: float, vein: float
) -> dict[str, float]:
    return {
        "fat": fat, "muscle": muscle, "liver": liver, "spleen": spleen, "spine": spine, "aorta": aorta, "vein": vein,
    }  # fmt: skip


_CT_AGENT = "iopromide"
CHANNELS = {
    "MR": {
        "arterial": Channel(7, 28, _tissues(0.30, 0.62, 1.10, 1.75, 0.50, 2.60, 1.15)),
        "portal": Channel(9, 75, _tissues(0.32, 0.70, 1.45, 1.50, 0.55, 1.80, 1.85)),
        "delayed": Channel(11, 180, _tissues(0.32, 0.72, 1.35, 1.35, 0.56, 1.45, 1.50)),
        "hbp": Channel(13, 1200, _tissues(0.33, 0.68, 1.90, 1.05, 0.55, 0.90, 0.95), "gadoxetate disodium"),
        "t1": Channel(3, 0, _tissues(1.40, 0.70, 1.00, 0.80, 0.60, 0.45, 0.50), ""),
        "t2": Channel(
            5, 0, _tissues(1.30, 0.45, 0.70, 1.35, 0.55, 0.30, 0.35), "",
            {"ScanningSequence": "SE", "SequenceVariant": "SK", "ScanOptions": "", "MRAcquisitionType": "2D"},
        ),
        "contrast": Channel(7, 40, _tissues(0.35, 0.85, 1.45, 1.60, 0.60, 2.20, 1.70)),
    },
    "CT": {
        "arterial": Channel(4, 30, _tissues(-95.0, 62.0, 72.0, 128.0, 210.0, 310.0, 85.0), _CT_AGENT),
        "portal": Channel(5, 70, _tissues(-95.0, 66.0, 112.0, 120.0, 205.0, 165.0, 175.0), _CT_AGENT),
        "delayed": Channel(6, 180, _tissues(-95.0, 66.0, 96.0, 102.0, 205.0, 120.0, 125.0), _CT_AGENT),
    },
}  # fmt: skip
