"""Fusion: a logistic model on the logits of other models' unseen scores (stacking)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import FreezeError, LeakageError, TableError
from hccflow.freeze import verify
from hccflow.ids import ScoreKind
from hccflow.models.encoding import KEYS
from hccflow.models.tabular import TINY, TabularModel, load_tabular

#: Kinds of scores that may feed a fusion: those of rows that the model had not seen.
UNSEEN = (ScoreKind.OOF.value, ScoreKind.FROZEN.value)


@dataclass(frozen=True)
class FusionModel:
    """A tabular model whose features are the inputs' logits; a row that lacks one of them is not scored."""

    stacker: TabularModel

    @property
    def selected(self) -> list[str]:
        """Inputs that it uses."""
        return self.stacker.selected

    def score(self, x: pd.DataFrame) -> np.ndarray:
        """Probability of the event for rows of logits."""
        return self.stacker.score(x)

    def predict(self, subjects: pd.DataFrame, features: pd.DataFrame | None) -> tuple[np.ndarray, list[str]]:
        """Probabilities of rows; `features` is a table of `logit_table`."""
        x, _ = self.stacker.encoding.encode(subjects, features)
        missing = x.isna()
        probability = np.full(len(subjects), np.nan)
        usable = ~missing.any(axis=1).to_numpy()
        if usable.any():
            probability[usable] = self.score(x[usable])
        names = [", ".join(x.columns[row]) for row in missing.to_numpy()]
        return probability, [f"no score of {name}" if name else "" for name in names]

    def save(self, folder: Path) -> None:
        """Write the stacker's ``model.json``."""
        self.stacker.save(folder)


def load_fusion(folder: Path) -> FusionModel:
    """Open a fusion; nothing in its files is run."""
    return FusionModel(load_tabular(folder))


def check_inputs(facts: Mapping[str, Any], folders: Sequence[Path]) -> None:
    """Refuse inputs that are not the frozen models from which a fusion has learnt.

    Raises
    ------
    FreezeError
        A training folder is missing, or its model was frozen again since.
    """
    found = {folder.name: verify(folder)["digest"] for folder in folders}
    if found != facts["inputs"]:
        odd = sorted(name for name in {*found, *facts["inputs"]} if found.get(name) != facts["inputs"].get(name))
        raise FreezeError(
            "an input is not the model from which the fusion has learnt", where=f"--inputs, {odd[0]}",
            expected=facts["inputs"].get(odd[0], "no such input"), found=found.get(odd[0], "nothing"),
            todo="train the fusion again",
        )  # fmt: skip


def logit_table(scores: Sequence[pd.DataFrame], inputs: Sequence[str], endpoint: str, kind: ScoreKind) -> pd.DataFrame:
    """Logits of the inputs side by side; as `probability_table`."""
    table = probability_table(scores, inputs, endpoint, kind)
    p = table[list(inputs)].clip(TINY, 1 - TINY)
    table[list(inputs)] = np.log(p) - np.log1p(-p)
    return table


def probability_table(
    scores: Sequence[pd.DataFrame], inputs: Sequence[str], endpoint: str, kind: ScoreKind
) -> pd.DataFrame:
    """Unseen scores of the inputs side by side.

    Parameters
    ----------
    scores : sequence of pandas.DataFrame
        Score tables (schema `predictions`), one model each.
    inputs : sequence of str
        Models, each of which must be there.
    endpoint : str
        The one that they share; scores of other endpoints that an input has learnt too are left out.
    kind : ScoreKind
        ``frozen``: one row per case; ``oof``: one row per case and ``repeat``.

    Returns
    -------
    pandas.DataFrame
        ``cohort, subject, session`` (for ``oof`` also ``repeat``) and one column of probabilities per input, NaN where
        an input has no score.

    Raises
    ------
    LeakageError
        A table holds scores of rows that the model has learnt from, or two inputs disagree about who was in which fold.
    TableError
        An input is missing, or another model is given.
    """
    keys = [*KEYS, "repeat"] if kind is ScoreKind.OOF else KEYS
    found: dict[str, pd.DataFrame] = {}
    for every in scores:
        table = every[every["endpoint"] == endpoint]
        seen = table[~table["kind"].isin(UNSEEN)]
        if len(seen):
            raise LeakageError(
                "a fusion learns from unseen scores only", where=f"model {seen['model'].iloc[0]}",
                expected=" or ".join(UNSEEN), found=f"{seen['kind'].iloc[0]} ({len(seen)} rows)",
                todo="give out-of-fold or frozen scores",
            )  # fmt: skip
        for name, rows in table.groupby("model"):
            found[str(name)] = rows[rows["kind"] == kind.value].set_index(keys)
    if set(found) != set(inputs):
        raise TableError("the scores are not those of the inputs", expected=", ".join(inputs), found=", ".join(found))
    out = pd.DataFrame({name: found[name]["y_prob"] for name in inputs})
    if kind is ScoreKind.OOF:
        folds = pd.DataFrame({name: found[name]["fold"] for name in inputs})
        odd = folds.max(axis=1) != folds.min(axis=1)
        if odd.any():
            raise LeakageError(
                "the inputs do not share one split", where=f"subject {folds[odd].index[0][1]}",
                expected="one fold", found=folds[odd].iloc[0].to_dict(),
                todo="train the inputs again on the study's split",
            )  # fmt: skip
    return out.rename_axis(keys).reset_index()
