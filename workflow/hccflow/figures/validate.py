"""Figures of validation, drawn from the tables that lie beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.transforms import blended_transform_factory

from hccflow.figures.style import (
    COLOURS,
    LOOKS,
    MARKERS,
    house_style,
    legend_below,
    limits_text,
    new_figure,
    number,
    save_figure,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "0.55"
Labels = Mapping[str, str]
#: Kinds of scores of a cohort that has both, as a title names them.
KINDS = {"kind=oof": "out of fold", "kind=frozen": "frozen model"}


def draw_all(
    metrics: pd.DataFrame, curves: Mapping[str, pd.DataFrame], folder: Path, labels: Labels, columns: Labels
) -> list[Path]:
    """Draw every figure that the tables allow and return their paths without suffix.

    `labels` names models, `columns` names columns of the subjects; what they do not name keeps its identifier.

    A figure is named after its kind, then the cohort, endpoint and model where there are several, and the kind of
    scores where a cohort has both.
    """
    with house_style():
        return list(_draw(metrics, curves, folder, labels, columns))


def _draw(
    metrics: pd.DataFrame, curves: Mapping[str, pd.DataFrame], folder: Path, labels: Labels, columns: Labels
) -> Iterator[Path]:
    for kind, draw in (("roc", roc), ("pr", precision_recall), ("calibration", calibration), ("decision", decision)):
        keys = ["cohort", "endpoint", "group"]
        for name, table in _each(curves[kind], metrics, keys):
            scores = curves["scores"].merge(table[keys].drop_duplicates())
            rows = metrics.merge(table[keys].drop_duplicates())
            yield _save(draw(table, rows, scores, labels), folder / f"{kind}{name}")
    grouped = metrics[(metrics["metric"] == "auc") & metrics["group"].str.contains("[=<]", regex=True)]
    for name, table in _each(grouped, metrics, ["cohort", "endpoint", "model"]):
        rows = metrics.merge(table[["cohort", "endpoint", "model"]].drop_duplicates())
        yield _save(subgroups(rows, columns), folder / f"subgroups{name}")
    for name, table in _each(metrics[metrics["metric"] == "standardised_difference"], metrics, ["cohort"]):
        if table["value"].notna().any():
            yield _save(case_mix(table, columns), folder / f"casemix{name}")


def _each(table: pd.DataFrame, metrics: pd.DataFrame, keys: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Parts of a table, each with the part of its file name that tells it from the others."""
    judged = metrics[metrics["metric"] == "rows"]
    several = [key for key in keys if key == "model" or len(judged[key].unique()) > 1]
    for values, part in table.groupby(keys, sort=True):
        words = [str(v) for key, v in zip(keys, values, strict=True) if key in several and v]
        yield "".join("_" + re.sub(r"[^A-Za-z0-9-]+", "-", word) for word in words), part


def _save(figure: Figure, path: Path) -> Path:
    save_figure(figure, path)
    return path


def _models(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """Each model's rows and line style; a model keeps its style in all figures of a cohort."""
    parts = table.groupby("model", sort=True)
    return [(str(name), part, LOOKS[i % len(LOOKS)]) for i, (name, part) in enumerate(parts)]


def _value(rows: pd.DataFrame, metric: str, model: str) -> str:
    """Value and interval of a measure of all that a figure shows, as text."""
    main = (rows["metric"] == metric) & (rows["model"] == model) & rows["repeat"].isna()
    found = rows[main]
    if found.empty or pd.isna(found["value"].iloc[0]):
        return "undefined"
    row = found.iloc[0]
    return number(row["value"]) + limits_text(row["ci_low"], row["ci_high"])


def _legend_text(name: str, number: str) -> str:
    """Name and number of a curve; the number is never broken."""
    return wrapped(f"{name}: " + number.replace(" ", "\N{NO-BREAK SPACE}"), 46)


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x, ylabel=y, aspect="equal")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))


def _title(axes: Axes, table: pd.DataFrame) -> None:
    """Endpoint, cohort and kind of scores above the axes, where they are named."""
    names = [str(table[key].iloc[0]) for key in ("endpoint", "cohort")]
    names.append(KINDS.get(str(table["group"].iloc[0]), ""))
    axes.set_title(wrapped(", ".join(name for name in names if name), 40))


