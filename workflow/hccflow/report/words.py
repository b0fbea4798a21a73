"""Numbers and names as a reader sees them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from hccflow.report.page import DASH, Cell

#: Template, style sheet and captions of the page.
ASSETS = Path(__file__).resolve().parents[2] / "report"
#: Decimals of an estimate whose interval is narrow.
MOST_DIGITS = 4
NOT_COMPUTED = "not computed in this run"
MINUS = "\N{MINUS SIGN}"


@cache
def _captions() -> dict[str, str]:
    return yaml.safe_load((ASSETS / "captions.yaml").read_text(encoding="utf-8"))


def caption(key: str, **values: Any) -> str:
    """Caption from ``workflow/report/captions.yaml``, filled with numbers of this run."""
    return " ".join(_captions()[key].format(**values).split())


def has_caption(key: str) -> bool:
    """Whether a caption of this key exists."""
    return key in _captions()


def number(value: float, digits: int = 2) -> str:
    """Fixed decimals with a typographic minus; minus zero becomes zero. Very large or tiny numbers in powers of ten."""
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if abs(value) >= 1e6:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}\N{MULTIPLICATION SIGN}10^{int(exponent)}".replace("-", MINUS)
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def hardware(frozen: Mapping[str, Any]) -> str:
    """On what the networks of a frozen model were trained."""
    return " and ".join(frozen.get("devices", [])) or "unknown hardware"


def p_value(p: float) -> str:
    """P value: three decimals below 0.1, two above, never 0."""
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def percent(part: float, whole: float) -> str:
    """Count with its share, ``12 (30%)``; the share is left out of nothing."""
    return f"{int(part)} ({100 * part / whole:.0f}%)" if whole else f"{int(part)}"


def plural(count: int, one: str, many: str = "") -> str:
    """Count with its noun, ``1 subject``, ``2 subjects``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def missing(value: Any) -> bool:
    """Whether a table cell is empty."""
    return bool(pd.isna(value)) or value == ""


def count_cell(record: Mapping[str, Any] | None) -> Cell:
    """Subjects and events of a metrics row, ``30 / 12``, or ``30`` where events are not counted."""
    if record is None or missing(record["n"]):
        return Cell(DASH, "no count recorded")
    return Cell(f"{int(record['n'])}" + ("" if missing(record["n_events"]) else f" / {int(record['n_events'])}"))


def interval(row: Mapping[str, Any], digits: int = 2) -> str:
    """Interval of a metrics row, ``0.61 to 0.92``, or empty when it has none or one without width."""
    if missing(row["ci_low"]) or missing(row["ci_high"]) or row["ci_low"] == row["ci_high"]:
        return ""
    return f"{number(row['ci_low'], digits)} to {number(row['ci_high'], digits)}"


def estimate(row: Mapping[str, Any] | None, digits: int = 2, *, absent: str = NOT_COMPUTED) -> Cell:
    """Cell of a metrics row: ``0.78 (0.61 to 0.92)`` with what was said about it, or a dash with the reason."""
    if row is None:
        return Cell(DASH, absent)
    if missing(row["value"]):
        return Cell(DASH, str(row["reason"]) or "undefined; no reason recorded")
    if not missing(row["ci_low"]) and not missing(row["ci_high"]) and row["ci_low"] < row["ci_high"]:
        while digits < MOST_DIGITS and number(row["ci_low"], digits) == number(row["ci_high"], digits):
            digits += 1  # a hazard ratio per ng/ml: 1.00 (1.00 to 1.00) says nothing
    text, span = number(row["value"], digits), interval(row, digits)
    note = "" if missing(row["reason"]) else str(row["reason"])
    return Cell(f"{text} ({span})", note) if span else Cell(text, note)


def p_cell(row: Mapping[str, Any] | None, *, absent: str = NOT_COMPUTED) -> Cell:
    """Cell of the p value of a metrics row, or a dash with the reason."""
    if row is None:
        return Cell(DASH, absent)
    if missing(row["p"]):
        return Cell(DASH, str(row["reason"]) or "no test for this number")
    return Cell(p_value(float(row["p"])))


def short(digest: str) -> str:
    """First twelve characters of a digest."""
    return str(digest)[:12]
