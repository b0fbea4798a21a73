"""Does it stratify survival? Kaplan-Meier curves by the frozen cut, Cox models, concordance, proportional hazards."""

from __future__ import annotations

from typing import Any

import pandas as pd

from hccflow.figures.report import ForestRow, forest
from hccflow.report.page import DASH, Block, Callout, Cell, Figure, Gallery, Row, Section, Table
from hccflow.report.results import Results, groups, records
from hccflow.report.sections.headline import forest_row, level
from hccflow.report.sections.performance import KINDS, forest_alt, stage_figures
from hccflow.report.words import caption, count_cell, estimate, number, p_cell, p_value

#: Figures of survive that are shown of every cohort, and those of the primary cohort only, in this order.
CURVES, PRIMARY_CURVES = ("km", "cif", "auc_t", "nomogram"), ("km", "cif", "auc_t", "spline", "nomogram")
#: Cox models as survive names them in the column comparator, and as the table heads them.
COX = {"univariable": "Univariable", "clinical": "Clinical only", "multivariable": "Score and clinical"}
KEYS = ["cohort", "endpoint", "model"]
#: Concordance of pairs that one fold has judged.
WITHIN = "c_harrell_within_folds"


def build(results: Results) -> Section:
    """Section with the survival results of every cohort."""
    if not results.endpoints("survival"):
        return Section("survival", "Survival", [Callout("absent", "No survival endpoint", caption("survival_none"))])
    found = results.metrics[results.metrics["source"].str.startswith("survive/") & (results.metrics["model"] != "")]
    if found.empty:
        return Section("survival", "Survival", [Callout("absent", "No survival analysis", caption("survive_none"))])
    blocks: list[Block] = [_summary(results, found)]
    found = found[~found["group"].str.startswith("kind=")]
    for cohort in results.cohorts:
        kinds = PRIMARY_CURVES if cohort == results.settings["primary"]["cohort"] else CURVES
        figures = stage_figures(results, "survive", cohort, kinds)
        if figures:
            blocks.append(Gallery(figures))
    blocks += [*_times(results, found), *_cox(results, found), *_hazards(results, found), *_changing(results, found)]
    return Section("survival", "Survival", blocks, labels=["exploratory"])


def _heading(results: Results, cohort: str, endpoint: str, model: str = "") -> Row:
    words = f"{results.cohort_name(cohort)}: {results.label('endpoints', endpoint)}"
    return Row([Cell(f"{words}; {results.label('models', model)}" if model else words)], heading=True)


def _summary(results: Results, found: pd.DataFrame) -> Table:
    """One line per cohort, endpoint and model: the frozen groups, and concordance of the score itself.

    Where a cohort has scores of both kinds, each kind has a line of its own below.
    """
    rows: list[Row] = []
    inside = bool((found["metric"] == WITHIN).any())
    for (cohort, endpoint), part in groups(found, KEYS[:2]):
        rows.append(_heading(results, cohort, endpoint))
        for (model,), _ in groups(part, KEYS[2:]):
            where = {"cohort": cohort, "endpoint": endpoint, "model": model}
            rows.append(Row([Cell(results.label("models", model)), *_summarised(results, where, "", inside)]))
            for group in [kind for kind in KINDS if results.one("c_harrell", group=kind, **where)]:
                rows.append(Row([Cell(KINDS[group]), *_summarised(results, where, group, inside)], indent=True))
    span = level(results)
    columns = [
        "Model",
        "n / events",
        f"HR high vs low ({span} CI)",
        "Log-rank p",
        "p, Holm",
        f"Harrell's C ({span} CI)",
        "Uno's C",
        *(["C within folds"] if inside else []),
    ]
    return Table("survival", caption("survival"), columns, rows, sorted(found["source"].unique()))


def _summarised(results: Results, where: dict[str, str], group: str, inside: bool) -> list[Cell]:
    """Cells of the whole cohort, or of one kind of score."""
    logrank, holm = (results.one(name, group=group, **where) for name in ("logrank_chi2", "logrank_holm"))
    high = results.one("cox_hr", group=group or "high", comparator="low", **where)
    cells = [count_cell(logrank), estimate(high), p_cell(logrank)]
    cells += [p_cell(holm), *(estimate(results.one(name, group=group, **where)) for name in ("c_harrell", "c_uno"))]
    if inside:
        cells.append(estimate(results.one(WITHIN, group=group, **where), absent="no scores of several folds"))
    return cells


