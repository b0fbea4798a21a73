"""Binary metrics against R, against independent computations, and against what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hccflow.errors import ConfigError, TableError
from hccflow.metrics import calibration as cal
from hccflow.metrics import decision, multiplicity, pooling, samplesize, shift, threshold
from hccflow.metrics.auc import auc, logit_interval, paired_auc, placements, stratified_auc, stratified_difference
from hccflow.metrics.bootstrap import bca_interval, percentile_interval, resample
from hccflow.metrics.precision_recall import average_precision
from hccflow.metrics.reclassification import reclassification
from hccflow.metrics.weighted import Ranking, calibration_slopes, ratios
from hccflow.validate import Options, curves
from reference import binary_cases
from reference.common import VARIABLE, cases_folder

RNG = np.random.default_rng(0)
#: The same examples on every machine, however slow.
steady = settings(deadline=None, derandomize=True, max_examples=60)


@st.composite
def scored(draw, low=4, high=40):
    """Labels with both classes at least twice, and two scores with ties."""
    n = draw(st.integers(low, high))
    y = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), float)
    y[:4] = [0, 1, 0, 1]
    grid = st.integers(-8, 8).map(lambda k: k / 4)
    a, b = (np.array(draw(st.lists(grid, min_size=n, max_size=n))) for _ in range(2))
    return y, a, b


def simulated(n=300, seed=1):
    rng = np.random.default_rng(seed)
    lp = rng.normal(-0.3, 1.2, n)
    y = (rng.uniform(size=n) < 1 / (1 + np.exp(-lp))).astype(float)
    return y, 1 / (1 + np.exp(-(0.8 * lp + rng.normal(0, 0.5, n))))


def brute_auc(y, s):
    wins = [(a > b) + (a == b) / 2 for a in s[y == 1] for b in s[y == 0]]
    return float(np.mean(wins))


# --- against R -------------------------------------------------------------------------------------------------------


def test_every_reference_number_is_the_one_of_r():
    stats = cases_folder()
    if stats is None:
        pytest.skip(f"{VARIABLE} is not set: the folder of the reference cases")
    rows = binary_cases.rows(stats)
    assert len(rows) > 1000
    assert [row for row in rows if row.verdict != "ok"] == []


def test_random_effects_are_those_of_metafor():
    """BCG vaccine trials: log relative risks as printed by metafor (R), rma(yi, vi, method="REML")."""
    table = """
        -0.8893 0.3256  -1.5854 0.1946  -1.3481 0.4154  -1.4416 0.0200  -0.2175 0.0512  -0.7861 0.0069  -1.6209 0.2230
        0.0120 0.0040  -0.4694 0.0564  -1.3713 0.0730  -0.3394 0.0124  0.4459 0.5325  -0.0173 0.0714
    """
    effects, variances = np.array(table.split(), float).reshape(-1, 2).T
    pooled = pooling.random_effects(effects, variances)
    assert pooled.estimate == pytest.approx(-0.7145, abs=1e-3)
    assert pooled.tau2 == pytest.approx(0.3132, abs=1e-3)
    assert pooled.q == pytest.approx(152.2330, rel=5e-3)
    assert pooled.i2 == pytest.approx(0.9222, abs=2e-3)
    assert pooled.p_q < 1e-20


def test_validation_size_is_that_of_riley_2021():
    """C statistic 0.8, 1.8 % events, width 0.1: 4,252 participants."""
    assert samplesize.validation_size(0.8, 0.018) == pytest.approx(4252, abs=2)


# --- discrimination --------------------------------------------------------------------------------------------------


@steady
@given(scored())
def test_auc_is_the_share_of_ordered_pairs(data):
    y, a, _ = data
    assert auc(y, a).value == pytest.approx(brute_auc(y, a), abs=1e-12)


@steady
@given(scored())
def test_delong_variance_is_that_of_the_placement_values(data):
    y, a, _ = data
    wins = np.array([[(x > z) + (x == z) / 2 for z in a[y == 0]] for x in a[y == 1]])
    expected = wins.mean(1).var(ddof=1) / len(wins) + wins.mean(0).var(ddof=1) / wins.shape[1]
    assert placements(y, a).variance == pytest.approx(expected, abs=1e-12)


def test_an_auc_within_strata_is_delong_in_each_and_blind_to_what_the_strata_know():
    rng = np.random.default_rng(0)
    strata, y = np.repeat([0, 1], 60), np.tile([0.0, 1.0], 60)
    score = rng.normal(size=120) + y
    parts = [auc(y[strata == k], score[strata == k]) for k in (0, 1)]
    whole = stratified_auc(y, score, strata)
    assert whole.value == pytest.approx(np.mean([part.value for part in parts]))
    error = np.sqrt(sum(placements(y[strata == k], score[strata == k]).variance for k in (0, 1))) / 2
    assert whole.ci_high - whole.value == pytest.approx(1.959963984540054 * error)
    shifted = stratified_auc(y, score + 5 * strata, strata)
    assert shifted.value == pytest.approx(whole.value), "a shift between strata is no knowledge within them"
    single = stratified_auc(y, score, np.zeros(120))
    assert single.value == auc(y, score).value
    assert single.ci_low == pytest.approx(auc(y, score).ci_low)
    assert stratified_auc([1, 0, 0], [0.1, 0.2, 0.3], [0, 1, 1]).reason == "no stratum has rows of both classes"
    lone = stratified_auc([1, 0, 0], [0.1, 0.2, 0.3], [0, 0, 1])
    assert lone.value == 0 and lone.ci_low is None and lone.reason.startswith("no interval: no stratum has two rows")


def folded(seed=3, sizes=(9, 14, 25), repeats=1):
    """Labels, two scores, fold and repeat of the same people in every repeat."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([rng.permutation(np.arange(n) % 3 == 0) for n in sizes]).astype(float)
    fold = np.repeat(np.arange(len(sizes)), sizes)
    each = [(y, rng.normal(size=len(y)) + y, rng.normal(size=len(y)), fold, np.full(len(y), k)) for k in range(repeats)]
    return [np.concatenate(column) for column in zip(*each, strict=True)]


