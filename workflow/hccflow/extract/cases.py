"""Extraction for the cases of a batch, and features that somebody else has extracted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk

from hccflow.batch import Case, ExcludedCaseError
from hccflow.errors import DataAbsentError, HccflowError, RoiError, TableError
from hccflow.ids import Status
from hccflow.paths import case_file
from hccflow.tables import read_table, write_table

KEYS = ["cohort", "subject", "session"]


@dataclass(frozen=True)
class CaseExtractor:
    """Extraction of one case of a converted batch; ``self(case, folder)`` is what `run_batch` calls.

    Parameters
    ----------
    folder_in : Path
        Batch folder made by convert.
    converted : mapping
        Row of convert's manifest by case stem.
    imaging, extract : mapping
        Sections of the configuration.
    roi : str
        Name of the region of interest.
    segmented, folder_masks
        Manifest rows and batch folder of the segment stage, for a region whose source is `nnunet`.
    """

    folder_in: Path
    converted: Mapping[str, Mapping[str, Any]]
    imaging: Mapping[str, Any]
    extract: Mapping[str, Any]
    roi: str
    segmented: Mapping[str, Mapping[str, Any]] | None = None
    folder_masks: Path | None = None

    @cached_property
    def extractor(self) -> Any:
        """The checked PyRadiomics parameters of this study."""
        from hccflow.extract.radiomics import Extractor

        roi = self.extract["rois"][self.roi]
        return Extractor(self.extract["radiomics"], self.extract["intensity"], roi.get("min_voxels", 20), roi)

    def __call__(self, case: Case, folder: Path) -> dict[str, Any]:
        """Write the case's feature table below `folder` and return its manifest columns."""
        entry = self.extract["rois"][self.roi]
        structure = entry["mask"]
        have = converted_channels(self.converted[case.stem])
        masks = mask_folders(case, structure, self.folder_in, self.converted, self.folder_masks, self.segmented)
        reference = self.imaging["reference"]
        order = [reference, *(name for name in self.imaging["channels"] if name != reference)]
        images = {name: self._read(self.folder_in, case, name) for name in order if name in have}
        organ_name = self.extract["intensity"].get("organ", "")
        organ = self._read(masks[organ_name], case, "mask", organ_name) if organ_name in masks else None
        roi = self._read(masks[structure], case, "mask", structure)
        border = entry.get("within", "")
        within = self._read(folder_of(border, masks), case, "mask", border) if border else None
        result = self.extractor.extract(images, roi, organ=organ, within=within)
        absent = [f"no image of '{name}'" for name in order if name not in have]
        table = pd.DataFrame(
            [{"cohort": case.cohort, "subject": case.subject, "session": case.session, **result.values}]
        )
        out = folder / case_file(case.subject, case.session, "features", desc=self.roi, ext=".tsv")
        write_table(table, out)
        return {
            "n_voxels": result.n_voxels, "volume_ml": result.volume_ml, "n_components": result.n_components,
            "notes": "; ".join([*absent, *result.notes]),
        }  # fmt: skip

    @staticmethod
    def _read(folder: Path, case: Case, suffix: str, desc: str = "") -> sitk.Image:
        path = folder / case_file(case.subject, case.session, suffix, desc=desc)
        if not path.is_file():
            raise DataAbsentError("image not found", where=path.name, todo="run convert again")
        return sitk.ReadImage(str(path))


def converted_channels(row: Mapping[str, Any]) -> list[str]:
    """Channels of a row of convert's manifest; an error where the case was excluded or not converted."""
    if row["status"] == Status.EXCLUDED:
        raise ExcludedCaseError(row["reason"])
    if row["status"] != Status.OK:
        raise HccflowError(f"not converted: {row['reason']}")
    return [name for name in str(row["channels"]).split(",") if name]


