"""Masks of the cases of a batch: which network may judge whom, what it found, and how good it was."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hccflow.batch import Case
from hccflow.errors import HccflowError, LeakageError
from hccflow.ids import ScoreKind, Status
from hccflow.images import write_image
from hccflow.metrics.dice import dice
from hccflow.metrics.overlap import detection, hd95, surface_dice, surface_distances
from hccflow.paths import case_file
from hccflow.segment.dataset import Spec, folds_of, subject_of
from hccflow.segment.labels import Labels
from hccflow.segment.volumes import Volume, mask_array, read_mask, read_volume

log = logging.getLogger(__name__)
IMPORTED = "imported"


class Networks(Protocol):
    """What a case needs of the ensemble (`hccflow.segment.nnunet.predictor.Ensemble`)."""

    def probabilities(self, volume: Volume, folds: Sequence[int]) -> NDArray[np.float32]:
        """Mean class probabilities over folds."""


@dataclass(frozen=True)
class Judges:
    """Which folds' networks may segment a subject.

    A training subject is segmented by the one network that has not seen it (``oof``), wherever and whenever it was
    imaged; everybody else by all of them (``frozen``).

    Parameters
    ----------
    folds : mapping
        Fold of each training subject, by (development cohort, subject).
    splits : sequence
        ``splits_final.json``: what each fold's network has seen.
    """

    folds: Mapping[tuple[str, str], int]
    splits: Sequence[Mapping[str, Sequence[str]]]

    @classmethod
    def of(cls, split: pd.DataFrame, splits: Sequence[Mapping[str, Sequence[str]]]) -> Judges:
        """From ``split.tsv`` and ``splits_final.json``."""
        return cls(folds_of(split), splits)

    def of_case(self, case: Case, shared_with: str = "") -> tuple[ScoreKind, list[int]]:
        """Kind of the mask and the folds that make it.

        Raises
        ------
        LeakageError
            A network that would judge this subject has seen it.
        """
        homes = [case.cohort, *([shared_with] if shared_with else [])]
        fold = next((self.folds[home, case.subject] for home in homes if (home, case.subject) in self.folds), None)
        kind = ScoreKind.FROZEN if fold is None else ScoreKind.OOF
        judges = list(range(len(self.splits))) if fold is None else [fold]
        for judge in judges:
            if case.subject in {subject_of(name) for name in self.splits[judge]["train"]}:
                raise LeakageError(
                    f"the network of fold {judge} has seen this subject", where=case.stem,
                    todo="the split has changed since training: run segment again",
                )  # fmt: skip
        return kind, judges


@dataclass(frozen=True)
class CaseSegmenter:
    """Segmentation of one case of a converted batch; ``self(case, folder)`` is what `run_batch` calls.

    Parameters
    ----------
    folder_in : Path
        Batch folder made by convert.
    converted : mapping
        Row of convert's manifest by case stem.
    spec : Spec
        Channels, reference and labels.
    labels : Labels
        Label table with containment.
    tolerance_mm : float
        Tolerance of the surface Dice.
    networks, judges
        The ensemble and who may judge whom; None where masks are imported.
    imported : mapping
        Converted structure that stands for each label, instead of a network.
    shared_with : str
        Development cohort with which this one shares subjects.
    """

    folder_in: Path
    converted: Mapping[str, Mapping[str, Any]]
    spec: Spec
    labels: Labels
    tolerance_mm: float
    networks: Networks | None = None
    judges: Judges | None = None
    imported: Mapping[str, str] | None = None
    shared_with: str = ""

    def __call__(self, case: Case, folder: Path) -> dict[str, Any]:
        """Write the case's masks below `folder` and return its manifest columns."""
        row = self.converted[case.stem]
        if row["status"] != Status.OK:
            raise HccflowError(f"not converted: {row['reason']}")
        have = str(row["channels"]).split(",")
        missing = [name for name in (self.spec.reference, *self.spec.channels) if name not in have]
        if missing:
            raise HccflowError(f"no image of '{missing[0]}': the networks need every channel")
        volume = read_volume(self.folder_in, case, self.spec.channels, self.spec.reference)
        references = str(row["masks"]).split(",")
        if self.imported is not None:
            kind, fold, entropy, masks = IMPORTED, None, None, self._import(case, volume, references)
        else:
            kind, fold, entropy, masks = self._predict(case, volume)
        columns: dict[str, Any] = {"kind": kind, "fold": fold, "masks": ",".join(n for n in masks if masks[n].any())}
        notes: list[str] = []
        for name, mask in masks.items():
            reference = None
            if name in references:
                reference = mask_array(read_mask(self.folder_in, case, name, volume.reference))
            columns |= measure(name, mask, reference, volume.spacing, self.tolerance_mm, entropy, notes)
            if mask.any():
                write_image(volume.mask_image(mask), folder / case_file(case.subject, case.session, "mask", desc=name))
        return {**columns, "notes": "; ".join(notes)}

    def _predict(
        self, case: Case, volume: Volume
    ) -> tuple[str, int | None, NDArray[np.float32], dict[str, NDArray[np.bool_]]]:
        assert self.networks is not None and self.judges is not None, "networks, or imported masks"
        kind, folds = self.judges.of_case(case, self.shared_with)
        probabilities = self.networks.probabilities(volume, folds)
        masks = self.labels.masks(probabilities.argmax(axis=0))
        return kind.value, folds[0] if kind is ScoreKind.OOF else None, entropy_of(probabilities), masks

    def _import(self, case: Case, volume: Volume, converted: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
        assert self.imported is not None
        masks = {}
        for label in self.labels.names:
            structure = self.imported[label]
            if structure not in converted:
                raise HccflowError(f"no imported mask of '{label}'", expected=f"a converted mask '{structure}'")
            masks[label] = mask_array(read_mask(self.folder_in, case, structure, volume.reference))
        return masks


def entropy_of(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shannon entropy in bits of the class probabilities of every voxel; 0 where the ensemble is certain."""
    p = np.clip(probabilities, 1e-12, 1.0)
    return -(p * np.log2(p)).sum(axis=0)


def measure(
    name: str,
    mask: NDArray[np.bool_],
    reference: NDArray[np.bool_] | None,
    spacing_mm: Sequence[float],
    tolerance_mm: float,
    entropy: NDArray[np.float32] | None,
    notes: list[str],
) -> dict[str, Any]:
    """Manifest columns of one structure; what is undefined is empty, and `notes` says why.

    Parameters
    ----------
    mask, reference : array of bool, shape (k, j, i)
        Predicted and reference mask; None where there is no reference.
    spacing_mm : sequence of 3 float
        ``(k, j, i)``.
    tolerance_mm : float
        See `hccflow.metrics.overlap.surface_dice`.
    entropy : array, shape (k, j, i)
        See `entropy_of`; the column holds its mean over the predicted mask.
    """
    ml = float(np.prod(spacing_mm)) / 1000
    columns: dict[str, Any] = {
        f"volume_{name}_ml": int(mask.sum()) * ml,
        f"reference_volume_{name}_ml": None if reference is None else int(reference.sum()) * ml,
        f"dice_{name}": None,
        f"hd95_{name}_mm": None,
        f"surface_dice_{name}": None,
        **dict.fromkeys((f"n_lesions_{name}", f"n_found_{name}", f"n_false_{name}")),
        f"entropy_{name}_bits": float(entropy[mask].mean()) if entropy is not None and mask.any() else None,
    }
    if not mask.any():
        notes.append(f"{name}: the mask is empty")
    if reference is None:
        notes.append(f"{name}: no reference mask")
        return columns
    columns[f"dice_{name}"] = dice(mask, reference).value
    distances = surface_distances(mask, reference, spacing_mm)
    columns[f"surface_dice_{name}"] = surface_dice(distances, tolerance_mm).value
    columns |= {f"{what}_{name}": count for what, count in detection(reference, mask)._asdict().items()}
    distance = hd95(distances)
    columns[f"hd95_{name}_mm"] = distance.value
    if distance.reason:
        notes.append(f"{name}: no HD95, {distance.reason}")
    return columns
