"""Survival statistics: against R, lifelines and statsmodels, against brute force, and by their invariances."""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from hccflow.errors import HccflowError
from hccflow.metrics.brier_t import auc_t, auc_t_difference, brier_t, calibration_t, integrated_brier
from hccflow.metrics.competing import cumulative_incidence, gray_test
from hccflow.metrics.concordance import (
    Concordance,
    concordance_difference,
    concordance_difference_within,
    concordance_within,
)
from hccflow.metrics.cox import MONOTONE, RiskSets, fit_cox
from hccflow.metrics.cut import maxstat_cut, median_cut
from hccflow.metrics.finegray import fit_fine_gray
from hccflow.metrics.firth_cox import firth_cox
from hccflow.metrics.km import kaplan_meier, median_follow_up, restricted_mean_difference, snap_times
from hccflow.metrics.logrank import Weight, log_rank
from hccflow.metrics.nomogram import formula, nomogram
from hccflow.metrics.spline import restricted_cubic, spline_hazard
from hccflow.metrics.time_varying import fit_log_time
from hccflow.metrics.zph import TRANSFORMS, zph

HERE = Path(__file__).parent


def reference_rows(folder: Path) -> list:
    """Rows of tests/reference/survival_cases.py (a package without an installed name)."""
    name = "reference_of_tests"
    if name not in sys.modules:
        spec = importlib.util.spec_from_loader(name, loader=None, is_package=True)
        package = importlib.util.module_from_spec(spec)
        package.__path__ = [str(HERE / "reference")]
        sys.modules[name] = package
    return importlib.import_module(f"{name}.survival_cases").rows(folder)


@pytest.fixture
def sample() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    n = 150
    x = rng.normal(size=n).round(1)
    time = np.ceil(rng.exponential(20 / np.exp(0.6 * x)))
    censored = np.ceil(rng.exponential(30, n))
    return pd.DataFrame(
        {
            "time": np.minimum(time, censored),
            "event": time <= censored,
            "x": x,
            "z": rng.integers(0, 2, n).astype(float),
        }
    )


# --- against others ---------------------------------------------------------------------------------------------------


def test_every_number_of_our_own_r_script(tmp_path: Path) -> None:
    rows = reference_rows(tmp_path)
    assert len(rows) >= 80
    assert [row for row in rows if row.verdict != "ok"] == []


@pytest.mark.slow
def test_every_number_of_the_reference_cases() -> None:
    folder = Path(os.environ.get("HCCFLOW_REFERENCE", "")) / "stats"
    if not os.environ.get("HCCFLOW_REFERENCE") or not folder.is_dir():
        pytest.skip("HCCFLOW_REFERENCE is not set: the folder of the reference cases")
    rows = reference_rows(folder)
    assert len(rows) > 1000
    assert [row for row in rows if row.verdict != "ok"] == []