def mask_folders(
    case: Case,
    structure: str,
    folder_in: Path,
    converted: Mapping[str, Mapping[str, Any]],
    folder_masks: Path | None = None,
    segmented: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Path]:
    """Batch folder of each mask of a case; `structure` is there, from segment where its rows are given.

    With rows of segment every label that was segmented comes from there, the organ of the normalisation too, and the
    structures that were not segmented come from convert. So a region by networks is what a new patient would get.
    """
    masks = dict.fromkeys((name for name in str(converted[case.stem]["masks"]).split(",") if name), folder_in)
    if segmented is not None and folder_masks is not None:
        made = segmented[case.stem]
        if made["status"] != Status.OK:
            raise HccflowError(f"not segmented: {made['reason']}")
        labels = (name.removeprefix("dice_") for name in made if name.startswith("dice_"))
        for name in (structure, *labels):
            masks.pop(name, None)  # a missing prediction is never replaced by the reference mask
        masks |= dict.fromkeys((name for name in str(made["masks"]).split(",") if name), folder_masks)
    folder_of(structure, masks)
    return masks


def folder_of(structure: str, masks: Mapping[str, Path]) -> Path:
    """Folder of the mask of a structure, of those that a case has."""
    if structure not in masks:
        raise RoiError(f"the case has no mask of '{structure}'", found=", ".join(masks) or "none")
    return masks[structure]


def converted_cases(manifest: pd.DataFrame, *, where: object) -> tuple[list[Case], dict[str, dict[str, Any]]]:
    """Cases of a conversion manifest, and its rows by case stem."""
    for column in ("channels", "masks"):
        if column not in manifest:
            raise TableError(f"column '{column}' is missing", where=where, todo="give the manifest that convert wrote")
    rows = rows_by_case(manifest.fillna({"channels": ""}))
    return [Case(row["cohort"], row["subject"], row["session"]) for row in rows.values()], rows


def rows_by_case(manifest: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Rows of a manifest by case stem, in its order."""
    filled = manifest.fillna({"masks": ""}).to_dict("records")
    rows = [{str(name): value for name, value in row.items()} for row in filled]
    return {Case(row["cohort"], row["subject"], row["session"]).stem: row for row in rows}


def import_features(path: Path, participants: pd.DataFrame, *, cohort: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features of a cohort from a table, joined by subject (and session), never by order.

    Parameters
    ----------
    path : Path
        TSV with ``subject``, optionally ``session``, and one column per feature.
    participants : pandas.DataFrame
        ``subject, session`` of every case of the cohort.

    Returns
    -------
    features, manifest : pandas.DataFrame
        Features of the cohort's cases; and a row for every participant, ``failed`` where the table has none. Rows of
        the table that belong to no participant are counted in ``notes`` of every row, since they are nobody's.

    Raises
    ------
    TableError
        No subject column, a case twice, a feature that is not a number, or no row that belongs to a participant.
    """
    given = read_table(path)
    if "subject" not in given:
        raise TableError(
            "column 'subject' is missing", where=path, found=", ".join(map(str, given.columns[:5])),
            todo="features are joined by subject, never by order: add the identifiers",
        )  # fmt: skip
    keys = ["subject", "session"] if "session" in given else ["subject"]
    twice = given.duplicated(keys)
    if twice.any():
        raise TableError(
            "a case stands twice", where=f"{path}, line {int(twice.to_numpy().argmax()) + 2}",
            found=given.loc[twice, "subject"].iloc[0],
        )  # fmt: skip
    names = [name for name in given.columns if name not in (*KEYS, "site", "batch")]
    for name in names:
        if not pd.api.types.is_numeric_dtype(given[name]):
            raise TableError("a feature is not a number", where=f"{path}, column {name}", found=given[name].iloc[0])
    cases = participants[["subject", "session"]]
    joined = cases.merge(given[[*keys, *names]], on=keys, how="left", indicator=True, validate="m:1")
    found = joined["_merge"].eq("both")
    if not found.any():
        raise TableError(
            "no subject of the feature table is a participant", where=path,
            expected=", ".join(cases["subject"].head(3)), found=", ".join(given["subject"].head(3)),
        )  # fmt: skip
    extra = len(given) - int(given["subject"].isin(set(cases["subject"])).sum())
    joined.insert(0, "cohort", cohort)
    values = joined[names].astype(float)
    features = joined[KEYS].join(values)[found.to_numpy()]
    note = f"{extra} rows of the table belong to no participant" if extra else ""
    manifest = joined[KEYS].assign(
        status=np.where(found, Status.OK.value, Status.FAILED.value),
        reason=np.where(found, "", "no row in the feature table"),
        n_voxels="", volume_ml="", n_components="", notes=note, digest="",
    )  # fmt: skip
    return features, manifest
