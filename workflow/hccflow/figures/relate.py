"""Figures of the relate stage: genes and gene sets, heat map of the top genes, histology with its line."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from hccflow.figures.style import COLOURS, house_style, new_figure, number, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = "0.6"
#: Genes named in the volcano, rows of the heat map, bars of gene sets.
NAMED, ROWS, BARS = 6, 30, 12


@dataclass(frozen=True)
class GenePicture:
    """Genes against one signature.

    Attributes
    ----------
    genes : pandas.DataFrame
        ``gene, rho, p, fdr``; not tested = NaN.
    rho : pandas.Series
        Correlation of the tested genes, in the order in which ties stand.
    members : dict
        Gene set -> its tested genes.
    expression : pandas.DataFrame
        One row per patient, a column per gene.
    signature : pandas.Series
        Of the same patients.
    """

    genes: pd.DataFrame
    rho: pd.Series
    members: Mapping[str, list[str]]
    expression: pd.DataFrame
    signature: pd.Series


def draw_all(
    cohort: str,
    pictures: Mapping[str, GenePicture],
    tables: Mapping[str, pd.DataFrame],
    settings: Mapping[str, Any],
    folder: Path,
) -> list[Path]:
    """Draw ``genes_*`` for every signature that met genes, ``heatmap_*`` where it found any, and ``histology_*``.

    Parameters
    ----------
    cohort : str
    pictures : mapping
        Signature -> its genes.
    tables : mapping
        ``enrichment, pairs, metrics`` as the stage writes them.
    settings : mapping
        Section ``relate``.
    folder : path

    Returns
    -------
    list of Path
        Stems of the files written (``.svg`` and ``.png``).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with house_style():
        return list(_draw(cohort, pictures, tables, settings, folder))


def _draw(
    cohort: str,
    pictures: Mapping[str, GenePicture],
    tables: Mapping[str, pd.DataFrame],
    settings: Mapping[str, Any],
    folder: Path,
) -> Iterator[Path]:
    enrichment, metrics = tables["enrichment"], tables["metrics"]
    for name, picture in pictures.items():
        title = f"{label(settings, name)}, {cohort} (n = {len(picture.signature)})"
        stem = re.sub(r"[^A-Za-z0-9-]+", "-", name)
        table = enrichment[(enrichment["signature"] == name) & (enrichment["method"] == "prerank")]
        yield _genes(picture, table, title, settings["genes"], folder / f"genes_{cohort}_{stem}")
        if (picture.genes["fdr"] <= settings["genes"]["fdr"]).sum() > 1:
            yield _heatmap(picture, title, folder / f"heatmap_{cohort}_{stem}")
    if metrics.loc[metrics["metric"] == "spearman", "value"].notna().any():
        yield _histology(metrics, tables["pairs"], cohort, settings, folder / f"histology_{cohort}")


def label(settings: Mapping[str, Any], name: str) -> str:
    """Name of a signature as it is printed: the label of its entry, and which component or feature it is."""
    for entry, spec in settings["signatures"].items():
        own = spec.get("label", entry)
        if name == entry:
            return str(own)
        if name.startswith(f"{entry}:"):
            return f"{own}: {name.removeprefix(f'{entry}:')}"
        if "components" in spec and re.fullmatch(rf"{entry}_pc\d+", name):
            return f"{own}, component {name.rsplit('_pc', 1)[1]}"
    return name


def _genes(picture: GenePicture, enrichment: pd.DataFrame, title: str, options: Mapping[str, Any], path: Path) -> Path:
    """Volcano; with gene sets also their NES, and the running sum of the strongest."""
    sets = enrichment[enrichment["nes"].notna()].sort_values("nes", key=lambda nes: -nes.abs(), kind="stable")
    top = sets["set"].iloc[0] if len(sets) else None
    figure, axes = new_figure(175 if top else 85, 72, columns=3 if top else 1)
    figure.suptitle(title, fontsize=9)
    members = list(picture.members[top]) if top else []
    _volcano(axes[0], picture.genes.dropna(subset=["p"]).set_index("gene"), members, top, options)
    if top:
        _bars(axes[1], sets.head(BARS), float(options["fdr"]))
        _running_sum(axes[2], picture.rho, members, sets.iloc[0])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=6)
    save_figure(figure, path)
    return path


