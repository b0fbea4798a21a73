"""Small converted cohorts: two channels, a liver and a tumour inside it, as `hccflow convert` leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
from scipy import ndimage

from hccflow.batch import case_digest
from hccflow.images import write_image
from hccflow.paths import case_file
from hccflow.tables import write_table

SHAPE = (12, 24, 24)
SPACING = (2.5, 2.5, 4.0)
SETTINGS = {
    "study": "test",
    "seed": 7,
    "imaging": {
        "modality": "MR",
        "channels": ["arterial", "portal"],
        "reference": "arterial",
        "masks": ["liver", "tumour"],
    },
    "segment": {
        "labels": ["liver", "tumour"],
        "trainer": "tiny",
        "planner": "ExperimentPlanner",
        "configuration": "3d_fullres",
        "iterations": 20,
        "device": "cpu",
        "require_dice": {},
        "imported": {},
        "surface_tolerance_mm": 2,
    },
}


def ball(centre: Sequence[float], radii: Sequence[float]) -> np.ndarray:
    """Ellipsoid in the grid of the tests."""
    place = np.moveaxis(np.indices(SHAPE), 0, -1)
    return (((place - np.asarray(centre)) / np.asarray(radii)) ** 2).sum(-1) < 1


def image_of(array: np.ndarray) -> sitk.Image:
    """Array ``(k, j, i)`` on the grid of the tests."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    return image


def write_case(folder: Path, subject: str, session: str = "", *, seed: int = 0) -> None:
    """Write one case's volumes and masks."""
    rng = np.random.default_rng([seed, *subject.encode(), *session.encode()])
    middle = np.array(SHAPE) / 2
    liver = ball(middle + rng.normal(0, 0.5, 3), np.array(SHAPE) * [0.42, 0.4, 0.36])
    tumour = ball(middle + rng.uniform(-2, 2, 3), rng.uniform([1.6, 2.5, 2.5], [2.5, 4, 4])) & liver
    for channel, inside, lesion in (("arterial", 100, 170), ("portal", 150, 110)):
        values = np.where(tumour, lesion, 20 + liver * inside) + ndimage.gaussian_filter(rng.normal(0, 12, SHAPE), 0.5)
        write_image(image_of(values.astype(np.float32)), folder / case_file(subject, session, channel))
    for name, mask in (("liver", liver), ("tumour", tumour)):
        write_image(image_of(mask.astype(np.uint8)), folder / case_file(subject, session, "mask", desc=name))


def write_batch(
    root: Path, cohort: str, cases: Sequence[tuple[str, str]], **changes: dict[str, str]
) -> tuple[Path, Path]:
    """Write a converted batch and its manifest; `changes` overrides columns of one subject's rows."""
    folder = root / "convert" / cohort / "batch-01"
    rows = []
    for subject, session in cases:
        write_case(folder, subject, session)
        own = folder / case_file(subject, session, "x").parent
        row = {
            "cohort": cohort, "subject": subject, "session": session, "status": "ok", "reason": "",
            "channels": "arterial,portal", "masks": "liver,tumour", "digest": case_digest(own),
        }  # fmt: skip
        rows.append(row | changes.get(subject, {}))
    write_table(pd.DataFrame(rows), folder.with_suffix(".tsv"))
    return folder, folder.with_suffix(".tsv")


def write_split(path: Path, folds: dict[str, int | None], cohort: str = "dev") -> pd.DataFrame:
    """Write ``split.tsv``: fold of each subject, None for the internal test set."""
    rows = [
        {"cohort": cohort, "subject": s, "role": "test" if f is None else "train", "repeat": 0, "fold": f}
        for s, f in folds.items()
    ]
    table = pd.DataFrame(rows).astype({"fold": "Int64"})
    write_table(table, path)
    return table
