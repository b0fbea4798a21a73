"""Drawings of the report page: the flow of subjects, forests of intervals, bars and dots, as inline SVG.

They are written as SVG text rather than plotted: the page sets their type, they print sharp at any size, and the same
numbers give the same bytes.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from hccflow.figures.style import COLOURS

INK, MUTED, HAIR, PANEL = "#1c2430", "#5a6675", "#cfd6de", "#f4f6f8"
#: Mean advance of one character of a sans-serif type, in em; a little wide, so that nothing overlaps.
ADVANCE = 0.55


class Canvas:
    """SVG elements on a canvas of `width` by `height` user units (CSS pixels)."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._parts: list[Markup] = []

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 12,
        anchor: str = "start",
        colour: str = INK,
        weight: int = 400,
    ) -> None:
        """Write one line of text with its baseline at y."""
        self._parts.append(
            Markup('<text x="{}" y="{}" font-size="{}" text-anchor="{}" fill="{}" font-weight="{}">{}</text>').format(
                _n(x), _n(y), _n(size), anchor, colour, weight, text
            )
        )

    def line(self, *points: tuple[float, float], colour: str = INK, width: float = 1, dash: str = "") -> None:
        """Draw a line through points."""
        where = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        extra = Markup(' stroke-dasharray="{}"').format(dash) if dash else ""
        self._parts.append(
            Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="{}"{}/>').format(
                where, colour, _n(width), extra
            )
        )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = "#ffffff",
        stroke: str = INK,
        radius: float = 4,
    ) -> None:
        """Draw a rectangle with round corners."""
        self._parts.append(
            Markup('<rect x="{}" y="{}" width="{}" height="{}" rx="{}" fill="{}" stroke="{}"/>').format(
                _n(x), _n(y), _n(width), _n(height), _n(radius), fill, stroke
            )
        )

    def shape(self, points: Sequence[tuple[float, float]], *, fill: str, stroke: str = "none") -> None:
        """Draw a filled polygon."""
        where = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        self._parts.append(Markup('<polygon points="{}" fill="{}" stroke="{}"/>').format(where, fill, stroke))

    def marker(self, x: float, y: float, kind: int, colour: str) -> None:
        """Draw the marker of the kind-th series: square, circle, triangle, diamond; then again."""
        r = 4.5
        if kind % 4 == 0:
            self.box(x - r, y - r, 2 * r, 2 * r, fill=colour, stroke=colour, radius=0.5)
        elif kind % 4 == 1:
            self.box(x - r, y - r, 2 * r, 2 * r, fill=colour, stroke=colour, radius=r)
        elif kind % 4 == 2:
            self.shape([(x, y - r - 1), (x + r + 1, y + r), (x - r - 1, y + r)], fill=colour)
        else:
            self.shape([(x, y - r - 1), (x + r + 1, y), (x, y + r + 1), (x - r - 1, y)], fill=colour)

    def arrow(self, x: float, y0: float, y1: float) -> None:
        """Draw a vertical arrow."""
        self.line((x, y0), (x, y1 - 4))
        self.shape([(x - 4, y1 - 7), (x + 4, y1 - 7), (x, y1)], fill=INK)

    def svg(self, alt: str) -> Markup:
        """Return the drawing with its text alternative."""
        head = Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" '
            'aria-label="{alt}">'
        ).format(w=_n(self.width), h=_n(self.height), alt=alt)
        return head + Markup("\n").join(self._parts) + Markup("</svg>")


def _n(value: float) -> str:
    """Shortest text of a coordinate, to a hundredth."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def text_width(text: str, size: float) -> float:
    """Estimate of a text's width in user units."""
    return len(text) * size * ADVANCE


# --- the flow of subjects ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flow:
    """One cohort's way through enrolment.

    Attributes
    ----------
    title, role : str
        Head of its column.
    n_in : int
        Participants.
    losses : sequence of int
        Participants lost at each of the diagram's steps.
    n_out : int
        Enrolled.
    uses : sequence of (str, int)
        What the enrolled are used for.
    remark : str
        A line below the last box.
    """

    title: str
    role: str
    n_in: int
    losses: Sequence[int]
    n_out: int
    uses: Sequence[tuple[str, int]]
    remark: str = ""