def roc(table: pd.DataFrame, rows: pd.DataFrame, scores: pd.DataFrame, labels: Labels) -> Figure:
    """ROC curves of all models of a cohort, AUC with interval in the legend."""
    parts = _models(table)
    figure, (axes,) = new_figure(85, 92)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.7)
    for name, part, style in parts:
        text = _legend_text(labels.get(name, name), f"AUC {_value(rows, 'auc', name)}")
        axes.plot(part["fpr"], part["tpr"], label=text, **style)
    _unit_square(axes, "1 \N{MINUS SIGN} specificity", "Sensitivity")
    _title(axes, table)
    legend_below(figure, axes)
    return figure


def precision_recall(table: pd.DataFrame, rows: pd.DataFrame, scores: pd.DataFrame, labels: Labels) -> Figure:
    """Precision-recall steps of all models of a cohort; the level line is the share of events."""
    parts = _models(table)
    figure, (axes,) = new_figure(85, 92)
    main = rows[(rows["metric"] == "auc_pr") & rows["repeat"].isna()]
    main = main[main["model"].isin([name for name, *_ in parts])]
    # Models that scored other rows have another share of events: one band then says from where to where.
    share = (main["n_events"] / main["n"]).astype(float)
    words = number(share.min()) + (f" to {number(share.max())}" if number(share.min()) != number(share.max()) else "")
    text = f"Share of events (guessing): {words}"
    if share.min() == share.max():
        axes.axhline(share.min(), color=GREY, linewidth=0.7, label=text)
    else:
        axes.axhspan(share.min(), share.max(), facecolor="0.82", edgecolor=GREY, linewidth=0.7, zorder=0, label=text)
    for name, part, style in parts:
        text = _legend_text(labels.get(name, name), f"AP {_value(rows, 'auc_pr', name)}")
        # Average precision counts each step at its right end, so the line drops before it moves right.
        recall = np.concatenate([[0.0], part["recall"]])
        precision = np.concatenate([part["precision"].iloc[:1], part["precision"]])
        axes.step(recall, precision, where="pre", label=text, **style)
    _unit_square(axes, "Recall (sensitivity)", "Precision (PPV)")
    _title(axes, table)
    legend_below(figure, axes)
    return figure


