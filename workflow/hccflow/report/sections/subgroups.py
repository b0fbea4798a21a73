"""Does it work alike for everyone? Discrimination in subgroups."""

from __future__ import annotations

import pandas as pd

from hccflow.figures.report import ForestRow, forest
from hccflow.report.page import Block, Callout, Cell, Figure, Row, Section, Table
from hccflow.report.results import Results, groups, records
from hccflow.report.sections.headline import forest_row, level
from hccflow.report.sections.performance import forest_alt
from hccflow.report.words import caption, count_cell, estimate, missing, p_cell

#: Group of the subjects who miss no clinical predictor of the model; a sensitivity analysis, with no test.
COMPLETE = "complete"


def build(results: Results) -> Section:
    """Section with the AUC of the primary model in subgroups of the primary cohort, and of all others in a table."""
    table = results.rows("auc", comparator="")
    columns = ["site", COMPLETE, *results.settings["columns"]]
    table = table[[split_group(group)[0] in columns for group in table["group"]]]
    if table.empty:
        return Section("subgroups", "Subgroups", [Callout("absent", "No subgroups", caption("subgroups_none"))])
    return Section(
        "subgroups", "Subgroups", [*_forest(results, table), _subgroup_table(results, table)], labels=["exploratory"]
    )


def _forest(results: Results, table: pd.DataFrame) -> list[Block]:
    """Forest of the primary model in the primary cohort, with the interaction test of each column."""
    primary = results.settings["primary"]
    table = table[(table["model"] == primary["model"]) & (table["cohort"] == primary["cohort"])]
    if table.empty:
        return []
    where = {key: primary[key] for key in ("model", "cohort", "endpoint")}
    rows = [forest_row("All", results.one("auc", **where))]
    head = ""
    for record in records(table):
        column, value = split_group(record["group"])
        if column != head:
            test = p_cell(results.one("auc_interaction", group=column, **where)).text
            text = "" if column == COMPLETE else f"interaction p: {test}"
            rows.append(ForestRow(_column_label(results, column), heading=True, text=text))
            head = column
        size = "" if missing(record["n"]) else f" (n = {int(record['n'])})"
        rows.append(forest_row(f"{value}{size}", record))
    label, cohort = results.label("models", primary["model"]), results.cohort_name(primary["cohort"])
    alt = forest_alt(f"AUC of {label} in subgroups of {cohort}", rows)
    head_words = ("Subgroup", f"AUC ({level(results)} CI)")
    svg = forest(rows, axis="AUC (dashed: guessing)", reference=0.5, head=head_words, alt=alt)
    text = caption("subgroups_forest", model=label, cohort=cohort)
    return [Figure(text, alt, sorted(table["source"].unique()), svg=svg)]


def _subgroup_table(results: Results, table: pd.DataFrame) -> Table:
    rows: list[Row] = []
    for (cohort, endpoint, model), part in groups(table, ["cohort", "endpoint", "model"]):
        rows.append(Row([Cell(f"{results.cohort_name(cohort)}: {results.label('models', model)}")], heading=True))
        head = ""
        for record in records(part):
            column, value = split_group(record["group"])
            test = Cell("")
            if column != head:
                row = results.one("auc_interaction", cohort=cohort, endpoint=endpoint, model=model, group=column)
                test, head = Cell("") if column == COMPLETE else p_cell(row), column
            name = Cell(f"{_column_label(results, column)}: {value}")
            rows.append(Row([name, count_cell(record), estimate(record), test]))
    columns = ["Subgroup", "n / events", f"AUC ({level(results)} CI)", "Interaction p"]
    return Table("subgroups", caption("subgroups"), columns, rows, sorted(table["source"].unique()), folded=True)


def split_group(group: str) -> tuple[str, str]:
    """Column and value of a subgroup, ``sex=F`` or ``age>=62``."""
    for mark, word in ((">=", "≥ "), ("<=", "≤ "), ("<", "< "), (">", "> "), ("=", ""), (":", "")):
        if mark in group:
            column, value = group.split(mark, 1)
            return column.strip(), f"{word}{value.strip()}"
    return group, "all"


def _column_label(results: Results, column: str) -> str:
    if column == COMPLETE:
        return "All clinical predictors known"
    return (
        results.label("columns", column) if column in results.settings["columns"] else column[:1].upper() + column[1:]
    )