def pairs_won(y, score, fold):
    """Share of the pairs of an event and a non-event of one fold that a score orders rightly, counted one by one."""
    won = [
        (score[i] > score[j]) + (score[i] == score[j]) / 2
        for i in np.flatnonzero(y == 1) for j in np.flatnonzero(y == 0) if fold[i] == fold[j]
    ]  # fmt: skip
    return np.mean(won)


def test_a_difference_within_strata_is_that_of_all_pairs_counted_and_delong_in_each():
    y, a, b, fold, _ = folded()
    found = stratified_difference(y, a, b, fold)
    assert found.value == pytest.approx(pairs_won(y, a, fold) - pairs_won(y, b, fold))
    parts = [paired_auc(y[fold == k], a[fold == k], b[fold == k]) for k in range(3)]
    weights = np.array([(y[fold == k] == 1).sum() * (y[fold == k] == 0).sum() for k in range(3)], dtype=float)
    error = np.sqrt(sum((w / weights.sum() * part.error) ** 2 for w, part in zip(weights, parts, strict=True)))
    assert found.ci_high - found.value == pytest.approx(1.959963984540054 * error)
    assert (found.n, found.n_events) == (len(y), y.sum())
    turned = stratified_difference(y, b, a, fold)
    assert (turned.value, turned.p) == pytest.approx((-found.value, found.p))


def test_a_fold_of_one_event_keeps_its_pairs_and_takes_the_spread_of_the_others():
    y, a, b, fold, _ = folded(sizes=(30, 20, 25))
    first = np.flatnonzero((fold == 1) & (y == 1))[0]
    rows = (fold != 1) | (y == 0) | (np.arange(len(y)) == first)
    y, a, b, fold = (x[rows] for x in (y, a, b, fold))
    found = stratified_difference(y, a, b, fold)
    assert found.value == pytest.approx(pairs_won(y, a, fold) - pairs_won(y, b, fold))
    wins = []
    for k in range(3):
        events, others = ((fold == k) & (y == label) for label in (1, 0))
        won, other = (np.greater.outer(s[events], s[others]).astype(float) for s in (a, b))
        wins.append(won - other)
    rows_of = [w.mean(axis=1) for w in wins]
    spread = [row.var(ddof=1) if len(row) > 1 else None for row in rows_of]
    lone = (spread[0] * (len(rows_of[0]) - 1) + spread[2] * (len(rows_of[2]) - 1)) / (sum(map(len, rows_of)) - 3)
    variances = [
        (lone if own is None else own) / len(w) + w.mean(axis=0).var(ddof=1) / w.shape[1]
        for own, w in zip(spread, wins, strict=True)
    ]
    weights = np.array([w.size for w in wins]) / sum(w.size for w in wins)
    assert found.ci_high - found.value == pytest.approx(1.959963984540054 * np.sqrt(weights**2 @ variances))