def test_cox_equals_statsmodels_and_lifelines(sample: pd.DataFrame) -> None:
    import statsmodels.api as sm

    fit = fit_cox(sample[["x", "z"]], sample["time"], sample["event"], ["x", "z"])
    other = sm.PHReg(sample["time"], sample[["x", "z"]], status=sample["event"].astype(int), ties="efron").fit()
    np.testing.assert_allclose(fit.coef, other.params, atol=1e-6)
    np.testing.assert_allclose(fit.error, other.bse, atol=1e-6)
    breslow = fit_cox(sample[["x", "z"]], sample["time"], sample["event"], ["x", "z"], ties="breslow")
    other = sm.PHReg(sample["time"], sample[["x", "z"]], status=sample["event"].astype(int), ties="breslow").fit()
    np.testing.assert_allclose(breslow.coef, other.params, atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lifelines import CoxPHFitter

        table = sample.astype(float)
        lifelines = CoxPHFitter().fit(table, "time", "event", fit_options={"precision": 1e-9})
    np.testing.assert_allclose(fit.coef, lifelines.params_[["x", "z"]], atol=1e-5)


def test_kaplan_meier_and_log_rank_equal_lifelines(sample: pd.DataFrame) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lifelines import KaplanMeierFitter
        from lifelines.statistics import logrank_test

        other = KaplanMeierFitter().fit(sample["time"], sample["event"])
        high = sample["z"] == 1
        pairs = [sample.loc[high, "time"], sample.loc[~high, "time"]]
        events = [sample.loc[high, "event"], sample.loc[~high, "event"]]
        tests = {None: Weight.LOGRANK, "wilcoxon": Weight.GEHAN, "tarone-ware": Weight.TARONE_WARE}
        theirs = {ours: logrank_test(*pairs, *events, weightings=name) for name, ours in tests.items()}
    curve = kaplan_meier(sample["time"], sample["event"])
    at = np.arange(0, 60, 3.0)
    np.testing.assert_allclose(curve.at(at), other.survival_function_at_times(at).to_numpy(), atol=1e-12)
    low, _ = curve.interval_at(at[1:], "log-log")
    bounds = other.confidence_interval_survival_function_.iloc[:, 0]
    np.testing.assert_allclose(low, bounds.reindex(at[1:], method="ffill"), atol=1e-9)
    for weight, result in theirs.items():
        found = log_rank(sample["time"], sample["event"], high, weight=weight)
        assert found.chi2 == pytest.approx(result.test_statistic, abs=1e-9)


def brute_concordance(time, event, score, weights, entry):
    won = pairs = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            later = time[j] > time[i] or (time[j] == time[i] and not event[j])
            if event[i] and later and entry[j] < time[i]:
                pairs += weights[i] * weights[j]
                won += weights[i] * weights[j] * ((score[i] > score[j]) + 0.5 * (score[i] == score[j]))
    return won / pairs if pairs else np.nan


small = st.integers(2, 25).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 8), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
        st.lists(st.integers(0, 5), min_size=n, max_size=n),
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
        st.lists(st.integers(1, 9), min_size=n, max_size=n),
    )
)


@given(small)
@settings(max_examples=150, deadline=None)
def test_concordance_equals_all_pairs_with_ties_weights_and_entry(case) -> None:
    time, event, score, weights, back = (np.array(v) for v in case)
    entry = time - back.astype(float)
    for late in (None, entry):
        ours = Concordance(time, event, score, entry=late).index(weights[None, :])[0]
        start = np.full(len(time), -1.0) if late is None else late
        np.testing.assert_allclose(ours, brute_concordance(time, event, score, weights, start), atol=1e-12)


def test_influence_is_the_derivative_to_the_weights() -> None:
    rng = np.random.default_rng(2)
    time, event, score = rng.integers(0, 9, 30), rng.random(30) < 0.6, rng.integers(0, 6, 30)
    rule = Concordance(time, event, score)
    step = 1e-6 * np.eye(30)
    numeric = (rule.index(1 + step) - rule.index(1 - step)) / 2e-6
    np.testing.assert_allclose(rule.influence, numeric, atol=1e-8)


# --- invariances ------------------------------------------------------------------------------------------------------


