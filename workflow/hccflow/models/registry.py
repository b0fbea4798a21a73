"""What every kind of model can do, and how those that learn from tables are fitted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from hccflow.models.encoding import Encoding
from hccflow.models.fold import Fold
from hccflow.models.tabular import fit_tabular


class Writable(Protocol):
    """What can be frozen."""

    def save(self, folder: Path) -> None:
        """Write the model as data files."""


class Model(Writable, Protocol):
    """A fitted model of any kind."""

    @property
    def selected(self) -> list[str]:
        """Predictors that it uses."""

    def predict(self, subjects: pd.DataFrame, features: pd.DataFrame | None) -> tuple[np.ndarray, list[str]]:
        """Probability of the event for rows of tables, NaN with a reason where a row cannot be scored."""


@runtime_checkable
class ManyHeads(Protocol):
    """A fitted model that scores several endpoints at once."""

    def predict_all(
        self, subjects: pd.DataFrame, features: pd.DataFrame | None
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """Scores by endpoint, NaN with a reason where a row cannot be scored."""


class TableModel(Model, Protocol):
    """A fitted model of tables."""

    def score(self, x: pd.DataFrame) -> np.ndarray:
        """Probability of the event for encoded rows."""


FIT = {"tabular": fit_tabular}


def fit_model(fold: Fold, spec: Mapping[str, Any], encoding: Encoding) -> TableModel:
    """Fit a model of the kind that its entry names."""
    return FIT[spec["kind"]](fold, spec, encoding)
