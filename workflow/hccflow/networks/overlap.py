"""Dice of a network's own segmentation for cases that have not taught it: out of fold, or frozen."""

from __future__ import annotations

import pandas as pd
import torch

from hccflow.ids import ScoreKind
from hccflow.metrics.dice import dice
from hccflow.models.encoding import KEYS
from hccflow.networks.heads import SEGMENTATION
from hccflow.networks.loop import Rows, outputs_of
from hccflow.networks.model import NetworkModel

COLUMNS = [*KEYS, "kind", "repeat", "fold", "dice", "n_reference", "n_predicted"]
#: Mean probability of the seeds from which a voxel belongs to the region.
INSIDE = 0.5


def segmentation_dice(model: NetworkModel, rows: Rows, cases: pd.DataFrame) -> pd.DataFrame:
    """Dice of the ensemble's segmentation with the region's mask, on the grid and the slices that the network sees.

    A voxel is inside from a mean probability of the seeds of 0.5. A slice that a 2D network sees twice counts twice.

    Parameters
    ----------
    model : NetworkModel
    rows : Rows
        Cases that the networks have not seen.
    cases : pandas.DataFrame
        ``cohort, subject, session, kind, repeat, fold`` of the rows, in their order.

    Returns
    -------
    pandas.DataFrame
        `cases` with ``dice`` and, in voxels, ``n_reference`` and ``n_predicted``; no rows of a model that does not
        learn to segment.
    """
    if not model.segments:
        return pd.DataFrame(columns=COLUMNS)
    size, found = model.spec["batch_size"], []
    for start in range(0, len(rows), size):  # maps of a few cases at a time: those of a cohort may not fit in memory
        part = rows.take(range(start, min(start + size, len(rows))))
        maps = [outputs_of(network, part.to(model.device), size)[SEGMENTATION] for network in model.networks]
        predicted = (torch.stack([torch.sigmoid(one.double()) for one in maps]).mean(dim=0) >= INSIDE).cpu().numpy()
        for mask, reference in zip(predicted, (part.masks > 0.5).numpy(), strict=True):
            found.append((dice(mask, reference).value, int(reference.sum()), int(mask.sum())))
    numbers = pd.DataFrame(found, columns=["dice", "n_reference", "n_predicted"])
    return pd.concat([cases.reset_index(drop=True), numbers], axis=1)[COLUMNS]


def frozen_dice(model: NetworkModel, subjects: pd.DataFrame, crops: pd.DataFrame, unseen: pd.DataFrame) -> pd.DataFrame:
    """`segmentation_dice` of the final networks for the cases whose keys `unseen` holds, as far as they have a crop.

    Parameters
    ----------
    model : NetworkModel
        The final networks.
    subjects, crops : pandas.DataFrame
        Enrolled cases, and table of crops.
    unseen : pandas.DataFrame
        Scores of the cases that have not taught them.
    """
    asked = subjects.merge(unseen[KEYS].drop_duplicates(), on=KEYS).merge(crops[KEYS], on=KEYS)
    if asked.empty or not model.segments:
        return pd.DataFrame(columns=COLUMNS)
    x, found = model.inputs(asked, crops)
    cases = asked.loc[found.present, KEYS].assign(kind=ScoreKind.FROZEN.value, repeat=None, fold=None)
    return segmentation_dice(model, model.rows(x[found.present], found), cases)