@given(small, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_rows_does_not_matter(case, random) -> None:
    time, event, score, _, _ = (np.array(v) for v in case)
    order = list(range(len(time)))
    random.shuffle(order)
    for rule in (
        lambda t, e, s: Concordance(t, e, s).estimate(),
        lambda t, e, s: Concordance(t, e, s, uno=True).estimate(),
        lambda t, e, s: kaplan_meier(t, e).median(),
        lambda t, e, s: auc_t(t, e.astype(int), s, 4.0),
        lambda t, e, s: brier_t(t, e.astype(int), s / 5, 4.0),
    ):
        one, two = rule(time, event, score), rule(time[order], event[order], score[order])
        assert one.reason == two.reason
        for key in ("value", "ci_low", "ci_high"):
            a, b = getattr(one, key), getattr(two, key)
            assert (a is None) == (b is None)
            assert a is None or a == pytest.approx(b, abs=1e-9)


@given(small)
@settings(max_examples=40, deadline=None)
def test_concordance_sees_ranks_only(case) -> None:
    time, event, score, weights, _ = (np.array(v) for v in case)
    rule = Concordance(time, event, score)
    for changed in (
        Concordance(time, event, np.exp(score / 2.0)),
        Concordance(time * 30.4375, event, score),
        Concordance(time**3 + 2, event, 3 * score - 1),
    ):
        np.testing.assert_array_equal(rule.index(weights[None]), changed.index(weights[None]))
    turned = Concordance(time, event, -score)
    np.testing.assert_allclose(turned.index(weights[None]), 1 - rule.index(weights[None]), atol=1e-12)


def test_duplicated_rows_change_no_point_estimate(sample: pd.DataFrame) -> None:
    twice = pd.concat([sample, sample])
    one, two = (kaplan_meier(t["time"], t["event"]) for t in (sample, twice))
    np.testing.assert_allclose(one.survival, two.survival, atol=1e-12)
    breslow = [fit_cox(t[["x"]], t["time"], t["event"], ["x"], ties="breslow").coef[0] for t in (sample, twice)]
    assert breslow[0] == pytest.approx(breslow[1], abs=1e-8)
    weighted = Concordance(sample["time"], sample["event"], sample["x"]).index(np.full((1, len(sample)), 2.0))[0]
    assert weighted == pytest.approx(Concordance(twice["time"], twice["event"], twice["x"]).value, abs=1e-12)


def test_early_censored_rows_say_nothing(sample: pd.DataFrame) -> None:
    before = sample.loc[sample["event"], "time"].min() / 2
    more = pd.DataFrame({"time": before, "event": False, "x": [9.0, -9.0], "z": 0.0})
    both = pd.concat([sample, more])
    at = np.array([5.0, 20.0])
    np.testing.assert_allclose(*(kaplan_meier(t["time"], t["event"]).at(at) for t in (sample, both)), atol=1e-12)
    np.testing.assert_allclose(*(Concordance(t["time"], t["event"], t["x"]).value for t in (sample, both)), atol=1e-12)
    np.testing.assert_allclose(
        *(fit_cox(t[["x"]], t["time"], t["event"], ["x"]).coef for t in (sample, both)), atol=1e-9
    )


def test_units_of_time_and_of_covariates(sample: pd.DataFrame) -> None:
    months = sample["time"] / 30.4375
    fit = fit_cox(sample[["x", "z"]], sample["time"], sample["event"], ["x", "z"])
    other = fit_cox(1000 * sample[["x", "z"]] + 7, months, sample["event"], ["x", "z"])
    np.testing.assert_allclose(fit.coef, 1000 * other.coef, rtol=1e-8)
    assert fit.loglik[1] == pytest.approx(other.loglik[1], abs=1e-8)
    for transform in ("km", "rank"):
        a, b = (zph(f, transform)["GLOBAL"].value for f in (fit, other))
        assert a == pytest.approx(b, rel=1e-6)
    one = kaplan_meier(sample["time"], sample["event"]).restricted_mean(30)
    two = kaplan_meier(months, sample["event"]).restricted_mean(30 / 30.4375)
    assert one.value == pytest.approx(two.value * 30.4375)
    assert one.ci_low == pytest.approx(two.ci_low * 30.4375)


def test_times_that_differ_by_rounding_are_tied() -> None:
    time = np.array([0.1 + 0.2, 0.3, 1.0, 2.0])
    assert np.unique(time).size == 4
    assert np.unique(snap_times(time)).size == 3
    assert snap_times(np.array([5.0])).tolist() == [5.0]


# --- conventions ------------------------------------------------------------------------------------------------------


def test_median_is_the_midpoint_where_survival_is_one_half() -> None:
    curve = kaplan_meier(np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4))
    assert curve.median().value == 2.5
    flat = kaplan_meier(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1, 1, 0, 0]))
    assert flat.median().value == 2.0
    open_ended = kaplan_meier(np.array([1.0, 2.0, 3.0]), np.array([1, 0, 0])).median()
    assert open_ended.value is None
    assert "0.5" in open_ended.reason


def test_reverse_kaplan_meier_counts_the_event_as_censoring() -> None:
    time, event = np.array([1.0, 2, 3, 4, 5]), np.array([True, False, False, False, True])
    assert median_follow_up(time, event).value == kaplan_meier(time, ~event).median().value


def test_events_at_time_zero_count() -> None:
    time, event = np.array([0.0, 0.0, 1.0, 2.0]), np.array([True, True, True, False])
    curve = kaplan_meier(time, event)
    assert curve.at([0.0])[0] == 0.5
    assert curve.at_risk_at([0.0])[0] == 4
    assert cumulative_incidence(time, event.astype(int)).at(0.0)[0] == 0.5
    fit = fit_cox(np.array([[1.0], [0.0], [1.0], [0.0]]), time, event, ["x"])
    assert zph(fit, "log")["GLOBAL"].reason.startswith("an event at time 0")


