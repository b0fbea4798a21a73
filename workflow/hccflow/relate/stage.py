"""One cohort: signatures against genes, gene sets, histology and arms, as tables."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from hccflow.metrics.estimate import Estimate, metrics_table, undefined
from hccflow.metrics.multiplicity import Test, holm_rows
from hccflow.relate.arms import arm_rows
from hccflow.relate.fitting import Frozen
from hccflow.relate.genes import GeneResult, relate_genes
from hccflow.relate.histology import histology_rows, pairs
from hccflow.relate.matching import COUNTS, by_subject, covariate_matrix, match, patient_covariates
from hccflow.relate.sets import COLUMNS as SET_COLUMNS
from hccflow.relate.sets import enrich
from hccflow.relate.signatures import CASE

GENE_COLUMNS = ["cohort", "signature", "gene", "rho", "p", "fdr", "p_family", "reason"]
ENRICHMENT_COLUMNS = ["cohort", "signature", *SET_COLUMNS]
PAIR_COLUMNS = ["cohort", "target", "signature", "subject", "session", "x", "y"]


@dataclass(frozen=True)
class Cohort:
    """What is known of one cohort.

    Attributes
    ----------
    name : str
    development : bool
        Whether its lines are its own: then patients are left out one by one; otherwise the frozen line predicts.
    subjects : pandas.DataFrame
        Enrolled cases, typed.
    signatures : pandas.DataFrame
        Index ``subject, session``, in units of development.
    expression, histology : pandas.DataFrame, optional
        Measurements, index ``subject, session``; None when the cohort has no such table.
    """

    name: str
    development: bool
    subjects: pd.DataFrame
    signatures: pd.DataFrame
    expression: pd.DataFrame | None = None
    histology: pd.DataFrame | None = None


@dataclass(frozen=True)
class Link:
    """Genes against one signature with all that a picture of them needs."""

    genes: GeneResult
    expression: pd.DataFrame
    signature: pd.Series


@dataclass
class Result:
    """Tables of a cohort, and the links by signature for the figures."""

    metrics: pd.DataFrame = field(default_factory=pd.DataFrame)
    genes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=GENE_COLUMNS))
    enrichment: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=ENRICHMENT_COLUMNS))
    pairs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=PAIR_COLUMNS))
    matching: pd.DataFrame = field(default_factory=pd.DataFrame)
    links: dict[str, Link] = field(default_factory=dict)


def relate(
    cohort: Cohort,
    frozen: Frozen,
    taught: frozenset[str],
    sets: Mapping[str, list[str]],
    settings: Mapping[str, Any],
) -> Result:
    """Relate the signatures of a cohort to whatever was measured in it.

    Parameters
    ----------
    cohort : Cohort
    frozen : Frozen
    taught : frozenset of str
        Subjects on whom the lines were fitted.
    sets : mapping
        Gene set -> genes; empty without enrichment.
    settings : mapping
        ``study, seed, relate, columns``.

    Returns
    -------
    Result
        ``metrics`` (tidy; ``model`` the signature, ``endpoint`` the histological target, ``comparator`` the method of
        enrichment), ``genes``, ``enrichment``, ``pairs`` (what histology was compared on), ``matching``.
    """
    chosen, out = settings["relate"], Result()
    rows: list[dict[str, Any]] = []
    counts: list[dict[str, Any]] = []
    if "genes" in chosen:
        rows += _genes(cohort, chosen["genes"], sets, settings, out, counts)
    if "histology" in chosen:
        rows += _histology(cohort, settings, frozen, taught, out, counts)
    if "arms" in chosen:
        rows += _arms(cohort, chosen, settings["columns"])
    out.metrics = metrics_table({"study": settings["study"], "cohort": cohort.name, **row} for row in rows)
    out.matching = pd.DataFrame(counts, columns=COUNTS)
    return out


def _genes(
    cohort: Cohort,
    options: Mapping[str, Any],
    sets: Mapping[str, list[str]],
    settings: Mapping[str, Any],
    out: Result,
    counts: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    rows, genes, enrichment = [], [], []
    families: dict[str, list[Test]] = {}  # what every signature was asked: genes, and sets by each method
    if cohort.expression is None:
        return [
            undefined(f"the cohort has no {options['table']}").row("genes_tested", model=name)
            for name in cohort.signatures
        ]
    means = by_subject(cohort.expression)
    covariates = patient_covariates(
        covariate_matrix(cohort.subjects, options["adjust"], settings["columns"]),
        f"config.relate.genes.adjust, cohort {cohort.name}", "take it out of adjust",
    )  # fmt: skip
    for name in map(str, cohort.signatures):
        matched, count = match(cohort.signatures[name], cohort.expression, covariates)
        counts.append({"cohort": cohort.name, "source": "genes", "signature": name, **count})
        signature = by_subject(cohort.signatures[[name]])[name].loc[matched]
        own = None if covariates is None else covariates.loc[matched]
        seed = np.random.SeedSequence([settings["seed"], zlib.crc32(f"{cohort.name}/{name}".encode())])
        result = relate_genes(means.loc[matched], signature, own, options, sets, np.random.default_rng(seed))
        rows += [one.row(metric, model=name, at=at) for metric, (at, one) in result.estimates.items()]
        at, count_found = result.estimates["genes_significant"]
        families.setdefault("genes", []).append(("genes_significant", count_found, {"model": name, "at": at}))
        genes.append(result.table.assign(cohort=cohort.name, signature=name)[GENE_COLUMNS])
        out.links[name] = Link(result, means.loc[matched], signature)
        table = None
        if sets and result.null is not None:
            hits = result.table.loc[result.table["fdr"] <= options["fdr"], "gene"].tolist()
            table = enrich(
                options["enrichment"], result.tested, hits, result.sets, result.null, means.loc[matched], signature,
                own, options, int(seed.generate_state(1)[0] >> 1),
            )  # fmt: skip
            enrichment.append(table.assign(cohort=cohort.name, signature=name))
        for method in options["enrichment"] if sets else ():
            test = _sets_found(name, method, table, result, options)
            rows.append(test[1].row(test[0], **test[2]))
            families.setdefault(method, []).append(test)
    out.genes = pd.concat(genes, ignore_index=True)
    if enrichment:
        out.enrichment = pd.concat(enrichment, ignore_index=True)[ENRICHMENT_COLUMNS]
    return rows + [row for tests in families.values() for row in holm_rows(tests)]


def _sets_found(
    name: str, method: str, table: pd.DataFrame | None, result: GeneResult, options: Mapping[str, Any]
) -> Test:
    """How many sets a method calls; p that it calls any, by Simes: the smallest of the adjusted p."""
    if table is None:
        estimate = undefined(result.estimates["genes_tested"][1].reason)
    else:
        of_method = table[table["method"] == method]
        own = of_method[of_method["p"].notna()]
        if own.empty:
            why = [reason for reason in of_method["reason"] if reason]
            estimate = undefined(why[0] if why else "no gene set to test")
        else:
            found = int((own["fdr"] <= options["fdr"]).sum())
            estimate = Estimate(value=found, p=float(own["fdr"].min()), ci_method="Simes", n=len(own))
    return "sets_significant", estimate, {"model": name, "comparator": method, "at": options["fdr"]}


def _histology(
    cohort: Cohort,
    settings: Mapping[str, Any],
    frozen: Frozen,
    taught: frozenset[str],
    out: Result,
    counts: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    options = settings["relate"]["histology"]
    if cohort.histology is None:
        return [
            undefined(f"the cohort has no {options['table']}").row("spearman", model=name, endpoint=target)
            for name in cohort.signatures
            for target in options["targets"]
        ]
    targets = cohort.histology[options["targets"]]
    covariates = covariate_matrix(cohort.subjects, options["adjust"], settings["columns"])
    if options["regression"] == "ols":
        where = f"config.relate.histology.adjust, cohort {cohort.name}"
        patient_covariates(covariates, where, "take it out of adjust, or set regression: mixed")
    for name in cohort.signatures:
        _, count = match(cohort.signatures[name], targets.dropna(how="all"), covariates)
        counts.append({"cohort": cohort.name, "source": "histology", "signature": name, **count})
    enrolled = targets[targets.index.get_level_values("subject").isin(cohort.subjects["subject"])]
    lines = None if cohort.development else frozen.lines
    met = [
        pairs(cohort.signatures[name], enrolled[target]).reset_index().assign(target=target, signature=name)
        for target in enrolled
        for name in map(str, cohort.signatures)
    ]
    out.pairs = pd.concat(met, ignore_index=True).assign(cohort=cohort.name)[PAIR_COLUMNS]
    return histology_rows(cohort.signatures, enrolled, options["regression"], lines, taught, covariates)


def _arms(cohort: Cohort, settings: Mapping[str, Any], columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    options = settings["arms"]
    cases = cohort.subjects.set_index(CASE)
    outcomes = cohort.signatures.reindex(cases.index)
    if cohort.histology is not None and "histology" in settings:
        targets = cohort.histology[settings["histology"]["targets"]].groupby(level=CASE).mean()
        if (targets.index.get_level_values("session") == "").all():
            first = cases.index[~cases.index.get_level_values("subject").duplicated()]
            targets = targets.reset_index("session", drop=True).reindex(first.get_level_values("subject"))
            targets.index = first
        outcomes = outcomes.join(targets)
    time = cases[options["time"]].astype(float) if "time" in options else None
    return arm_rows(outcomes, cases[options["column"]], list(columns[options["column"]]["levels"]), time)
