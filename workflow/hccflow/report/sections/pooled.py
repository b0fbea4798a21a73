"""Over several external cohorts: means, the interval for a new one, heterogeneity."""

from __future__ import annotations

from hccflow.report.page import Block, Cell, Figure, Row, Table
from hccflow.report.results import Results, groups, records
from hccflow.report.sections.headline import level
from hccflow.report.sections.images import svg_uri
from hccflow.report.words import caption, estimate, missing

FILE = "validate/pooled.tsv"
MEASURES = {
    "auc": "AUC",
    "calibration_in_the_large": "Calibration in the large",
    "calibration_slope": "Calibration slope",
}


def pooled_blocks(results: Results) -> list[Block]:
    """Table and forest of the means over the external cohorts; nothing where a study has fewer than two."""
    table = results.table(FILE, "metrics")
    if table is None:
        return []
    known = {(r["endpoint"], r["model"], r["metric"]): r for r in records(table[table["group"] == "cohorts"])}
    rows: list[Row] = []
    for (endpoint, model), _ in groups(table[table["group"] == "cohorts"], ["endpoint", "model"]):
        rows.append(
            Row([Cell(f"{results.label('models', model)}: {results.label('endpoints', endpoint)}")], heading=True)
        )
        for name, word in MEASURES.items():
            if (endpoint, model, f"{name}_pooled") not in known:
                continue
            mean, new, spread = (
                known.get((endpoint, model, f"{name}_{part}")) for part in ("pooled", "prediction", "heterogeneity")
            )
            if spread is not None and not missing(spread["value"]):
                spread = {**spread, "value": 100 * spread["value"]}
            rows.append(Row([Cell(word), estimate(mean), estimate(new), estimate(spread, 0)]))
    columns = ["Measure", f"Mean ({level(results)} CI)", "Expected in a new cohort", "I², %"]
    blocks: list[Block] = [Table("pooled", caption("pooled"), columns, rows, [FILE])]
    path = results.path("validate/pooled.svg")
    if path is not None:
        text = caption("figure_pooled")
        blocks.append(Figure(text, text, ["validate/pooled.svg", FILE], uri=svg_uri(path)))
    return blocks
