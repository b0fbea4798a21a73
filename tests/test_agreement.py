"""Agreement of readers: kappa against statsmodels, ICC against R, and the ceiling on an AUC."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

from hccflow.metrics.agreement import auc_ceiling, cohen_kappa, icc, limits_of_agreement, lin_ccc, multi_kappa

# Shrout and Fleiss 1979, table 2; their ICC(2,1) = .29 and ICC(3,1) = .71. Intervals as R's psych prints them.
SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


@pytest.mark.parametrize(
    ("kind", "value", "low", "high"),
    [("agreement", 0.28976378, 0.01878651, 0.76108437), ("consistency", 0.71484071, 0.34246477, 0.94585826)],
)
def test_icc_of_the_classic_table(kind, value, low, high):
    found = icc(SHROUT_FLEISS, kind)
    assert (found.value, found.ci_low, found.ci_high) == pytest.approx((value, low, high), abs=1e-7)


@pytest.mark.realdata
@pytest.mark.parametrize(("table", "key"), [("icc_shrout_fleiss", "shrout_fleiss"), ("icc_30x2", "r30x2")])
@pytest.mark.parametrize(("kind", "name"), [("agreement", "ICC2"), ("consistency", "ICC3")])
def test_icc_equals_r(table, key, kind, name):
    folder = Path(os.environ.get("HCCFLOW_REFERENCE", "absent")) / "stats" / "13_icc_multiplicity_combat_pool"
    if not folder.is_dir():
        pytest.skip("HCCFLOW_REFERENCE is not set: the folder of R's reference numbers")
    expected = json.loads((folder / "expected.json").read_text())["icc"][key][name]
    found = icc(pd.read_csv(folder / f"{table}.csv"), kind)
    assert found.value == pytest.approx(expected["icc"], abs=1e-8)
    assert (found.ci_low, found.ci_high) == pytest.approx((expected["lo"], expected["hi"]), abs=1e-4)
    assert found.p == pytest.approx(expected["p"], rel=1e-6)


def test_icc_without_variance_is_undefined():
    for kind in ("agreement", "consistency"):
        found = icc(np.ones((10, 2)), kind)
        assert found.value is None
        assert "variance" in found.reason


def test_icc_of_a_constant_shift():
    readings = np.column_stack([np.arange(10.0), np.arange(10.0) + 3])
    assert icc(readings, "consistency").value == pytest.approx(1)
    assert icc(readings, "agreement").value < 0.8
    assert icc(readings, "agreement").ci_low is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=4, max_size=60))
def test_cohen_kappa_equals_statsmodels(pairs):
    first, second = np.array(pairs).T
    found = cohen_kappa(first, second)
    table = np.zeros((4, 4))
    np.add.at(table, (first, second), 1)
    if len(set(first) | set(second)) == 1:
        assert found.value is None
        return
    with np.errstate(invalid="ignore"):  # statsmodels also divides by the variance under independence, here 0
        expected = cohens_kappa(table)
    assert found.value == pytest.approx(expected.kappa, abs=1e-12)
    if found.ci_low is None:
        assert found.value == pytest.approx(1) or 1 in (len(set(first)), len(set(second)))
        assert "no interval" in found.reason
    else:
        limits = np.clip([expected.kappa_low, expected.kappa_upp], -1, 1)
        assert (found.ci_low, found.ci_high) == pytest.approx(tuple(limits), abs=1e-9)


def test_kappa_of_three_readers():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 60)
    ratings = np.where(rng.random((60, 3)) < 0.8, truth[:, None], 1 - truth[:, None]).astype(float)
    counts = np.stack([(ratings == 0).sum(axis=1), (ratings == 1).sum(axis=1)], axis=1)
    fleiss, light = multi_kappa(ratings, "fleiss"), multi_kappa(ratings, "light")
    assert fleiss.value == pytest.approx(fleiss_kappa(counts), abs=1e-12)
    pairs = [cohen_kappa(ratings[:, i], ratings[:, j]).value for i, j in itertools.combinations(range(3), 2)]
    assert light.value == pytest.approx(np.mean(pairs))
    assert fleiss.ci_low < fleiss.value < fleiss.ci_high
    ratings[0, 0] = np.nan
    assert multi_kappa(ratings, "fleiss").n == 59


def test_auc_ceiling_is_the_auc_of_the_other_readers_label():
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 2, 50), rng.integers(0, 2, 50)
    found = auc_ceiling(a, b)
    assert found.value == pytest.approx(roc_auc_score(b, a))
    assert found.ci_low < found.value < found.ci_high
    assert auc_ceiling(a, np.ones(50)).value is None


def test_a_kappa_from_few_subjects_stays_below_one_and_says_so():
    found = cohen_kappa([0, 0, 0, 1], [0, 0, 1, 1])
    assert found.ci_high == 1
    assert found.ci_method.endswith("cut to [-1, 1]")


def test_lin_is_one_on_the_line_of_identity_only_and_its_interval_is_that_of_the_jackknife():
    rng = np.random.default_rng(8)
    first = rng.normal(50, 10, 400)
    second = first + 2 + rng.normal(0, 4, 400)
    found = lin_ccc(first, second)
    deviations = (first - first.mean()) @ (second - second.mean()) / 400
    expected = 2 * deviations / (first.var() + second.var() + (first.mean() - second.mean()) ** 2)
    assert found.value == pytest.approx(expected, rel=1e-12)
    keep = ~np.eye(400, dtype=bool)
    z = np.arctanh([lin_ccc(first[rows], second[rows]).value for rows in keep])
    error = np.sqrt(399 / 400 * ((z - z.mean()) ** 2).sum())
    half = (np.arctanh(found.ci_high) - np.arctanh(found.ci_low)) / 2
    assert half == pytest.approx(1.959964 * error, rel=0.1)
    assert lin_ccc(first, first).value == pytest.approx(1)
    assert lin_ccc(first, first).ci_low is None
    assert lin_ccc(first, first + 20).value < 0.5
    assert lin_ccc(np.ones(9), np.ones(9)).reason == "no variance: every measurement is the same"
    assert lin_ccc(np.ones(9), np.arange(9)).value == 0


def test_limits_of_agreement_as_bland_and_altman_have_them():
    # Bland and Altman 1986, peak expiratory flow by two meters, 17 subjects: bias -2.1, s 38.8, limits -79.7 and 75.5
    # (they round and use 2 s).
    wright = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    found = limits_of_agreement(mini, wright)
    assert found["bias"].value == pytest.approx(-2.1, abs=0.05)
    sd = (found["loa_high"].value - found["loa_low"].value) / (2 * 1.96)
    assert sd == pytest.approx(38.8, abs=0.05)
    # Their intervals: bias -22.0 to 17.8; lower limit -114.3 to -45.1, upper limit 40.9 to 110.1, from a standard error
    # of sqrt(3 s^2 / n), which stands for 1 / n + 1.96^2 / (2 (n - 1)).
    assert (found["bias"].ci_low, found["bias"].ci_high) == pytest.approx((-22.0, 17.8), abs=0.1)
    assert (found["loa_low"].ci_low, found["loa_low"].ci_high) == pytest.approx((-114.3, -45.1), abs=3)
    shifted = limits_of_agreement([1.0, 2, 3], [2.0, 3, 4])
    assert shifted["bias"].value == 1
    assert shifted["loa_low"].ci_low is None
    assert "every difference is the same" in shifted["loa_low"].reason
    assert limits_of_agreement([1.0, np.nan], [2.0, 3])["bias"].value is None