def test_difference_of_restricted_means_of_a_group_with_itself_is_zero(sample: pd.DataFrame) -> None:
    curve = kaplan_meier(sample["time"], sample["event"])
    same = restricted_mean_difference(curve, curve, 30)
    assert same.value == 0
    assert same.p == 1


# --- undefined --------------------------------------------------------------------------------------------------------


def test_a_monotone_likelihood_is_named_and_firth_is_finite() -> None:
    x = np.repeat([0.0, 1.0], 20)
    time = np.concatenate([np.linspace(10, 20, 20), np.linspace(1, 9, 20)])
    z = np.random.default_rng(0).normal(size=40)
    fit = fit_cox(np.c_[x, z], time, x == 1, ["x", "z"])
    assert fit.reasons == {"x": MONOTONE}
    assert fit.coefficient("x").value is None
    assert np.isfinite(fit.coefficient("z").value)
    assert fit.tests()["wald"].value is None
    assert zph(fit)["GLOBAL"].reason == MONOTONE
    firth = firth_cox(np.c_[x, z], time, x == 1, ["x", "z"])
    assert 1 < firth["x"].value < 20
    assert firth["x"].ci_low < firth["x"].value < firth["x"].ci_high


@pytest.mark.parametrize("n", [6, 20, 60])
def test_firth_finds_the_maximum_of_a_score_that_orders_everybody(n: int) -> None:
    x, time, event = -np.arange(n, dtype=float), np.arange(n) + 1.0, np.ones(n, bool)
    z = (x - x.mean()) / x.std()
    sets = RiskSets(z[:, None], time, event, ties="breslow")

    def penalised(beta: float) -> float:
        loglik, _, information = sets.evaluate(np.array([beta]))
        return float(loglik + np.log(information[0, 0]) / 2)

    best = optimize.minimize_scalar(lambda beta: -penalised(beta), bounds=(0, 2 * n), method="bounded")
    firth = firth_cox(x[:, None], time, event, ["x"])["x"]
    assert firth.value * x.std() == pytest.approx(best.x, rel=1e-5)
    assert firth.ci_low < firth.value < firth.ci_high


def test_a_median_without_limits_says_why() -> None:
    one = kaplan_meier(np.full(40, 100.0), np.ones(40, bool)).median()
    assert (one.value, one.ci_low, one.ci_high) == (100, None, None)
    assert one.reason == "the limits of S(t) do not cross 0.5: no interval"


def test_firth_maximises_the_penalised_likelihood(sample: pd.DataFrame) -> None:
    from scipy.optimize import minimize

    few = sample.iloc[:30]
    X = few[["x", "z"]].to_numpy() - few[["x", "z"]].to_numpy().mean(0)
    sets = RiskSets(X, few["time"].to_numpy(), few["event"].to_numpy(), ties="breslow")

    def penalised(beta: np.ndarray) -> float:
        loglik, _, information = sets.evaluate(beta)
        return -loglik - 0.5 * np.linalg.slogdet(information)[1]

    best = minimize(penalised, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    found = firth_cox(few[["x", "z"]], few["time"], few["event"], ["x", "z"])
    np.testing.assert_allclose([found["x"].value, found["z"].value], best.x, atol=1e-5)
    other = minimize(lambda b: penalised([0.0, b[0]]), [0.0], method="Nelder-Mead", options={"xatol": 1e-9})
    assert found["x"].p == pytest.approx(stats.chi2.sf(2 * (other.fun - best.fun), 1), abs=1e-5)
    end = minimize(
        lambda b: penalised([found["x"].ci_high, b[0]]), [0.0], method="Nelder-Mead", options={"xatol": 1e-9}
    )
    assert 2 * (end.fun - best.fun) == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-3)


def test_a_strong_predictor_is_not_taken_for_a_separation() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=400)
    time = rng.exponential(np.exp(-4 * x))
    fit = fit_cox(x[:, None], time, np.ones(400), ["x"])
    assert fit.reasons == {}
    assert fit.coef[0] == pytest.approx(4, abs=0.6)