def test_a_difference_within_strata_has_the_error_of_a_bootstrap_of_people():
    y, a, b, fold, _ = folded(sizes=(40, 60, 50))
    rng = np.random.default_rng(0)
    cells = [np.flatnonzero((fold == k) & (y == label)) for k in range(3) for label in (0, 1)]
    draws = []
    for _ in range(300):
        rows = np.concatenate([rng.choice(cell, len(cell)) for cell in cells])
        draws.append(stratified_difference(y[rows], a[rows], b[rows], fold[rows]).value)
    found = stratified_difference(y, a, b, fold)
    assert (found.ci_high - found.ci_low) / 3.92 == pytest.approx(np.std(draws), rel=0.12)


def test_a_difference_within_one_stratum_is_the_paired_test():
    y, a, b, _, _ = folded()
    found, expected = stratified_difference(y, a, b, np.zeros(len(y))), paired_auc(y, a, b).difference
    assert (found.value, found.ci_low, found.ci_high, found.p) == pytest.approx(
        (expected.value, expected.ci_low, expected.ci_high, expected.p)
    )


@steady
@given(st.lists(st.integers(-50, 50), min_size=6, max_size=6))
def test_what_a_fold_adds_to_its_scores_changes_nothing_within_folds(offsets):
    y, a, b, fold, _ = folded()
    one, two = np.array(offsets[:3])[fold], np.array(offsets[3:])[fold]
    found, shifted = stratified_difference(y, a, b, fold), stratified_difference(y, a + one, b + two, fold)
    assert (shifted.value, shifted.p) == pytest.approx((found.value, found.p), abs=1e-9)
    assert stratified_auc(y, a + one, fold).value == pytest.approx(stratified_auc(y, a, fold).value)


def test_repeats_count_nobody_twice():
    y, a, b, fold, repeat = folded(repeats=4)
    parts = [[x[repeat == k] for x in (y, a, b, fold)] for k in range(4)]
    alone = [(stratified_auc(t, s, f), stratified_difference(t, s, u, f)) for t, s, u, f in parts]
    for which, found in enumerate(
        (stratified_auc(y, a, fold, repeats=repeat), stratified_difference(y, a, b, fold, repeats=repeat))
    ):
        each = [pair[which] for pair in alone]
        assert found.value == pytest.approx(np.mean([one.value for one in each]))
        assert (found.n, found.n_events) == (48, 17)
        widths = [(one.ci_high - one.value) ** 2 for one in each]
        assert (found.ci_high - found.value) ** 2 == pytest.approx(np.mean(widths))
        assert found.ci_method.endswith("mean of 4 repeats")
    same = [np.tile(x[repeat == 0], 3) for x in (y, a, fold)]
    thrice = stratified_auc(*same, repeats=np.repeat(np.arange(3), 48))
    assert (thrice.value, thrice.ci_low) == pytest.approx((alone[0][0].value, alone[0][0].ci_low))


def test_strata_that_cannot_take_part_are_counted():
    y, a, b, fold, _ = folded()
    alone = np.where(np.arange(len(y)) == np.flatnonzero(y == 1)[0], 9, fold)
    found = stratified_difference(y, a, b, alone)
    assert found.reason == "1 of 4 strata have one class only and take no part"
    assert (found.n, found.n_events) == (len(y) - 1, y.sum() - 1)
    assert stratified_difference(y, a, a, fold).reason == "no interval: the estimated variance is zero"


@steady
@given(scored(), st.randoms(use_true_random=False))
def test_row_order_does_not_matter(data, random):
    y, a, b = data
    order = list(range(len(y)))
    random.shuffle(order)
    first, second = paired_auc(y, a, b), paired_auc(y[order], a[order], b[order])
    assert second.difference.value == pytest.approx(first.difference.value, abs=1e-12)
    assert (first.z is None) == (second.z is None)
    if first.z is not None:
        assert second.z == pytest.approx(first.z, abs=1e-6)
    assert average_precision(y[order], a[order]).value == pytest.approx(average_precision(y, a).value, abs=1e-12)