def flow_diagram(steps: Sequence[str], flows: Sequence[Flow], *, unit: str = "participants", alt: str = "") -> Markup:
    """Draw the flow of all participants: a column for each cohort, a row for each reason to leave.

    Parameters
    ----------
    steps : sequence of str
        Reasons in the order in which they are tested; each flow has as many `losses`.
    flows : sequence of Flow
        Cohorts from left to right.
    """
    gutter, column, box_width, row = 250, 190, 128, 50
    width = gutter + column * len(flows)
    heads = [textwrap.wrap(flow.title, 23, max_lines=2, placeholder=" …") for flow in flows]
    top = 36 + 16 * max(len(head) for head in heads)
    first = top + 46 + 18
    end = first + row * len(steps) + 12
    uses = max(len(flow.uses) for flow in flows)
    foot = end + 46
    lines = [textwrap.wrap(flow.remark, 26) for flow in flows]
    canvas = Canvas(width, foot + 26 + 22 * uses + 16 * max(len(part) for part in lines) + 14)
    for i, step in enumerate(steps):
        y = float(first + row * i)
        if i % 2 == 0:
            canvas.box(0, y, canvas.width, row, fill=PANEL, stroke="none", radius=0)
        words = textwrap.wrap(step, 36, max_lines=2, placeholder=" …")
        for k, line in enumerate(words):
            canvas.text(10, y + row / 2 + 4.5 - 8 * (len(words) - 1) + 16 * k, line, size=12.5)
    canvas.text(10, top + 28, unit.capitalize(), size=12.5, weight=600)
    canvas.text(10, end + 28, "Enrolled", size=12.5, weight=600)
    canvas.text(10, foot + 30, "Used for", size=12.5, weight=600)
    for j, flow in enumerate(flows):
        left = float(gutter + column * j)
        spine = left + box_width / 2 - 16
        for k, line in enumerate(heads[j]):
            canvas.text(left, 18 + 16 * k, line, size=13, weight=600)
        canvas.text(left, top - 16, flow.role, size=12, colour=MUTED)
        canvas.box(left, top, box_width - 32, 46, fill="#ffffff")
        canvas.text(spine, top + 29, f"{flow.n_in:,}", size=17, anchor="middle", weight=600)
        canvas.arrow(spine, top + 46, end)
        for i, lost in enumerate(flow.losses):
            y = first + row * (i + 0.5)
            if lost:
                canvas.line((spine, y), (left + box_width - 16, y))
                canvas.shape(
                    [(left + box_width - 17, y - 4), (left + box_width - 17, y + 4), (left + box_width - 10, y)],
                    fill=INK,
                )
                canvas.box(left + box_width - 10, y - 14, 56, 28, fill="#fff4e5", stroke="#b35c00")
                canvas.text(left + box_width + 18, y + 4.5, f"{lost:,}", size=13, anchor="middle", weight=600)
            else:
                canvas.text(left + box_width + 18, y + 4.5, "0", size=12, anchor="middle", colour=MUTED)
        canvas.box(left, end, box_width - 32, 46, fill="#e6f0fa", stroke="#0b5a94")
        canvas.text(spine, end + 29, f"{flow.n_out:,}", size=17, anchor="middle", weight=600)
        for k, (word, count) in enumerate(flow.uses):
            canvas.text(left, foot + 30 + 22 * k, f"{word}: {count:,}", size=12.5)
        for k, line in enumerate(lines[j]):
            canvas.text(left, foot + 30 + 22 * len(flow.uses) + 16 * k, line, size=11.5, colour=MUTED)
    return canvas.svg(alt)


# --- forests ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ForestRow:
    """One line of a forest: an estimate with its interval, a heading (no value, no text), or a dash with its reason."""

    label: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    text: str = ""
    series: int = 0
    heading: bool = False
    target: float | None = None  # a mark of its own beside the estimate, for example the best possible value


