"""Training cases of the study as an nnU-Net data set: who is in, is it sound, which fold must not see whom."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import SimpleITK as sitk

from hccflow.batch import Case
from hccflow.errors import HccflowError, LeakageError, TableError
from hccflow.ids import Role, Status
from hccflow.segment.labels import Labels, containment, label_map, shares
from hccflow.segment.volumes import Volume, mask_array, read_mask, read_volume, to_lps

log = logging.getLogger(__name__)
KEYS = ["cohort", "subject", "session"]
FILE_ENDING = ".nii"


@dataclass(frozen=True)
class Spec:
    """What the networks learn: channels in order, the channel on whose grid masks lie, labels from the outside in."""

    channels: tuple[str, ...]
    reference: str
    labels: tuple[str, ...]
    modality: str

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Spec:
        """Read it from the sections `imaging` and `segment` of the configuration."""
        imaging, segment = settings["imaging"], settings["segment"]
        channels = tuple(segment.get("channels", imaging["channels"]))
        return cls(channels, imaging["reference"], tuple(segment["labels"]), imaging["modality"])


def identifier(case: Case) -> str:
    """Name of a case inside the nnU-Net data set, ``<cohort>_sub-<id>[_ses-<id>]``."""
    return f"{case.cohort}_{case.stem}"


def cases_of(table: pd.DataFrame) -> list[Case]:
    """Cases of a manifest, in its order."""
    return [Case(*map(str, key)) for key in table[KEYS].itertuples(index=False, name=None)]


def subject_of(name: str) -> str:
    """Subject of a case by its name inside the data set."""
    return name.split("_sub-")[1].split("_")[0]


def folds_of(split: pd.DataFrame) -> dict[tuple[str, str], int]:
    """Fold of each training subject in the first repeat of the study's split, by (cohort, subject)."""
    rows = split[split["role"] == Role.TRAIN.value]
    rows = rows[rows["repeat"] == rows["repeat"].min()]
    return {(row.cohort, row.subject): int(row.fold) for row in rows.itertuples()}


def select(
    converted: pd.DataFrame, enrolled: pd.DataFrame, split: pd.DataFrame, spec: Spec
) -> tuple[pd.DataFrame, list[Case]]:
    """Which converted development cases may teach.

    Parameters
    ----------
    converted, enrolled, split : pandas.DataFrame
        Conversion manifests, ``subjects.tsv`` of the development cohorts, and ``split.tsv``.
    spec : Spec
        Channels and labels that a training case must have.

    Returns
    -------
    table : pandas.DataFrame
        ``cohort, subject, session, status, reason, fold, digest``: a row for every converted case.
    cases : list of Case
        The usable ones, in the order of the table.
    """
    folds = folds_of(split)
    members = set(enrolled[KEYS].itertuples(index=False, name=None))
    rows, cases = [], []
    converted = converted.sort_values(KEYS, kind="stable")
    for case, (_, row) in zip(cases_of(converted), converted.iterrows(), strict=True):
        key = (case.cohort, case.subject, case.session)
        fold = folds.get(key[:2])
        status, reason = _judge(row, key in members, fold, spec)
        rows.append([*key, status.value, reason, fold if status is Status.OK else None, row["digest"]])
        if status is Status.OK:
            cases.append(case)
    table = pd.DataFrame(rows, columns=[*KEYS, "status", "reason", "fold", "digest"])
    return table.astype({"fold": "Int64"}), cases


def _judge(row: pd.Series, enrolled: bool, fold: int | None, spec: Spec) -> tuple[Status, str]:
    if row["status"] != Status.OK:
        return Status(row["status"]), f"not converted: {row['reason']}"
    if not enrolled or fold is None:
        return Status.EXCLUDED, "not in the training set" if enrolled else "not enrolled"
    have = str(row["channels"]).split(",")
    for channel in (spec.reference, *spec.channels):
        if channel not in have:
            return Status.EXCLUDED, f"no image of '{channel}': a network needs every channel"
    masks = str(row["masks"]).split(",")
    for label in spec.labels:
        if label not in masks:
            return Status.EXCLUDED, f"no reference mask of '{label}'"
    return Status.OK, ""


