"""What was varied, what it changed, how many variants were ever tried, and what was chosen among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hccflow.report.page import DASH, Block, Callout, Cell, Row, Section, Table
from hccflow.report.results import Results, groups, records
from hccflow.report.sections.headline import level
from hccflow.report.words import caption, estimate, number, p_cell, plural

SOURCE, VARIANTS = "validate/experiment.tsv", "validate/experiment.variants.tsv"


def build(results: Results) -> Section:
    """Section with the variants of each sweep beside their base, those no longer declared, and the choices."""
    table, variants = results.table(SOURCE, "metrics"), results.table(VARIANTS)
    if table is None or variants is None:
        return Section("experiment", "Variants", [Callout("absent", "No experiment", caption("experiment_none"))])
    variants = variants.fillna("")
    blocks: list[Block] = [_compared(results, table, variants[variants["declared"] == 1], len(variants))]
    gone = variants[variants["declared"] == 0]
    if len(gone):
        rows = [Row([Cell(str(r[name])) for name in ("base", "variant", "changes")]) for r in records(gone)]
        columns = ["Base", "Variant", "Changed"]
        words = caption("experiment_dropped", count=plural(len(gone), "variant"))
        blocks.append(Table("experiment_dropped", words, columns, rows, [VARIANTS], text_columns=columns))
    blocks += _choices(results, variants)
    return Section("experiment", "Variants", blocks, ["exploratory"])


def _compared(results: Results, table: pd.DataFrame, declared: pd.DataFrame, tried: int) -> Table:
    table = table.fillna({"reason": "", "comparator": ""})
    found: dict[tuple[str, ...], dict[str, Any]] = {
        (r["group"], r["endpoint"], r["model"], r["metric"]): r for r in records(table)
    }
    rows: list[Row] = []
    for (sweep, base), part in groups(declared, ["sweep", "base"]):
        for endpoint in table.loc[(table["group"] == sweep) & (table["model"] == base), "endpoint"].unique():

            def row(metric: str, model: str, *where: str) -> Mapping[str, Any] | None:
                return found.get((*where, model, metric))

            here = (sweep, str(endpoint))
            measure, gap = ("auc", "auc_difference") if row("auc", base, *here) else ("c_harrell", "c_difference")
            within, gap = f"{measure}_within_folds", f"{gap}_within_folds"
            own = row(within, base, *here)
            count = f"; n = {int(own['n'])}, {int(own['n_events'])} with the event" if own is not None else ""
            label = results.label("endpoints", str(endpoint))
            rows.append(Row([Cell(f"{sweep}: {label}{count}")], heading=True))
            alone = [estimate(row(measure, base, *here)), _brier(row("brier", base, *here))]
            name = f"{results.label('models', base)} (base)"
            rows.append(Row([Cell(name, strong=True), estimate(own), *[Cell(DASH)] * 3, *alone, Cell(DASH)]))
            for variant, label in zip(part["variant"], part["label"], strict=True):
                if row(measure, variant, *here) is None:
                    continue  # this variant has not learnt this endpoint
                cells = [estimate(row(within, variant, *here)), estimate(row(gap, variant, *here))]
                cells += [p_cell(row(metric, variant, *here)) for metric in (gap, f"{gap}_holm")]
                cells.append(estimate(row(measure, variant, *here)))
                cells += [_brier(row("brier", variant, *here)), _brier(row("brier_difference", variant, *here))]
                rows.append(Row([Cell(label), *cells], indent=True))
    ci = f"{level(results)} CI"
    columns = [
        "Model",
        f"AUC or C ({ci})",
        f"Minus base ({ci})",
        "p",
        "p, Holm",
        f"Pooled ({ci})",
        "Brier score",
        f"Brier minus base ({ci})",
    ]
    words = caption("experiment", tried=plural(tried, "variant"), declared=len(declared))
    return Table("experiment", words, columns, rows, [SOURCE, VARIANTS])


def _brier(row: Mapping[str, Any] | None) -> Cell:
    return estimate(row, 3, absent="a risk is no probability")


def _choices(results: Results, variants: pd.DataFrame) -> list[Block]:
    """How often each candidate of a choice was taken in the folds, and which one was frozen."""
    labels = {r["variant"]: r["label"] or r["variant"] for r in records(variants)}
    blocks: list[Block] = []
    for name in results.models:
        if results.settings["models"][name]["kind"] != "choice":
            continue
        source, frozen = f"train/{name}/selection.tsv", results.document(f"train/{name}/freeze.json")
        table = results.table(source)
        if table is None or frozen is None:
            continue
        rows = []
        for r in records(table):
            who = labels.get(r["feature"]) or results.label("models", r["feature"])
            kept = "yes" if r["in_final_model"] else "no"
            rows.append(Row([Cell(who, strong=kept == "yes"), Cell(number(r["frequency"])), Cell(kept)]))
        words = caption("experiment_choice", model=results.label("models", name), by=frozen["by"].replace("_", "-"))
        columns = ["Candidate", "Share of the folds", "Frozen"]
        blocks.append(Table(f"choice_{name}", words, columns, rows, [source, f"train/{name}/freeze.json"]))
    return blocks