def test_constant_and_collinear_covariates_are_left_out_of_the_fit(sample: pd.DataFrame) -> None:
    alone = fit_cox(sample[["x"]], sample["time"], sample["event"], ["x"])
    X = np.c_[sample["x"], 2 * sample["x"] + 1, np.ones(len(sample))]
    fit = fit_cox(X, sample["time"], sample["event"], ["x", "twice", "constant"])
    assert set(fit.reasons) == {"twice", "constant"}
    assert fit.coef[0] == pytest.approx(alone.coef[0], abs=1e-9)
    assert fit.df == 1
    assert zph(fit)["x"].value == pytest.approx(zph(alone)["x"].value)


@pytest.mark.parametrize(
    ("score", "event", "reason"),
    [
        ([1, 1, 1, 1], [1, 1, 0, 0], "equal"),
        ([1, 2, 3, 4], [0, 0, 0, 0], "no events"),
        ([1, 2, 3, 4], [0, 0, 0, 1], "pair"),
    ],
)
def test_concordance_without_information_is_undefined(score, event, reason) -> None:
    found = Concordance([1.0, 2, 3, 4], event, score).estimate()
    assert found.value is None
    assert reason in found.reason


def test_perfect_order_has_no_interval() -> None:
    found = Concordance([1.0, 2, 3, 4], [1, 1, 1, 1], [4.0, 3, 2, 1]).estimate()
    assert found.value == 1
    assert found.ci_low is None
    assert found.reason


def test_paired_comparison_needs_the_same_subjects() -> None:
    one = Concordance([1.0, 2, 3], [1, 1, 1], [1.0, 2, 3])
    with pytest.raises(HccflowError, match="same subjects"):
        concordance_difference(one, Concordance([1.0, 2, 4, 5], [1, 1, 1, 1], [1.0, 2, 3, 4]))
    assert concordance_difference(one, one).ci_low is None


def test_within_strata_a_difference_is_blind_to_their_offsets_and_repeats_count_nobody_twice() -> None:
    rng = np.random.default_rng(2)
    time, event = rng.exponential(9, 60), rng.random(60) < 0.7
    a, b, fold = rng.normal(size=60) - time / 9, rng.normal(size=60), np.arange(60) % 3

    def strata(score: np.ndarray, by: np.ndarray) -> list[Concordance]:
        return [Concordance(time[by == k], event[by == k], score[by == k]) for k in np.unique(by)]

    whole = np.zeros(60)
    plain = concordance_difference(Concordance(time, event, a), Concordance(time, event, b))
    single = concordance_difference_within([strata(a, whole)], [strata(b, whole)])
    assert (single.value, single.p, single.n) == pytest.approx((plain.value, plain.p, 60))
    found = concordance_difference_within([strata(a, fold)], [strata(b, fold)])
    parts = [concordance_within([strata(score, fold)]).value for score in (a, b)]
    assert found.value == pytest.approx(parts[0] - parts[1])
    shifted = concordance_difference_within([strata(a + 5 * fold, fold)], [strata(b - 9 * fold, fold)])
    assert (shifted.value, shifted.p) == pytest.approx((found.value, found.p))
    thrice = concordance_difference_within([strata(a, fold)] * 3, [strata(b, fold)] * 3)
    assert (thrice.value, thrice.p, thrice.n) == pytest.approx((found.value, found.p, 60))
    with pytest.raises(HccflowError, match="same subjects"):
        concordance_difference_within([strata(a, fold)], [strata(b, whole)])


def test_empty_groups_and_no_events() -> None:
    assert log_rank([1.0, 2], [1, 1], ["a", "a"]).chi2 is None
    assert log_rank([1.0, 2], [0, 0], ["a", "b"]).reason == "no events"
    assert gray_test([1.0, 2], [2, 2], [0, 1]).chi2 is None
    with pytest.raises(HccflowError, match="no subjects"):
        kaplan_meier([], [])
    with pytest.raises(HccflowError, match="needs events"):
        fit_cox([[1.0], [2.0]], [1.0, 2], [0, 0], ["x"])
    with pytest.raises(HccflowError, match="complete"):
        fit_cox([[np.nan], [2.0]], [1.0, 2], [1, 0], ["x"])


