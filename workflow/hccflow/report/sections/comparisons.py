"""Is one model better than another, and a fusion than its best part? Paired, on the same subjects."""

from __future__ import annotations

from typing import Any

import pandas as pd

from hccflow.ids import CohortRole
from hccflow.report.page import Block, Callout, Cell, Row, Section, Table
from hccflow.report.results import FROZEN, WITHIN, Results, groups, records
from hccflow.report.sections.headline import DIFFERENCE, METRIC_WORDS, changed_after_a_look, level
from hccflow.report.sections.stacking import caution
from hccflow.report.sections.twins import comparison
from hccflow.report.words import caption, estimate, missing, p_cell


def build(results: Results) -> Section:
    """Section with the paired comparisons of models, adjusted by Holm within each cohort and endpoint."""
    table = results.rows([*DIFFERENCE.values(), DIFFERENCE["auc"] + WITHIN])
    if table.empty:
        return Section("comparisons", "Comparisons", [Callout("absent", "No comparison", caption("comparisons_none"))])
    primary, changed = results.settings["primary"], bool(changed_after_a_look(results))
    rows: list[Row] = []
    for (endpoint, cohort), whole in groups(table, ["endpoint", "cohort"]):
        part = _told(results, cohort, endpoint, whole)
        rows.append(Row([Cell(f"{results.cohort_name(cohort)}: {results.label('endpoints', endpoint)}")], heading=True))
        for record in records(part):
            asked = {record["model"], record["comparator"]} == {primary["model"], primary.get("comparator")}
            is_primary = asked and cohort == primary["cohort"] and endpoint == primary["endpoint"]
            is_primary = is_primary and record["metric"].removesuffix(WITHIN) == DIFFERENCE[primary["metric"]]
            is_primary = is_primary and record["group"] == results.part(cohort, endpoint) and not changed
            pair = [record[k] for k in ("model", "comparator")]
            names = " vs ".join(results.label("models", model) for model in pair)
            rows.append(
                Row(
                    [
                        Cell(names, caution(results, cohort, *pair), strong=is_primary),
                        Cell(_measure(results, record)),
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


def _told(results: Results, cohort: str, endpoint: str, table: pd.DataFrame) -> pd.DataFrame:
    """Rows that are told of a cohort: in development those within folds, and those of the test part of the split."""
    part = results.part(cohort, endpoint)
    own = table[(table["group"] == part) | (table["metric"] == DIFFERENCE["c_harrell"])]
    inside = own["metric"].str.endswith(WITHIN)
    development = results.role(cohort) == CohortRole.DEVELOPMENT
    told = own[inside if development and inside.any() else ~inside]
    return pd.concat([told, table[table["group"] == FROZEN]]) if part else told


def _measure(results: Results, record: dict[str, Any]) -> str:
    """What is compared, and of which scores."""
    name = next(name for name, metric in DIFFERENCE.items() if record["metric"].startswith(metric))
    words = METRIC_WORDS[name] + (" within folds" if record["metric"].endswith(WITHIN) else "")
    if record["group"] == FROZEN:
        return f"{words}, internal validation"
    mixed = results.mixed(record["cohort"], record["endpoint"]) and not record["group"]
    return f"{words}, out-of-fold and frozen scores" if mixed else words


def best_parts(results: Results) -> list[tuple[str, str]]:
    """Each fusion with its best input: the largest out-of-fold AUC, mean over development cohorts weighed by subjects.

    No other cohort has a say in which part is the best, so the difference there is free of that choice.
    """
    pairs = []
    for name, spec in results.settings["models"].items():
        found = {}
        for part in spec["inputs"] if spec.get("kind") == "fusion" else ():
            where = {"endpoint": spec["endpoint"], "model": part}
            rows = [results.judged("auc", cohort=cohort, **where) for cohort in results.development]
            known = [(float(row["value"]), float(row["n"])) for row in rows if row and not missing(row["value"])]
            if known:
                found[part] = sum(value * n for value, n in known) / sum(n for _, n in known)
        if found:
            pairs.append((name, max(found, key=lambda part: found[part])))
    return pairs


def _holm(results: Results, record: dict[str, Any]) -> dict[str, Any] | None:
    """Row of the same comparison with the adjusted p."""
    where = {key: record[key] for key in ("cohort", "endpoint", "model", "comparator", "group")}
    return results.one(f"{record['metric']}_holm", **where)
