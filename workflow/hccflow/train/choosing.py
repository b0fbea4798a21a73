"""A choice: the best model of a sweep, taken inside the development folds and frozen as a model of its own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import FitError
from hccflow.freeze import SCORES
from hccflow.ids import Role
from hccflow.metrics.auc import stratified_auc
from hccflow.models.fold import Fold
from hccflow.models.fusion import probability_table
from hccflow.models.tabular import TINY
from hccflow.provenance import code_digest
from hccflow.tables import read_table
from hccflow.train.stacking import learn_from_scores
from hccflow.train.training import Training, conclude, placed

LIBRARIES = ("numpy", "pandas", "scipy")


@dataclass(frozen=True)
class Choice:
    """Which candidate was taken, and what each of them reached on the rows that decided."""

    name: str
    detail: str


@dataclass(frozen=True)
class Copied:
    """The frozen folder of the chosen candidate: the choice owns a copy, so no other candidate is ever needed again."""

    source: Path

    def save(self, folder: Path) -> None:
        """Copy the model's files."""
        shutil.copytree(self.source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))


def learn_choice(fold: Fold, by: str, split: pd.DataFrame) -> Choice:
    """Candidate with the best out-of-fold scores on the rows of a fold, the first of equals.

    Parameters
    ----------
    fold : Fold
        Training rows; its predictors are the candidates' out-of-fold probabilities, in the order of the sweep.
    by : str
        ``auc`` (higher is better; among subjects judged by the same networks or fits, as everywhere) or ``log_loss``
        (mean negative log-likelihood, lower is better).
    split : pandas.DataFrame
        The study's split. In the final choice each repeat's folds hold the means over repeats apart in turn.

    Raises
    ------
    FitError
        By ``auc``, and no fold has rows of both classes.
    """
    names = list(fold.x.columns)
    if by == "auc":
        reached = _reached(fold, split)
        best = int(np.argmax(reached))
    else:
        p = np.clip(fold.x.to_numpy(float), TINY, 1 - TINY)
        reached = list(-np.where(fold.y[:, None] == 1, np.log(p), np.log1p(-p)).mean(axis=0))
        best = int(np.argmin(reached))
    told = ", ".join(f"{name} {value:.4f}" for name, value in zip(names, reached, strict=True))
    return Choice(str(names[best]), f"{names[best]} by {by} ({told})")


def _reached(fold: Fold, split: pd.DataFrame) -> list[float]:
    """AUC within folds of each candidate; sessions of a subject are averaged, as wherever models are judged."""
    parts = split[split["role"] == Role.TRAIN.value]
    if fold.repeat is not None:
        parts = parts[parts["repeat"] == fold.repeat]
    parts = parts.assign(subject=parts["cohort"] + "/" + parts["subject"])[["subject", "repeat", "fold"]]
    rows = fold.x.assign(y=fold.y, subject=fold.subjects).merge(parts, on="subject")
    rows = rows.groupby(["subject", "repeat", "fold"], as_index=False).mean()
    found = [stratified_auc(rows["y"], rows[name], rows["fold"], repeats=rows["repeat"]) for name in fold.x.columns]
    if any(one.value is None for one in found):
        raise FitError(
            "no fold has rows of both classes to choose by", where=fold.where, expected="both classes in a fold",
            found=found[0].reason, todo="take fewer folds, stratify the split by the endpoint, or choose by log_loss",
        )  # fmt: skip
    return [float(one.value) for one in found if one.value is not None]


def train_choice(
    name: str,
    settings: Mapping[str, Any],
    subjects: pd.DataFrame,
    split: pd.DataFrame,
    inputs: Sequence[Path],
) -> Training:
    """Choose among the frozen models of a sweep.

    For each fold the choice is made on the out-of-fold scores of the other folds, and the fold's rows get the scores of
    what was chosen there: no row is judged by a candidate that was chosen for its success on that row. All later
    judgement uses these scores. What is frozen is the candidate chosen on all out-of-fold scores, with cut-offs from
    its own out-of-fold scores: those of another candidate may lie on another scale.

    Parameters
    ----------
    name, settings, subjects, split
        As for `hccflow.train.training.train`.
    inputs : sequence of Path
        Training folders of the candidates, in the order of the sweep.

    Raises
    ------
    LeakageError
        A candidate was trained on another split or for another endpoint, or its scores are not out of fold.
    FreezeError
        A candidate is not what was frozen.
    """
    spec = settings["models"][name]
    by = spec["choose"]["by"]
    folders = {folder.name: folder for folder in inputs}
    learnt = learn_from_scores(
        settings, spec, subjects, split, folders, list(folders), probability_table,
        fit=lambda fold, _: fold.fit("choose", learn_choice, by, split),
        score=lambda taken, held: held[taken.name].to_numpy(float),
    )  # fmt: skip
    final, frozen = learnt.final, learnt.frozen
    in_folds = {place: taken.name for place, taken in learnt.in_folds.items()}
    frequency = [float(np.mean([one == taken for taken in in_folds.values()])) for one in folders]
    selection = pd.DataFrame({
        "feature": list(folders), "frequency": frequency,
        "in_final_model": [int(one == final.name) for one in folders],
    })  # fmt: skip
    more = {
        "kind": frozen[final.name]["kind"], "chosen": final.name, "by": by, "in_folds": in_folds,
        "candidates": {model: facts["digest"] for model, facts in frozen.items()},
        "devices": frozen[final.name].get("devices", []),
    }  # fmt: skip
    return conclude(
        name, settings, split, learnt.rows, learnt.judged,
        Copied(folders[final.name] / "model"), learnt.final_fold, selection,
        code=code_digest("choose"), libraries=LIBRARIES, more=more,
        deciding=placed(read_table(folders[final.name] / SCORES, "predictions"), learnt.rows),
    )  # fmt: skip
