"""Fusions that learn weights: what a reader must know of their scores in development."""

from __future__ import annotations

from hccflow.report.results import Results
from hccflow.report.words import caption


def stacked(results: Results) -> list[str]:
    """Fusions whose learner is not the mean."""
    models = results.settings["models"].items()
    return [name for name, spec in models if spec["kind"] == "fusion" and spec["learner"] != "mean"]


def caution(results: Results, cohort: str, *models: str) -> str:
    """Footnote of numbers of a cohort that rest on a stacked fusion's out-of-fold scores; else empty."""
    out_of_fold = cohort in results.development or results.subset_of(cohort)
    return caption("stacked") if out_of_fold and set(models) & set(stacked(results)) else ""
