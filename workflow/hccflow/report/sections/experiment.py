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
    found = {(r["group"], r["model"], r["metric"]): r for r in records(table.fillna({"reason": ""}))}
    rows: list[Row] = []
    for (sweep, base), part in groups(declared, ["sweep", "base"]):

        def row(metric: str, model: str, sweep: str = sweep) -> Mapping[str, Any] | None:
            return found.get((sweep, model, metric))

        own = row("auc", base)
        count = f"; n = {int(own['n'])}, {int(own['n_events'])} with the event" if own is not None else ""
        rows.append(Row([Cell(f"{sweep}{count}")], heading=True))
        alone = [estimate(row(metric, base)) for metric in ("auc", "brier")]
        rows.append(
            Row([Cell(f"{results.label('models', base)} (base)", strong=True), alone[0], *[Cell(DASH)] * 3, alone[1],
                 Cell(DASH)])
        )  # fmt: skip
        for name, label in zip(part["variant"], part["label"], strict=True):
            gap = row("auc_difference", name)
            rows.append(
                Row([Cell(label), estimate(row("auc", name)), estimate(gap), p_cell(gap),
                     p_cell(row("auc_difference_holm", name)), estimate(row("brier", name)),
                     estimate(row("brier_difference", name), 3)], indent=True)
            )  # fmt: skip
    ci = f"{level(results)} CI"
    columns = ["Model", f"AUC ({ci})", f"Minus base ({ci})", "p", "p, Holm", "Brier score", f"Brier minus base ({ci})"]
    words = caption("experiment", tried=plural(tried, "variant"), declared=len(declared))
    return Table("experiment", words, columns, rows, [SOURCE, VARIANTS])


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
