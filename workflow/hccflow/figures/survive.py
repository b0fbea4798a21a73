"""Figures of the survival stage: Kaplan-Meier with numbers at risk, forest, incidence, AUC(t), Brier(t), spline."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from hccflow.figures import nomogram
from hccflow.figures.style import COLOURS, LINES, MARKERS, house_style, new_figure, save_figure, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
SAMPLE = ["endpoint", "cohort", "model"]
#: Group -> place in the colours and line styles; the high group is drawn dashed.
SERIES = {"low": 0, "high": 1, "all": 6}
NAMES = {"low": "Low", "high": "High", "all": "All"}


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


def _time_axis(axes: Axes, last: float, most: int = 6) -> Array:
    """Same round ticks for curve and table, from 0 to the last time."""
    ticks = np.asarray(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 3, 5, 6, 10]).tick_values(0, last), float)
    ticks = ticks[(ticks >= 0) & (ticks <= last)]
    axes.set_xlim(-0.02 * last, 1.03 * last)
    axes.set_xticks(ticks)
    return ticks


def _km(
    part: pd.DataFrame,
    rows: pd.DataFrame,
    path: Path,
    where: Mapping[str, str],
    labels: Mapping[str, str],
    interval: str,
) -> None:
    groups = [g for g in ("low", "high") if g in set(part["group"])] or ["all"]
    figure, (axes, table) = new_figure(85, 88, rows=2)
    grid = axes.get_gridspec()
    assert grid is not None
    grid.set_height_ratios([5, 0.45 + 0.42 * len(groups)])
    last = float(part["time_days"].max()) or 1.0
    ticks = _time_axis(axes, last)
    for group in groups:
        curve, series = part[part["group"] == group], SERIES[group]
        x, y = curve["time_days"].to_numpy(), curve["survival"].to_numpy()
        median = _one(rows, "km_median", group=group)
        known = np.isfinite(median["value"])
        name = f"{NAMES[group]} (median {median['value']:.0f})" if known else f"{NAMES[group]} (median not reached)"
        _step(axes, x, y, series, name)
        axes.fill_between(
            x, curve["ci_low"].ffill(), curve["ci_high"].ffill(), step="post", color=COLOURS[series], alpha=0.13,
            linewidth=0,
        )  # fmt: skip
        lost = curve["censored"].to_numpy() > 0
        axes.plot(x[lost], y[lost], linestyle="none", marker="|", markersize=4.5, mew=0.7, color=COLOURS[series])
        if known:
            axes.plot([median["value"]] * 2, [0, 0.5], color=COLOURS[series], linewidth=0.6, linestyle=":")
    axes.axhline(0.5, color="0.55", linewidth=0.6, linestyle=":", zorder=0)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel(wrapped(labels.get(where["endpoint"], where["endpoint"]), 36) or "Survival")
    axes.set_xlabel("Time (days)")
    axes.set_title(_title(where, labels))
    test, ratio = _one(rows, "logrank_chi2"), _one(rows, "cox_hr", comparator="low")
    lines = []
    if len(groups) == 2 and np.isfinite(test["p"]):
        lines.append(f"Log-rank {_p(test['p'])}")
    if len(groups) == 2 and np.isfinite(ratio["value"]):
        lines.append(f"HR {ratio['value']:.2f} ({ratio['ci_low']:.2f}\N{EN DASH}{ratio['ci_high']:.2f})")
    _legend(axes, part[part["group"].isin(groups)], lines)
    _at_risk(table, part, groups, ticks, axes.get_xlim())
    save_figure(figure, path)


def _legend(axes: Axes, part: pd.DataFrame, lines: list[str]) -> None:
    """Legend and tests in the emptier corner: above the curves at the right, or below them at the left."""
    last = part["time_days"].max()
    # A curve stays where its last step was: each side's room ends at the value that is carried into it.
    late, early = (part[part["time_days"] <= share * last].groupby("group")["survival"].min() for share in (0.45, 0.55))
    top = 1 - (late.max() if len(late) else 1.0) >= (early.min() if len(early) else 1.0)
    legend = axes.legend(
        loc="upper right" if top else "lower left", title="\n".join(lines) or None, title_fontsize=7, handlelength=2.4,
        borderaxespad=0.2, alignment="left", frameon=True, edgecolor="none", framealpha=0.85, fancybox=False,
    )  # fmt: skip
    legend.set_zorder(5)


def _at_risk(table: Axes, part: pd.DataFrame, groups: list[str], ticks: Array, limits: tuple[float, float]) -> None:
    """Numbers at risk below the curve, each under its tick."""
    table.set_xlim(*limits)
    table.set_ylim(len(groups) + 0.1, -1.1)
    table.axis("off")
    edge = table.get_yaxis_transform()
    table.text(-0.05, -0.55, "At risk", transform=edge, ha="right", va="center", fontsize=7, color="0.25")
    for row, group in enumerate(groups):
        curve = part[part["group"] == group]
        x, n = curve["time_days"].to_numpy(), curve["at_risk"].to_numpy()
        where = np.searchsorted(x, ticks, "left")
        counts = np.append(n, 0)[where]
        table.text(
            -0.05, row + 0.35, NAMES[group], transform=edge, ha="right", va="center", fontsize=7,
            color=COLOURS[SERIES[group]],
        )  # fmt: skip
        for tick, count in zip(ticks, counts, strict=True):
            table.text(tick, row + 0.35, f"{count:d}", ha="center", va="center", fontsize=7)


def _cif(
    part: pd.DataFrame,
    rows: pd.DataFrame,
    path: Path,
    where: Mapping[str, str],
    labels: Mapping[str, str],
    interval: str,
) -> None:
    groups = [g for g in ("low", "high") if g in set(part["group"])] or ["all"]
    figure, panels = new_figure(130, 72, columns=2)
    last = float(part["time_days"].max()) or 1.0
    titles = {1: labels.get(where["endpoint"], where["endpoint"]) or "Event of interest", 2: "Competing event"}
    top = min(1.0, float(part["incidence"].max()) * 1.25 + 0.02)
    for cause, axes in zip((1, 2), panels, strict=True):
        _time_axis(axes, last, most=4)
        for group in groups:
            curve = part[(part["group"] == group) & (part["cause"] == cause)]
            x = np.append(0.0, curve["time_days"])
            _step(axes, x, np.append(0.0, curve["incidence"]), SERIES[group], NAMES[group])
            low, high = (curve[name].fillna(0.0) for name in ("ci_low", "ci_high"))
            axes.fill_between(
                curve["time_days"], low, high, step="post", color=COLOURS[SERIES[group]], alpha=0.13, linewidth=0
            )
        axes.set_ylim(0, top)
        axes.set_xlabel("Time (days)")
        axes.set_title(titles[cause])
    panels[0].set_ylabel("Cumulative incidence")
    test = _one(rows, "gray_chi2")
    known = len(groups) == 2 and np.isfinite(test["p"])
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=2, title=f"Gray {_p(test['p'])}" if known else None,
        title_fontsize=7,
    )  # fmt: skip
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
    figure, (axes,) = new_figure(85, 70)
    x = part["score"].to_numpy()
    axes.plot(x, part["hazard_ratio"], color=COLOURS[0])
    axes.fill_between(x, part["ci_low"], part["ci_high"], color=COLOURS[0], alpha=0.15, linewidth=0, label=interval)
    axes.axhline(1, color="0.4", linewidth=0.7, linestyle=":")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(mpl.ticker.LogLocator(base=10, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.set_xlabel("Score")
    endpoint = labels.get(where["endpoint"], where["endpoint"])
    axes.set_ylabel("\n".join(word for word in (wrapped(endpoint, 36), "Hazard ratio against median score") if word))
    axes.set_title(_title(where, labels))
    test = _one(rows, "spline_chi2")
    known = np.isfinite(test["p"])
    axes.legend(loc="upper left", title=f"Non-linearity {_p(test['p'])}" if known else None, title_fontsize=7)
    save_figure(figure, path)


def _over_time(
    part: pd.DataFrame, y: str, axis: str, path: Path, where: Mapping[str, str], labels: Mapping[str, str]
) -> None:
    figure, (axes,) = new_figure(85, 68 + 4 * part["model"].nunique())
    for k, (model, curve) in enumerate(part.groupby("model", sort=True)):
        series = k % 6
        x = curve["time_days"].to_numpy()
        name = wrapped(labels.get(str(model), str(model)), 44)
        axes.plot(x, curve[y], color=COLOURS[series], linestyle=LINES[series], marker=MARKERS[series], ms=2, label=name)
        if y == "auc":
            axes.fill_between(x, curve["ci_low"], curve["ci_high"], color=COLOURS[series], alpha=0.1, linewidth=0)
    if y == "auc":
        axes.axhline(0.5, color="0.4", linewidth=0.7, linestyle=":")
        axes.set_ylim(min(0.3, float(part["auc"].min()) - 0.05), 1.0)
    else:
        null = part.groupby("time_days")["brier_null"].mean()
        axes.plot(null.index, null, color="0.4", linestyle=":", label="Kaplan-Meier, no model")
        axes.set_ylim(0, float(part[["brier", "brier_null"]].to_numpy().max()) * 1.3)
    endpoint = labels.get(where["endpoint"], where["endpoint"])
    axes.set_ylabel(wrapped(f"{axis}{f', {endpoint}' if endpoint else ''}", 36))
    axes.set_xlabel("Time (days)")
    axes.set_title(_title(where, labels))
    _legend_below(figure, axes)
    save_figure(figure, path)


def _legend_below(figure: Figure, axes: Axes) -> None:
    """Legend under the axes, one name a line, where no curve can be."""
    handles, _ = axes.get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside lower center", ncols=1, handlelength=3.2)


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
    figure, (axes,) = new_figure(130, 22 + 5.2 * len(lines))
    low, high = part["ci_low"].min(), part["ci_high"].max()
    bounds = max(min(low, 0.5), 1e-2) / 1.25, min(max(high, 2.0), 1e3) * 1.25
    axes.set_xscale("log")
    axes.set_xlim(*bounds)
    axes.axvline(1, color="0.4", linewidth=0.7, linestyle=":")
    edge = axes.get_yaxis_transform()
    for k, (text, row) in enumerate(lines):
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
        value, *limits = (f"{row[c]:.2f}" if row[c] < 100 else f"{row[c]:.3g}" for c in ("value", "ci_low", "ci_high"))
        words = f"{value} ({limits[0]}\N{EN DASH}{limits[1]})  {_p(row['p'])}"
        axes.text(1.03, k, words, transform=edge, va="center", fontsize=7)
    axes.set_ylim(len(lines) - 0.4, -0.8)
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
