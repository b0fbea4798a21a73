"""Figures of the survival stage: Kaplan-Meier with numbers at risk, forest, incidence, AUC(t), Brier(t), spline."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from hccflow.figures import nomogram
from hccflow.figures.style import (
    COLOURS,
    LINES,
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
from hccflow.figures.timeline import NAMES, SERIES, at_risk, figure_with_table, groups_of, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray[Any, Any]
SAMPLE = ["endpoint", "cohort", "model"]


def draw_all(
    metrics: pd.DataFrame,
    curves: Mapping[str, pd.DataFrame],
    conf_level: float,
    folder: Path,
    labels: Mapping[str, str],
) -> list[Path]:
    """Draw every figure that the curves allow; names begin with the kind of figure.

    Parameters
    ----------
    metrics : pandas.DataFrame
        The tidy metrics, for p values, medians and hazard ratios.
    curves : mapping
        ``km, cif, auc_t, brier_t, spline, nomogram``, as `hccflow.survive.analyse` gives them.
    conf_level : float
        Level of the intervals, for the captions on the axes.
    folder : path
    labels : mapping
        Names of models, endpoints and columns as they are printed.

    Returns
    -------
    list of Path
        Stems of the files written (``.svg`` and ``.png``).
    """
    metrics = metrics[~metrics["group"].str.startswith("kind=")]
    with house_style():
        return list(_draw(metrics, curves, f"{conf_level:.0%} CI", folder, labels))


def _draw(
    metrics: pd.DataFrame, curves: Mapping[str, pd.DataFrame], interval: str, folder: Path, labels: Mapping[str, str]
) -> Iterator[Path]:
    for kind, draw in (("km", _km), ("cif", _cif), ("spline", _spline)):
        for where, part in _parts(curves[kind], SAMPLE):
            path = _path(folder, kind, where)
            draw(part, _rows(metrics, where), path, where, labels, interval)
            yield path
    for kind, y, axis in (("auc_t", "auc", "AUC(t)"), ("brier_t", "brier", "Brier(t)")):
        for where, part in _parts(curves[kind], SAMPLE[:2]):
            if part["time_days"].nunique() < 2:
                continue  # one point is no curve; the table has it
            path = _path(folder, kind, where)
            _over_time(part, y, axis, path, where, labels)
            yield path
    for where, part in _parts(curves["nomogram"], SAMPLE[:2]):
        path = _path(folder, "nomogram", where)
        endpoint = labels.get(where["endpoint"], where["endpoint"])
        cohort = labels.get(where["cohort"], where["cohort"])
        nomogram.draw(part, path, ", ".join(text for text in (endpoint, cohort) if text), labels)
        yield path
    for where, part in _parts(metrics[metrics["metric"].isin(["cox_hr", "cox_hr_sd"])], SAMPLE[:2]):
        path = _path(folder, "forest", where)
        if _forest(part, path, where, labels, interval):
            yield path


def _path(folder: Path, kind: str, where: Mapping[str, str]) -> Path:
    return folder / "_".join([kind, *(re.sub(r"[^A-Za-z0-9-]+", "-", v) for v in where.values() if v)])


def _parts(table: pd.DataFrame, keys: list[str]) -> list[tuple[dict[str, str], pd.DataFrame]]:
    if table.empty:
        return []
    return [(dict(zip(keys, map(str, key), strict=True)), part) for key, part in table.groupby(keys, sort=True)]


def _rows(metrics: pd.DataFrame, where: Mapping[str, str]) -> pd.DataFrame:
    keep = np.ones(len(metrics), bool)
    for name, value in where.items():
        keep &= (metrics[name] == value).to_numpy()
    return metrics[keep]


def _title(where: Mapping[str, str], labels: Mapping[str, str]) -> str:
    names = [labels.get(where[key], where[key]) for key in ("model", "cohort") if where.get(key)]
    return wrapped(", ".join(names), 40)


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"


def _one(rows: pd.DataFrame, metric: str, **where: str) -> dict[str, float]:
    """Value, interval and p of one row; NaN where there is none."""
    found = rows[rows["metric"] == metric]
    for name, value in where.items():
        found = found[found[name] == value]
    keys = ["value", "ci_low", "ci_high", "p"]
    return dict.fromkeys(keys, np.nan) if found.empty else {key: float(found[key].iloc[0]) for key in keys}


def _step(axes: Axes, x: Array, y: Array, series: int, label: str) -> None:
    axes.step(x, y, where="post", color=COLOURS[series], linestyle=LINES[series], label=label)


def _band(axes: Axes, curve: pd.DataFrame, low: pd.Series, high: pd.Series, series: int) -> None:
    axes.fill_between(curve["time_days"], low, high, step="post", color=COLOURS[series], alpha=0.13, linewidth=0)


def _km(
    part: pd.DataFrame,
    rows: pd.DataFrame,
    path: Path,
    where: Mapping[str, str],
    labels: Mapping[str, str],
    interval: str,
) -> None:
    groups = groups_of(part)
    figure, (axes,), (table,) = figure_with_table(85, 60, groups)
    time_axis(axes, float(part["time_days"].max()) or 1.0)
    for group in groups:
        curve, series = part[part["group"] == group], SERIES[group]
        x, y = curve["time_days"].to_numpy(), curve["survival"].to_numpy()
        median = _one(rows, "km_median", group=group)
        known = np.isfinite(median["value"])
        name = f"{NAMES[group]}: median " + (f"{median['value']:.0f} days" if known else "not reached")
        _step(axes, x, y, series, name)
        _band(axes, curve, curve["ci_low"].ffill(), curve["ci_high"].ffill(), series)
        lost = curve["censored"].to_numpy() > 0
        axes.plot(x[lost], y[lost], linestyle="none", marker="|", markersize=4.5, mew=0.7, color=COLOURS[series])
        if known:
            axes.plot([median["value"]] * 2, [0, 0.5], color=COLOURS[series], linewidth=0.6, linestyle=":")
    axes.axhline(0.5, color="0.55", linewidth=0.6, linestyle=":", zorder=0)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel(wrapped(labels.get(where["endpoint"], where["endpoint"]), 36) or "Survival")
    axes.set_title(_title(where, labels))
    test, ratio = _one(rows, "logrank_chi2"), _one(rows, "cox_hr", comparator="low")
    words = []
    if len(groups) == 2 and np.isfinite(test["p"]):
        words.append(f"Log-rank {_p(test['p'])}")
    if len(groups) == 2 and np.isfinite(ratio["value"]):
        words.append(f"HR {number(ratio['value'])}{limits_text(ratio['ci_low'], ratio['ci_high'])}")
    legend_below(figure, axes, ", ".join(words))
    at_risk(table, {group: part[part["group"] == group] for group in groups}, axes)
    save_figure(figure, path)


def _cif(
    part: pd.DataFrame,
    rows: pd.DataFrame,
    path: Path,
    where: Mapping[str, str],
    labels: Mapping[str, str],
    interval: str,
) -> None:
    groups = groups_of(part)
    figure, panels, tables = figure_with_table(150, 54, groups, panels=2)
    last = float(part["time_days"].max()) or 1.0
    titles = {1: labels.get(where["endpoint"], where["endpoint"]) or "Event of interest", 2: "Competing event"}
    top = min(1.02, float(np.nanmax(part[["incidence", "ci_high"]].to_numpy())) + 0.04)
    for cause, axes, table in zip((1, 2), panels, tables, strict=True):
        time_axis(axes, last, most=5)
        curves = {group: part[(part["group"] == group) & (part["cause"] == cause)] for group in groups}
        for group, curve in curves.items():
            x, y = np.append(0.0, curve["time_days"]), np.append(0.0, curve["incidence"])
            _step(axes, x, y, SERIES[group], NAMES[group])
            _band(axes, curve, curve["ci_low"].fillna(0.0), curve["ci_high"].fillna(0.0), SERIES[group])
        axes.set_ylim(0, top)
        axes.set_title(titles[cause])
        at_risk(table, curves, axes, names=cause == 1)
    panels[0].set_ylabel("Cumulative incidence")
    test = _one(rows, "gray_chi2")
    known = len(groups) == 2 and np.isfinite(test["p"])
    legend_below(figure, panels[0], f"Gray's test, {titles[1]}: {_p(test['p'])}" if known else "", columns=2)
    figure.suptitle(_title(where, labels), fontsize=9)
    save_figure(figure, path)


def _spline(
    part: pd.DataFrame,
    rows: pd.DataFrame,
    path: Path,
    where: Mapping[str, str],
    labels: Mapping[str, str],
    interval: str,
) -> None:
    figure, (axes,) = new_figure(85, 72)
    x = part["score"].to_numpy()
    axes.plot(x, part["hazard_ratio"], color=COLOURS[0])
    axes.fill_between(x, part["ci_low"], part["ci_high"], color=COLOURS[0], alpha=0.15, linewidth=0, label=interval)
    axes.axhline(1, color="0.4", linewidth=0.7, linestyle=":")
    axes.set_yscale("log")
    reach = float(part["ci_high"].max() / part["ci_low"].min())
    subs = (1, 2, 5) if reach > 20 else (1, 1.5, 2, 3, 5, 7) if reach > 3 else (1, 1.2, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    axes.yaxis.set_major_locator(mpl.ticker.LogLocator(base=10, subs=subs if reach < 1e3 else (1,)))
    axes.yaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.set_xlabel("Score")
    endpoint = labels.get(where["endpoint"], where["endpoint"])
    axes.set_ylabel("\n".join(word for word in (wrapped(endpoint, 36), "Hazard ratio against median score") if word))
    axes.set_title(_title(where, labels))
    test = _one(rows, "spline_chi2")
    known = np.isfinite(test["p"])
    legend_below(figure, axes, f"Non-linearity {_p(test['p'])}" if known else "")
    save_figure(figure, path)


def _over_time(
    part: pd.DataFrame, y: str, axis: str, path: Path, where: Mapping[str, str], labels: Mapping[str, str]
) -> None:
    several = part["model"].nunique() > 2
    figure, (axes,) = new_figure(85, 68)
    for k, (model, curve) in enumerate(part.groupby("model", sort=True)):
        style = LOOKS[k % len(LOOKS)]
        x = curve["time_days"].to_numpy()
        name = wrapped(labels.get(str(model), str(model)), 44)
        axes.plot(x, curve[y], marker=MARKERS[k % len(MARKERS)], ms=2, label=name, **style)
        if y == "auc" and not several:  # bands of more models hide each other; the table has them
            axes.fill_between(x, curve["ci_low"], curve["ci_high"], color=style["color"], alpha=0.1, linewidth=0)
    if y == "auc":
        axes.axhline(0.5, color="0.4", linewidth=0.7, linestyle=":")
        axes.set_ylim(min(0.3, float(part["auc"].min()) - 0.05), 1.01)
    else:
        null = part.groupby("time_days")["brier_null"].mean()
        axes.plot(null.index, null, color="0.4", linestyle=":", label="Kaplan-Meier, no model")
        axes.set_ylim(0, float(part[["brier", "brier_null"]].to_numpy().max()) * 1.3)
    endpoint = labels.get(where["endpoint"], where["endpoint"])
    axes.set_ylabel(wrapped(f"{axis}{f', {endpoint}' if endpoint else ''}", 36))
    axes.set_xlabel("Time (days)")
    axes.set_title(_title(where, labels))
    legend_below(figure, axes)
    save_figure(figure, path)


def _forest(part: pd.DataFrame, path: Path, where: Mapping[str, str], labels: Mapping[str, str], interval: str) -> bool:
    """Hazard ratios of the models with score and covariates; without covariates, of the scores alone."""
    kind = "multivariable" if (part["comparator"] == "multivariable").any() else "univariable"
    part = part[(part["comparator"] == kind) & part["value"].notna()]
    # The score per standard deviation: a unit of a probability is its whole range.
    part = part[(part["metric"] == "cox_hr_sd") == (part["group"] == "score")]
    part = part[(part["ci_low"] > 0) & (part["ci_high"] < np.inf)]
    if part.empty:
        return False
    lines: list[tuple[str, pd.Series | None]] = []
    for model, rows in part.groupby("model", sort=True):
        lines.append((wrapped(labels.get(str(model), str(model)), 36), None))
        first = (rows["group"] != "score").astype(int)
        for _, line in rows.assign(first=first).sort_values(["first", "group"]).iterrows():
            name, _, value = str(line["group"]).partition("=")
            text = (
                "Score (per SD)"
                if name == "score"
                else nomogram.covariate_label(name, labels) + (f": {value}" if value else "")
            )
            lines.append((text, line))
    # A name of two lines takes the room of two.
    height = np.array([text.count("\n") + 1 for text, _ in lines])
    place = np.cumsum(height) - (height + 1) / 2
    figure, (axes,) = new_figure(130, 22 + 5.2 * height.sum())
    low, high = part["ci_low"].min(), part["ci_high"].max()
    bounds = max(min(low, 0.5), 1e-2) / 1.25, min(max(high, 2.0), 1e3) * 1.25
    axes.set_xscale("log")
    axes.set_xlim(*bounds)
    axes.axvline(1, color="0.4", linewidth=0.7, linestyle=":")
    edge = axes.get_yaxis_transform()
    for k, (text, row) in zip(place, lines, strict=True):
        axes.text(-0.04 if row is not None else -0.06, k, text, transform=edge, ha="right", va="center", fontsize=7,
                  fontweight="normal" if row is not None else "bold")  # fmt: skip
        if row is None:
            continue
        ends = np.clip([row["ci_low"], row["ci_high"]], *bounds)
        axes.plot(ends, [k, k], color=COLOURS[0])
        for end, limit, marker in zip(ends, (row["ci_low"], row["ci_high"]), ("<", ">"), strict=True):
            if end != limit:
                axes.plot(end, k, marker=marker, color=COLOURS[0], ms=4, clip_on=False)
        if bounds[0] <= row["value"] <= bounds[1]:
            axes.plot(row["value"], k, marker="s", color=COLOURS[0], ms=4)
        words = f"{number(row['value'])}{limits_text(row['ci_low'], row['ci_high'])}  {_p(row['p'])}"
        axes.text(1.03, k, words, transform=edge, va="center", fontsize=7)
    axes.set_ylim(height.sum() - 0.4, -0.8)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(
        mpl.ticker.LogLocator(base=10, subs=(1, 2, 5) if bounds[1] < 100 * bounds[0] else (1,))
    )
    axes.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.set_xlabel(f"Hazard ratio ({interval})")
    endpoint = labels.get(where["endpoint"], where["endpoint"])
    title = ", ".join(text for text in (endpoint, labels.get(where["cohort"], where["cohort"]), f"{kind} Cox") if text)
    axes.set_title(wrapped(title, 50))
    save_figure(figure, path)
    return True
