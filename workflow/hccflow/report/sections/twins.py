"""Models that are equal but for one thing: what does this thing change?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hccflow.report.page import Cell, Row, Table
from hccflow.report.results import Results
from hccflow.report.sections.headline import level
from hccflow.report.sections.stacking import caution
from hccflow.report.words import caption, count_cell, estimate, p_cell

Spec = Mapping[str, Any]


def twins(results: Results, key: Callable[[Spec], Any], side: Callable[[Spec], str]) -> list[tuple[str, str]]:
    """Pairs of models, one from each side, that are equal in everything else.

    Parameters
    ----------
    key : callable
        What must be equal of two entries of the configuration; None keeps a model out.
    side : callable
        ``first``, ``second``, or anything else for neither.
    """
    specs = results.settings["models"]
    sides = {name: side(spec) for name, spec in specs.items()}
    keys = {name: key(spec) for name, spec in specs.items()}
    return [
        (one, two)
        for one in specs
        for two in specs
        if sides[one] == "first" and sides[two] == "second" and keys[one] is not None and keys[one] == keys[two]
    ]


def comparison(results: Results, name: str, pairs: Sequence[tuple[str, str]], first: str, second: str) -> Table:
    """AUC of both models of each pair in every cohort, and the paired difference that validate found.

    Parameters
    ----------
    name : str
        Name of the table and of its caption.
    first, second : str
        What the two sides are called in the header.
    """
    rows = []
    for one, two in pairs:
        endpoint = results.settings["models"][one]["endpoint"]
        labels = " against ".join(results.label("models", model) for model in (one, two))
        rows.append(Row([Cell(f"{labels}: {results.label('endpoints', endpoint)}")], heading=True))
        for cohort in results.cohorts:
            where = {"cohort": cohort, "endpoint": endpoint}
            gap = results.judged("auc_difference", model=one, comparator=two, **where)
            values = [estimate(results.judged("auc", model=model, **where)) for model in (one, two)]
            name_cell = Cell(
                f"{results.cohort_name(cohort)} ({results.role_word(cohort)})", caution(results, cohort, one, two)
            )
            rows.append(Row([name_cell, count_cell(gap), *values, estimate(gap), p_cell(gap)]))
    columns = ["Cohort", "n / events", first, second, f"{first} minus {second}", "p"]
    return Table(name, caption(name, level=level(results)), columns, rows, ["validate/*/metrics.tsv"])
