"""Variance inflation: as statsmodels gives it, as Fox and Monette define it, and where there is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.outliers_influence import variance_inflation_factor

from hccflow.metrics.collinearity import NOT_OWN, inflation


def people(n: int = 90) -> pd.DataFrame:
    """Age, a marker that follows it, and a stage of three levels that follows both."""
    rng = np.random.default_rng(4)
    age = rng.normal(60, 9, n)
    marker = 300 + 8 * age + rng.normal(0, 40, n)
    stage = np.digitize(age + marker / 40 + rng.normal(0, 6, n), [70, 78])
    return pd.DataFrame({"age": age, "marker": marker, "B": (stage == 1) * 1.0, "C": (stage == 2) * 1.0})


def test_a_term_of_one_column_has_the_factor_of_statsmodels() -> None:
    X = people()
    found = inflation(X, {name: [name] for name in X})
    design = np.column_stack([np.ones(len(X)), X])
    for j, name in enumerate(X, 1):
        assert found[name].value == pytest.approx(variance_inflation_factor(design, j), rel=1e-9)
    assert found["age"].value > 2, "the marker follows age"


def test_a_category_has_the_generalised_factor_whatever_its_reference() -> None:
    X = people()
    terms = {"age": ["age"], "marker": ["marker"], "stage": ["B", "C"]}
    R, of = np.corrcoef(X.T), np.linalg.det
    generalised = of(R[:2, :2]) * of(R[2:, 2:]) / of(R)
    found = inflation(X, terms)["stage"].value
    assert found == pytest.approx(generalised ** (1 / 2), rel=1e-9)
    other = X.assign(B=1 - X["B"] - X["C"])
    assert inflation(other, terms)["stage"].value == pytest.approx(found, rel=1e-9)


def test_what_has_nothing_of_its_own_says_so_and_the_others_keep_theirs() -> None:
    X = people().assign(twice=lambda t: 2 * t["age"] + 1, constant=3.0, one=0.0)
    terms = {"age": ["age"], "twice": ["twice"], "constant": ["constant"], "stage": ["B", "C", "one"]}
    found = inflation(X, terms)
    for name in ("age", "twice", "constant"):
        assert (found[name].value, found[name].reason, found[name].n) == (None, NOT_OWN, len(X))
    alone = inflation(X, {"age": ["age"], "stage": ["B", "C"]})
    assert found["stage"].value == pytest.approx(alone["stage"].value), "an empty level does not count"
