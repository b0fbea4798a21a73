"""Several sessions of one subject: every number counts subjects, and what is learnt from scores does too."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hccflow.errors import TableError
from hccflow.metrics.auc import auc, stratified_auc
from hccflow.metrics.threshold import youden
from hccflow.models.fold import Development
from hccflow.models.targets import read_target
from hccflow.survive.assemble import assemble
from hccflow.train.cuts import learn_survival_cut, learn_threshold
from hccflow.train.training import train
from hccflow.validate import Options, validate
from tabular_study import cohort, settings, split

SESSIONS = ("w0", "w1", "w2", "w3")
FAST = Options(draws=50)


def weekly(n: int = 40, seed: int = 3) -> pd.DataFrame:
    """Scores of one model: the sessions of an animal share its label and most of its score."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    own = 0.3 * (y - 0.5) + rng.normal(0, 0.8, n)
    rows = [
        {
            "study": "s", "model": "m", "cohort": "rats", "subject": f"R{i:03d}", "session": session, "repeat": 0,
            "fold": i % 4, "endpoint": "outcome", "kind": "oof", "y_true": y[i],
            "y_prob": 1 / (1 + np.exp(-own[i] - 0.2 * rng.normal())), "threshold": 0.5,
        }
        for i in range(n) for session in SESSIONS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_results_count_animals_not_scans() -> None:
    table = weekly()
    metrics = validate(table, {}, [], FAST).metrics
    main = metrics[metrics["group"].isna() | (metrics["group"] == "")].set_index("metric")
    animals = table.groupby("subject").agg(y=("y_true", "first"), score=("y_prob", "mean"))
    expected = auc(animals["y"], animals["score"])
    found = main.loc["auc"]
    assert (found["value"], found["ci_low"], found["n"]) == pytest.approx((expected.value, expected.ci_low, 40))
    assert main.loc["sensitivity", "n"] == animals["y"].sum()
    assert main.loc["rows", "value"] == 40
    scans = auc(table["y_true"], table["y_prob"])
    assert scans.ci_low is not None and expected.ci_low is not None  # noqa: PT018 - for the type checker
    assert found["ci_high"] - found["ci_low"] > 1.5 * (scans.ci_high - scans.ci_low), "scans would feign certainty"


def test_each_session_is_also_judged_by_itself() -> None:
    table = weekly()
    metrics = validate(table, {}, [], FAST).metrics
    for session in SESSIONS:
        part = table[table["session"] == session]
        row = metrics[(metrics["metric"] == "auc") & (metrics["group"] == f"session={session}")].iloc[0]
        assert row["value"] == pytest.approx(auc(part["y_true"], part["y_prob"]).value)
        assert row["n"] == 40


def test_a_missing_session_leaves_the_animal_in() -> None:
    table = weekly()
    other = table.assign(model="n", y_prob=table["y_prob"].where(table["session"] != "w0"))
    metrics = validate(pd.concat([table, other]), {}, [], FAST).metrics
    difference = metrics[metrics["metric"] == "auc_difference"].iloc[0]
    assert difference["n"] == 40, "models meet by animal, whichever sessions each has scored"


def test_within_folds_an_animal_counts_once_too() -> None:
    table = weekly()
    table["fold"], table["repeat"] = table["subject"].str[-1].astype(int) % 3, 0
    metrics = validate(table, {}, [], FAST).metrics
    animals = table.groupby("subject").agg(y=("y_true", "first"), score=("y_prob", "mean"), fold=("fold", "first"))
    expected = stratified_auc(animals["y"], animals["score"], animals["fold"])
    row = metrics[metrics["metric"] == "auc_within_folds"].iloc[0]
    assert (row["value"], row["ci_low"], row["n"]) == pytest.approx((expected.value, expected.ci_low, 40))


def test_sessions_with_different_labels_are_refused() -> None:
    table = weekly()
    table.loc[1, "y_true"] = 1 - table.loc[1, "y_true"]
    with pytest.raises(TableError, match="sessions of a subject have different labels"):
        validate(table, {}, [], FAST)


def test_cut_offs_are_those_of_animals() -> None:
    table = weekly()
    rows = table.assign(role="development", outcome=table["y_true"].astype("Int64"))
    split = rows.drop_duplicates("subject")[["cohort", "subject", "repeat", "fold"]].assign(role="train")
    x, scorable = pd.DataFrame({"x": np.zeros(len(rows))}), pd.Series(True, index=rows.index)
    targets = {"outcome": read_target(rows, "outcome", {"kind": "binary"})}
    everyone = Development(rows, split, x, scorable=scorable, targets=targets, seed=1)
    fold = everyone.all()
    scores = table["y_prob"].to_numpy()
    animals = table.groupby("subject").agg(y=("y_true", "first"), score=("y_prob", "mean"))
    assert learn_survival_cut(fold, scores, "median").value == pytest.approx(animals["score"].median())
    best = youden(animals["y"].to_numpy(float), animals["score"].to_numpy())
    assert best is not None
    assert learn_threshold(fold, scores, "youden").value == pytest.approx(best[0])


def test_a_frozen_model_counts_the_animals_that_taught_it() -> None:
    animals, _ = cohort("dev", 40, 5)
    scans = pd.concat([animals.assign(session=session) for session in SESSIONS], ignore_index=True)
    scans.loc[scans["subject"] == animals["subject"][9], "response"] = np.nan
    facts = train("clinical", settings(), scans, split(animals)).facts
    taught = animals["response"].drop(9)
    assert facts["training"]["n"] == 39 and facts["training"]["n_events"] == taught.sum()
    assert (facts["heads"]["response"]["n"], facts["heads"]["response"]["n_events"]) == (39, taught.sum())


def test_survival_takes_the_mean_score_and_the_first_covariates() -> None:
    table = weekly(n=6)
    subjects = table[["subject", "session"]].assign(
        os_time_days=table["subject"].str[1:].astype(float) * 10 + 10,
        os_event=1,
        week=table["session"].str[1:].astype(float),
    )
    study = {
        "survive": {"covariates": ["week"]}, "models": {"m": {"endpoint": "outcome"}},
        "endpoints": {"outcome": {"kind": "binary"}}, "columns": {},
    }  # fmt: skip
    found = assemble(table, subjects, "os", study).set_index("subject")
    assert len(found) == 6
    assert found["week"].eq(0).all()
    np.testing.assert_allclose(found["risk"], table.groupby("subject")["y_prob"].mean())
    subjects.loc[1, "os_time_days"] = 99
    with pytest.raises(TableError, match="disagree about its follow-up"):
        assemble(table, subjects, "os", study)