def _volcano(axes: Axes, genes: pd.DataFrame, members: list[str], top: str | None, options: Mapping[str, Any]) -> None:
    height = -np.log10(genes["p"].clip(lower=1e-300))
    hit = genes["fdr"] <= options["fdr"]
    inside = genes.index.isin(members)
    for rows, colour, size, words in (
        (~hit, GREY, 4, f"{(~hit).sum():,} others"),
        (hit, COLOURS[0], 8, f"{hit.sum():,} within FDR {options['fdr']:g}"),
    ):
        axes.scatter(
            genes.loc[rows, "rho"], height[rows], s=size, color=colour, linewidths=0, label=words, rasterized=True
        )
    if top:
        axes.scatter(
            genes.loc[inside, "rho"], height[inside], s=16, facecolors="none", edgecolors=COLOURS[1], linewidths=0.7,
            label=_short(top),
        )  # fmt: skip
    if hit.any():
        axes.axhline(height[hit].min(), color="0.3", linewidth=0.7, linestyle="--")
    limit, top_edge = 1.08 * genes["rho"].abs().max(), 1.1 * height.max()
    for side in (-1, 1) if hit.any() else ():
        best = genes[hit & (np.sign(genes["rho"]) == side)].sort_values("p", kind="stable").index[:NAMED]
        y = np.inf
        for gene in best:  # names stand below each other, none over another
            y = min(float(height[gene]), y - 0.045 * top_edge)
            x = float(genes.loc[gene, "rho"]) - side * 0.07 * limit
            axes.text(x, y, str(gene), fontsize=5.5, ha="right" if side > 0 else "left", va="center", color="0.2")
    axes.set(xlim=(-limit, limit), ylim=(0, top_edge), xlabel="Correlation with the signature", ylabel="−log10 p")


def _bars(axes: Axes, sets: pd.DataFrame, level: float) -> None:
    """NES of the strongest sets, against permuted patients; filled where they are within the rate."""
    sets = sets.iloc[::-1].reset_index(drop=True)
    hit = (sets["fdr"] <= level).to_numpy()
    axes.barh(sets.index, sets["nes"], height=0.65, color=np.where(hit, COLOURS[0], "white").tolist(),
              edgecolor=np.where(hit, COLOURS[0], GREY).tolist(), linewidth=0.8)  # fmt: skip
    axes.axvline(0, color="0.3", linewidth=0.7)
    axes.set_yticks(sets.index, [_short(name) for name in sets["set"]], fontsize=5.5)
    axes.set_xlabel("NES against permuted patients")
    axes.set_title(f"filled: FDR ≤ {level:g}" if hit.any() else "no set within FDR", fontsize=7)