def write_raw(
    cases: Sequence[Case], folders: Mapping[Case, Path], spec: Spec, raw: Path
) -> tuple[Labels, dict[Case, str]]:
    """Check every training case and write nnU-Net's ``imagesTr`` and ``labelsTr``.

    Returns
    -------
    labels : Labels
        The label table, with what contains what.
    problems : dict
        Cases that cannot teach, with the reason; they are not written.

    Raises
    ------
    LeakageError
        Two subjects have the same image.
    """
    for name in ("imagesTr", "labelsTr"):
        (raw / name).mkdir(parents=True, exist_ok=True)
    problems: dict[Case, str] = {}
    seen: dict[str, Case] = {}
    nested = []
    for case in cases:
        try:
            volume = read_volume(folders[case], case, spec.channels, spec.reference)
            masks = {n: mask_array(read_mask(folders[case], case, n, volume.reference)) for n in spec.labels}
            labels = label_map(masks, spec.labels)
        except HccflowError as error:
            problems[case] = str(error)
            log.warning("%s cannot teach: %s", case.stem, error)
            continue
        _check_twin(case, volume, seen)
        nested.append(shares(masks, spec.labels))
        for index, image in enumerate(volume.channels):
            sitk.WriteImage(image, str(raw / "imagesTr" / f"{identifier(case)}_{index:04d}{FILE_ENDING}"))
        out = sitk.GetImageFromArray(labels)
        out.CopyInformation(to_lps(volume.reference))
        sitk.WriteImage(out, str(raw / "labelsTr" / f"{identifier(case)}{FILE_ENDING}"))
    return containment(nested, spec.labels), problems


def with_problems(table: pd.DataFrame, problems: Mapping[Case, str]) -> pd.DataFrame:
    """Table of `select` with the cases that turned out unusable."""
    reasons = pd.Series([problems.get(case, "") for case in cases_of(table)], index=table.index)
    failed = reasons != ""
    return table.assign(
        status=table["status"].mask(failed, Status.FAILED.value),
        reason=table["reason"].mask(failed, reasons),
        fold=table["fold"].mask(failed),
    )


def _check_twin(case: Case, volume: Volume, seen: dict[str, Case]) -> None:
    digest = hashlib.sha256(volume.array.tobytes()).hexdigest()
    first = seen.setdefault(digest, case)
    if (first.cohort, first.subject) != (case.cohort, case.subject):
        raise LeakageError(
            "two subjects have the same image", where=f"{identifier(first)} and {identifier(case)}",
            expected="one patient under one identifier, or a fold could be judged on what it has learnt",
            todo="merge the two in participants.tsv, or correct series.tsv",
        )  # fmt: skip


def make_splits(table: pd.DataFrame, n_folds: int) -> list[dict[str, list[str]]]:
    """Make nnU-Net's ``splits_final.json`` from the study's folds of patients; sessions of a subject stay together.

    Raises
    ------
    TableError
        A fold has no usable case.
    """
    usable = table[table["status"] == Status.OK.value]
    names = [identifier(case) for case in cases_of(usable)]
    folds = [int(fold) for fold in usable["fold"]]
    wanted = range(n_folds)
    for fold in wanted:
        if fold not in folds or set(folds) == {fold}:
            raise TableError(
                f"fold {fold} has no usable {'case' if fold not in folds else 'training case'}",
                expected="cases with every channel and reference mask in every fold",
                found=", ".join(f"fold {f}: {folds.count(f)}" for f in wanted),
                todo="see cases.tsv for the reasons; use fewer folds (split.folds) or add masks",
            )
    pairs = list(zip(names, folds, strict=True))
    return [{"train": [n for n, f in pairs if f != k], "val": [n for n, f in pairs if f == k]} for k in wanted]


def dataset_json(spec: Spec, n: int) -> dict[str, Any]:
    """nnU-Net's ``dataset.json``; a CT channel is called CT, which is how nnU-Net chooses its normalisation."""
    channels = ["CT" if spec.modality == "CT" else name for name in spec.channels]
    return {
        "channel_names": {str(i): name for i, name in enumerate(channels)},
        "labels": {"background": 0, **{name: i + 1 for i, name in enumerate(spec.labels)}},
        "numTraining": n,
        "file_ending": FILE_ENDING,
        "overwrite_image_reader_writer": "SimpleITKIO",
    }
