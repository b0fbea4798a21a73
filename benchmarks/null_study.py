"""Null study: outcomes permuted, the whole chain run again and again; every score must be at chance.

    python benchmarks/null_study.py --permutations 200 --jobs 2
    python benchmarks/null_study.py --permutations 20 --config config.yaml --subjects S.tsv --features F.tsv \
        --external-subjects ES.tsv --external-features EF.tsv

Without tables it uses a synthetic study with a true signal (60 development and 60 external subjects, 40 features),
whose unpermuted result is printed beside. Each permutation goes through the stratified split, nested cross-validation
with selection and tuning, the final fit, the threshold and the scoring of the external cohort by the final model.

Measures
--------
within-fold  mean over folds of the AUC among the rows of one fold (repeats averaged). The verdict on development data.
external     AUC of the final model in the external cohort, whose labels are permuted too. The verdict on external data.
pooled       AUC of all out-of-fold scores together; shown, not judged. Scores of different folds come from different
             models: a fold with more positives is judged by a model that has seen fewer, so that under the null the
             pooled AUC lies below 0.5 (the more, the more often a fold falls back to its prevalence). That is a
             property of pooling and no leakage; a mean below 0.5 would also hide a leak of the same size.
balanced     (sensitivity + specificity) / 2 at the frozen threshold in the external cohort. Judged.

Criterion: |mean - 0.5| <= 3 Monte Carlo standard errors, with Holm's correction over all judged measures of all models
(two-sided p at least 0.0027 after correction). The control, whose features are selected with all labels before the
split, must break it: a null study that cannot see a leak proves nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy.stats import norm, rankdata
from statsmodels.stats.multitest import multipletests
from threadpoolctl import threadpool_limits

from hccflow.enrol.split import make_split
from hccflow.models.encoding import KEYS
from hccflow.participants import read_subjects
from hccflow.study import check_config
from hccflow.tables import read_table, write_table
from hccflow.train.training import train

LIMIT = 3.0
ALPHA = float(2 * norm.sf(LIMIT))
JUDGED = ("within-fold", "external", "balanced")
CONTROL = "control"


@dataclass(frozen=True)
class Tables:
    """Tables of a study: development and, if there is one, an external cohort."""

    settings: Mapping[str, Any]
    subjects: pd.DataFrame
    features: pd.DataFrame | None
    external: pd.DataFrame | None
    external_features: pd.DataFrame | None


def auc(y: np.ndarray, score: np.ndarray) -> float:
    """Mann-Whitney AUC; NaN for a single class."""
    n1, n0 = int((y == 1).sum()), int((y == 0).sum())
    if not n1 or not n0:
        return float("nan")
    return float((rankdata(score)[y == 1].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def synthetic(n: int = 60, p: int = 40, seed: int = 1, quick: bool = False) -> Tables:
    """Study with a true signal in one latent factor of the features and in age; some values are missing."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(8, p))

    def cohort(name: str, role: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        z = rng.normal(size=(n, 8))
        x = z @ mixing + rng.normal(size=(n, p))
        age = rng.normal(62, 9, n)
        y = (rng.random(n) < 1 / (1 + np.exp(-2.5 * z[:, 0] - 0.15 * (age - 62)))).astype(float)
        subject = [f"{name.upper()}{i:03d}" for i in range(n)]
        keys = {"cohort": name, "subject": subject, "session": ""}
        subjects = pd.DataFrame({
            **keys, "site": rng.choice(["A", "B"], n), "batch": "01", "role": role, "response": y, "age": age,
            "stage": rng.choice(["A", "B"], n), "afp": np.where(rng.random(n) < 0.15, np.nan, rng.exponential(99, n)),
        })  # fmt: skip
        return subjects, pd.DataFrame({**keys, **{f"art__f{j:02d}": x[:, j] for j in range(p)}})

    number = {"kind": "number", "available_at": "baseline"}
    base: dict[str, Any] = {"kind": "tabular", "endpoint": "response", "columns": []}
    clinical = {**base, "columns": ["age", "stage", "afp"], "transforms": {"afp": "log1p"}, "learner": "logistic"}
    radiomics = {**base, "roi": "m", "learner": "xgboost"}
    select = {"correlation": 0.9, "lasso": True, "max_features": 10}
    grid = {} if quick else {"max_depth": [1, 2], "n_estimators": [25, 75]}
    fixed = {"n_estimators": 25} if quick else {"subsample": 0.8}
    settings = {
        "study": "null", "seed": 1, "survive": {"cut": "median"},
        "columns": {"age": number, "afp": number, "stage": {**number, "kind": "category", "levels": ["A", "B"]}},
        "endpoints": {"response": {"kind": "binary", "landmark_days": 0}},
        "split": {"folds": 5, "repeats": 1, "test_fraction": 0, "stratify": ["response", "site"]},
        "models": {
            "clinical": clinical,
            "radiomics": {**radiomics, "select": select, "grid": grid, "parameters": fixed},
            "lasso": {**base, "columns": ["age"], "roi": "m", "learner": "lasso"},
        },
    }  # fmt: skip
    (subjects, features), (external, external_features) = cohort("dev", "development"), cohort("ext", "external")
    return Tables(settings, subjects, features, external, external_features)


def permuted(rows: pd.DataFrame, endpoints: Sequence[str], rng: np.random.Generator) -> pd.DataFrame:
    """Exchange the binary endpoints among the subjects, all endpoints of a subject together."""
    first = rows.drop_duplicates("subject").set_index("subject")[list(endpoints)]
    shuffled = first.iloc[rng.permutation(len(first))].set_axis(first.index)
    return rows.assign(**{name: rows["subject"].map(shuffled[name]) for name in endpoints})


def with_control(tables: Tables) -> Tables:
    """Add the control: a copy of the first model with features, given only those that go best with all labels."""
    if tables.features is None:
        return tables
    models = tables.settings["models"]
    source = next(spec for spec in models.values() if "roi" in spec)
    leak = {
        **source,
        "columns": [],
        "transforms": {},
        "select": {},
        "learner": "ridge",
        "grid": {},
        "parameters": {"C": 0.1},
    }
    return replace(tables, settings={**tables.settings, "models": {**models, CONTROL: leak}})


def selected_with_all_labels(tables: Tables, endpoint: str, keep: int = 5) -> pd.DataFrame:
    """The leak: the features that go best with the label over all development rows, judged ones included."""
    assert tables.features is not None
    joined = tables.features.merge(tables.subjects[[*KEYS, endpoint]], on=KEYS).dropna(subset=endpoint)
    names = [name for name in tables.features if name not in KEYS]
    strength = joined[names].rank().corrwith(joined[endpoint]).abs().sort_values(ascending=False, kind="stable")
    return tables.features[[*KEYS, *strength.index[:keep]]]


def run_once(number: int | None, tables: Tables) -> list[dict[str, Any]]:
    """One permutation (None: as it is) through the chain; one row per model."""
    logging.disable(logging.WARNING)
    threadpool_limits(1)  # cores are used by processes
    settings = tables.settings
    endpoints = [name for name, spec in settings["endpoints"].items() if spec["kind"] == "binary"]
    if number is not None:
        rng = np.random.default_rng([settings["seed"], number])
        external = None if tables.external is None else permuted(tables.external, endpoints, rng)
        tables = replace(tables, subjects=permuted(tables.subjects, endpoints, rng), external=external)
    split = make_split([tables.subjects], settings)
    rows = []
    for name, spec in settings["models"].items():
        endpoint = spec["endpoint"]
        features = tables.features if "roi" in spec else None
        if name == CONTROL:
            features = selected_with_all_labels(tables, endpoint)
        result = train(name, settings, tables.subjects, split, features)
        scores = result.predictions.dropna(subset=["y_true", "y_prob"])
        folds = scores.groupby(["repeat", "fold"])
        inside = [auc(part["y_true"].to_numpy(float), part["y_prob"].to_numpy(float)) for _, part in folds]
        mean = scores.groupby("subject")[["y_true", "y_prob"]].mean()
        row = {
            "permutation": number, "model": name, "within-fold": float(np.nanmean(inside)),
            "pooled": auc(mean["y_true"].to_numpy(float), mean["y_prob"].to_numpy(float)),
            "fell back": float(not result.model.selected),
        }  # fmt: skip
        if tables.external is not None:
            y = tables.external[endpoint].to_numpy(float)
            p, _ = result.model.predict(tables.external, tables.external_features if "roi" in spec else None)
            known = np.isfinite(y) & np.isfinite(p)
            row["external"] = auc(y[known], p[known])
            if result.threshold.value is not None:
                called = p[known] >= result.threshold.value
                row["balanced"] = float(called[y[known] == 1].mean() + 1 - called[y[known] == 0].mean()) / 2
        rows.append(row)
    return rows


def study(tables: Tables, permutations: int, jobs: int = 1) -> pd.DataFrame:
    """Run the permutations; one row per permutation and model."""
    work = partial(run_once, tables=with_control(tables))
    if jobs <= 1:
        return pd.DataFrame([row for number in range(permutations) for row in work(number)])
    with ProcessPoolExecutor(jobs) as pool:
        found = []
        for done, rows in enumerate(pool.map(work, range(permutations)), start=1):
            found += rows
            if done % 10 == 0:
                print(f"{done} of {permutations} permutations", file=sys.stderr, flush=True)
        return pd.DataFrame(found)


def verdict(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean, Monte Carlo standard error and Holm-corrected verdict of every measure of every model."""
    rows = []
    for model, part in runs.groupby("model", sort=False):
        for measure in ("within-fold", "external", "balanced", "pooled"):
            values = part[measure].dropna().to_numpy(float) if measure in part else np.empty(0)
            if len(values) < 2:
                continue
            se = values.std(ddof=1) / np.sqrt(len(values))
            z = (values.mean() - 0.5) / se if se > 0 else 0.0
            rows.append((model, measure, len(values), values.mean(), se, z, float(2 * norm.sf(abs(z)))))
    table = pd.DataFrame(rows, columns=["model", "measure", "n", "mean", "se", "z", "p"])
    judged = table["measure"].isin(JUDGED) & (table["model"] != CONTROL)
    table.loc[judged, "p_holm"] = multipletests(table.loc[judged, "p"], method="holm")[1]
    table["verdict"] = np.where(judged, np.where(table["p_holm"] >= ALPHA, "pass", "FAIL"), "shown")
    seen = (table["model"] == CONTROL) & (table["measure"] == "within-fold")
    table.loc[seen, "verdict"] = np.where(table.loc[seen, "z"] > LIMIT, "leak seen", "LEAK NOT SEEN")
    return table


def _from_files(args: argparse.Namespace) -> Tables:
    config = check_config(yaml.safe_load(args.config.read_text(encoding="utf-8")))
    if args.models:
        config["models"] = {name: config["models"][name] for name in args.models}

    def features(paths: Sequence[Path]) -> pd.DataFrame | None:
        return pd.concat([read_table(path) for path in paths], ignore_index=True) if paths else None

    external = read_subjects(args.external_subjects, config["columns"]) if args.external_subjects else None
    return Tables(
        config,
        read_subjects(args.subjects, config["columns"]),
        features(args.features),
        external,
        features(args.external_features),
    )


def main() -> int:
    """Print the table; 0 when every judged measure is at chance and the control's leak is seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--config", type=Path, help="configuration whose models are tested")
    parser.add_argument("--models", nargs="*", help="only these models of the configuration")
    for name in ("--subjects", "--features", "--external-subjects", "--external-features"):
        parser.add_argument(
            name, type=Path, nargs="*", default=[], help=f"tables for the study of --config ({name[2:]})"
        )
    parser.add_argument("--out", type=Path, help="write the table there as TSV, and NAME.runs.tsv beside it")
    args = parser.parse_args()
    tables = _from_files(args) if args.config else synthetic()
    true = pd.DataFrame(run_once(None, tables))
    runs = study(tables, args.permutations, args.jobs)
    table = verdict(runs)
    print("Labels as they are:", json.dumps({r["model"]: round(r["within-fold"], 3) for r in true.to_dict("records")}))
    print(
        f"{args.permutations} permutations; verdict by within-fold AUC (development) and external; pooled is shown only"
    )
    print(table.to_string(index=False, float_format=lambda v: f"{v:.4f}"))
    fell = runs.groupby("model", sort=False)["fell back"].mean()
    print("Final models that fell back to the prevalence:", json.dumps(fell.round(3).to_dict()))
    if args.out:
        write_table(table, args.out)
        write_table(runs, args.out.with_suffix(".runs.tsv"))
    return int(table["verdict"].isin(["FAIL", "LEAK NOT SEEN"]).any())


if __name__ == "__main__":
    sys.exit(main())
