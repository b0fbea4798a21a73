"""Comparison of our numbers with those of R: one row per number, one tolerance per kind of number."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

#: Where the reference folder lies (it holds ``stats/<case>/{input.csv, config.json, expected.json}``).
VARIABLE = "HCCFLOW_REFERENCE"


@dataclass(frozen=True)
class Row:
    """One number of one case: ours beside R's. None means undefined, on either side."""

    case: str
    number: str
    ours: float | None
    r: float | None
    tolerance: float
    relative: bool = False

    @property
    def difference(self) -> float | None:
        """Absolute difference, divided by the size of R's number where the tolerance is relative."""
        if self.ours is None or self.r is None:
            return None
        scale = max(1.0, abs(self.r)) if self.relative else 1.0
        return abs(self.ours - self.r) / scale

    @property
    def verdict(self) -> str:
        """Either ``ok`` or ``DIFFERS``; a number against an undefined value differs."""
        if self.ours is None or self.r is None:
            return "ok" if self.ours is self.r else "DIFFERS"
        return "ok" if self.difference <= self.tolerance else "DIFFERS"


def cases_folder() -> Path | None:
    """Folder of the reference cases, or None where the environment does not name one."""
    folder = os.environ.get(VARIABLE, "")
    stats = Path(folder) / "stats"
    return stats if folder and stats.is_dir() else None


@dataclass(frozen=True)
class Case:
    """One reference case as it lies on disk."""

    name: str
    folder: Path

    @property
    def table(self) -> pd.DataFrame:
        """Its input; blank = missing."""
        return pd.read_csv(self.folder / "input.csv", na_values=["", "NA"], keep_default_na=False)

    @property
    def config(self) -> dict[str, Any]:
        """Frozen thresholds, cut and times."""
        return json.loads((self.folder / "config.json").read_text(encoding="utf-8"))

    @property
    def expected(self) -> dict[str, Any]:
        """R's numbers."""
        return json.loads((self.folder / "expected.json").read_text(encoding="utf-8"))


def cases(stats: Path) -> Iterator[Case]:
    """Every case folder that has R's numbers, sorted by name."""
    for path in sorted(stats.glob("*/expected.json")):
        yield Case(path.parent.name, path.parent)