@steady
@given(scored())
def test_monotone_transforms_do_not_matter(data):
    y, a, _ = data
    once, twice = auc(y, a), auc(y, np.exp(a) * 3 - 7)
    assert (once.value, once.ci_low, once.reason) == (twice.value, twice.ci_low, twice.reason)


@steady
@given(scored())
def test_swapping_labels_and_signs_mirrors(data):
    y, a, _ = data
    assert auc(1 - y, a).value == pytest.approx(1 - auc(y, a).value, abs=1e-12)
    assert auc(1 - y, -a).value == pytest.approx(auc(y, a).value, abs=1e-12)
    assert placements(1 - y, -a).variance == pytest.approx(placements(y, a).variance, abs=1e-12)
    counts, mirrored = threshold.confusion(y, a, 0.1), threshold.confusion(1 - y, -a, -0.1)
    assert (counts.tp, counts.fn) == (mirrored.tn, mirrored.fp)


@steady
@given(scored(), st.integers(2, 4))
def test_duplicating_all_rows_keeps_the_values(data, times):
    y, a, _ = data
    p = (a + 3) / 6
    many = [np.tile(x, times) for x in (y, p)]
    assert auc(*many).value == pytest.approx(auc(y, p).value, abs=1e-12)
    assert average_precision(*many).value == pytest.approx(average_precision(y, p).value, abs=1e-12)
    assert cal.brier(*many)[1].value == pytest.approx(cal.brier(y, p)[1].value, abs=1e-12)
    assert decision.net_benefit(*many, [0.3])[0] == pytest.approx(decision.net_benefit(y, p, [0.3])[0], abs=1e-12)


@steady
@given(scored())
def test_the_difference_changes_sign_with_the_order_of_the_models(data):
    y, a, b = data
    assert paired_auc(y, a, b).difference.value == pytest.approx(-paired_auc(y, b, a).difference.value, abs=1e-12)


def test_a_score_against_itself_has_a_difference_of_zero_and_no_p():
    y, p = simulated()
    test = paired_auc(y, p, p).difference
    assert test.value == 0
    assert test.p is None
    assert "no variance" in test.reason


def test_a_perfect_score_has_a_value_and_no_interval():
    result = auc([0, 0, 1, 1], [1, 2, 3, 4])
    assert result.value == 1
    assert result.ci_low is None
    assert "perfect separation" in result.reason
    assert logit_interval(placements([0, 0, 1, 1], [1, 2, 3, 4])) is None


def test_a_constant_score_is_chance_by_ties_without_an_interval():
    result = auc([0, 0, 1, 1], [5, 5, 5, 5])
    assert (result.value, result.ci_low) == (0.5, None)
    assert "same" in result.reason


def test_a_worse_than_chance_score_is_not_turned():
    assert auc([0, 0, 1, 1], [4, 3, 2, 1]).value == 0


@pytest.mark.parametrize("y", [[], [1, 1, 1], [0, 0]])
def test_one_class_or_none_is_undefined_with_a_reason(y):
    p = np.linspace(0.2, 0.7, len(y))
    estimates = [auc(y, p), average_precision(y, p), cal.brier(y, p)[1], cal.in_the_large(y, p)]
    estimates += [*cal.intercept_and_slope(y, p), paired_auc(y, p, p).difference]
    assert all(e.value is None and e.reason for e in estimates)
    assert threshold.youden(y, p) is None


def test_one_event_gives_a_value_without_an_interval():
    result = auc([1, 0, 0, 0], [2, 1, 3, 0])
    assert result.value == pytest.approx(2 / 3)
    assert result.ci_low is None
    assert "fewer than two" in result.reason


@pytest.mark.parametrize(
    ("y", "p"), [([0, 2], [0.1, 0.2]), ([0, 1], [np.nan, 0.1]), ([0, 1], [0.1]), ([0, 1], [np.inf, 1])]
)
def test_bad_input_stops_at_the_door(y, p):
    with pytest.raises(TableError):
        auc(y, p)


# --- thresholds ------------------------------------------------------------------------------------------------------


def test_a_score_at_the_threshold_is_called_positive():
    counts = threshold.confusion([1, 0], [0.5, 0.5], 0.5)
    assert (counts.tp, counts.fp) == (1, 1)