def forest(
    rows: Sequence[ForestRow],
    *,
    axis: str,
    reference: float | None = None,
    limits: tuple[float, float] | None = None,
    log: bool = False,
    head: tuple[str, str] = ("", ""),
    alt: str = "",
) -> Markup:
    """Draw estimates with intervals below each other, numbers beside them.

    Parameters
    ----------
    axis : str
        Label of the axis.
    reference : float, optional
        Value of a vertical line (0.5 for an AUC, 0 for a difference, 1 for a ratio).
    limits : (float, float), optional
        Ends of the axis; from the rows when absent. An interval beyond them ends in an arrow.
    log : bool
        Logarithmic axis.
    head : (str, str)
        Headers of the labels and of the numbers.
    """
    left, plot, right, step, top = 250.0, 340.0, 230.0, 26.0, 34.0
    canvas = Canvas(left + plot + right, top + step * len(rows) + 48)
    low, high = limits or _limits(rows, reference, log)

    def x(value: float) -> float:
        a, b, v = (math.log(low), math.log(high), math.log(value)) if log else (low, high, value)
        return left + plot * min(max((v - a) / (b - a), 0), 1)

    bottom = top + step * len(rows) + 4
    canvas.text(0, 18, head[0], size=12, colour=MUTED, weight=600)
    canvas.text(left + plot + 20, 18, head[1], size=12, colour=MUTED, weight=600)
    canvas.line((0, 26), (canvas.width, 26), colour=HAIR)
    for tick in axis_ticks(low, high, log):
        canvas.line((x(tick), top - 4), (x(tick), bottom), colour="#e6eaee")
        canvas.line((x(tick), bottom), (x(tick), bottom + 5), colour=MUTED)
        canvas.text(
            x(tick), bottom + 18, f"{tick:g}".replace("-", "\N{MINUS SIGN}"), size=11, anchor="middle", colour=MUTED
        )
    if reference is not None:
        canvas.line((x(reference), top - 4), (x(reference), bottom), colour=MUTED, dash="4 3")
    canvas.line((left, bottom), (left + plot, bottom), colour=MUTED)
    canvas.text(left + plot / 2, bottom + 38, axis, size=12, anchor="middle", colour=MUTED)
    for i, row in enumerate(rows):
        y = top + step * (i + 0.5)
        label = textwrap.shorten(row.label, 78 if row.heading else 36, placeholder=" …")
        canvas.text(0 if row.heading else 12, y + 4, label, size=12.5, weight=600 if row.heading else 400)
        canvas.text(left + plot + 20, y + 4, row.text, size=12.5, colour=INK if row.value is not None else MUTED)
        if row.target is not None:
            t = x(row.target)
            canvas.shape([(t, y - 7), (t + 6, y), (t, y + 7), (t - 6, y)], fill="#ffffff", stroke=INK)
        if row.value is None or (log and row.value <= 0):
            continue
        colour = COLOURS[row.series % len(COLOURS)]
        if row.low is not None and row.high is not None:
            canvas.line((x(_floor(row.low, low, log)), y), (x(row.high), y), colour=colour, width=1.8)
            for edge, end, way in ((low, _floor(row.low, low, log), -1), (high, row.high, 1)):
                if end * way > edge * way:
                    canvas.shape([(x(edge), y - 4), (x(edge) + 7 * way, y), (x(edge), y + 4)], fill=colour)
        if low <= row.value <= high:
            canvas.marker(x(row.value), y, row.series, colour)
    return canvas.svg(alt)


def _floor(value: float, low: float, log: bool) -> float:
    """A number that a logarithmic axis can hold: what is not positive lies left of everything."""
    return low / 2 if log and value <= 0 else value


def _limits(rows: Sequence[ForestRow], reference: float | None, log: bool) -> tuple[float, float]:
    """Ends of the axis: all values and the intervals, at most four octaves or 1.5 spans beyond the values."""
    points = [r.value for r in rows if r.value is not None] + ([reference] if reference is not None else [])
    points += [r.target for r in rows if r.target is not None]
    ends = [v for r in rows for v in (r.low, r.high) if v is not None]
    if log:
        points, ends = [math.log(v) for v in points if v > 0], [math.log(v) for v in ends if v > 0]
    if not points:
        return (0.5, 2.0) if log else (0.0, 1.0)
    reach = math.log(16) if log else 1.5 * max(max(points) - min(points), 0.1)
    a = max(min(points + ends), min(points) - reach)
    b = min(max(points + ends), max(points) + reach)
    pad = 0.04 * max(b - a, 0.05)
    return (math.exp(a - pad), math.exp(b + pad)) if log else (a - pad, b + pad)


