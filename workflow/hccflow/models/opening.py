"""Opening a frozen model of any kind; nothing in its files is run. Apart from `registry`, so that training a model of
tables does not depend on the code of networks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from hccflow.models.fusion import load_fusion
from hccflow.models.registry import ManyHeads, Model
from hccflow.models.tabular import load_tabular


def load_model(kind: str, folder: Path) -> Model:
    """Open a model of a kind."""
    if kind == "network":
        from hccflow.networks.model import load_network  # torch takes seconds to import

        return load_network(folder)
    return load_fusion(folder) if kind == "fusion" else load_tabular(folder)


def predict_all(
    model: Model, endpoint: str, subjects: pd.DataFrame, features: pd.DataFrame | None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Scores of rows by endpoint, of a model of any kind; `endpoint` is its own."""
    if isinstance(model, ManyHeads):
        return model.predict_all(subjects, features)
    scores, reasons = model.predict(subjects, features)
    return {endpoint: scores}, reasons
