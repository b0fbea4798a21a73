"""The table of odds ratios of a clinical model: whose rows, which levels, which method, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from hccflow.cli import main
from hccflow.errors import ConfigError, LeakageError
from hccflow.tables import read_table, write_table
from hccflow.train.odds import odds_table
from tabular_study import CLINICAL, cohort, settings, split


def study(n: int = 240, **changes: Any) -> tuple[dict[str, Any], pd.DataFrame]:
    """Settings and subjects of a clinical model with a yes-or-no column; some values are missing."""
    config = settings(clinical={**CLINICAL, "columns": ["age", "stage", "afp", "cirrhosis"], **changes})
    config["columns"]["cirrhosis"] = {"kind": "binary", "available_at": "baseline"}
    subjects, _ = cohort("dev", n, 11)
    subjects["cirrhosis"] = np.random.default_rng(2).integers(0, 2, n).astype(float)
    subjects.loc[4:9, "age"] = np.nan
    subjects.loc[8:15, "stage"] = ""
    return config, subjects


def picked(table: pd.DataFrame, metric: str, comparator: str = "") -> pd.DataFrame:
    return table[(table["metric"] == metric) & (table["comparator"] == comparator)].set_index("group")


def test_the_command_gives_the_odds_ratios_of_statsmodels_on_complete_rows(tmp_path: Path) -> None:
    config, subjects = study()
    parts = split(subjects, test=40)
    write_table(subjects, tmp_path / "subjects.tsv")
    write_table(parts, tmp_path / "split.tsv")
    arguments = [
        "--subjects",
        tmp_path / "subjects.tsv",
        "--split",
        tmp_path / "split.tsv",
        "--out",
        tmp_path / "o.tsv",
    ]
    told = ["odds_ratios", "--model", "clinical", "--settings", json.dumps(config), *map(str, arguments)]
    assert main(told) == 0
    table = read_table(tmp_path / "o.tsv", "metrics")

    taught = subjects.iloc[:-40]  # the last are the internal test set
    x = pd.DataFrame({"age": taught["age"]})
    for level in "BC":
        x[f"stage={level}"] = (taught["stage"] == level).astype(float).where(taught["stage"] != "")
    x["afp (log1p)"], x["cirrhosis=1"] = np.log1p(taught["afp"]), taught["cirrhosis"]
    samples = {("multivariable", tuple(x)), ("univariable", ("age",)), ("univariable", ("stage=B", "stage=C"))}
    for comparator, names in samples | {("univariable", ("afp (log1p)",)), ("univariable", ("cirrhosis=1",))}:
        rows = x[list(names)].dropna()
        theirs = sm.Logit(taught.loc[rows.index, "response"], sm.add_constant(rows)).fit(disp=0, tol=1e-12)
        limits = np.exp(theirs.conf_int())
        ours = picked(table, "odds_ratio", comparator).loc[list(names)]
        assert (ours["n"] == len(rows)).all() and (ours["ci_method"] == "Wald").all()
        assert ours["value"].to_numpy() == pytest.approx(np.exp(theirs.params[list(names)]).to_numpy(), rel=1e-6)
        assert ours[["ci_low", "ci_high"]].to_numpy() == pytest.approx(limits.loc[list(names)].to_numpy(), rel=1e-6)
        assert ours["p"].to_numpy() == pytest.approx(theirs.pvalues[list(names)].to_numpy(), abs=1e-7)

    counts = picked(table, "n_subjects")
    assert set(counts.index) == {"age", "afp (log1p)", *(f"stage={v}" for v in "ABC"), "cirrhosis=0", "cirrhosis=1"}
    reference = taught[taught["stage"] == "A"]
    assert (counts.loc["stage=A", "n"], counts.loc["stage=A", "n_events"]) == (
        len(reference),
        reference["response"].sum(),
    )
    assert counts.loc["age", "n"] == taught["age"].notna().sum()
    factors = picked(table, "vif", "multivariable")
    assert set(factors.index) == {"age", "stage", "afp (log1p)", "cirrhosis"} and (factors["value"] >= 1).all()


def test_one_method_serves_the_whole_table() -> None:
    config, subjects = study()
    parts = split(subjects)
    assert set(odds_table("clinical", config, subjects, parts)["ci_method"]) == {"", "Wald"}
    config["models"]["clinical"]["learner"] = "firth"
    ratios = odds_table("clinical", config, subjects, parts).query("metric == 'odds_ratio'")
    assert set(ratios["ci_method"]) == {"profile penalised likelihood: the learner of the model"}
    config, subjects = study(60)
    few = odds_table("clinical", config, subjects, split(subjects)).query("metric == 'odds_ratio'")
    assert few["ci_method"].nunique() == 1, "few events for the model together: each alone by Firth too"
    assert few["ci_method"].str.endswith(" for 5 coefficients").all()
    assert (few["ci_low"] < few["value"]).all() and (few["value"] < few["ci_high"]).all()


def test_a_variable_alone_is_not_told_twice_and_a_level_nobody_has_says_why() -> None:
    config, subjects = study(columns=["age"], transforms={})
    alone = odds_table("clinical", config, subjects, split(subjects))
    assert set(alone["comparator"]) == {"", "univariable"} and "vif" not in set(alone["metric"])
    config, subjects = study()
    subjects["stage"] = subjects["stage"].replace("C", "B")
    table = odds_table("clinical", config, subjects, split(subjects))
    for comparator in ("univariable", "multivariable"):
        row = picked(table, "odds_ratio", comparator).loc["stage=C"]
        assert np.isnan(row["value"]) and row["reason"].startswith("constant")
    assert picked(table, "n_subjects").loc["stage=C", "n"] == 0


def test_a_subject_of_several_sessions_counts_once() -> None:
    config, subjects = study()
    again = subjects.assign(session="2", afp=0.0)
    both = pd.concat([subjects.assign(session="1"), again]).sort_values(["subject", "session"], ignore_index=True)
    once = odds_table("clinical", config, subjects, split(subjects))
    pd.testing.assert_frame_equal(odds_table("clinical", config, both, split(subjects)), once)


def test_other_models_and_other_cohorts_are_refused() -> None:
    config, subjects = study(learner="ridge")
    with pytest.raises(ConfigError, match="model 'clinical' has no odds ratios"):
        odds_table("clinical", config, subjects, split(subjects))
    config, subjects = study()
    with pytest.raises(LeakageError, match="may not teach"):
        odds_table("clinical", config, subjects.assign(role="external"), split(subjects))
