"""Firth's penalty: as a library gives it where that converges, and at the maximum where it does not."""

from __future__ import annotations

import time

import numpy as np
import pytest
from firthmodels import FirthCoxPH, FirthLogisticRegression
from scipy import stats

from hccflow.errors import HccflowError
from hccflow.metrics import firth_cox as module
from hccflow.metrics.cox import RiskSets
from hccflow.metrics.firth import firth_logistic
from hccflow.metrics.firth_cox import firth_cox


def cohort(n: int = 60, p: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(n, p))
    return X, np.ceil(rng.exponential(20 * np.exp(-X[:, 0]))), rng.random(n) < 0.7


@pytest.mark.filterwarnings("ignore")
def test_cox_is_as_the_library_gives_it_and_sums_as_deviations(monkeypatch: pytest.MonkeyPatch) -> None:
    X, when, event = cohort()
    ours = firth_cox(X, when, event, list("abc"))
    theirs = FirthCoxPH(backend="numpy", gtol=1e-8, xtol=1e-8).fit(X, (event, when)).lrt()
    limits = theirs.conf_int(method="pl")
    monkeypatch.setattr(module, "DENSE", 0)
    by_sums = firth_cox(X, when, event, list("abc"))
    for j, name in enumerate("abc"):
        one, other = ours[name], by_sums[name]
        assert one.value == pytest.approx(theirs.coef_[j], abs=1e-6)
        assert (one.ci_low, one.ci_high) == pytest.approx(tuple(limits[j]), abs=1e-4)
        assert one.p == pytest.approx(theirs.lrt_pvalues_[j], abs=1e-6)
        assert (one.value, one.ci_low, one.ci_high, one.p) == pytest.approx(
            (other.value, other.ci_low, other.ci_high, other.p), abs=1e-5
        )


def test_a_score_that_orders_all_events_has_a_finite_maximum_and_limits() -> None:
    rng = np.random.default_rng(0)
    when, age = rng.permutation(np.arange(1.0, 41)), rng.normal(60, 10, 40)
    event = np.ones(40, bool)
    score = 1 - (when + rng.uniform(0, 0.4, 40)) / 60
    begun = time.perf_counter()
    found = firth_cox(np.column_stack([score, age]), when, event, ["score", "age"])
    assert time.perf_counter() - begun < 5
    alone = firth_cox(score[:, None], when, event, ["score"])["score"]
    for one in (*found.values(), alone):
        assert one.reason == ""
        assert one.ci_low < one.value < one.ci_high
    # The maximum of one coefficient by a search that knows nothing of derivatives.
    order = np.argsort(when)
    x = score[order]

    def value(beta: float) -> float:
        total = -np.inf
        information = loglik = 0.0
        for k in range(40):
            left = x[k:]
            weight = np.exp(beta * (left - left.max()))
            weight /= weight.sum()
            mean = weight @ left
            information += weight @ (left - mean) ** 2
            loglik += np.log(weight[0])
        total = loglik + np.log(information) / 2
        return float(total)

    assert value(alone.value) > max(value(alone.value * 0.999), value(alone.value * 1.001))
    fall = stats.chi2.ppf(0.95, 1) / 2
    for limit in (alone.ci_low, alone.ci_high):
        assert value(alone.value) - value(limit) == pytest.approx(fall, abs=1e-4)


def test_only_the_order_of_times_matters() -> None:
    X, when, event = cohort()
    one, other = (firth_cox(X, t, event, list("abc"))["a"] for t in (when, np.sqrt(when) * 1000))
    assert one.value == pytest.approx(other.value, abs=1e-9)


def test_derivative_of_the_information_is_that_of_differences() -> None:
    X, when, event = cohort()
    likelihood = module._Likelihood(X, when, event)
    beta = np.array([0.4, -0.2, 0.1])
    loglik, gradient, information, slope = likelihood._one_by_one(beta)
    same = RiskSets(X, when, event, ties="breslow").evaluate(beta)
    assert (loglik, *gradient, *information.ravel()) == pytest.approx((same[0], *same[1], *same[2].ravel()), abs=1e-9)
    assert slope == pytest.approx(likelihood._by_sums(beta)[3], abs=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_logistic_is_as_the_library_gives_it() -> None:
    X, _, event = cohort()
    theirs = FirthLogisticRegression(backend="numpy", gtol=1e-9, xtol=1e-9).fit(X, event.astype(int))
    assert firth_logistic(X, event) == pytest.approx([theirs.intercept_, *theirs.coef_], abs=1e-7)


@pytest.mark.parametrize("n", [4, 10, 40, 1000])
@pytest.mark.parametrize("tail", [False, True])
def test_logistic_reaches_its_maximum_where_classes_are_separated(n: int, tail: bool) -> None:
    rng = np.random.default_rng(n)
    x = rng.normal(size=n)
    y = (x > np.median(x)).astype(int)
    x = np.exp(3 * x) if tail else x
    x = (x - x.mean()) / x.std()
    beta = firth_logistic(x[:, None], y)
    design = np.column_stack([np.ones(n), x])

    def value(b: np.ndarray) -> float:
        eta = design @ b
        weight = np.exp(-np.abs(eta)) / (1 + np.exp(-np.abs(eta))) ** 2
        return (
            -np.logaddexp(0, np.where(y == 1, -eta, eta)).sum() + np.linalg.slogdet((design.T * weight) @ design)[1] / 2
        )

    assert np.isfinite(beta).all()
    for step in (1e-3, -1e-3):
        for j in range(2):
            moved = beta.copy()
            moved[j] *= 1 + step
            assert value(beta) > value(moved)


def test_logistic_refuses_a_constant() -> None:
    with pytest.raises(HccflowError, match="no maximum that can be computed"):
        firth_logistic(np.ones((10, 1)), np.arange(10) % 2)
