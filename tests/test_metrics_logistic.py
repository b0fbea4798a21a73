"""Odds ratios: as statsmodels and firthmodels give them, and Firth's where there is no maximum or little to go by."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from firthmodels import FirthLogisticRegression

from hccflow.metrics.collinearity import NOT_OWN
from hccflow.metrics.logistic import needs_firth, odds_ratios, separated


def people(n: int = 160) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(3)
    X = pd.DataFrame({"age": rng.normal(60, 9, n), "afp": rng.exponential(200, n), "C": rng.integers(0, 2, n) * 1.0})
    y = (rng.random(n) < 1 / (1 + np.exp(4.8 - 0.08 * X["age"] - 0.8 * X["C"]))).astype(float)
    return X, y.to_numpy()


def test_maximum_likelihood_is_that_of_statsmodels() -> None:
    X, y = people()
    assert needs_firth(X, y) == ""
    found = odds_ratios(X, y, firth=False, level=0.9)
    theirs = sm.Logit(y, sm.add_constant(X)).fit(disp=0, tol=1e-12)
    limits = np.exp(theirs.conf_int(alpha=0.1))
    for name, one in found.items():
        assert one.value == pytest.approx(np.exp(theirs.params[name]), rel=1e-7)
        assert (one.ci_low, one.ci_high) == pytest.approx(tuple(limits.loc[name]), rel=1e-7)
        assert one.p == pytest.approx(theirs.pvalues[name], abs=1e-8)
        assert (one.ci_method, one.n, one.n_events) == ("Wald", len(y), y.sum())


@pytest.mark.filterwarnings("ignore")
def test_firth_is_that_of_the_library() -> None:
    X, y = people(60)
    found = odds_ratios(X, y, firth=True)
    scale = X.std(ddof=0).to_numpy()
    Z = (X - X.mean()).to_numpy() / scale
    theirs = FirthLogisticRegression(backend="numpy", gtol=1e-9, xtol=1e-9).fit(Z, y.astype(int)).lrt()
    limits = np.exp(theirs.conf_int(method="pl")[:3] / scale[:, None])
    for j, one in enumerate(found.values()):
        assert one.value == pytest.approx(np.exp(theirs.coef_[j] / scale[j]), rel=1e-6)
        assert (one.ci_low, one.ci_high) == pytest.approx(tuple(limits[j]), rel=1e-6)
        assert one.p == pytest.approx(theirs.lrt_pvalues_[j], abs=1e-5)


def test_separation_is_found_by_no_single_column() -> None:
    X, y = people()
    assert not separated(X.to_numpy(), y)
    apart = X.assign(sum=np.where(y == 1, 9.0, -9.0) - X["age"])
    assert separated(apart.to_numpy(), y), "age + sum tells the classes apart, neither does alone"
    assert not separated(apart[["sum"]].to_numpy(), y)
    assert needs_firth(apart, y) == "separation"
    quasi = X.assign(C=np.where(y == 1, X["C"], 0.0))
    assert separated(quasi.to_numpy(), y), "no event is certain where C is 0, every one is where C is 1"
    found = odds_ratios(apart, y, firth=True)
    assert all(one.ci_low < one.value < one.ci_high for one in found.values())
    narrow = X.assign(sum=np.where(y == 1, 1.0, -1.0) - X["age"])
    for one in odds_ratios(narrow, y, firth=True).values():
        assert one.reason or one.ci_low < one.value < one.ci_high, "a profile of several maxima says what it lacks"


def test_little_to_go_by_asks_for_firth() -> None:
    X, y = people()
    few = np.flatnonzero(y == 0)
    rows = np.r_[np.flatnonzero(y == 1), few[:29]]
    assert needs_firth(X.iloc[rows], y[rows]) == "29 non-events for 3 coefficients"
    rare = X.assign(C=(np.arange(len(y)) < 6) * 1.0)
    assert needs_firth(rare, y).startswith("sparse: 6 subjects, ")
    assert needs_firth(X.assign(C=1.0), y) == "", "a constant has no coefficient"
    assert needs_firth(X, np.ones(len(y))) == "", "and one class no model"


def test_what_cannot_be_estimated_says_why_and_the_others_stay() -> None:
    X, y = people()
    found = odds_ratios(X.assign(twice=2 * X["age"] + 1, one=1.0), y, firth=False)
    assert [found[name].reason for name in ("twice", "one")] == [NOT_OWN] * 2
    assert found["age"].value == pytest.approx(odds_ratios(X, y, firth=False)["age"].value)
    assert odds_ratios(X[:0], y[:0], firth=False)["age"].reason
    assert odds_ratios(X, np.zeros(len(y)), firth=False)["age"].value is None
    assert odds_ratios(X[["C"]] * 0, y, firth=True)["C"].reason == NOT_OWN
