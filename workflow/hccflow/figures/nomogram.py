"""A nomogram: points of every covariate, their sum, and the risks that the sum stands for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hccflow.figures.style import new_figure, save_figure, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Risks that may be printed, per cent: the first set of which the points reach enough.
PRINTED: tuple[tuple[int, ...], ...] = (
    (1, 2, 5, *range(10, 100, 10), 95, 99), (1, 2, *range(5, 100, 5), 98, 99), tuple(range(1, 100)),
)  # fmt: skip
ENOUGH = 4


def draw(table: pd.DataFrame, path: Path, title: str, labels: Mapping[str, str]) -> None:
    """Draw one cohort's nomogram.

    Parameters
    ----------
    table : pandas.DataFrame
        ``part, name, label, points, time_days, risk`` of `hccflow.metrics.nomogram.nomogram`, and ``note``.
    path : Path
        Stem of the files.
    title : str
    labels : mapping
        Names of covariates as they are printed.
    """
    points, risk = table[table["part"] == "points"], table[table["part"] == "risk"]
    times = [] if risk.empty else sorted(risk["time_days"].unique())
    names = list(dict.fromkeys(points["name"]))
    figure, (axes,) = new_figure(175, 20 + 9.5 * (len(names) + 2 + len(times)))
    axes.set(xlim=(-2, 102), ylim=(len(names) + 2.2 + len(times), -0.8))
    axes.axis("off")
    _line(axes, 0, "Points", [(float(v), f"{v:g}") for v in range(0, 101, 10)])
    for row, name in enumerate(names, 1):
        own = points[points["name"] == name]
        marked = own["label"] + np.where(own["note"] != "", "*", "")
        _line(axes, row, covariate_label(name, labels), list(zip(own["points"], marked, strict=True)))
    if len(risk):
        most = float(risk["points"].max())
        step = next(s for s in (5, 10, 20, 25, 50, 100) if most / s <= 12 or s == 100)
        marks = [(v / most * 100, f"{v:g}") for v in np.arange(0, most + 1e-9, step)]
        _line(axes, len(names) + 1, "Total points", marks)
    for row, t in enumerate(times, len(names) + 2):
        own = risk[risk["time_days"] == t]
        reached = [[v for v in choice if own["risk"].min() <= v / 100 <= own["risk"].max()] for choice in PRINTED]
        chosen = next((values for values in reached if len(values) >= ENOUGH), reached[-1])
        places = [(float(np.interp(v / 100, own["risk"], own["points"])) / most * 100, f"{v}") for v in chosen]
        _line(axes, row, f"Risk by day {t:g}, %", places)
    if (points["note"] != "").any():
        foot = " * " + "; ".join(sorted(set(points["note"]) - {""}))
        axes.text(0, 0, foot, transform=axes.transAxes, fontsize=7, va="bottom")
    axes.set_title(wrapped(title, 70))
    save_figure(figure, path)


def covariate_label(name: str, labels: Mapping[str, str]) -> str:
    """Printed name of a covariate or of its transform: ``afp (log1p)`` becomes ``Alpha-fetoprotein (log1p)``."""
    base, bracket, kind = name.partition(" (")
    return labels.get(name) or labels.get(base, base) + bracket + kind


def _line(axes: Axes, row: float, name: str, marks: list[tuple[float, str]]) -> None:
    """One scale with its marks: the ends are always labelled, what lies between where there is room at one side."""
    axes.text(-0.02, row, wrapped(name, 28), transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=8)
    if not marks:
        axes.text(0, row, "outside the range of the points", va="center", fontsize=7, color="0.4")
        return
    marks = sorted(marks)
    axes.plot([marks[0][0], marks[-1][0]], [row, row], color="black", linewidth=0.8)
    taken: dict[float, list[tuple[float, float]]] = {-0.38: [], 0.38: []}
    for place, text in [marks[0], marks[-1], *marks[1:-1]][: len(marks)]:
        axes.plot([place, place], [row - 0.1, row + 0.1], color="black", linewidth=0.7)
        half = 0.75 * len(text) + 0.6
        # Above the line, below it where another label stands there already.
        for side, others in taken.items():
            if all(place - half > high or place + half < low for low, high in others):
                axes.text(place, row + side, text, ha="center", va="center", fontsize=7)
                others.append((place - half, place + half))
                break
