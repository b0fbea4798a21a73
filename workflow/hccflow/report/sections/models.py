"""What predicts, from what, chosen how, fitted on whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hccflow.metrics.samplesize import USUAL_SHARE, development_size, max_r2
from hccflow.report.page import DASH, Block, Cell, Row, Section, Table
from hccflow.report.results import Results
from hccflow.report.sections.odds import odds_blocks
from hccflow.report.words import caption, number, plural

LEARNERS = {
    "logistic": "logistic regression",
    "lasso": "LASSO",
    "ridge": "ridge regression",
    "firth": "Firth logistic regression",
    "mean": "mean of the standardised inputs",
    "xgboost": "XGBoost",
    "forest": "random forest",
}
RULES = {"youden": "largest Youden index", "prevalence": "training prevalence"}
FIT_COLUMNS = ("step", "repeat", "fold", "n", "subjects_digest")


def build(results: Results) -> Section:
    """Section with one row per model."""
    rows = []
    several = len({spec["endpoint"] for spec in results.settings["models"].values()}) > 1
    for model in results.models:
        spec = results.settings["models"][model]
        fits = results.table(f"train/{model}/fits.tsv")
        selection = results.table(f"train/{model}/selection.tsv")
        name = results.label("models", model)
        if several:
            name += f", for {results.label('endpoints', spec['endpoint'])}"
        freeze = results.document(f"train/{model}/freeze.json")
        rows.append(
            Row(
                [
                    Cell(name, strong=True),
                    Cell(_predictors(results, spec)),
                    Cell(_selection_words(spec.get("select") or {})),
                    Cell(_learner(spec)),
                    _threshold(freeze),
                    _count(fits),
                    _training(freeze),
                    _needed(spec, freeze, selection),
                    _kept(selection),
                ]
            )
        )
    columns = [
        "Model",
        "Predictors",
        "Selection",
        "Learner and tuning",
        "Operating point",
        "Fits",
        "Trained on, n / events",
        "Needed, n",
        "Predictors kept",
    ]
    table = Table(
        "models",
        caption("models", share=f"{USUAL_SHARE:.0%}", folds=results.settings.get("split", {}).get("folds", DASH)),
        columns,
        rows,
        ["train/*/fits.tsv", "train/*/selection.tsv", "train/*/freeze.json"],
        text_columns=("Predictors", "Selection", "Learner and tuning", "Operating point"),
    )
    blocks: list[Block] = [table, *odds_blocks(results)]
    return Section("models", "Models", blocks)


def _predictors(results: Results, spec: Mapping[str, Any]) -> str:
    if spec["kind"] == "choice":
        return f"those of the models of the sweep {spec['choose']['among']}"
    if spec["kind"] == "fusion":
        return "out-of-fold scores of " + ", ".join(results.label("models", name) for name in spec["inputs"])
    if spec["kind"] == "network":
        return f"image crop {spec['network']['crop']}"
    parts = []
    for name in spec.get("columns", ()):
        transform = (spec.get("transforms") or {}).get(name)
        label = results.settings["columns"][name].get("label") or name
        parts.append(f"{label} ({transform})" if transform else label)
    if spec.get("roi"):
        patterns = [p for p in spec.get("features", ["*"]) if p != "*"]
        parts.append(f"features of ROI {spec['roi']}" + (f" matching {', '.join(patterns)}" if patterns else ""))
    return ", ".join(parts)


def _selection_words(select: Mapping[str, Any]) -> str:
    words = []
    if "stable" in select:
        words.append(f"ICC of at least {select['stable']['icc']:g} with {', '.join(select['stable']['rois'])}")
    if "variance" in select:
        words.append(f"SD above {select['variance']:g}" if select["variance"] else "not constant")
    if "correlation" in select:
        words.append(f"|Spearman| up to {select['correlation']:g}")
    if select.get("lasso"):
        words.append("LASSO")
    if "max_features" in select:
        words.append(f"at most {select['max_features']}")
    return ", then ".join(words) if words else "none"


def _learner(spec: Mapping[str, Any]) -> str:
    if spec["kind"] == "network":
        return f"network {spec['network']['architecture']}, {plural(spec['network']['seeds'], 'seed')} averaged"
    if spec["kind"] == "choice":
        return f"the best by {spec['choose']['by'].replace('_', '-')}, chosen inside the folds"
    name = LEARNERS[spec["learner"]]
    grid = spec.get("grid") or {}
    if not grid:
        return name
    return f"{name}; tuned: " + ", ".join(f"{k} in {{{', '.join(map(str, v))}}}" for k, v in sorted(grid.items()))


def _threshold(freeze: Mapping[str, Any] | None) -> Cell:
    if freeze is None:
        return Cell(DASH, "no freeze.json in this run")
    cut = freeze["threshold"]
    if cut["value"] is None:
        return Cell(DASH, cut["reason"])
    return Cell(f"{number(float(cut['value']), 3)} ({RULES.get(cut['rule'], cut['rule'])})")


def _count(fits: pd.DataFrame | None) -> Cell:
    return Cell(f"{len(fits):,}") if fits is not None else Cell(DASH, "no fits.tsv in this run")


def _training(freeze: Mapping[str, Any] | None) -> Cell:
    if freeze is None:
        return Cell(DASH, "no freeze.json in this run")
    return Cell(f"{freeze['training']['n']} / {freeze['training']['n_events']}")


def _needed(spec: Mapping[str, Any], freeze: Mapping[str, Any] | None, selection: pd.DataFrame | None) -> Cell:
    """Smallest development study by Riley's criteria for as many candidate predictors."""
    if spec["kind"] != "tabular":
        return Cell(DASH, "only the candidate predictors of a table can be counted")
    if freeze is None or selection is None:
        return Cell(DASH, "no freeze.json or selection.tsv in this run")
    prevalence = freeze["training"]["n_events"] / freeze["training"]["n"]
    return Cell(f"{development_size(USUAL_SHARE * max_r2(prevalence), len(selection), prevalence).n:,}")


def _kept(selection: pd.DataFrame | None) -> Cell:
    if selection is None:
        return Cell(DASH, "no selection.tsv in this run")
    return Cell(f"{int(selection['in_final_model'].sum())} of {len(selection)}")
