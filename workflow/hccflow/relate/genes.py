"""Genes against one imaging signature: rank correlation, false discovery rate, and what chance would have shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hccflow.metrics.estimate import Estimate, undefined
from hccflow.metrics.multiplicity import adjust
from hccflow.relate.correlation import ENOUGH, Array, Correlation, correlation
from hccflow.relate.sets import GeneSets, restrict, running_extremes

#: The unadjusted level at which radiogenomic studies often count genes.
RAW = 0.05


@dataclass(frozen=True)
class GeneResult:
    """Genes of one cohort against one signature.

    Attributes
    ----------
    table : pandas.DataFrame
        ``gene, rho, p, fdr, p_family, reason``; in the order of the expression table.
    estimates : dict
        Metric -> (at, estimate), for the metrics table.
    tested : pandas.Series
        Correlation of each tested gene, index gene.
    null : Null or None
        What permuted patients showed; None where nothing was tested.
    sets : GeneSets
        Gene sets within the tested genes.
    """

    table: pd.DataFrame
    estimates: dict[str, tuple[float | None, Estimate]]
    tested: pd.Series
    null: Null | None
    sets: GeneSets


@dataclass(frozen=True)
class Null:
    """Statistics of every permutation: shape (permutations,), or (sets, permutations)."""

    hits: Array
    raw: Array
    largest: Array
    es: Array
    overlap: Array


def relate_genes(
    expression: pd.DataFrame,
    signature: pd.Series,
    covariates: pd.DataFrame | None,
    options: Mapping[str, Any],
    sets: Mapping[str, list[str]],
    rng: np.random.Generator,
) -> GeneResult:
    """Correlate every gene with a signature over the same patients.

    Parameters
    ----------
    expression : pandas.DataFrame, shape (n, genes)
        One row per patient.
    signature : pandas.Series
        Same index, no missing value.
    covariates : pandas.DataFrame, optional
        Same index, no missing value; the correlation is then partial.
    options : mapping
        ``method, fdr, permutations, set_size``.
    sets : mapping
        Gene set -> its genes; may be empty.
    rng : numpy.random.Generator

    Notes
    -----
    A gene with a missing value, or the same value in every patient, is not tested and leaves the number of tests.
    """
    values = expression.to_numpy(float)
    known = np.isfinite(values).all(axis=0)
    varied = known & (np.ptp(np.where(known, values, 0.0), axis=0) > 0)
    reasons = np.where(~known, "missing in some matched patient", np.where(varied, "", "same value in every patient"))
    whole = _refusal(signature, covariates)
    if whole or not varied.any():
        return _nothing(expression.columns, whole or "no gene varies", len(signature), reasons, options["fdr"])
    design = None if covariates is None else covariates.to_numpy(float)
    link = correlation(values[:, varied], signature.to_numpy(float), design, method=options["method"])
    if not np.isfinite(link.y).all():
        why = "the covariates explain the signature entirely"
        return _nothing(expression.columns, why, len(signature), reasons, options["fdr"])
    inside = np.isfinite(link.x).all(axis=0)  # a gene that the covariates explain entirely is left out here
    reasons[np.flatnonzero(varied)[~inside]] = "explained entirely by the covariates"
    link = Correlation(link.x[:, inside], link.y, link.basis)
    names = expression.columns[varied][inside]
    tested = restrict(sets, list(names), options["set_size"])
    null = _permute(link, options, tested, rng)
    rho = pd.Series(link.r, index=names)
    p = link.p(rho.to_numpy())
    fdr = np.array(adjust(list(p), "BH"), float)
    family = _exceeding(null.largest, np.abs(rho.to_numpy()))
    table = pd.DataFrame({"rho": rho, "p": p, "fdr": fdr, "p_family": family}, index=names).reindex(expression.columns)
    table = table.rename_axis("gene").reset_index().assign(reason=reasons)
    return GeneResult(table, _estimates(p, fdr, null, len(signature), options["fdr"]), rho, null, tested)


def _refusal(signature: pd.Series, covariates: pd.DataFrame | None) -> str:
    needed = ENOUGH + (0 if covariates is None else covariates.shape[1])
    if len(signature) < needed:
        return f"{len(signature)} matched patients; at least {needed} are needed"
    return "" if signature.min() < signature.max() else "the signature is the same in every matched patient"


def _nothing(genes: pd.Index, why: str, n: int, reasons: Array, level: float) -> GeneResult:
    empty = dict.fromkeys(("rho", "p", "fdr", "p_family"), np.nan)
    table = pd.DataFrame({"gene": genes, **empty, "reason": np.where(reasons == "", why, reasons)})
    places = {"genes_tested": None, "genes_significant": level, "genes_unadjusted": RAW}
    estimates = {name: (at, undefined(why, n=n)) for name, at in places.items()}
    return GeneResult(table, estimates, pd.Series(dtype=float), None, restrict({}, [], (1, 1)))


def _permute(link: Correlation, options: Mapping[str, Any], sets: GeneSets, rng: np.random.Generator) -> Null:
    """Hits, largest correlation, enrichment scores and overlaps of every permutation."""
    m = link.x.shape[1]
    steps = link.critical(options["fdr"] * np.arange(1, m + 1) / m)  # BH as cut-offs of |r|, from the largest down
    raw = float(link.critical(RAW))
    member, places = sets.matrix, sets.places
    found: list[tuple[Array, ...]] = []
    for r in link.permuted(options["permutations"], rng):
        size = np.abs(r)
        hits, cut = _benjamini_hochberg(size, steps)
        found.append(
            (hits, (size >= raw).sum(axis=0), size.max(axis=0), running_extremes(r, places), member @ (size >= cut))
        )
    return Null(*(np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True)))


def _benjamini_hochberg(size: Array, steps: Array) -> tuple[Array, Array]:
    """Rejections by Benjamini and Hochberg in each column, and the smallest absolute correlation among them."""
    ordered = -np.sort(-size, axis=0)
    below = ordered >= steps[:, None]
    last = len(steps) - below[::-1].argmax(axis=0)
    hits = np.where(below.any(axis=0), last, 0)
    cut = np.where(hits > 0, ordered[np.maximum(hits - 1, 0), np.arange(size.shape[1])], np.inf)
    return hits, cut


def _exceeding(null: Array, values: Array) -> Array:
    """Share of permutations that reach each value, (1 + count) / (1 + permutations) (Phipson and Smyth 2010)."""
    return (1.0 + len(null) - np.searchsorted(np.sort(null), values - 1e-12)) / (1.0 + len(null))


def _estimates(p: Array, fdr: Array, null: Null, n: int, level: float) -> dict[str, tuple[float | None, Estimate]]:
    found: dict[str, tuple[float | None, Estimate]] = {"genes_tested": (None, Estimate(value=len(p), n=n))}
    for name, count, chance, at in (
        ("genes_significant", int((fdr <= level).sum()), null.hits, level),
        ("genes_unadjusted", int((p <= RAW).sum()), null.raw, RAW),
    ):
        reached = float(_exceeding(chance.astype(float), np.array([float(count)]))[0])
        found[name] = (at, Estimate(value=count, p=reached, ci_method="permuted patients", n=n))
        found[f"{name}_by_chance"] = (at, Estimate(value=float(chance.mean()), n=n))
        found[f"{name}_by_chance_p95"] = (at, Estimate(value=float(np.quantile(chance, 0.95)), n=n))
    return found
