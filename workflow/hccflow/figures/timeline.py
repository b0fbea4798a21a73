"""The axis of time and the numbers at risk below it, each under its tick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from hccflow.figures.style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Group -> place in the colours and line styles; the high group is drawn dashed.
SERIES = {"low": 0, "high": 1, "all": 6}
NAMES = {"low": "Low", "high": "High", "all": "All"}


def groups_of(part: pd.DataFrame) -> list[str]:
    """Groups that a figure draws: low and high where a cut parts the subjects, else all of them."""
    return [group for group in ("low", "high") if group in set(part["group"])] or ["all"]


def figure_with_table(
    width_mm: float, panel_mm: float, groups: list[str], panels: int = 1
) -> tuple[Figure, list[Axes], list[Axes]]:
    """Make a figure of panels of this height side by side, each above the axes of its numbers at risk.

    Returns
    -------
    figure, panels, tables
    """
    heights = [panel_mm, 3.2 * (len(groups) + 1.5)]
    words_mm = 16  # title and time axis
    figure, axes = new_figure(width_mm, sum(heights) + words_mm, 2, panels, heights, h_pad=0.01, hspace=0.0)
    return figure, axes[:panels], axes[panels:]


def time_axis(axes: Axes, last: float, most: int = 6) -> None:
    """Set round ticks from 0 to the last time."""
    ticks = np.asarray(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 3, 5, 6, 10]).tick_values(0, last), float)
    ticks = ticks[(ticks >= 0) & (ticks <= last)]
    axes.set_xlim(-0.02 * last, 1.03 * last)
    axes.set_xticks(ticks)
    axes.set_xlabel("Time (days)")


def at_risk(table: Axes, curves: Mapping[str, pd.DataFrame], panel: Axes, *, names: bool = True) -> None:
    """Write the numbers at risk of each group under the ticks of a panel.

    Parameters
    ----------
    table : Axes
        Below `panel`.
    curves : mapping
        Group -> its rows ``time_days, at_risk``, one for every time at which somebody leaves or enters.
    names : bool
        Whether the groups are named at the left.
    """
    ticks = np.asarray(panel.get_xticks())
    table.set_xlim(*panel.get_xlim())
    table.set_ylim(len(curves) + 0.6, -0.9)
    table.axis("off")
    edge = table.get_yaxis_transform()
    style: dict[str, Any] = {"transform": edge, "ha": "right", "va": "center", "fontsize": 7}
    if names:
        table.text(-0.05, -0.4, "At risk", color="0.25", **style)
    for row, (group, curve) in enumerate(curves.items()):
        # Somebody who leaves at a time is still at risk at it.
        counts = np.append(curve["at_risk"].to_numpy(), 0)[np.searchsorted(curve["time_days"], ticks, "left")]
        if names:
            table.text(-0.05, row + 0.5, NAMES[group], color=COLOURS[SERIES[group]], **style)
        for tick, count in zip(ticks, counts, strict=True):
            table.text(tick, row + 0.5, f"{count:d}", ha="center", va="center", fontsize=7)
