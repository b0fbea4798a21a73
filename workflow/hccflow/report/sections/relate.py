"""Does it mean something biologically? Genes, gene sets, histology and arms against imaging signatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hccflow.figures.relate import label
from hccflow.report.page import DASH, Block, Callout, Cell, Figure, Gallery, Row, Section, Table
from hccflow.report.results import Results, groups, records
from hccflow.report.sections.images import is_wide, svg_uri
from hccflow.report.words import caption, estimate, missing, number, p_cell, p_value

TITLE = "Biology"
METHODS = {"prerank": "GSEA, ranked genes", "ora": "Over-representation", "ssgsea": "ssGSEA"}
#: Sets that the table shows for each cohort, signature and method.
SHOWN_SETS = 10


def build(results: Results) -> Section:
    """Section with every cohort that relate has seen."""
    found = results.find("relate/*/metrics.tsv")
    if not found:
        return Section("relate", TITLE, [Callout("absent", "No biology", caption("relate_none"))])
    tables = [results.need(name, schema="metrics").assign(source=name) for name in found]
    metrics = pd.concat(tables, ignore_index=True)
    cohorts = [cohort for cohort in results.cohorts if f"relate/{cohort}/metrics.tsv" in found]
    blocks: list[Block] = [*_genes(results, metrics), *_sets(results, cohorts)]
    blocks += _pictures(results, cohorts, "genes") + _pictures(results, cohorts, "heatmap")
    blocks += [*_histology(results, metrics), *_pictures(results, cohorts, "histology")]
    blocks += [*_arms(results, metrics), *_matching(results, cohorts)]
    return Section("relate", TITLE, blocks, labels=["exploratory"])


def _name(results: Results, signature: str) -> str:
    return label(results.settings["relate"], signature)


def _by_metric(part: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    return {(record["metric"], record["comparator"]): record for record in records(part)}


def _chance(found: Mapping[tuple[str, str], Mapping[str, Any]], metric: str) -> Cell:
    """A count beside what permuted patients show: mean and 95th percentile."""
    row = found.get((metric, ""))
    mean, top = found.get((f"{metric}_by_chance", "")), found.get((f"{metric}_by_chance_p95", ""))
    if row is None or missing(row["value"]) or mean is None or top is None:
        return estimate(row, 0)
    return Cell(f"{int(row['value']):,} ({number(mean['value'], 1)}; {number(top['value'], 0)})")


def _genes(results: Results, metrics: pd.DataFrame) -> list[Block]:
    table = metrics[metrics["metric"].str.startswith(("genes_", "sets_"))]
    if table.empty:
        return []
    methods = [method for method in METHODS if (table["comparator"] == method).any()]
    rows = []
    for (cohort,), of_cohort in groups(table, ["cohort"]):
        rows.append(Row([Cell(results.cohort_name(cohort))], heading=True))
        for (signature,), part in groups(of_cohort, ["model"]):
            found = _by_metric(part)
            tested = found[("genes_tested", "")]
            count = Cell(DASH, str(tested["reason"])) if missing(tested["n"]) else Cell(f"{int(tested['n'])}")
            cells = [count, estimate(tested, 0), _chance(found, "genes_significant")]
            cells += [p_cell(found.get((metric, ""))) for metric in ("genes_significant", "genes_significant_holm")]
            cells += [_chance(found, "genes_unadjusted"), *(_sets_called(found, method) for method in methods)]
            rows.append(Row([Cell(_name(results, signature)), *cells]))
    fdr = number(float(table.loc[table["metric"] == "genes_significant", "at"].max()), 2)
    columns = [
        "Signature",
        "Patients",
        "Genes",
        f"FDR ≤ {fdr} (by chance)",
        "p of the number",
        "Holm p",
        "Unadjusted p ≤ 0.05 (by chance)",
        *(f"Sets: {METHODS[method]} (Holm p)" for method in methods),
    ]
    return [Table("relate_genes", caption("relate_genes"), columns, rows, sorted(table["source"].unique()))]


def _sets_called(found: Mapping[tuple[str, str], Mapping[str, Any]], method: str) -> Cell:
    """How many sets a method calls, and the adjusted p that it calls any."""
    row, holm = found.get(("sets_significant", method)), found.get(("sets_significant_holm", method))
    if row is None or missing(row["value"]) or holm is None:
        return estimate(row, 0)
    return Cell(f"{int(row['value'])} ({p_cell(holm).text})")


def _sets(results: Results, cohorts: list[str]) -> list[Block]:
    """The strongest sets of each method."""
    rows, sources = [], []
    for cohort in cohorts:
        table = results.need(f"relate/{cohort}/enrichment.tsv")
        table = table[table["p"].notna()] if len(table) else table
        for (signature, method), part in groups(table, ["signature", "method"]) if len(table) else ():
            words = f"{results.cohort_name(cohort)}: {_name(results, signature)}; {METHODS[method]}"
            rows.append(Row([Cell(words)], heading=True))
            for one in records(part.sort_values(["fdr", "p"], kind="stable").head(SHOWN_SETS)):
                numbers = [Cell(f"{int(one['n_tested'])}"), Cell(number(one["statistic"])), _optional(one["nes"])]
                tests = [Cell(p_value(one["p"])), Cell(p_value(one["fdr"])), _optional(one["p_genes"], p=True)]
                rows.append(Row([Cell(one["set"]), *numbers, *tests]))
        if len(table):
            sources.append(f"relate/{cohort}/enrichment.tsv")
    if not rows:
        return []
    columns = ["Set", "Genes", "ES, odds ratio or ρ", "NES", "p", "FDR", "p if genes were independent"]
    text = caption("relate_sets", shown=SHOWN_SETS)
    return [Table("relate_sets", text, columns, rows, sources, folded=True)]


def _optional(value: Any, *, p: bool = False) -> Cell:
    if missing(value):
        return Cell(DASH, "the method has no such number")
    return Cell(p_value(float(value)) if p else number(float(value)))


def _pictures(results: Results, cohorts: list[str], kind: str) -> list[Block]:
    figures = []
    for cohort in cohorts:
        for name in results.find(f"relate/{cohort}/figures/{kind}_*.svg"):
            path = results.path(name)
            assert path is not None
            text = f"{results.cohort_name(cohort)}: {caption(f'figure_relate_{kind}')}"
            table = {"genes": "genes", "heatmap": "genes", "histology": "pairs"}[kind]
            sources = [name, f"relate/{cohort}/{table}.tsv"]
            figures.append(Figure(text, text, sources, uri=svg_uri(path), wide=is_wide(path)))
    return [Gallery(figures)] if figures else []


def _histology(results: Results, metrics: pd.DataFrame) -> list[Block]:
    table = metrics[metrics["endpoint"] != ""]
    if table.empty:
        return []
    rows, adjust = [], results.settings["relate"]["histology"]["adjust"]
    given = f" given {', '.join(adjust)}" if adjust else ""
    slopes = {"slope": "Slope per SD", **({"slope_partial": f"Slope per SD{given}"} if adjust else {})}
    for (cohort, target), part in groups(table, ["cohort", "endpoint"]):
        rows.append(Row([Cell(f"{results.cohort_name(cohort)}: {target}")], heading=True))
        for (signature,), own in groups(part, ["model"]):
            found = {record["metric"]: record for record in records(own)}
            rho = found["spearman"]
            count = Cell(DASH, str(rho["reason"])) if missing(rho["n"]) else Cell(f"{int(rho['n'])}")
            cells = [count, estimate(rho), p_cell(rho), p_cell(found.get("spearman_holm"))]
            for slope in slopes:
                cells += [estimate(found.get(slope)), p_cell(found.get(f"{slope}_holm"))]
            cells += [estimate(found.get(metric)) for metric in ("r2_unseen", "rmse_unseen")]
            rows.append(Row([Cell(_name(results, signature)), *cells]))
    columns = ["Signature", "Patients", f"Spearman's ρ{given} (95% CI)", "p", "Holm p"]
    for words in slopes.values():
        columns += [f"{words} (95% CI)", f"Holm p, {words[0].lower()}{words[1:]}"]
    columns += ["R²", "RMSE"]
    return [Table("relate_histology", caption("relate_histology"), columns, rows, sorted(table["source"].unique()))]


def _arms(results: Results, metrics: pd.DataFrame) -> list[Block]:
    table = metrics[metrics["metric"].isin(["arm_difference", "arm_slope_difference"])]
    if table.empty:
        return []
    keys = ("cohort", "model", "group", "comparator")
    adjusted = {(r["metric"], *(r[key] for key in keys)): r for r in records(metrics)}
    rows = []
    for (cohort, outcome), part in groups(table, ["cohort", "model"]):
        rows.append(Row([Cell(f"{results.cohort_name(cohort)}: {_name(results, outcome)}")], heading=True))
        for one in records(part):
            what = "course" if one["metric"] == "arm_slope_difference" else "level"
            holm = adjusted.get((f"{one['metric']}_holm", *(one[key] for key in keys)))
            words = f"{one['group']} against {one['comparator']}, {what}"
            count = Cell(DASH, str(one["reason"])) if missing(one["n"]) else Cell(f"{int(one['n'])}")
            rows.append(Row([Cell(words), count, estimate(one), p_cell(one), p_cell(holm)]))
    columns = ["Contrast", "Subjects", "Difference (95% CI)", "p", "Holm p"]
    return [Table("relate_arms", caption("relate_arms"), columns, rows, sorted(table["source"].unique()))]


def _matching(results: Results, cohorts: list[str]) -> list[Block]:
    rows, sources = [], []
    for cohort in cohorts:
        table = results.need(f"relate/{cohort}/matching.tsv")
        rows.append(Row([Cell(results.cohort_name(cohort))], heading=True))
        for one in records(table):
            keys = ("n_signature", "n_samples", "n_table", "n_matched", "n_averaged", "n_signature_only",
                    "n_table_not_enrolled", "n_table_no_signature")  # fmt: skip
            words = f"{one['source']}: {_name(results, one['signature'])}"
            rows.append(Row([Cell(words), *(Cell(f"{int(one[key])}") for key in keys)]))
        sources.append(f"relate/{cohort}/matching.tsv")
    columns = [
        "Table and signature", "With signature", "Samples", "Patients in table", "Matched", "Several samples averaged",
        "Signature only", "In table, not enrolled", "In table, no signature",
    ]  # fmt: skip
    return [Table("relate_matching", caption("relate_matching"), columns, rows, sources, folded=True)]
