"""Drawings with two axes, as inline SVG: points on a plane, and lines over it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hccflow.figures.report import HAIR, INK, MUTED, Canvas, axis_ticks
from hccflow.figures.style import COLOURS

LEFT, TOP, SIDE, KEY = 64.0, 34.0, 300.0, 250.0
DASHES = ("", "6 4", "2 3")


@dataclass(frozen=True)
class Axis:
    """One axis: its label, its ends, and whether it is logarithmic."""

    label: str
    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Place of a value between the ends, 0 to 1; what lies outside is put on the edge."""
        a, b = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        if self.log and value <= 0:
            return 0.0
        return min(max(((math.log(value) if self.log else value) - a) / (b - a), 0.0), 1.0)


class Plane:
    """A square plot with its axes and, right of it, a key of the series."""

    def __init__(self, x: Axis, y: Axis, width: float = SIDE, height: float = SIDE) -> None:
        self.x, self.y, self._width, self._height = x, y, width, height
        self.canvas = Canvas(LEFT + width + KEY, TOP + height + 48)
        bottom = TOP + height
        for tick in axis_ticks(x.low, x.high, x.log):
            at, _ = self.at(tick, y.low)
            self.canvas.line((at, TOP), (at, bottom + 5), colour=HAIR)
            self.canvas.text(at, bottom + 18, f"{tick:g}", size=11, anchor="middle", colour=MUTED)
        for tick in axis_ticks(y.low, y.high, y.log):
            _, at = self.at(x.low, tick)
            self.canvas.line((LEFT - 5, at), (LEFT + width, at), colour=HAIR)
            self.canvas.text(LEFT - 9, at + 4, f"{tick:g}", size=11, anchor="end", colour=MUTED)
        self.canvas.line((LEFT, TOP), (LEFT, bottom), (LEFT + width, bottom), colour=MUTED)
        self.canvas.text(LEFT + width / 2, bottom + 38, x.label, size=12, anchor="middle", colour=MUTED)
        self.canvas.text(0, 16, y.label, size=12, colour=MUTED)
        self._keys = 0

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Coordinates on the canvas."""
        return LEFT + self._width * self.x.place(x), TOP + self._height * (1 - self.y.place(y))

    def line(
        self, points: Sequence[tuple[float, float]], *, colour: str = INK, width: float = 1, dash: str = ""
    ) -> None:
        """Draw a line through points of the plane."""
        self.canvas.line(*(self.at(x, y) for x, y in points), colour=colour, width=width, dash=dash)

    def mark(self, x: float, y: float, series: int) -> None:
        """Draw a marker of a series."""
        self.canvas.marker(*self.at(x, y), series, COLOURS[series % len(COLOURS)])

    def key(self, series: int, text: str, *, line: bool = False) -> None:
        """Name a series in the key: by its marker, or by a piece of its line."""
        self._keys += 1
        left, at, colour = LEFT + self._width + 24, TOP - 10 + 22 * self._keys, COLOURS[series % len(COLOURS)]
        if line:
            self.canvas.line((left - 8, at), (left + 12, at), colour=colour, width=2, dash=DASHES[series % 3])
        else:
            self.canvas.marker(left, at, series, colour)
        self.canvas.text(left + 20, at + 4, text, size=12)


def against(
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]], x_label: str, y_label: str, *, alt: str
) -> Markup:
    """Draw two measures of the same thing against each other on logarithmic axes, with the line where they agree.

    Parameters
    ----------
    series : sequence of (str, sequence of (float, float))
        Name and points (x, y) of each group. A value of 0 lies on the edge.
    x_label, y_label : str
    alt : str
        Text alternative.
    """
    values = [v for _, points in series for point in points for v in point if v > 0] or [1.0]
    low, high = min(values) / 1.3, max(values) * 1.3
    plane = Plane(Axis(x_label, low, high, log=True), Axis(y_label, low, high, log=True))
    plane.line([(low, low), (high, high)], colour=MUTED, dash="4 3")
    for number, (name, points) in enumerate(series):
        for x, y in points:
            plane.mark(x, y, number)
        plane.key(number, name)
    return plane.canvas.svg(alt)


def curves(
    groups: Sequence[tuple[str, Sequence[Sequence[tuple[float, float]]]]],
    marks: Sequence[tuple[float, float]],
    x_label: str,
    y_label: str,
    mark_label: str,
    *,
    alt: str,
) -> Markup:
    """Draw every line of every group, and marks on them.

    Parameters
    ----------
    groups : sequence of (str, sequence of lines)
        Name of the group and its lines, each a sequence of (x, y); all lines of a group look alike.
    marks : sequence of (float, float)
    mark_label : str
        What a mark means.
    """
    points = [point for _, lines in groups for one in lines for point in one]
    top = 1.05 * max(y for _, y in points)
    plane = Plane(
        Axis(x_label, 1, max(2.0, *(x for x, _ in points))),
        Axis(y_label, min(0.0, *(y for _, y in points)), top),
        width=460,
        height=220,
    )
    for number, (name, lines) in enumerate(groups):
        for one in lines:
            plane.line(one, colour=COLOURS[number], width=1, dash=DASHES[number % 3])
        plane.key(number, name, line=True)
    for x, y in marks:
        plane.mark(x, y, len(groups))
    if marks:
        plane.key(len(groups), mark_label)
    return plane.canvas.svg(alt)
