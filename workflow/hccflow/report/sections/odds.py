"""What the variables of the clinical models have to do with the outcome, each alone and together."""

from __future__ import annotations

from typing import Any

import pandas as pd

from hccflow.report.page import Block, Cell, Row, Table
from hccflow.report.results import Results, records
from hccflow.report.sections.headline import level
from hccflow.report.sections.survival import covariate
from hccflow.report.words import caption, count_cell, estimate, p_cell, plural

KINDS = {"univariable": "Univariable", "multivariable": "Multivariable"}
#: Ways of the stage train to estimate odds ratios, in words.
METHODS = {"Wald": "maximum likelihood, Wald intervals", "profile penalised likelihood": "Firth's penalised likelihood"}


def odds_blocks(results: Results) -> list[Block]:
    """One table of odds ratios of all clinical logistic models; nothing where there is none."""
    rows: list[Row] = []
    sources = []
    for model in results.models:
        source = f"train/{model}/odds_ratios.tsv"
        table = results.table(source, "metrics")
        if table is not None:
            sources.append(source)
            rows += _rows(results, model, table)
    if not rows:
        return []
    columns = ["Variable", "n / events"]
    for word in KINDS.values():
        columns += [f"{word}: OR ({level(results)} CI)", "p"]
    return [Table("odds_ratios", caption("odds_ratios", level=level(results)), [*columns, "VIF"], rows, sources)]


def _rows(results: Results, model: str, table: pd.DataFrame) -> list[Row]:
    found = {(r["metric"], r["comparator"], r["group"]): r for r in records(table)}
    rows = [Row([Cell(_head(results, model, found))], heading=True)]
    for group in _order(results, model, [group for metric, _, group in found if metric == "n_subjects"]):
        count = found["n_subjects", "", group]
        cells = [Cell(covariate(results, group)), count_cell(count)]
        for kind in KINDS:
            ratio = found.get(("odds_ratio", kind, group))
            if ratio is None and ("odds_ratio", "univariable", group) not in found:
                cells += [Cell("reference"), Cell("")]
            else:
                cells += [estimate(ratio, absent="one variable only"), p_cell(ratio, absent="one variable only")]
        factor = found.get(("vif", "multivariable", group.partition("=")[0]))
        known = ("odds_ratio", "multivariable", group) in found
        rows.append(Row([*cells, estimate(factor, 1) if known else Cell("")]))
    return rows


def _head(results: Results, model: str, found: dict[tuple[str, str, str], dict[str, Any]]) -> str:
    """Model, endpoint, subjects with every variable, and how the ratios were estimated."""
    ratios = [row for (metric, _, _), row in found.items() if metric == "odds_ratio"]
    endpoint = results.settings["models"][model]["endpoint"]
    words = [f"{results.label('models', model)}, for {results.label('endpoints', endpoint)}"]
    together = next((row for row in ratios if row["comparator"] == "multivariable"), None)
    if together is not None:
        words.append(f"together {plural(int(together['n']), 'subject')}, {plural(int(together['n_events']), 'event')}")
    method, _, why = next((row["ci_method"] for row in ratios if row["ci_method"]), "").partition(": ")
    if method:
        words.append(METHODS.get(method, method) + (f" ({why})" if why else ""))
    return "; ".join(words)


def _order(results: Results, model: str, groups: list[str]) -> list[str]:
    """Variables as the model's entry names them, levels as the column declares them."""
    columns = results.settings["models"][model].get("columns", [])

    def place(group: str) -> tuple[int, int]:
        name, _, value = group.partition("=")
        column = name.partition(" (")[0]
        levels = [str(one) for one in results.settings["columns"].get(column, {}).get("levels", [])]
        return columns.index(column) if column in columns else -1, levels.index(value) if value in levels else 0

    return sorted(groups, key=place)