def test_empty_margins_are_undefined():
    found = threshold.threshold_metrics(threshold.confusion([1, 1], [0.1, 0.2], 0.5))
    assert found["sensitivity"].value == 0
    for name in ("specificity", "ppv", "mcc", "balanced_accuracy"):
        assert found[name].value is None
        assert found[name].reason
    assert found["f1"].value == 0


@steady
@given(scored())
def test_youden_is_the_best_of_all_thresholds(data):
    y, a, _ = data
    at, j = threshold.youden(y, a)
    tried = [
        c.tp / (c.tp + c.fn) + c.tn / (c.tn + c.fp) - 1
        for c in (threshold.confusion(y, a, t) for t in [*np.unique(a), np.inf])
    ]
    assert j == pytest.approx(max(*tried, 0), abs=1e-9)
    c = threshold.confusion(y, a, at)
    assert c.tp / (c.tp + c.fn) + c.tn / (c.tn + c.fp) - 1 == pytest.approx(j, abs=1e-9)


# --- calibration -----------------------------------------------------------------------------------------------------


@steady
@given(st.integers(0, 10_000))
def test_calibration_fits_are_those_of_statsmodels(seed):
    import statsmodels.api as sm

    y, p = simulated(120, seed)
    lp = np.log(p / (1 - p))
    fit = sm.GLM(y, sm.add_constant(lp), family=sm.families.Binomial()).fit(tol=1e-12)
    intercept, slope = cal.intercept_and_slope(y, p)
    assert (intercept.value, slope.value) == pytest.approx(tuple(fit.params), abs=1e-6)
    assert slope.ci_high == pytest.approx(fit.conf_int()[1][1], abs=1e-5)
    large = sm.GLM(y, np.ones_like(y), family=sm.families.Binomial(), offset=lp).fit(tol=1e-12)
    assert cal.in_the_large(y, p).value == pytest.approx(large.params[0], abs=1e-6)


def test_the_own_linear_predictor_is_calibrated():
    y, p = simulated(4000)
    intercept, slope = cal.intercept_and_slope(y, p)
    lp = intercept.value + slope.value * np.log(p / (1 - p))
    again = cal.intercept_and_slope(y, 1 / (1 + np.exp(-lp)))
    assert (again[0].value, again[1].value) == pytest.approx((0, 1), abs=1e-8)


@pytest.mark.parametrize(
    ("y", "p", "reason"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.7], "separation"),
        ([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.7], "separation"),  # quasi-complete
        ([1, 1, 0, 0], [0.1, 0.2, 0.6, 0.7], "separation"),  # the wrong way round
        ([0, 1, 0, 1], [0.3, 0.3, 0.3, 0.3], "same"),
        ([0, 1, 0, 1], [0.0, 1.0, 0.4, 0.3], "infinite"),
    ],
)
def test_a_slope_without_a_maximum_is_undefined(y, p, reason):
    intercept, slope = cal.intercept_and_slope(y, p)
    assert intercept.value is None
    assert slope.value is None
    assert reason in slope.reason


def test_overlap_in_one_row_is_enough_for_a_slope():
    assert cal.intercept_and_slope([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])[1].value is not None


def test_few_rows_or_scores_have_no_flexible_curve():
    y, p = simulated(49)
    assert "too few rows" in cal.no_curve(y, p)
    y, p = simulated(200)
    assert "different scores" in cal.no_curve(y, np.round(p * 4) / 4)
    assert cal.no_curve(y, p) == ""
    assert isinstance(cal.flexible_curve(y, p), cal.Loess)


def test_scores_on_a_heap_have_a_reason_and_no_flexible_curve():
    rng = np.random.default_rng(0)
    reasons = []
    for _ in range(30):
        p = np.round(0.4 + 1e-3 * rng.normal(size=60), rng.integers(3, 6))
        few = rng.integers(1, 8)
        p[:few] = rng.random(few)
        y = np.arange(60) % 2
        found = cal.flexible_curve(y.astype(float), p)
        reasons.append(found if isinstance(found, str) else "")
        rows, draws = curves.calibration_curve(y.astype(float), p, Options(draws=20), 1)
        assert bool(rows) == isinstance(found, cal.Loess)
    assert "scores too close together for a flexible curve" in reasons


def test_scores_outside_0_1_are_not_probabilities():
    for function in (cal.brier, cal.in_the_large, cal.intercept_and_slope, cal.Loess):
        with pytest.raises(TableError, match="not probabilities"):
            function([0, 1], [0.2, 1.2])


