"""Everyone who failed or was excluded at any stage, with the reason."""

from __future__ import annotations

from hccflow.ids import Status
from hccflow.report.page import Callout, Cell, Row, Section, Table
from hccflow.report.results import Results, records
from hccflow.report.words import caption, plural


def build(results: Results) -> Section:
    """Section that lists everyone who failed or was excluded at any stage, with the reason."""
    found = [
        *(f"enrol/{c}/manifest.tsv" for c in results.cohorts),
        *(f"convert/{c}/manifest.tsv" for c in results.cohorts),
        *results.find("extract/*/roi-*/manifest.tsv"),
        *results.find("train/*/manifest.tsv"),
    ]
    rows: list[Row] = []
    counts: dict[str, int] = {}
    used = []
    for name in found:
        table = results.table(name, "manifest")
        if table is None:
            continue
        used.append(name)
        bad = table[table["status"] != Status.OK.value].sort_values(["cohort", "subject", "session"], kind="stable")
        if bad.empty:
            continue
        stage = " / ".join(part for part in name.split("/")[:-1])
        rows.append(Row([Cell(stage)], heading=True))
        counts[stage] = len(bad)
        for record in records(bad):
            case = record["subject"] + (f", {record['session']}" if record["session"] else "")
            rows.append(Row([Cell(case), Cell(record["status"]), Cell(record["reason"] or "no reason recorded")]))
    if not rows:
        return Section("failures", "Failed and excluded", [Callout("note", "Nobody", caption("failures_none"))])
    total = sum(counts.values())
    table_block = Table(
        "failures",
        caption("failures", rows=plural(total, "row"), stages=plural(len(counts), "manifest")),
        ["Case", "Status", "Reason"],
        rows,
        sorted(used),
        text_columns=("Status", "Reason"),
        folded=total > 40,
    )
    return Section("failures", "Failed and excluded", [table_block])
