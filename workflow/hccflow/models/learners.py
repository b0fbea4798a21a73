"""Learners: fitted on a fold, kept as numbers or as XGBoost's own JSON, never as code."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from hccflow.errors import FitError, HccflowError
from hccflow.metrics.firth import firth_logistic
from hccflow.models.fold import Fold
from hccflow.models.lasso import fit_lasso

#: `logistic` is maximum likelihood with a weak ridge (prior SD of 3.2 log-odds per SD), felt under separation only.
WEAK_RIDGE = 10.0
#: Smallest slope of `mean`, in log-odds per SD: it may flatten the inputs, never turn them round.
LEAST_SLOPE = 0.01
#: What is tuned where neither `grid` nor `parameters` says anything.
DEFAULT_GRID: Mapping[str, Mapping[str, list[Any]]] = {"ridge": {"C": [0.001, 0.01, 0.1, 1.0, 10.0]}}
#: Parameters of the tree learners where the configuration says nothing; names as in XGBoost.
TREES: Mapping[str, Mapping[str, Any]] = {
    "xgboost": {"n_estimators": 100, "max_depth": 2, "learning_rate": 0.1},
    # One round of many trees, each on its own draw of rows and, at each split, of columns.
    "forest": {"n_estimators": 300, "max_depth": 6, "learning_rate": 1.0, "subsample": 0.8, "colsample_bynode": 0.5},
}


class Learner(Protocol):
    """A fitted learner."""

    @property
    def detail(self) -> str:
        """What came out, in a few words."""

    def predict(self, x: pd.DataFrame) -> np.ndarray:
        """Probability of the event, shape (n,)."""

    def to_json(self) -> dict[str, Any]:
        """JSON form, small parts only."""


@dataclass(frozen=True)
class Prevalence:
    """The share of events in the training rows: what is left when nothing was selected."""

    probability: float
    detail: str = "prevalence only: no predictor was selected"

    def predict(self, x: pd.DataFrame) -> np.ndarray:
        """Return the same probability for every row."""
        return np.full(len(x), self.probability)

    def to_json(self) -> dict[str, Any]:
        """JSON form."""
        return {"learner": "prevalence", "probability": self.probability}


@dataclass(frozen=True)
class Linear:
    """A linear predictor with the logistic link, on standardised columns."""

    learner: str
    intercept: float
    coef: pd.Series
    detail: str

    def predict(self, x: pd.DataFrame) -> np.ndarray:
        """Probability of the event."""
        return expit(self.intercept + x[self.coef.index].to_numpy(float) @ self.coef.to_numpy(float))

    def to_json(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "learner": self.learner, "intercept": self.intercept, "coef": self.coef.to_dict(), "detail": self.detail,
        }  # fmt: skip


@dataclass(frozen=True)
class Trees:
    """An XGBoost model; `booster` is XGBoost's own JSON."""

    learner: str
    names: tuple[str, ...]
    booster: str
    detail: str

    def predict(self, x: pd.DataFrame) -> np.ndarray:
        """Probability of the event."""
        import xgboost

        model = xgboost.Booster({"nthread": 1})
        model.load_model(bytearray(self.booster.encode()))
        return model.predict(xgboost.DMatrix(x[list(self.names)].to_numpy(float), nthread=1)).astype(float)

    def to_json(self) -> dict[str, Any]:
        """JSON form, without the booster, which has its own file."""
        return {"learner": self.learner, "names": list(self.names), "detail": self.detail}


def fit_learner(fold: Fold, learner: str, parameters: Mapping[str, Any]) -> Learner:
    """Fit a learner on the prepared rows of a fold.

    Parameters
    ----------
    fold : Fold
        Standardised columns; none when nothing was selected.
    learner : str
        A key of `hccflow.models.parameters.PARAMETERS`.
    parameters : mapping
        One value for each parameter that is not left at its default.

    Raises
    ------
    FitError
        The learner does not converge.
    """
    if fold.x.shape[1] == 0:
        return Prevalence(float(fold.y.mean()))
    if learner == "lasso":
        fitted = fit_lasso(fold, parameters.get("penalty"))
        return Linear(learner, fitted.intercept, fitted.coef, fitted.detail)
    if learner == "firth":
        return _fit_firth(fold)
    if learner in TREES:
        return _fit_trees(fold, learner, parameters)
    if learner == "mean":
        return _fit_mean(fold)
    return _fit_ridge(fold, learner, parameters.get("C", WEAK_RIDGE))


def learner_from_json(data: Mapping[str, Any], booster: str | None) -> Learner:
    """Read a learner back; `booster` is the text of XGBoost's file where there is one."""
    if data["learner"] == "prevalence":
        return Prevalence(float(data["probability"]))
    if booster is not None:
        return Trees(data["learner"], tuple(data["names"]), booster, data["detail"])
    coef = pd.Series(data["coef"], dtype=float)
    return Linear(data["learner"], float(data["intercept"]), coef, data["detail"])


def _fit_ridge(fold: Fold, learner: str, c: float) -> Linear:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-8, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(fold.x.to_numpy(float), fold.y)
        except ConvergenceWarning as error:
            raise FitError("logistic regression does not converge", where=fold.where, found=error) from error
    coef = pd.Series(model.coef_[0], index=fold.x.columns)
    return Linear(learner, float(model.intercept_[0]), coef, f"C = {c:g}")


def _fit_mean(fold: Fold) -> Linear:
    """Equal positive weights, and a common slope: the order of the scores learns nothing from the labels."""
    mean = replace(fold, x=pd.DataFrame({"mean": fold.x.mean(axis=1)}))
    fitted = _fit_ridge(mean, "mean", WEAK_RIDGE)
    slope, intercept = float(fitted.coef.iloc[0]), fitted.intercept
    if slope < LEAST_SLOPE:
        slope, intercept = LEAST_SLOPE, float(logit(fold.y.mean()))
    coef = pd.Series(slope / fold.x.shape[1], index=fold.x.columns)
    return Linear("mean", intercept, coef, f"slope {slope:.3g}")


def _fit_firth(fold: Fold) -> Linear:
    try:
        intercept, *coef = firth_logistic(fold.x.to_numpy(float), np.asarray(fold.y))
    except HccflowError as error:
        raise FitError(
            "Firth regression has no maximum", where=fold.where, found=error, todo="use fewer predictors, or ridge"
        ) from error
    return Linear("firth", float(intercept), pd.Series(coef, index=fold.x.columns), "Jeffreys prior")


def _fit_trees(fold: Fold, learner: str, parameters: Mapping[str, Any]) -> Trees:
    import xgboost

    chosen = {**TREES[learner], **parameters}
    count = int(chosen.pop("n_estimators"))
    forest = learner == "forest"
    options = {
        **chosen, "objective": "binary:logistic", "tree_method": "hist", "nthread": 1, "verbosity": 0,
        "seed": fold.seed, "num_parallel_tree": count if forest else 1,
    }  # fmt: skip
    data = xgboost.DMatrix(fold.x.to_numpy(float), label=fold.y, nthread=1)
    model = xgboost.train(options, data, num_boost_round=1 if forest else count)
    said = ", ".join(f"{name} = {value:g}" for name, value in sorted({**chosen, "n_estimators": count}.items()))
    return Trees(learner, tuple(fold.x.columns), model.save_raw("json").decode(), said)


def booster_json(text: str) -> str:
    """Check that a booster is JSON, and nothing else, before XGBoost reads it."""
    json.loads(text)
    return text