def test_the_expected_calibration_error_is_that_counted_by_hand():
    """Groups by sorting and cutting, without the quantiles of `grouped`: 130 different scores in ten groups of 13."""
    rng = np.random.default_rng(6)
    p = rng.random(130)
    y = (rng.random(130) < p**2).astype(float)
    rows = sorted(zip(p, y, strict=True))
    error = 0.0
    for first in range(0, 130, 13):
        group = rows[first : first + 13]
        share, mean = sum(label for _, label in group) / 13, sum(score for score, _ in group) / 13
        error += abs(share - mean) * 13 / 130
    found = cal.expected_calibration_error(y, p)
    assert found.value == pytest.approx(error, abs=1e-12)
    assert (found.n, found.n_events, found.ci_low) == (130, int(y.sum()), None)
    two = np.repeat([0.2, 0.6], 20)  # equal quantiles are joined: two groups, 0.1 and 0.3 off
    assert cal.expected_calibration_error(np.tile([1, 0, 0, 0, 0, 0, 0, 1, 0, 1], 4), two).value == pytest.approx(0.2)
    assert cal.expected_calibration_error(y[:39], p[:39]).reason == "too few rows for 10 groups: 39 of 40"
    assert "too alike" in cal.expected_calibration_error(y, np.full(130, 0.3)).reason


def test_the_expected_calibration_error_of_right_scores_falls_with_the_rows():
    rng = np.random.default_rng(7)
    means = []
    for n in (100, 1000):
        scores = rng.random((100, n))
        labels = (rng.random((100, n)) < scores).astype(float)
        means.append(np.mean([cal.expected_calibration_error(y, p).value for y, p in zip(labels, scores, strict=True)]))
    assert means == pytest.approx([0.102, 0.032], rel=0.1), "docs/metrics.md says so"


def test_hosmer_lemeshow_counts_every_row_once():
    y, p = simulated(97)
    p = np.round(p, 1)
    table = cal.grouped(y, p, 10)
    assert table[:, 0].sum() == 97
    assert table[:, 1].sum() == y.sum()
    assert cal.hosmer_lemeshow(y[:30], p[:30], 10).reason


# --- decision, reclassification, shift -------------------------------------------------------------------------------


@steady
@given(scored(), st.floats(0.05, 0.95))
def test_net_benefit_is_that_of_dcurves(data, at):
    import pandas as pd
    from dcurves import dca

    y, a, _ = data
    p = (a + 3) / 6
    table = dca(pd.DataFrame({"y": y, "p": p}), outcome="y", modelnames=["p"], thresholds=[at])
    expected = table.set_index("model")["net_benefit"]
    # dcurves calls p > t positive, this package p >= t; they agree where no score is the threshold itself.
    if not np.isclose(p, at).any():
        assert decision.net_benefit(y, p, [at])[0] == pytest.approx(expected["p"], abs=1e-9)
    assert decision.net_benefit_treat_all(y, [at])[0] == pytest.approx(expected["all"], abs=1e-9)


def test_threshold_probabilities_lie_inside_0_1():
    with pytest.raises(ConfigError):
        decision.net_benefit([0, 1], [0.2, 0.4], [0.5, 1.0])


def test_reclassification_is_antisymmetric():
    y, p = simulated()
    q = np.clip(p + RNG.normal(0, 0.1, len(p)), 0, 1)
    forth, back = reclassification(y, q, p), reclassification(y, p, q)
    assert all(forth[k] == pytest.approx(-back[k], abs=1e-12) for k in forth)


def test_missing_p_values_do_not_count_as_tests():
    assert multiplicity.adjust([0.01, None, 0.04]) == [pytest.approx(0.02), None, pytest.approx(0.04)]
    assert multiplicity.adjust([None, None]) == [None, None]


def test_standardised_differences_by_hand():
    import pandas as pd

    here, there = pd.Series([1.0, 2, 3, np.nan]), pd.Series([2.0, 3, 4])
    assert shift.standardised_difference(here, there, category=False).value == pytest.approx(-1)
    p, q = 0.75, 0.25
    expected = abs(p - q) / np.sqrt((p * (1 - p) + q * (1 - q)) / 2)
    a, b = pd.Series(list("AAAB")), pd.Series(list("ABBB"))
    assert shift.standardised_difference(a, b, category=True).value == pytest.approx(expected)
    assert shift.standardised_difference(a, a[:1], category=True).reason


