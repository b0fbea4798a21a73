"""What happened to them: endpoints by cohort, agreement of the readers, and the ceiling that label noise sets."""

from __future__ import annotations

import pandas as pd

from hccflow.errors import TableError
from hccflow.lesions import is_read
from hccflow.report.page import DASH, Block, Callout, Cell, Row, Section, Table
from hccflow.report.results import Results, groups, records
from hccflow.report.words import caption, estimate, percent

#: Measures of agreement in reading order.
AGREEMENT_WORDS = {
    "kappa_fleiss": "Fleiss' kappa of the label",
    "kappa_light": "Light's kappa of the label",
    "icc": "ICC(A,1) of the baseline sum",
    "icc_consistency": "ICC(C,1) of the baseline sum",
    "kappa": "Cohen's kappa of the label",
    "kappa_category": "Cohen's kappa of the category",
    "ccc": "Lin's concordance correlation of the baseline sum",
    "bias": "Difference of the baseline sums, second minus first",
    "loa_low": "Lower limit of agreement (bias - 1.96 SD)",
    "loa_high": "Upper limit of agreement (bias + 1.96 SD)",
    "auc_ceiling": "Highest AUC",
}


#: What the page says of the readers of a label.
BLINDED = {True: "yes", False: "no", None: "not stated"}


def build(results: Results) -> Section:
    """Section with endpoint counts and reader agreement."""
    blocks: list[Block] = []
    if results.endpoints("binary"):
        blocks.append(_binary(results))
    if results.endpoints("survival"):
        blocks.append(_survival(results))
    else:
        blocks.append(Callout("absent", "No survival endpoint", caption("survival_none")))
    blocks += _agreement(results)
    return Section("endpoints", "Endpoints", blocks)


def _column(table: pd.DataFrame, name: str, cohort: str) -> pd.Series:
    if name not in table.columns:
        raise TableError(
            f"column '{name}' is missing", where=f"enrol/{cohort}/subjects.tsv", found=", ".join(table.columns)
        )
    return pd.to_numeric(table[name])


def blinding(results: Results) -> dict[str, bool | None]:
    """Whether the readers of each label were blinded to the predictors; None where the study does not say."""
    endpoints = results.settings["endpoints"]
    return {name: spec.get("readers_blinded") for name, spec in endpoints.items() if is_read(spec)}


def _several(results: Results) -> str:
    """What the captions say where subjects have several sessions."""
    several = any(table["subject"].duplicated().any() for table in results.subjects.values())
    return " " + caption("endpoints_sessions") if several else ""


def _binary(results: Results) -> Table:
    rows = []
    blinded = blinding(results)
    for endpoint in results.endpoints("binary"):
        name = results.label("endpoints", endpoint)
        if endpoint in blinded:
            name += f"; readers blinded to the predictors: {BLINDED[blinded[endpoint]]}"
        rows.append(Row([Cell(name)], heading=True))
        for cohort, table in results.subjects.items():
            values = _column(table, endpoint, cohort).groupby(table["subject"]).max()
            known = values.dropna()
            share = percent(int((known == 1).sum()), len(known))
            empty = int(values.isna().sum())
            rows.append(
                Row(
                    [
                        Cell(results.cohort_name(cohort)),
                        Cell(f"{len(values):,}"),
                        Cell(f"{len(known):,}"),
                        Cell(share, strong=True) if len(known) else Cell(DASH, "no label known"),
                        Cell(f"{empty}"),
                    ]
                )
            )
    return Table(
        "endpoints_binary",
        caption("endpoints_binary") + _several(results),
        ["Cohort", "Enrolled", "Label known", "Positive, n (%)", "Missing"],
        rows,
        ["enrol/*/subjects.tsv"],
    )


def _survival(results: Results) -> Table:
    rows = []
    competing = False
    for endpoint in results.endpoints("survival"):
        rows.append(Row([Cell(results.label("endpoints", endpoint))], heading=True))
        for cohort, table in results.subjects.items():
            time, event = (
                _column(table, f"{endpoint}_{part}", cohort).groupby(table["subject"]).first()
                for part in ("time_days", "event")
            )
            known = time.notna() & event.notna()
            competing |= bool((event == 2).any())
            cells = [Cell(results.cohort_name(cohort)), Cell(f"{int(known.sum()):,}")]
            if known.any():
                n = int(known.sum())
                cells += [Cell(percent(int((event[known] == 1).sum()), n), strong=True)]
                cells += [Cell(percent(int((event[known] == 2).sum()), n))]
                cells += [Cell(f"{time[known].median():.0f} ({time[known].min():.0f} to {time[known].max():.0f})")]
            else:
                cells += [Cell(DASH, "no follow-up known")] * 3
            rows.append(Row([*cells, Cell(f"{int((~known).sum())}")]))
    columns = [
        "Cohort",
        "Follow-up known",
        "Events, n (%)",
        "Competing, n (%)",
        "Observed days, median (range)",
        "Missing",
    ]
    if not competing:
        rows = [r if r.heading else Row([*r.cells[:3], *r.cells[4:]]) for r in rows]
        columns.remove("Competing, n (%)")
    words = caption("endpoints_survival") + _several(results)
    return Table("endpoints_survival", words, columns, rows, ["enrol/*/subjects.tsv"])


def _agreement(results: Results) -> list[Block]:
    """Agreement of all readers and of pairs, and apart from it the ceilings; a column for each cohort."""
    names = {c: f"enrol/{c}/agreement.tsv" for c in results.cohorts}
    tables = {c: t for c, name in names.items() if (t := results.table(name, "metrics")) is not None and len(t)}
    if not tables:
        return [Callout("absent", "No reader agreement", caption("agreement_none"))]
    table = pd.concat([t.assign(cohort=c) for c, t in tables.items()], ignore_index=True)
    order = {metric: rank for rank, metric in enumerate(AGREEMENT_WORDS)}
    table["_order"] = table["metric"].map(order).fillna(len(order))
    table["_all"] = ~table["group"].str.startswith("all")
    table = table.sort_values(["endpoint", "_all", "_order", "group"], kind="stable")
    ceiling = table["metric"] == "auc_ceiling"
    sources = [names[c] for c in tables]
    blocks: list[Block] = []
    for name, part, folded in (("agreement", table[~ceiling], False), ("ceiling", table[ceiling], True)):
        if len(part):
            columns = ["Measure", "Readers", *(results.cohort_name(c) for c in tables)]
            rows = _agreement_rows(results, part, list(tables))
            blocks.append(Table(name, caption(name), columns, rows, sources, text_columns=("Readers",), folded=folded))
    return blocks


def _agreement_rows(results: Results, table: pd.DataFrame, cohorts: list[str]) -> list[Row]:
    rows = []
    for (endpoint,), rest in groups(table, ["endpoint"]):
        rows.append(Row([Cell(results.label("endpoints", endpoint))], heading=True))
        for (metric, group), part in groups(rest, ["metric", "group"]):
            found = {record["cohort"]: record for record in records(part)}
            word = AGREEMENT_WORDS.get(metric, metric)
            cells = [estimate(found.get(c), absent="not measured in this cohort") for c in cohorts]
            rows.append(Row([Cell(word), Cell(group), *cells]))
    return rows