def test_times_outside_the_follow_up_are_undefined() -> None:
    time, event, score = np.array([1.0, 2, 3, 4]), np.array([1, 1, 0, 1]), np.array([0.9, 0.6, 0.4, 0.2])
    assert auc_t(time, event, score, 9.0).value is None
    assert auc_t(time, event, score, 0.5).reason == "no event by this time"
    assert brier_t(time, event, score, 9.0).value is None
    assert calibration_t(time, event, score, 9.0)["oe_ratio_t"].value is None
    beyond = integrated_brier(time, event, {1.0: score, 3.0: score, 100.0: score})
    within = integrated_brier(time, event, {1.0: score, 3.0: score})
    assert beyond.value == within.value
    assert integrated_brier(time, event, {1.0: score}).value is None


# --- what each number is for ------------------------------------------------------------------------------------------


def test_without_censoring_auc_t_and_brier_t_are_the_ordinary_ones() -> None:
    from sklearn.metrics import brier_score_loss, roc_auc_score

    rng = np.random.default_rng(4)
    time, score = rng.exponential(size=80).round(2), rng.random(80).round(1)
    label = time <= 0.7
    assert auc_t(time, np.ones(80), score, 0.7).value == pytest.approx(roc_auc_score(label, score))
    assert brier_t(time, np.ones(80), score, 0.7).value == pytest.approx(brier_score_loss(label, score))
    difference = auc_t_difference(time, np.ones(80), score, 1 - score, 0.7)
    assert difference.value == pytest.approx(2 * roc_auc_score(label, score) - 1)


def test_right_probabilities_are_calibrated() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=4000)
    time, censored = rng.exponential(np.exp(-x)), rng.exponential(2, 4000)
    risk = 1 - np.exp(-0.8 * np.exp(x))
    event = (time <= censored).astype(int)
    found = calibration_t(np.minimum(time, censored), event, risk, 0.8)
    assert found["oe_ratio_t"].value == pytest.approx(1, abs=0.05)
    assert found["calibration_slope_t"].value == pytest.approx(1, abs=0.08)


def test_incidences_and_survival_add_up_to_one() -> None:
    rng = np.random.default_rng(6)
    time, event = rng.integers(0, 20, 200).astype(float), rng.integers(0, 3, 200)
    total = cumulative_incidence(time, event, 1).incidence + cumulative_incidence(time, event, 2).incidence
    np.testing.assert_allclose(1 - total, kaplan_meier(time, event > 0).survival, atol=1e-12)


def test_fine_gray_without_competing_events_is_cox(sample: pd.DataFrame) -> None:
    X = sample[["x", "z"]].to_numpy()
    cox = fit_cox(X, sample["time"], sample["event"], ["x", "z"], ties="breslow")
    fit = fit_fine_gray(X, sample["time"], sample["event"].astype(int), ["x", "z"])
    np.testing.assert_allclose(fit.coef, cox.coef, atol=1e-8)
    separated = fit_fine_gray(np.array([[1.0], [1], [0], [0]]), [1, 2, 3, 4], [1, 1, 2, 0], ["x"])
    assert separated.coefficient("x").value is None


def test_the_best_cut_is_found_and_its_p_pays_for_the_search() -> None:
    rng = np.random.default_rng(8)
    score = rng.normal(size=200)
    time = rng.exponential(1.0, 200) * np.where(score >= 0.3, 0.35, 1.0)
    cut = maxstat_cut(score, time, np.ones(200))
    assert cut.value == pytest.approx(0.3, abs=0.25)
    assert cut.value in score
    assert cut.p_corrected < 0.001
    null = [maxstat_cut(rng.normal(size=80), rng.exponential(size=80), np.ones(80)).p_corrected for _ in range(200)]
    assert np.mean(np.array(null) < 0.05) <= 0.08
    assert median_cut([1.0, 2, 3]).value == 2
    assert median_cut([1.0, 1.0]).value is None
    assert maxstat_cut([1.0, 2, 3], [1.0, 2, 3], [0, 0, 0]).reason == "no events"


