"""The tabular model: encoding, preparation, learner. Fitted on one fold, scored on any rows, kept as JSON."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hccflow.errors import FreezeError
from hccflow.models.encoding import Encoding
from hccflow.models.fold import Fold
from hccflow.models.learners import DEFAULT_GRID, Learner, Linear, Trees, booster_json, fit_learner, learner_from_json
from hccflow.models.preparation import Preparation, prepare
from hccflow.tables import write_text

FORMAT = 1
#: Probabilities are cut here before a logarithm is taken.
TINY = 1e-12


@dataclass(frozen=True)
class TabularModel:
    """A fitted tabular model.

    Attributes
    ----------
    encoding : Encoding
        The part that the model needs: no other column or feature has to be given.
    preparation : Preparation
    learner : Learner
    """

    encoding: Encoding
    preparation: Preparation
    learner: Learner

    @property
    def selected(self) -> list[str]:
        """Predictors that the learner uses: those it sees, without the ones that a LASSO has put to 0."""
        if isinstance(self.learner, Linear):
            return [str(name) for name, value in self.learner.coef.items() if value != 0]
        return self.preparation.names

    def score(self, x: pd.DataFrame) -> np.ndarray:
        """Probability of the event for encoded rows, shape (n,)."""
        return self.learner.predict(self.preparation.apply(x))

    def predict(self, subjects: pd.DataFrame, features: pd.DataFrame | None) -> tuple[np.ndarray, list[str]]:
        """Probabilities of rows of tables, NaN with a reason for rows that have no features."""
        x, scorable = self.encoding.encode(subjects, features)
        probability = np.full(len(subjects), np.nan)
        usable = scorable.to_numpy()
        probability[usable] = self.score(x[usable])
        return probability, ["" if ok else "no features" for ok in usable]

    def save(self, folder: Path) -> None:
        """Write ``model.json`` and, for trees, ``booster.json``."""
        data = {
            "format": FORMAT, "kind": "tabular", "encoding": self.encoding.to_json(),
            "preparation": self.preparation.to_json(), "learner": self.learner.to_json(),
        }  # fmt: skip
        write_text(folder / "model.json", json.dumps(data, indent=1, allow_nan=False) + "\n")
        if isinstance(self.learner, Trees):
            write_text(folder / "booster.json", self.learner.booster)


def load_tabular(folder: Path) -> TabularModel:
    """Read a model back from JSON; nothing in it is run."""
    data = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if data.get("format") != FORMAT or data.get("kind") != "tabular":
        raise FreezeError(
            "not a tabular model of this version", where=folder / "model.json", expected=f"format {FORMAT}",
            found=data.get("format"), todo="train it again",
        )  # fmt: skip
    booster = folder / "booster.json"
    text = booster_json(booster.read_text(encoding="utf-8")) if booster.is_file() else None
    encoding = Encoding(tuple(data["encoding"]["clinical"]), tuple(data["encoding"]["features"]))
    return TabularModel(encoding, Preparation.from_json(data["preparation"]), learner_from_json(data["learner"], text))


def fit_tabular(fold: Fold, spec: Mapping[str, Any], encoding: Encoding) -> TabularModel:
    """Fit preparation, tuning and learner on the rows of a fold.

    Parameters
    ----------
    fold : Fold
        Training rows, encoded.
    spec : mapping
        Entry of the model in the configuration.
    encoding : Encoding
        What made the columns of the fold.
    """
    parameters = _tune(fold, spec)
    preparation, rows = prepare(fold, spec.get("select", {}))
    learner = rows.fit("learner", fit_learner, spec["learner"], parameters)
    return TabularModel(encoding.needed_for(preparation.inputs), preparation, learner)


def _tune(fold: Fold, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with the smallest log-loss in inner cross-validation of the whole model, the first of equal ones.

    Preparation and selection are fitted again in every inner fold: tuning after a selection that has seen the judged
    rows would reward parameters that overfit.
    """
    fixed = dict(spec.get("parameters", {}))
    grid = spec.get("grid") or DEFAULT_GRID.get(spec["learner"], {})
    grid = {name: values for name, values in sorted(grid.items()) if name not in fixed}
    candidates = [{**fixed, **dict(zip(grid, values, strict=True))} for values in itertools.product(*grid.values())]
    if len(candidates) == 1:
        return candidates[0]
    loss = np.zeros(len(candidates))
    for inner, held_x, held_y in fold.inner("tune"):
        preparation, rows = prepare(inner, spec.get("select", {}))
        held = preparation.apply(held_x)
        for place, candidate in enumerate(candidates):
            learner = rows.fit("learner", fit_learner, spec["learner"], candidate)
            p = np.clip(learner.predict(held), TINY, 1 - TINY)
            loss[place] -= (held_y * np.log(p) + (1 - held_y) * np.log1p(-p)).sum()
    best = int(np.argmin(loss))
    said = ", ".join(f"{name} = {candidates[best][name]:g}" for name in grid)
    fold.record("tune", f"{said} (log-loss {loss[best] / len(fold.y):.4f}, {len(candidates)} candidates)")
    return candidates[best]
