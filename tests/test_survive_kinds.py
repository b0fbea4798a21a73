"""Survival of a cohort with out-of-fold and frozen scores, and Holm over what survive judges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.test_survive import SETTINGS, by_hand, make_table, one, study

from hccflow.cli import main
from hccflow.errors import TableError
from hccflow.metrics.multiplicity import adjust
from hccflow.survive import Settings, analyse
from hccflow.survive.kinds import TOLD
from hccflow.survive.multiplicity import with_holm
from hccflow.tables import read_table

KEY = ["metric", "model", "comparator", "at"]
VALUES = ["value", "ci_low", "ci_high", "p", "n", "n_events", "reason"]


def mixed(n: int = 80) -> pd.DataFrame:
    """A development cohort: the first half taught, in two folds, and the other half is the test part."""
    table = make_table(n=n)
    number = table["subject"].str[1:].astype(int)
    taught = number < n // 2
    return table.assign(
        kind=np.where(taught, "oof", "frozen"), fold=(number % 2).where(taught), repeat=number.mul(0).where(taught)
    )


def of_kind(metrics: pd.DataFrame, kind: str) -> pd.DataFrame:
    return metrics[metrics["group"] == f"kind={kind}"].sort_values(KEY, ignore_index=True)


def test_each_kind_is_what_it_is_alone() -> None:
    table = mixed()
    metrics = analyse(table, SETTINGS).metrics
    for kind, part in table.groupby("kind"):
        alone = analyse(part, SETTINGS).metrics
        score = alone["group"].isin(["score", "high"]) & alone["comparator"].isin(["univariable", "low"])
        expected = alone[alone["metric"].isin(TOLD) & (score | (alone["group"] == ""))]
        expected = expected[expected["metric"].str.startswith(("cox", "firth")) | (expected["comparator"] == "")]
        found = of_kind(metrics, str(kind))
        pd.testing.assert_frame_equal(
            found[KEY + VALUES], expected.sort_values(KEY, ignore_index=True)[KEY + VALUES], check_exact=True
        )
        assert {"c_harrell", "c_uno", "logrank_chi2", "cox_hr", "cox_hr_sd", "auc_t"} <= set(found["metric"])
        assert ("c_harrell_within_folds" in set(found["metric"])) == (kind == "oof")
    keys = ["endpoint", "cohort", "group", "model", "comparator", "metric", "at"]
    assert not metrics.duplicated(keys).any()


def test_the_whole_cohort_is_told_as_before_and_one_kind_has_no_rows_of_its_own() -> None:
    table = mixed()
    whole = analyse(table, SETTINGS).metrics
    plain = analyse(table.assign(kind="frozen"), SETTINGS).metrics
    assert not plain["group"].str.startswith("kind=").any()
    pd.testing.assert_frame_equal(whole[~whole["group"].str.startswith("kind=")].reset_index(drop=True), plain)
    # A frozen score that is missing is no score of a second kind.
    table.loc[table["kind"] == "frozen", "y_prob"] = np.nan
    assert not analyse(table, SETTINGS).metrics["group"].str.startswith("kind=").any()


def test_a_kind_without_events_or_with_late_entry_has_reasons() -> None:
    table = mixed()
    table.loc[table["kind"] == "frozen", "event"] = 0
    found = of_kind(analyse(table, SETTINGS).metrics, "frozen")
    assert found.loc[found["metric"] == "cox_hr", "reason"].eq("no events").all()
    assert (found.loc[found["value"].isna(), "reason"] != "").all()
    found = of_kind(analyse(mixed().assign(entry_days=-1.0), SETTINGS).metrics, "oof")
    assert one(found, "c_uno", model="good")["reason"].endswith("delayed entry")
    assert one(found, "c_harrell", model="good")["value"] > 0.5


def test_a_subject_of_two_kinds_is_refused() -> None:
    table = make_table(n=20)
    both = pd.concat([table.assign(kind="oof", repeat=0), table.assign(repeat=1)])
    with pytest.raises(TableError, match="rows of one subject disagree"):
        analyse(both, Settings())


def test_figures_are_those_of_the_whole_cohort(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder, kind in zip(folders, ("oof", None), strict=True):
        folder.mkdir()
        table = mixed(n=40).drop(columns=["fold", "repeat"])
        by_hand(folder, table.assign(kind=kind) if kind else table, cut={"good": 0.5})
    files = sorted(p.relative_to(folders[0]) for p in folders[0].rglob("*.svg"))
    assert files
    for name in files:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_holm_is_over_the_models_of_a_cohort_and_endpoint_and_over_their_pairs() -> None:
    rows = mixed()
    third = rows[rows["model"] == "noise"].assign(model="other", y_prob=lambda t: 1 - t["y_prob"] ** 2)
    uncut = rows[rows["model"] == "good"].assign(model="uncut")
    table = pd.concat([rows, third, uncut, rows.assign(endpoint="pfs")])
    plain = analyse(table, Settings(cut=dict.fromkeys(("good", "noise", "other"), 0.5))).metrics
    metrics = with_holm(plain)
    pd.testing.assert_frame_equal(metrics.iloc[: len(plain)], plain)
    for name, holm in (("logrank_chi2", "logrank_holm"), ("c_difference", "c_difference_holm")):
        for (endpoint, group), raw in plain[plain["metric"] == name].groupby(["endpoint", "group"]):
            where = {"endpoint": endpoint, "group": group}
            found = [
                one(metrics, holm, model=m, comparator=c, **where)
                for m, c in zip(raw.model, raw.comparator, strict=True)
            ]
            expected = adjust(list(raw["p"]))
            numbers = [np.nan if p is None else p for p in expected]
            assert [row["p"] for row in found] == pytest.approx(numbers, nan_ok=True)
            assert {row["value"] for row in found if row["model"] != "uncut"} <= set(raw["value"])
    row = one(metrics, "logrank_holm", model="good", endpoint="os", group="kind=frozen")
    assert row["ci_method"] == "Holm, 3 comparisons"
    assert row["p"] > one(metrics, "logrank_chi2", model="good", endpoint="os", group="kind=frozen")["p"]
    assert one(metrics, "logrank_holm", model="uncut", group="")["reason"] == "no cut is given for this model"


def test_in_a_study_the_clinical_cox_model_counts_as_one_more(tmp_path: Path) -> None:
    predictions, subjects, freezes, settings = study(tmp_path)
    external = read_table(subjects)
    external.assign(subject="D" + external["subject"], cohort="dev").to_csv(tmp_path / "d.tsv", sep="\t", index=False)
    taught = external.assign(subject="D" + external["subject"], cohort="dev", role="train", repeat=0, fold=0)
    taught["fold"] = np.arange(len(taught)) % 3
    taught[["cohort", "subject", "role", "repeat", "fold"]].to_csv(tmp_path / "split.tsv", sep="\t", index=False)
    settings["survive"]["endpoints"] = ["os"]
    args = ["--predictions", *predictions, "--subjects", subjects, "--freeze", *freezes, "--out", tmp_path / "out"]
    args += ["--development", tmp_path / "d.tsv", "--split", tmp_path / "split.tsv", "--settings", json.dumps(settings)]
    assert main(["survive", *map(str, args)]) == 0
    metrics = read_table(tmp_path / "out" / "metrics.tsv", "metrics")
    raw, holm = (metrics[metrics["metric"] == name].sort_values("model") for name in ("logrank_chi2", "logrank_holm"))
    assert sorted(holm["model"]) == ["clinical_cox", "good", "noise"]
    assert set(holm["ci_method"]) == {"Holm, 3 comparisons"}
    assert list(holm["p"]) == pytest.approx(adjust(list(raw["p"])))
    assert one(metrics, "c_difference_holm")["ci_method"] == "Holm, 1 comparison"
