"""Who was studied: the baseline table by cohort, with standardised differences against development."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from hccflow.metrics.shift import standardised_difference
from hccflow.report.page import DASH, Block, Callout, Cell, Row, Section, Table
from hccflow.report.results import Results
from hccflow.report.words import caption, estimate, number, percent, plural

#: Skewness in the development cohorts beyond which a number is told by median and quartiles.
SKEWED = 1.0


def build(results: Results) -> Section:
    """Section with the baseline table."""
    columns = {n: s for n, s in results.settings["columns"].items() if s["available_at"] != "outcome"}
    people = {c: t.drop_duplicates("subject") for c, t in results.subjects.items()}
    columns = {n: s for n, s in columns.items() if all(n in t.columns for t in people.values())}
    if not columns:
        return Section("baseline", "Baseline", [Callout("absent", "No baseline columns", caption("baseline_none"))])
    reference = pd.concat([people[c] for c in results.development], ignore_index=True)
    others = [c for c in results.cohorts if c not in results.development]
    rows = [
        Row(
            [
                Cell("Subjects, n"),
                *(Cell(f"{len(t):,}", strong=True) for t in people.values()),
                *(Cell("") for _ in others),
            ]
        )
    ]
    sites = {
        "kind": "category",
        "levels": sorted(set().union(*(set(t["site"]) for t in people.values()))),
        "label": "Site",
    }
    for name, spec in {"site": sites, **columns}.items():
        label = "Site" if name == "site" else results.label("columns", name)
        values = {c: t[name] for c, t in people.items()}
        differences = [Cell("")] * len(others)
        if name != "site":
            differences = [smd_cell(values[c], reference[name], spec) for c in others]
        make = _number_rows if spec["kind"] == "number" else _category_rows
        rows += make(label, spec, values, reference[name], differences)
    words = caption("baseline", cohorts=plural(len(people), "cohort"))
    if others:
        names = ", ".join(results.cohort_name(c) for c in results.development)
        words += " " + caption("baseline_smd", development=names)
    table = Table(
        "baseline",
        words,
        ["", *(results.cohort_name(c) for c in people), *(f"SMD {results.cohort_name(c)}" for c in others)],
        rows,
        ["enrol/*/subjects.tsv"],
    )
    blocks: list[Block] = [table]
    return Section("baseline", "Baseline", blocks)


def _number_rows(
    label: str, spec: Mapping[str, Any], values: Mapping[str, pd.Series], reference: pd.Series, smd: list[Cell]
) -> list[Row]:
    known = {c: pd.to_numeric(v).dropna() for c, v in values.items()}
    base = pd.to_numeric(reference).dropna()
    skewed = len(base) > 2 and abs(skewness(base.to_numpy(float))) > SKEWED
    summary = "median [quartiles]" if skewed else "mean (SD)"
    digits = 0 if skewed and (base % 1 == 0).all() else decimals(base)
    cells = [
        Cell(_spread(v, skewed=skewed, digits=digits)) if len(v) else Cell(DASH, "no value known")
        for v in known.values()
    ]
    return [Row([Cell(f"{label}; {summary}"), *cells, *smd]), *_missing_row(values, len(smd))]


def _spread(values: pd.Series, *, skewed: bool, digits: int) -> str:
    if skewed:
        q1, median, q3 = (number(float(q), digits) for q in values.quantile([0.25, 0.5, 0.75]))
        return f"{median} [{q1}, {q3}]"
    sd = number(float(values.std(ddof=1)), digits) if len(values) > 1 else DASH
    return f"{number(float(values.mean()), digits)} ({sd})"


def skewness(values: np.ndarray) -> float:
    """Moment coefficient of skewness; 0 without spread."""
    deviation = values - values.mean()
    spread = float((deviation**2).mean())
    return float((deviation**3).mean()) / spread**1.5 if spread > 0 else 0.0


def decimals(values: pd.Series) -> int:
    """Decimals that suit a variable: none above a typical size of 100, two below 1."""
    size = float(values.abs().median()) if len(values) else 0.0
    return 0 if size >= 100 else 1 if size >= 1 else 2


def _category_rows(
    label: str, spec: Mapping[str, Any], values: Mapping[str, pd.Series], reference: pd.Series, smd: list[Cell]
) -> list[Row]:
    known = {c: as_levels(v, spec)[lambda s: s != ""] for c, v in values.items()}
    if spec["kind"] == "binary":
        cells = [
            Cell(percent(int((v == "1").sum()), len(v))) if len(v) else Cell(DASH, "no value known")
            for v in known.values()
        ]
        return [Row([Cell(f"{label}, n (%)"), *cells, *smd]), *_missing_row(values, len(smd))]
    rows = [Row([Cell(f"{label}, n (%)"), *(Cell("") for _ in known), *smd])]
    for level in spec["levels"]:
        cells = [Cell(percent(int((v == str(level)).sum()), len(v))) for v in known.values()]
        rows.append(Row([Cell(str(level)), *cells, *(Cell("") for _ in smd)], indent=True))
    return rows + _missing_row(values, len(smd))


def _missing_row(values: Mapping[str, pd.Series], n_smd: int) -> list[Row]:
    empty = {c: int((v.isna() | (v.astype(str) == "")).sum()) for c, v in values.items()}
    if not any(empty.values()):
        return []
    cells = [Cell(percent(empty[c], len(v))) for c, v in values.items()]
    return [Row([Cell("missing, n (%)"), *cells, *(Cell("") for _ in range(n_smd))], indent=True)]


def as_levels(values: pd.Series, spec: Mapping[str, Any]) -> pd.Series:
    """Values of a category or binary column as text, empty where missing; level 1 may have been read as 1.0."""
    known = {str(level): str(level) for level in spec.get("levels", (0, 1))}
    known |= {str(float(k)): k for k in list(known) if k.replace(".", "", 1).isdigit()}
    return values.map(lambda v: "" if pd.isna(v) else known.get(str(v), str(v)))


def smd_cell(values: pd.Series, reference: pd.Series, spec: Mapping[str, Any]) -> Cell:
    """Cell of the standardised difference of a cohort against development, or a dash with the reason."""
    category = spec["kind"] != "number"
    known = [as_levels(v, spec)[lambda s: s != ""] if category else pd.to_numeric(v) for v in (values, reference)]
    return estimate(asdict(standardised_difference(known[0], known[1], category=category)))
