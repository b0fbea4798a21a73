"""Is one model better than another, and a fusion than its best part? Paired, on the same subjects."""

from __future__ import annotations

from typing import Any

from hccflow.report.page import Block, Callout, Cell, Row, Section, Table
from hccflow.report.results import Results, groups, records
from hccflow.report.sections.headline import DIFFERENCE, level
from hccflow.report.sections.stacking import caution
from hccflow.report.sections.twins import comparison
from hccflow.report.words import caption, estimate, missing, p_cell


def build(results: Results) -> Section:
    """Section with the paired comparisons of models, adjusted by Holm within each cohort and endpoint."""
    table = results.rows(list(DIFFERENCE.values()), group="")
    if table.empty:
        return Section("comparisons", "Comparisons", [Callout("absent", "No comparison", caption("comparisons_none"))])
    primary = results.settings["primary"]
    rows: list[Row] = []
    for (endpoint, cohort), part in groups(table, ["endpoint", "cohort"]):
        rows.append(Row([Cell(f"{results.cohort_name(cohort)}: {results.label('endpoints', endpoint)}")], heading=True))
        for record in records(part):
            asked = {record["model"], record["comparator"]} == {primary["model"], primary.get("comparator")}
            is_primary = asked and cohort == primary["cohort"] and endpoint == primary["endpoint"]
            is_primary = is_primary and record["metric"] == DIFFERENCE[primary["metric"]]
            pair = [record[k] for k in ("model", "comparator")]
            names = " vs ".join(results.label("models", model) for model in pair)
            rows.append(
                Row(
                    [
                        Cell(names, caution(results, cohort, *pair), strong=is_primary),
                        Cell("AUC" if record["metric"] == "auc_difference" else "Harrell's C"),
                        Cell("" if missing(record["n"]) else f"{int(record['n'])}"),
                        estimate(record),
                        p_cell(record),
                        p_cell(_holm(results, record)),
                        Cell("primary" if is_primary else "exploratory", strong=is_primary),
                    ]
                )
            )
    columns = ["Comparison", "Measure", "n", f"Difference ({level(results)} CI)", "p", "p, Holm", "Status"]
    block = Table(
        "comparisons",
        caption("comparisons"),
        columns,
        rows,
        sorted(table["source"].unique()),
        text_columns=("Measure", "Status"),
    )
    blocks: list[Block] = [block]
    if pairs := best_parts(results):
        blocks.append(comparison(results, "fusion_parts", pairs, "Fusion", "Best part"))
    return Section("comparisons", "Comparisons", blocks)


def best_parts(results: Results) -> list[tuple[str, str]]:
    """Each fusion with its best input: the largest out-of-fold AUC, mean over development cohorts weighed by subjects.

    No other cohort has a say in which part is the best, so the difference there is free of that choice.
    """
    pairs = []
    for name, spec in results.settings["models"].items():
        found = {}
        for part in spec["inputs"] if spec.get("kind") == "fusion" else ():
            where = {"endpoint": spec["endpoint"], "model": part}
            rows = [results.one("auc", cohort=cohort, **where) for cohort in results.development]
            known = [(float(row["value"]), float(row["n"])) for row in rows if row and not missing(row["value"])]
            if known:
                found[part] = sum(value * n for value, n in known) / sum(n for _, n in known)
        if found:
            pairs.append((name, max(found, key=lambda part: found[part])))
    return pairs


def _holm(results: Results, record: dict[str, Any]) -> dict[str, Any] | None:
    """Row of the same comparison with the adjusted p."""
    where = {key: record[key] for key in ("cohort", "endpoint", "model", "comparator")}
    return results.one(f"{record['metric']}_holm", **where)
