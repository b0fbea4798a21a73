"""Opening a frozen model of any kind; nothing in its files is run. Apart from `registry`, so that training a model of
tables does not depend on the code of networks.
"""

from __future__ import annotations

from pathlib import Path

from hccflow.models.fusion import load_fusion
from hccflow.models.registry import Model
from hccflow.models.tabular import load_tabular


def load_model(kind: str, folder: Path) -> Model:
    """Open a model of a kind."""
    if kind == "network":
        from hccflow.networks.model import load_network  # torch takes seconds to import

        return load_network(folder)
    return load_fusion(folder) if kind == "fusion" else load_tabular(folder)
