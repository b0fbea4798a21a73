"""A small synthetic study of tables for the tests of train and predict."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd

COLUMNS = {
    "age": {"kind": "number", "available_at": "baseline"},
    "stage": {"kind": "category", "levels": ["A", "B", "C"], "available_at": "baseline"},
    "afp": {"kind": "number", "available_at": "baseline"},
    "late": {"kind": "number", "available_at": 30},
}
CLINICAL: dict[str, Any] = {
    "kind": "tabular", "endpoint": "response", "columns": ["age", "stage", "afp"], "transforms": {"afp": "log1p"},
    "learner": "logistic", "select": {}, "grid": {}, "parameters": {}, "threshold": "youden",
}  # fmt: skip
RADIOMICS: dict[str, Any] = {
    "kind": "tabular", "endpoint": "response", "columns": [], "transforms": {}, "roi": "manual", "features": ["*"],
    "select": {"variance": 0, "correlation": 0.95, "lasso": True, "max_features": 5}, "learner": "xgboost",
    "grid": {"max_depth": [1, 2]}, "parameters": {"n_estimators": 20, "subsample": 0.8}, "threshold": "youden",
}  # fmt: skip


def settings(**models: dict[str, Any]) -> dict[str, Any]:
    """Settings of train and predict."""
    return {
        "study": "toy", "seed": 7, "columns": copy.deepcopy(COLUMNS),
        "endpoints": {"response": {"kind": "binary", "landmark_days": 0}},
        "models": copy.deepcopy(models or {"clinical": CLINICAL, "radiomics": RADIOMICS}),
        "survive": {"cut": "median"},
    }  # fmt: skip


def cohort(
    name: str, n: int, seed: int, role: str = "development", features: int = 20, signal: float = 2.0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Subjects and features with a signal in feature 0, age and stage."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features))
    x[:, 1] = x[:, 0] + 0.01 * rng.normal(size=n)
    age, stage = rng.normal(60, 8, n), rng.choice(["A", "B", "C"], n)
    logit = signal * x[:, 0] + 0.1 * (age - 60) + 1.0 * (stage == "C")
    y = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float)
    y[:4] = [0, 1, 0, 1]
    subject = [f"{name.upper()}{i:03d}" for i in range(n)]
    subjects = pd.DataFrame({
        "cohort": name, "subject": subject, "session": "", "site": "S", "batch": "01", "role": role, "response": y,
        "age": age, "stage": stage, "afp": rng.exponential(100, n), "late": rng.normal(size=n),
    })  # fmt: skip
    table = pd.DataFrame(x, columns=[f"art__f{i:02d}" for i in range(features)])
    table.insert(0, "session", "")
    table.insert(0, "subject", subject)
    table.insert(0, "cohort", name)
    return subjects, table


def split(subjects: pd.DataFrame, folds: int = 4, repeats: int = 1, test: int = 0) -> pd.DataFrame:
    """Stratified folds; the last `test` subjects are the internal test set."""
    parts = []
    for repeat in range(repeats):
        rng = np.random.default_rng(repeat)
        order = np.lexsort((rng.random(len(subjects)), subjects["response"].fillna(0)))
        fold = np.empty(len(subjects), dtype=int)
        fold[order] = np.arange(len(subjects)) % folds
        table = subjects[["cohort", "subject"]].assign(role="train", repeat=repeat, fold=pd.array(fold, dtype="Int64"))
        table.iloc[len(table) - test :, 2] = "test"
        table.loc[table["role"] == "test", "fold"] = pd.NA
        parts.append(table)
    return pd.concat(parts).sort_values(["cohort", "subject", "repeat"], ignore_index=True)