def calibration(table: pd.DataFrame, rows: pd.DataFrame, scores: pd.DataFrame, labels: Labels) -> Figure:
    """Calibration of each model: groups with intervals, flexible curve with band, and the scores of the two classes."""
    parts = _models(table)
    columns = min(3, len(parts))
    lines = -(-len(parts) // columns)
    height = 76 * lines + (6 if columns == 1 else 0)
    # Padded, so that the head of a panel keeps off the axis label above it.
    figure, panels = new_figure(max(85, 58 * columns), height, lines, columns, h_pad=0.12)
    for axes, (name, part, style) in zip(panels, parts, strict=False):
        _calibration_panel(axes, part, style["color"])
        _spikes(axes, scores[scores["model"] == name])
        lines_of_text = (
            f"In the large {_value(rows, 'calibration_in_the_large', name)}",
            f"Slope {_value(rows, 'calibration_slope', name)}",
            f"Brier {_value(rows, 'brier', name)}",
        )
        corner: dict[str, Any] = {"xy": (0, 1), "xycoords": "axes fraction", "textcoords": "offset points"}
        axes.annotate("\n".join(lines_of_text), xytext=(0, 5), fontsize=6.5, va="bottom", **corner)
        title = wrapped(labels.get(name, name), 26)
        axes.annotate(title, xytext=(0, 33), fontsize=8, fontweight="bold", va="bottom", **corner)
    for axes in panels[len(parts) :]:
        axes.remove()
    return figure


def _calibration_panel(axes: Axes, part: pd.DataFrame, colour: str) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.7)
    # The smoother may leave [0, 1]; its table has all of it, the picture what can be a share.
    smooth = part[(part["kind"] == "loess") & part["observed"].between(0, 1)]
    groups = part[part["kind"] == "group"]
    band = smooth.dropna(subset=["ci_low", "ci_high"])
    low, high = band["ci_low"].clip(0, 1), band["ci_high"].clip(0, 1)
    axes.fill_between(band["predicted"], low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(smooth["predicted"], smooth["observed"], color=colour)
    distance = [
        (groups["observed"] - groups["ci_low"]).clip(lower=0),
        (groups["ci_high"] - groups["observed"]).clip(lower=0),
    ]
    axes.errorbar(
        groups["predicted"], groups["observed"], yerr=distance, fmt="o", color="black", markersize=3, linewidth=0.7,
        clip_on=False, zorder=3,
    )  # fmt: skip
    axes.set(
        xlim=(-0.01, 1.01), ylim=(-0.24, 1.01), xlabel="Predicted probability", ylabel="Observed share", aspect="equal"
    )
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.spines["left"].set_bounds(0, 1)


def _spikes(axes: Axes, scores: pd.DataFrame) -> None:
    """Histogram of the scores below the curve: events up, non-events down."""
    base, height = -0.13, 0.08
    top = max(scores["events"].max(), scores["nonevents"].max(), 1)
    middle = (scores["low"] + scores["high"]) / 2
    axes.bar(middle, scores["events"] / top * height, width=0.035, bottom=base, color="0.25")
    axes.bar(middle, -scores["nonevents"] / top * height, width=0.035, bottom=base, color="0.7")
    axes.plot([0, 1], [base, base], color="black", linewidth=0.5)
    axes.text(1.02, base + height / 2, "1", fontsize=6, va="center")
    axes.text(1.02, base - height / 2, "0", fontsize=6, va="center")


def decision(table: pd.DataFrame, rows: pd.DataFrame, scores: pd.DataFrame, labels: Labels) -> Figure:
    """Decision curves of all models of a cohort; intervals are drawn for at most two models, the table has all."""
    own = table[table["strategy"] == "model"]
    parts = _models(own)
    figure, (axes,) = new_figure(85, 74)
    # Treat-all depends on the rows that a model scored; the model with most rows gives the line.
    widest = rows[(rows["metric"] == "auc_pr") & rows["repeat"].isna()].sort_values("n")["model"]
    reference = next(name for name in [*widest[::-1], own["model"].iloc[0]] if name in set(own["model"]))
    everybody = table[(table["strategy"] == "treat_all") & (table["model"] == reference)]
    axes.plot(everybody["threshold"], everybody["net_benefit"], color=GREY, linewidth=0.8, label="Treat all")
    axes.axhline(0, color="black", linewidth=0.8, label="Treat none")
    for name, part, style in parts:
        axes.plot(part["threshold"], part["net_benefit"], label=wrapped(labels.get(name, name), 46), **style)
        if len(parts) <= 2:
            axes.fill_between(
                part["threshold"], part["ci_low"].astype(float), part["ci_high"].astype(float), color=style["color"],
                alpha=0.15, linewidth=0,
            )  # fmt: skip
    top = max(own["net_benefit"].max(), everybody["net_benefit"].max(), 0.05)
    axes.set(xlim=(0, 1), ylim=(-0.35 * top, 1.1 * top), xlabel="Threshold probability", ylabel="Net benefit")
    _title(axes, table)
    legend_below(figure, axes)
    return figure


def subgroups(rows: pd.DataFrame, columns: Labels) -> Figure:
    """Forest of AUC by subgroup, with the p of the interaction at the head of each column's subgroups."""
    auc = rows[(rows["metric"] == "auc") & rows["repeat"].isna()]
    tests = rows[rows["metric"] == "auc_interaction"].set_index("group")["p"]
    lines: list[tuple[str, pd.Series | None]] = [("All", auc[auc["group"] == ""].iloc[0])]
    grouped = auc[auc["group"].str.contains("[=<]", regex=True)]
    for variable, part in grouped.groupby(grouped["group"].str.split("[=<>]", regex=True).str[0], sort=True):
        name = str(variable)
        known = name in tests and pd.notna(tests[name])
        lines.append(
            (columns.get(name, name.capitalize()) + (f" (interaction p = {tests[name]:.2g})" if known else ""), None)
        )
        for _, row in part.iterrows():
            value = row["group"][len(name) :].removeprefix("=").replace(">=", "\u2265 ").replace("<", "< ")
            lines.append((f"    {value}", row))
    for _, row in rows[(rows["metric"] == "auc_pooled") & rows["value"].notna()].iterrows():
        lines.append(("Mean over sites (random effects)", row))
    return _forest(lines, "AUC")


def draw_pooled(rows: pd.DataFrame, path: Path, labels: Labels) -> None:
    """Forest of AUC by cohort with the mean over cohorts, all endpoints and models below each other."""
    lines: list[tuple[str, pd.Series | None]] = []
    several = len(set(rows["endpoint"])) > 1
    for (endpoint, model), part in rows.groupby(["endpoint", "model"], sort=True):
        lines.append((labels.get(str(model), str(model)) + (f", {endpoint}" if several else ""), None))
        lines += [(f"    {row['cohort']}", row) for _, row in part[part["metric"] == "auc"].iterrows()]
        for _, row in part[(part["metric"] == "auc_pooled") & part["value"].notna()].iterrows():
            lines.append(("    Mean over cohorts", row))
    _save(_forest(lines, "AUC"), path)


def _forest(lines: list[tuple[str, pd.Series | None]], axis: str) -> Figure:
    """Text left and right of the intervals, in columns whose places do not depend on the text."""
    height = 20 + 4.6 * len(lines)
    figure, (axes,) = new_figure(175, height)
    figure.set_layout_engine("none")
    axes.set_position((0.36, 11 / height, 0.32, 1 - 12 / height))
    at = blended_transform_factory(figure.transFigure, axes.transData)
    heads = ((0.02, "Subgroup" if lines[0][1] is not None else "Cohort"), (0.71, "n / events"), (0.82, f"{axis} (CI)"))
    for x, text in heads:
        axes.text(x, -1.1, text, transform=at, fontsize=8, fontweight="bold", va="center")
    lowest = 0.4
    for k, (text, row) in enumerate(lines):
        weight = "bold" if row is None else "normal"
        axes.text(heads[0][0], k, text, transform=at, fontsize=8, fontweight=weight, va="center")
        if row is None:
            continue
        known = pd.notna(row["value"])
        shown = number(row["value"]) + limits_text(row["ci_low"], row["ci_high"]) if known else "undefined"
        axes.text(heads[1][0], k, f"{row['n']} / {row['n_events']}", transform=at, fontsize=8, va="center")
        axes.text(heads[2][0], k, shown, transform=at, fontsize=8, va="center")
        if not known:
            continue
        if pd.notna(row["ci_low"]):
            axes.plot([row["ci_low"], row["ci_high"]], [k, k], color="black", linewidth=0.9)
            lowest = min(lowest, row["ci_low"])
        mark, size = (MARKERS[3], 5) if row["metric"] == "auc_pooled" else (MARKERS[1], 3.5)
        axes.plot(row["value"], k, mark, color="black", markersize=size)
        lowest = min(lowest, row["value"])
    first = lines[0][1]
    if first is not None and pd.notna(first["value"]):
        axes.axvline(first["value"], color=GREY, linewidth=0.7, linestyle="--", zorder=0)
    axes.axvline(0.5, color=GREY, linewidth=0.7, zorder=0)
    low = np.floor(lowest * 10) / 10
    axes.set(ylim=(len(lines) - 0.3, -1.8), xlim=(low - 0.01, 1.01), xlabel=axis, yticks=[])
    axes.spines["left"].set_visible(False)
    return figure


def case_mix(table: pd.DataFrame, columns: Labels) -> Figure:
    """Standardised difference of each column between a cohort and the development cohorts; dashed lines at 0.1."""
    shown = (
        table[table["value"].notna()]
        .reindex(table["value"].abs().sort_values(ascending=False).index)
        .dropna(subset=["value"])
    )
    figure, (axes,) = new_figure(85, 22 + 4.5 * len(shown))
    place = np.arange(len(shown))
    axes.axvline(0, color="black", linewidth=0.7)
    for x in (-0.1, 0.1):
        axes.axvline(x, color=GREY, linewidth=0.7, linestyle="--")
    axes.plot(shown["value"], place, "o", color=COLOURS[0], markersize=4)
    reach = max(0.3, float(shown["value"].abs().max()) * 1.1)
    axes.set(xlim=(-reach, reach), ylim=(len(shown) - 0.5, -0.5), xlabel="Standardised difference\nfrom development")
    axes.set_yticks(place, [columns.get(name, name) for name in shown["group"]])
    axes.grid(axis="y", linewidth=0.3)
    return figure