def _times(results: Results, found: pd.DataFrame) -> list[Block]:
    """Survival at the times of the configuration and its median, by frozen group."""
    table = found[found["metric"] == "km_survival"]
    if table.empty:
        return []
    times = sorted(table["at"].dropna().unique())
    rows: list[Row] = []
    for (cohort, endpoint, model), part in groups(table, KEYS):
        rows.append(_heading(results, cohort, endpoint, model))
        for (group,), lines in groups(part, ["group"]):
            at = {record["at"]: record for record in records(lines)}
            where = {"cohort": cohort, "endpoint": endpoint, "model": model, "group": group}
            cells = [estimate(at.get(t)) for t in times]
            rows.append(Row([Cell(group or "all"), *cells, estimate(results.one("km_median", **where), 0)]))
    columns = ["Group", *(f"{number(float(t), 0)} days" for t in times), "Median, days"]
    text = caption("km_table", level=level(results))
    return [Table("km", text, columns, rows, sorted(table["source"].unique()), folded=True)]


def _cox(results: Results, found: pd.DataFrame) -> list[Block]:
    """Forest of the models with score and covariates in the primary cohort, and all hazard ratios in one table."""
    table = found[found["metric"].isin(["cox_hr", "cox_hr_sd"]) & found["comparator"].isin(COX)]
    if table.empty:
        return [Callout("absent", "No Cox model", caption("cox_none"))]
    rows: list[Row] = []
    for (cohort, endpoint, model), part in groups(table, KEYS):
        rows.append(_heading(results, cohort, endpoint, model))
        found_by = {(r["comparator"], r["metric"], r["group"]): r for r in records(part)}
        for metric, name in _covariates(results, part):
            fitted = {kind: found_by.get((kind, metric, name)) for kind in COX}
            size = next(row for row in fitted.values() if row is not None)
            pairs = [cell for kind, row in fitted.items() for cell in _hazard_cells(kind, name, row)]
            where = {"cohort": cohort, "endpoint": endpoint, "model": model, "comparator": "multivariable"}
            factor = results.one("vif", group=name.partition("=")[0], **where)
            cells = [*pairs, estimate(factor, 1, absent="one covariate only")]
            rows.append(Row([Cell(covariate(results, name, metric)), count_cell(size), *cells]))
        added = results.one("cox_added_chi2", cohort=cohort, endpoint=endpoint, model=model, comparator="clinical")
        if added is not None:
            cells = [*[Cell("")] * (2 * len(COX) - 1), estimate(added), p_cell(added), Cell("")]
            rows.append(Row([Cell("Score added to clinical: likelihood ratio, χ²"), *cells], indent=True))
    sources = sorted(table["source"].unique())
    columns = ["Covariate", "n / events"]
    for word in COX.values():
        columns += [f"{word}: HR ({level(results)} CI)", "p"]
    columns.append("VIF")
    return [
        *_forest(results, table, sources),
        Table("cox", caption("cox"), columns, rows, sources, folded=len(rows) > 24),
    ]


def _hazard_cells(kind: str, name: str, row: dict[str, Any] | None) -> list[Cell]:
    """Hazard ratio and p of one covariate in one kind of model; nothing for the score in the clinical model."""
    if row is None and kind == "clinical" and name == "score":
        return [Cell(""), Cell("")]
    return [estimate(row), p_cell(row)]


def _covariates(results: Results, part: pd.DataFrame) -> list[tuple[str, str]]:
    """Rows of a Cox table as (metric, group): the score first, then the covariates as the configuration orders them."""
    order = list(results.settings["columns"])
    seen = dict.fromkeys(zip(part["metric"], part["group"], strict=True))

    def place(key: tuple[str, str]) -> tuple[int, str]:
        column = key[1].partition("=")[0].partition(" (")[0]
        return (order.index(column) if column in order else -1, key[0])

    return sorted(seen, key=place)


