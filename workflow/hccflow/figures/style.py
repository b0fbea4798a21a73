"""The one figure style: readable in grey, no decoration, the same bytes for the same numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine

mpl.use("Agg")

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe-Ito colours in an order whose lightness also differs in grey; paired with line styles and markers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), "-")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

#: Colour and line of each series; the second round of colours has other lines, so that fourteen can be told apart.
LOOKS: tuple[dict[str, Any], ...] = tuple(
    {"color": colour, "linestyle": LINES[(k + turn) % 6]} for turn in (0, 1) for k, colour in enumerate(COLOURS)
)

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.3,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "svg.hashsalt": "hccflow",
    "path.simplify": True,
}


def house_style() -> AbstractContextManager[None]:
    """Context in which legends and labels are drawn in the house style."""
    return mpl.rc_context(_STYLE)


def wrapped(text: str, width: int) -> str:
    """Text in lines of at most `width` characters: broken after spaces, underscores, hyphens, inside a longer word."""
    lines = [""]
    for part in re.findall(rf"[^ _-]{{1,{width}}}[ _-]*|[ _-]+", text):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip(" ") for line in lines)


def number(value: float, digits: int = 2) -> str:
    """Number with a proper minus sign; three figures where it is large."""
    text = f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def limits_text(low: float, high: float) -> str:
    """Interval in brackets, empty where it has no limit."""
    return "" if np.isnan(low) or np.isnan(high) else f" ({number(low)} to {number(high)})"


def legend_below(figure: Figure, axes: Axes, title: str = "", columns: int = 1) -> None:
    """Legend under the axes, where no curve and no band can be; the figure grows by its height."""
    handles, _ = axes.get_legend_handles_labels()
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, handlelength=3.2, title=title or None,
        title_fontsize=7, fontsize=7, frameon=False,
    )  # fmt: skip
    figure.set_figheight(figure.get_figheight() + legend.get_window_extent().height / figure.dpi)


def new_figure(
    width_mm: float = 85,
    height_mm: float = 80,
    rows: int = 1,
    columns: int = 1,
    heights: Sequence[float] | None = None,
    h_pad: float | None = None,
    hspace: float | None = None,
) -> tuple[Figure, list[Axes]]:
    """Make a figure in the house style; 85 mm is one journal column, 175 mm two.

    `heights` are the relative heights of the rows; `h_pad` (inches) and `hspace` are those of the constrained layout.

    Returns
    -------
    figure, list of axes
        Axes in reading order.
    """
    from matplotlib import pyplot as plt

    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(width_mm / 25.4, height_mm / 25.4), squeeze=False, height_ratios=heights,
            layout=ConstrainedLayoutEngine(h_pad=h_pad, hspace=hspace),
        )  # fmt: skip
    return figure, list(axes.flat)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write ``<path>.svg`` and ``<path>.png`` without dates, then close the figure."""
    from matplotlib import pyplot as plt

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        figure.savefig(path.with_name(path.name + ".png"), metadata={"Software": None})
        figure.set_layout_engine("none")  # both files have one layout, which is worked out once
        figure.savefig(path.with_name(path.name + ".svg"), metadata={"Date": None, "Creator": "hccflow"})
    plt.close(figure)