def axis_ticks(low: float, high: float, log: bool) -> list[float]:
    """Round numbers between the ends of an axis: the widest step that leaves at least four (three on a log axis)."""
    for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)) if log else ():
        found = [m * 10.0**e for e in range(-9, 10) for m in steps if low <= m * 10.0**e <= high]
        if len(found) >= 3:
            return found
    size = 10 ** math.floor(math.log10(high - low))
    for step in (m * size for m in (5, 2, 1, 0.5, 0.25)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first >= 3:
            break
    return [round(k * step, 10) for k in range(first, last + 1)]


# --- bars and dots ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """One bar: a share between 0 and 1; `strong` marks what was kept."""

    label: str
    share: float
    text: str
    strong: bool = field(default=True)


def bars(rows: Sequence[Bar], *, axis: str, alt: str = "") -> Markup:
    """Draw horizontal bars of shares, 0 to 1, with labels at the left and numbers at the right."""
    left = min(420.0, max(160.0, max(text_width(r.label, 12) for r in rows) + 12))
    plot, step, top = 330.0, 22.0, 8.0
    canvas = Canvas(left + plot + 90, top + step * len(rows) + 42)
    bottom = top + step * len(rows) + 2
    for tick in (0, 0.25, 0.5, 0.75, 1):
        canvas.line((left + plot * tick, top), (left + plot * tick, bottom + 4), colour="#e6eaee")
        canvas.text(left + plot * tick, bottom + 18, f"{tick:g}", size=11, anchor="middle", colour=MUTED)
    for i, row in enumerate(rows):
        y = top + step * i
        fill = COLOURS[0] if row.strong else "#ffffff"
        canvas.text(left - 8, y + 15, textwrap.shorten(row.label, 60, placeholder=" …"), size=12, anchor="end")
        canvas.box(left, y + 4, max(plot * row.share, 0.5), step - 8, fill=fill, stroke=COLOURS[0], radius=1)
        canvas.text(left + plot * row.share + 6, y + 15, row.text, size=11.5, colour=MUTED)
    canvas.text(left + plot / 2, bottom + 36, axis, size=12, anchor="middle", colour=MUTED)
    return canvas.svg(alt)


def dots(
    rows: Mapping[str, Sequence[float | None]], texts: Sequence[str], series: Sequence[str], *, axis: str, alt: str
) -> Markup:
    """Draw amounts from 0 upwards, a line for each of `rows` with a marker for each series, `texts` at the right."""
    left = min(420.0, max(160.0, max(text_width(label, 12) for label in rows) + 12))
    plot, step, top = 330.0, 22.0, 8.0
    bottom = top + step * len(rows) + 2
    canvas = Canvas(left + plot + 110, bottom + 48 + 18 * len(series))
    high = 1.05 * (max(v for values in rows.values() for v in values if v is not None) or 1.0)
    for tick in axis_ticks(0, high, False):
        canvas.line((left + plot * tick / high, top), (left + plot * tick / high, bottom + 4), colour="#e6eaee")
        canvas.text(left + plot * tick / high, bottom + 18, f"{tick:g}", size=11, anchor="middle", colour=MUTED)
    for i, ((label, values), text) in enumerate(zip(rows.items(), texts, strict=True)):
        y = top + step * (i + 0.5)
        canvas.text(left - 8, y + 4, textwrap.shorten(label, 60, placeholder=" …"), size=12, anchor="end")
        canvas.line((left, y), (left + plot, y), colour="#e6eaee")
        canvas.text(left + plot + 10, y + 4, text, size=11.5, colour=MUTED)
        for k, value in enumerate(values):
            if value is not None:
                canvas.marker(left + plot * value / high, y, k, COLOURS[k % len(COLOURS)])
    canvas.text(left + plot / 2, bottom + 36, axis, size=12, anchor="middle", colour=MUTED)
    for k, name in enumerate(series):
        canvas.marker(left, bottom + 52 + 18 * k, k, COLOURS[k % len(COLOURS)])
        canvas.text(left + 14, bottom + 56 + 18 * k, name, size=12)
    return canvas.svg(alt)