def _running_sum(axes: Axes, rho: pd.Series, members: list[str], row: pd.Series) -> None:
    ranked = rho.iloc[np.argsort(-rho.to_numpy(), kind="stable")]
    inside = ranked.index.isin(members)
    rises = np.where(inside, ranked.abs(), 0.0)
    total = np.cumsum(rises / rises.sum() - ~inside / (~inside).sum())
    axes.plot(np.arange(1, len(total) + 1), total, color=COLOURS[0])
    axes.axhline(0, color="0.3", linewidth=0.7)
    low, high = min(total.min(), 0.0), max(total.max(), 0.0)
    span = high - low
    axes.vlines(np.flatnonzero(inside) + 1, low - 0.16 * span, low - 0.06 * span, color=COLOURS[1], linewidth=0.6)
    axes.set(
        xlim=(0, len(total) + 1), ylim=(low - 0.2 * span, high + 0.05 * span), xlabel="Genes by falling correlation"
    )
    axes.set_ylabel("Running sum")
    axes.set_title(f"{_short(row['set'])}: NES {number(row['nes'])}, FDR {_p(row['fdr'])}", fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _short(name: str) -> str:
    """Name of a gene set as a reader sees it, cut to what fits."""
    words = name.removeprefix("HALLMARK_").removeprefix("PHANTOM_").replace("_", " ").lower()
    return words if len(words) <= 26 else words[:25] + "…"


def _heatmap(picture: GenePicture, title: str, path: Path) -> Path:
    """Standardised expression of the genes of smallest p; patients by rising signature, genes by correlation."""
    best = picture.genes.dropna(subset=["p"]).sort_values("p", kind="stable").head(ROWS)
    best = best.sort_values("rho", ascending=False, kind="stable")
    order = picture.signature.sort_values(kind="stable").index
    z = picture.expression.loc[order, best["gene"]]
    z = ((z - z.mean()) / z.std()).T
    figure, axes = new_figure(120, 25 + 2.9 * len(best), rows=2, heights=[1, max(len(best) / 3.5, 2)])
    axes[0].bar(np.arange(len(order)), picture.signature.loc[order], width=0.9, color=GREY)
    axes[0].set(xlim=(-0.5, len(order) - 0.5), xticks=[], title=title)
    axes[0].set_ylabel("SD", fontsize=6)
    axes[0].tick_params(labelsize=6)
    # Lightness rises with expression: a map that is dark at both ends says nothing in grey.
    image = axes[1].imshow(z, aspect="auto", cmap="cividis", vmin=-2.5, vmax=2.5, interpolation="nearest")
    axes[1].set_yticks(range(len(best)), best["gene"], fontsize=5)
    axes[1].set(xticks=[], xlabel="Patients by rising signature (bars above)")
    for row, value in enumerate(best["rho"]):
        axes[1].annotate(f"{value:.2f}", (1.01, row), xycoords=("axes fraction", "data"), fontsize=5, va="center")
    bar = figure.colorbar(image, ax=axes[1], location="bottom", shrink=0.5, aspect=30, pad=0.02)
    bar.set_label("expression, SD from the gene's mean; right: correlation", fontsize=6)
    bar.ax.tick_params(labelsize=6)
    save_figure(figure, path)
    return path


def _histology(
    metrics: pd.DataFrame, pairs: pd.DataFrame, cohort: str, settings: Mapping[str, Any], path: Path
) -> Path:
    """Targets (rows) against signatures (columns), with the regression line."""
    targets, names = list(settings["histology"]["targets"]), list(dict.fromkeys(pairs["signature"]))
    figure, axes = new_figure(max(85, 58 * len(names)), 8 + 55 * len(targets), rows=len(targets), columns=len(names))
    figure.suptitle(cohort, fontsize=9)
    sign = "partial ρ" if settings["histology"]["adjust"] else "ρ"
    for place, (target, name) in zip(axes, ((t, n) for t in targets for n in names), strict=True):
        both = pairs[(pairs["target"] == target) & (pairs["signature"] == name)]
        rows = metrics[(metrics["endpoint"] == target) & (metrics["model"] == name)].set_index("metric")
        place.scatter(both["x"], both["y"], s=10, color=COLOURS[0], alpha=0.8, linewidths=0)
        place.set(xlabel=textwrap.fill(f"{label(settings, name)}, SD", 26), ylabel=target)
        rho, slope, intercept = (rows["value"][metric] for metric in ("spearman", "slope", "intercept"))
        if np.isfinite(slope) and np.isfinite(intercept):
            ends = np.array([both["x"].min(), both["x"].max()])
            place.plot(ends, intercept + slope * ends, color=COLOURS[1])
        told = f"{sign} = {number(rho)}, Holm p {_p(rows['p']['spearman_holm'])}"
        place.set_title(told if np.isfinite(rho) else textwrap.fill(rows["reason"]["spearman"], 44), fontsize=7)
    save_figure(figure, path)
    return path