def test_a_spline_finds_a_curve_and_leaves_a_line_alone() -> None:
    rng = np.random.default_rng(9)
    x = rng.normal(size=500)
    curved = spline_hazard(rng.exponential(np.exp(-(x**2))), np.ones(500), x)
    straight = spline_hazard(rng.exponential(np.exp(-x)), np.ones(500), x)
    assert curved.nonlinearity.p < 1e-6
    assert straight.nonlinearity.p > 0.01
    near = np.argmin(np.abs(straight.grid - np.median(x)))
    assert straight.ratio[near] == pytest.approx(1, abs=0.1)
    assert spline_hazard([1.0, 2], [1, 1], [1.0, 2]).nonlinearity.reason == "fewer than 10 events"
    knots = np.array([-1.0, 0.0, 1.0])
    tail = restricted_cubic(np.array([2.0, 3.0, 4.0]), knots)[:, 1]
    assert tail[2] - tail[1] == pytest.approx(tail[1] - tail[0])


def test_formula_and_points_reproduce_the_model(sample: pd.DataFrame) -> None:
    X = sample[["x", "z"]].to_numpy()
    fit = fit_cox(X, sample["time"], sample["event"], ["x", "z"])
    table = formula(fit, X, [10.0])
    parts = table[table["part"] == "coefficient"]
    lp = ((X - parts["centre"].to_numpy()) * parts["value"].to_numpy()).sum(1)
    baseline = table.loc[table["part"] == "baseline", "value"].iloc[0]
    predicted = 1 - baseline ** np.exp(lp)
    assert predicted.mean() == pytest.approx(1 - kaplan_meier(sample["time"], sample["event"]).at([10.0])[0], abs=0.03)
    scales = {"x": {str(v): {"x": v} for v in (-2.0, 0.0, 2.0)}, "z": {"no": {}, "yes": {"z": 1.0}}}
    table = nomogram(fit, X, scales, [10.0])
    points = table[table["part"] == "points"]
    assert points["points"].max() == 100
    assert points.groupby("name")["points"].min().tolist() == [0, 0]
    # A patient's points lead to the risk that the formula gives.
    total = points.set_index(["name", "label"])["points"][[("x", "2.0"), ("z", "yes")]].sum()
    risk = table[table["part"] == "risk"]
    read = np.interp(total, risk["points"], risk["risk"].astype(float))
    lp = ((np.array([2.0, 1.0]) - parts["centre"].to_numpy()) * parts["value"].to_numpy()).sum()
    assert read == pytest.approx(1 - baseline ** np.exp(lp), abs=0.002)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_proportional_hazards_are_accepted_and_crossing_ones_found(transform: str) -> None:
    rng = np.random.default_rng(10)
    x = rng.integers(0, 2, 600).astype(float)
    proportional = fit_cox(x[:, None], rng.exponential(np.exp(-x)) + 0.01, np.ones(600), ["x"])
    crossing = np.where(x == 1, rng.weibull(3.0, 600), rng.weibull(0.7, 600)) + 0.01
    assert zph(proportional, transform)["GLOBAL"].p > 0.001
    assert zph(fit_cox(x[:, None], crossing, np.ones(600), ["x"]), transform)["GLOBAL"].p < 1e-6


def test_a_hazard_ratio_that_changes_is_found_and_what_has_no_maximum_is_named(sample: pd.DataFrame) -> None:
    x, time, event = sample["x"], sample["time"], sample["event"]
    fit = fit_log_time(x, time, event)
    units = fit_log_time(x * 10 + 3, time * 7, event)
    assert units.slope().value == pytest.approx(fit.slope().value / 10, rel=1e-8)
    assert units.at(14).value == pytest.approx(fit.at(2).value / 10, rel=1e-8)
    flipped = fit_log_time(-x, time, event)
    assert flipped.at(5).value == pytest.approx(-fit.at(5).value, rel=1e-8)
    with_zero = time.where(time > 1, 0)
    assert fit_log_time(x, with_zero, event).reason == "an event at time 0 has no logarithm"
    assert fit.at(0).value is None
    once = fit_log_time(x, np.full(len(x), 5.0), event)
    assert once.reason == "events at one time only"
    assert "constant" in fit_log_time(np.ones(len(x)), time, event).reason
    assert fit_log_time(-time, time, event).reason == MONOTONE
    with pytest.raises(HccflowError, match="events"):
        fit_log_time(x, time, np.zeros(len(x), bool))