def test_membership_sees_a_shift_and_no_shift():
    import pandas as pd

    rng = np.random.default_rng(2)
    here, there, moved = (
        pd.DataFrame({"x": rng.normal(m, 1, 150), "g": rng.choice(["a", "b"], 150)}) for m in (0, 0, 2)
    )
    same = shift.membership_auc(here, there, ["g"], 0, 0.95)
    far = shift.membership_auc(moved, there, ["g"], 0, 0.95)
    assert same.ci_low < 0.55
    assert far.value > 0.85


# --- bootstrap -------------------------------------------------------------------------------------------------------


@steady
@given(scored(), st.integers(0, 1000))
def test_weights_are_repeated_rows(data, seed):
    """Every vectorised metric equals the plain one on the rows written out, draw by draw."""
    y, a, _ = data
    p = (a + 3) / 6
    n = len(y)
    weights = np.random.default_rng(seed).multinomial(n, np.ones(n) / n, size=6).astype(float)
    areas, precisions = Ranking(y, p).auc(weights), Ranking(y, p).average_precision(weights)
    called = p >= 0.5
    cells = [weights @ x for x in (called * y, called * (1 - y), ~called * y, ~called * (1 - y))]
    metrics = ratios(*cells)
    for k, w in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(n), w)
        for ours, plain in ((areas[k], auc(y[rows], p[rows])), (precisions[k], average_precision(y[rows], p[rows]))):
            if plain.value is not None:
                assert ours == pytest.approx(plain.value, abs=1e-12)
        for name, estimate in threshold.threshold_metrics(threshold.confusion(y[rows], p[rows], 0.5)).items():
            if name in metrics and estimate.value is not None:
                assert metrics[name][k] == pytest.approx(estimate.value, abs=1e-12)


def test_batched_slopes_are_the_fits_of_the_repeated_rows():
    y, p = simulated(150)
    lp = np.log(p / (1 - p))
    weights = np.random.default_rng(3).multinomial(150, np.ones(150) / 150, size=20).astype(float)
    start = cal.fit_logistic(y, lp)
    a, b = calibration_slopes(weights, y, lp, (start.intercept, start.slope))
    for k, w in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(150), w)
        fit = cal.fit_logistic(y[rows], lp[rows])
        assert (a[k], b[k]) == pytest.approx((fit.intercept, fit.slope), abs=1e-8)


def test_separated_draws_are_undefined():
    y, lp = np.array([0.0, 0, 1, 0, 1, 1]), np.array([-2.0, -1, -0.5, 0, 1, 2])
    weights = np.array([[1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1.0]])
    start = cal.fit_logistic(y, lp)
    _, slopes = calibration_slopes(weights, y, lp, (start.intercept, start.slope))
    assert np.isnan(slopes[0])
    assert slopes[1] == pytest.approx(start.slope)


def test_draws_do_not_depend_on_what_is_computed_and_keep_strata():
    strata = np.repeat([0, 1], [30, 12])
    draws = resample(lambda w: np.column_stack([w[:, strata == 1].sum(1), w.sum(1)]), 42, 50, 5, strata=strata)
    assert (draws == [12, 42]).all()
    once = resample(lambda w: w[:, :3], 42, 50, 5)
    assert (once == resample(lambda w: w[:, :5], 42, 50, 5)[:, :3]).all()
    assert not (once == resample(lambda w: w[:, :3], 42, 50, 6)).all()


def test_too_many_undefined_draws_give_no_interval():
    draws = np.arange(100.0)
    assert percentile_interval(draws) == pytest.approx((2.475, 96.525))
    draws[:6] = np.nan
    assert percentile_interval(draws) is None
    assert bca_interval(1.0, np.ones(50), np.zeros(10)) is None


def test_extreme_probabilities_have_an_intercept_or_a_reason():
    y = np.array([0.0, 1, 0, 1, 1, 0, 0, 1])
    tiny = cal.in_the_large(y, np.full(8, 1e-300))
    assert tiny.value == pytest.approx(-np.log(1e-300), rel=1e-9)  # half of them have the event
    sure = cal.in_the_large(y, np.where(np.arange(8) < 4, 1e-300, 1 - 1e-16))
    assert sure.value is None
    assert "extreme" in sure.reason