def _forest(results: Results, table: pd.DataFrame, sources: list[str]) -> list[Block]:
    cohort = results.settings["primary"]["cohort"]
    table = table[(table["cohort"] == cohort) & (table["comparator"] == "multivariable")]
    if table.empty:
        return []
    lines: list[ForestRow] = []
    for (endpoint, model), part in groups(table, ["endpoint", "model"]):
        words = f"{results.label('endpoints', endpoint)}; {results.label('models', model)}"
        lines.append(ForestRow(words, heading=True))
        series = results.models.index(model) if model in results.models else len(results.models)
        by = {(r["metric"], r["group"]): r for r in records(part)}
        for metric, name in _covariates(results, part):
            if (metric, name) != ("cox_hr", "score") or ("cox_hr_sd", name) not in by:  # one line for the score
                lines.append(forest_row(covariate(results, name, metric), by[metric, name], series))
    alt = forest_alt(f"Hazard ratios in {results.cohort_name(cohort)}", lines)
    head = ("Covariate", f"HR ({level(results)} CI)")
    svg = forest(lines, axis="Hazard ratio (dashed: 1, no difference)", reference=1.0, log=True, head=head, alt=alt)
    return [Figure(caption("cox_forest", cohort=results.cohort_name(cohort)), alt, sources, svg=svg)]


def covariate(results: Results, group: str, metric: str = "") -> str:
    """Name of a covariate of a Cox model: the score, a column, or a level or transform of a column."""
    if group in ("score", "high", "GLOBAL"):
        word = {"score": "Score", "high": "High against low", "GLOBAL": "All together"}[group]
        return f"{word}, per SD" if metric == "cox_hr_sd" else word
    column, _, value = group.partition("=")
    name, bracket, transform = column.partition(" (")
    label = results.label("columns", name) + bracket + transform
    return f"{label}: {value}" if value else label


def _hazards(results: Results, found: pd.DataFrame) -> list[Block]:
    """Tests of proportional hazards of the multivariable models, or of whatever model was fitted."""
    table = found[found["metric"] == "zph_chi2"]
    if (table["comparator"] == "multivariable").any():
        table = table[table["comparator"] == "multivariable"]
    else:
        table = table[table["comparator"] == "univariable"]
    if table.empty:
        return []
    rows: list[Row] = []
    for (cohort, endpoint, model), part in groups(table, KEYS):
        rows.append(_heading(results, cohort, endpoint, model))
        rows += [Row([Cell(covariate(results, r["group"])), estimate(r), p_cell(r)]) for r in records(part)]
    known = [float(p) for p in table.loc[table["group"] == "GLOBAL", "p"].dropna()]
    smallest = f"smallest global p: {p_value(min(known))}" if known else "no global test could be made"
    sources = sorted(table["source"].unique())
    text = caption("zph", smallest=smallest)
    return [Table("proportional_hazards", text, ["Covariate", "χ²", "p"], rows, sources, folded=True)]


def _changing(results: Results, found: pd.DataFrame) -> list[Block]:
    """Hazard ratios of the score before and after the median event time, and over log(time)."""
    table = found[found["metric"].isin(["cox_hr_before", "cox_hr_after", "cox_hr_t"])]
    if table.empty:
        return []
    times = sorted(table.loc[table["metric"] == "cox_hr_t", "at"].dropna().unique())
    rows: list[Row] = []
    for (cohort, endpoint, model), part in groups(table, KEYS):
        by = {(r["metric"], r["at"] if r["metric"] == "cox_hr_t" else None): r for r in records(part)}
        split = by.get(("cox_hr_before", None))
        where = {"cohort": cohort, "endpoint": endpoint, "model": model, "group": "score", "comparator": "univariable"}
        name = (
            f"{results.cohort_name(cohort)}: {results.label('endpoints', endpoint)}; {results.label('models', model)}"
        )
        cells = [Cell(DASH if split is None else number(float(split["at"]), 0))]
        cells += [estimate(by.get((metric, None))) for metric in ("cox_hr_before", "cox_hr_after")]
        cells += [estimate(by.get(("cox_hr_t", t))) for t in times]
        rows.append(Row([Cell(name), *cells, p_cell(results.one("cox_log_time_coef", **where))]))
    columns = ["Cohort, endpoint, model", "Median event, days", "HR before", "HR after"]
    columns += [*(f"HR at {number(float(t), 0)} days" for t in times), "p of change"]
    sources = sorted(table["source"].unique())
    return [Table("time_varying", caption("time_varying"), columns, rows, sources, folded=True)]
