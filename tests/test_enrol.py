"""Enrolment: response criteria, endpoints, eligibility, agreement, the null permutation and the split."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hccflow.cli import main
from hccflow.enrol.criteria import CRITERIA, Category, Visit, best_response
from hccflow.enrol.eligibility import judge
from hccflow.enrol.endpoints import derive_endpoints
from hccflow.enrol.enrolment import enrol, permute_outcomes
from hccflow.enrol.response import adjudicate, read_responses
from hccflow.errors import ConfigError, DataAbsentError, HccflowError, TableError
from hccflow.ids import CohortRole
from hccflow.tables import check_table, load_schema, read_table

RESPONSE = {"kind": "binary", "source": "mrecist", "positive": ["CR", "PR"], "adjudication": "majority"}


# ---- response criteria ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "baseline", "followup", "expected"),
    [
        ("mrecist", 100, 0, "CR"),
        ("mrecist", 100, 70, "PR"),
        ("mrecist", 100, 70.1, "SD"),
        ("mrecist", 100, 119.9, "SD"),
        ("mrecist", 100, 120, "PD"),
        ("mrecist", 0.1 + 0.2, 0.7 * 0.3, "PR"),  # exactly -30 % in spite of binary fractions
        ("mrecist", 20, 24, "PD"),
        ("recist", 20, 24, "SD"),  # +20 %, but less than 5 mm
        ("recist", 25, 30, "PD"),
        ("easl", 400, 200, "PR"),
        ("easl", 400, 201, "SD"),
        ("easl", 400, 500, "PD"),
        ("easl", 400, 499, "SD"),
    ],
)
def test_thresholds(name, baseline, followup, expected):
    assert best_response(CRITERIA[name], baseline, [Visit(followup)]) == expected


def test_new_lesion_and_rest_and_missing():
    rule = CRITERIA["mrecist"]
    assert best_response(rule, 50, [Visit(0, new_lesion=True)]) is Category.PD
    assert best_response(rule, 50, [Visit(None, new_lesion=True)]) is Category.PD
    assert best_response(rule, 50, [Visit(0, rest_gone=False)]) is Category.PR
    assert best_response(rule, 50, [Visit(None)]) is None


def test_best_response_up_to_progression_against_the_nadir():
    rule = CRITERIA["mrecist"]
    assert best_response(rule, 100, [Visit(60), Visit(0)]) is Category.CR
    assert best_response(rule, 100, [Visit(90), Visit(130), Visit(0)]) is Category.SD
    assert best_response(rule, 100, [Visit(50, judged=False), Visit(61)]) is Category.PD
    assert best_response(rule, 100, [Visit(0), Visit(5)]) is Category.CR


def lesion(subject: str, reader: str, timepoint: str, days: float, viable: float, **more: Any) -> dict[str, Any]:
    row = {"lesion": "L1", "target": 1, "diameter_mm": 50.0, "new_lesion": 0}
    return {
        **row,
        "subject": subject,
        "reader": reader,
        "timepoint": timepoint,
        "days": days,
        "viable_mm": viable,
        **more,
    }


def one_read(rows: list[dict[str, Any]], **spec: Any) -> tuple[str, str]:
    readings = read_responses(pd.DataFrame(rows), {**RESPONSE, **spec}, "lesions.tsv")
    return readings.categories.iloc[0, 0], readings.reasons.iloc[0, 0]


def test_window_is_inclusive_and_counted():
    base = lesion("P1", "1", "baseline", -5, 50)
    for day, inside in ((20.9, False), (21, True), (90, True), (90.1, False)):
        found = one_read([base, lesion("P1", "1", "followup", day, 10)], window_days=[21, 90])
        assert found == (("PR", "") if inside else ("", "follow-up imaging outside the window"))
    assert one_read([base, lesion("P1", "1", "followup", np.nan, 10)])[0] == "PR"
    unknown = one_read([base, lesion("P1", "1", "followup", np.nan, 10)], window_days=[21, 90])
    assert unknown == ("", "day of follow-up imaging unknown")
    assert one_read([base], window_days=[21, 90]) == ("", "no follow-up imaging")
    early = one_read([base, lesion("P1", "1", "followup", 40, 10)], baseline_window_days=[-4, 0])
    assert early == ("", "baseline imaging outside the window")


def test_the_last_baseline_before_treatment_counts():
    rows = [
        lesion("P1", "1", "baseline", -60, 100),
        lesion("P1", "1", "baseline", -1, 40),
        lesion("P1", "1", "baseline", 3, 10),
        lesion("P1", "1", "followup", 40, 35),
    ]
    assert one_read(rows)[0] == "SD"
    assert one_read([rows[2], lesion("P1", "1", "followup", 40, 5)])[0] == "PR"


def test_landmark_ignores_earlier_imaging():
    rows = [lesion("P1", "1", "baseline", 0, 50), lesion("P1", "1", "followup", 20, 0)]
    assert one_read(rows, landmark_days=30) == ("", "follow-up imaging outside the window")


def test_a_target_that_was_not_measured():
    rows = [
        lesion("P1", "1", "baseline", 0, 50),
        lesion("P1", "1", "baseline", 0, 20, lesion="L2"),
        lesion("P1", "1", "followup", 40, 10),
    ]
    assert one_read(rows) == ("", "target lesion not measured at follow-up")


def test_easl_needs_an_area():
    rows = [lesion("P1", "1", "baseline", 0, 50), lesion("P1", "1", "followup", 40, 20)]
    with pytest.raises(TableError, match="two diameters"):
        one_read(rows, source="easl")
    with_second = [{**row, "viable2_mm": 10.0} for row in rows]
    assert one_read(with_second, source="easl")[0] == "PR"
    areas = [{**row, "viable_area_mm2": area} for row, area in zip(rows, (400, 300), strict=True)]
    assert one_read(areas, source="easl")[0] == "SD"


def test_adjudication():
    labels = pd.DataFrame({"1": [1, 1, 0, np.nan, np.nan], "2": [0, 1, 0, 1, np.nan], "3": [1, np.nan, 1, 0, np.nan]})
    label, reason = adjudicate(labels, "majority")
    assert label.tolist()[:3] == [1, 1, 0]
    assert label[3:].isna().all()
    assert reason.tolist() == ["", "", "", "readers are tied", ""]
    assert adjudicate(labels, "any")[0].tolist()[:4] == [1, 1, 1, 1]
    assert adjudicate(labels, "all")[0].tolist()[:4] == [0, 1, 0, 0]
    assert adjudicate(labels, "first")[0].tolist()[:3] == [1, 1, 0]


# ---- endpoints ------------------------------------------------------------------------------------------------------


def people(**columns: list[Any]) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    fixed = {"subject": [f"P{i:02d}" for i in range(n)], "session": "", "site": "A", "batch": "01"}
    return pd.DataFrame({**fixed, **columns})


def test_horizon_labels():
    table = people(t=[100.0, 365, 366, 200, 365, 200, np.nan], e=[1.0, 1, 1, 0, 0, 2, 1])
    specs = {
        "os": {"kind": "survival", "time": "t", "event": "e"},
        "year": {"kind": "binary", "source": "horizon", "of": "os", "horizon_days": 365},
    }
    made = derive_endpoints(table, specs)
    assert made.values["year"].fillna(-1).tolist() == [1, 1, 0, -1, 0, 0, -1]
    assert made.reasons["year"].tolist()[3] == "censored before the horizon"
    assert made.reasons["year"].tolist()[6] == "value missing"


def test_landmark_and_entry():
    table = people(t=[10.0, 30, 50, 60], e=[1.0, 0, 1, 1], s=[0.0, 0, 0, 60])
    made = derive_endpoints(table, {"os": {"kind": "survival", "time": "t", "event": "e", "landmark_days": 30}})
    assert made.values["os_time_days"].isna().tolist() == [True, False, False, False]
    assert made.reasons["os"].iloc[0] == "follow-up ends before the landmark"
    made = derive_endpoints(table, {"os": {"kind": "survival", "time": "t", "event": "e", "entry": "s"}})
    assert made.reasons["os"].iloc[3] == "follow-up ends before entry"
    assert made.values["os_entry_days"].tolist()[:3] == [0, 0, 0]


def test_impossible_values_are_refused():
    spec = {"os": {"kind": "survival", "time": "t", "event": "e"}}
    with pytest.raises(TableError, match="outside its domain"):
        derive_endpoints(people(t=[-1.0], e=[1.0]), spec)
    with pytest.raises(TableError, match="outside its domain"):
        derive_endpoints(people(t=[1.0], e=[0.34]), spec)
    with pytest.raises(DataAbsentError, match="lesions"):
        derive_endpoints(people(t=[1.0]), {"r": RESPONSE})
    with pytest.raises(ConfigError, match="0/1"):
        derive_endpoints(people(c=["a"]), {"r": {"kind": "binary", "source": "column", "column": "c"}})


def test_column_endpoint():
    spec = {"r": {"kind": "binary", "source": "column", "column": "c", "positive": ["yes"]}}
    made = derive_endpoints(people(c=["yes", "no", ""]), spec)
    assert made.values["r"].fillna(-1).tolist() == [1, 0, -1]


# ---- eligibility ----------------------------------------------------------------------------------------------------


def test_first_failing_rule_counts():
    table = people(stage=["A", "C", "A", "A", ""], size=[20.0, 5, 5, np.nan, 20])
    rules = [{"name": "stage", "column": "stage", "in": ["A"]}, {"name": "size", "column": "size", "at_least": 10}]
    verdicts, flow = judge(table, rules, pd.DataFrame(index=table.index))
    assert verdicts["reason"].tolist() == ["", "stage", "size", "size", "stage"]
    assert flow[["n_in", "n_out", "n_left"]].to_numpy().tolist() == [[5, 0, 5], [5, 2, 3], [3, 2, 1], [1, 0, 1]]
    assert verdicts["notes"].tolist()[1:] == ["stage = C", "size = 5.0", "size = missing", "stage = missing"]
    rules[1]["keep_missing"] = True
    assert judge(table, rules, pd.DataFrame(index=table.index))[0]["reason"].tolist()[3] == ""


def test_images_and_failed_conversions():
    table = people(x=[1.0, 2, 3, 4, 5])
    converted = pd.DataFrame(
        {
            "subject": ["P00", "P01", "P02", "P04"],
            "session": "",
            "status": ["ok", "failed", "ok", "excluded"],
            "reason": ["", "a slice is missing", "", "another organ"],
            "channels": ["arterial", "", "arterial,portal", ""],
            "masks": "tumour",
            "notes": ["portal not found", "", "", ""],
        }
    )
    rules = [{"name": "Both phases", "images": ["arterial", "portal", "tumour"]}]
    verdicts, _ = judge(table, rules, pd.DataFrame(index=table.index), converted)
    assert verdicts["status"].tolist() == ["excluded", "failed", "ok", "failed", "excluded"]
    assert verdicts["reason"].tolist()[:2] == ["Both phases", "a slice is missing"]
    assert verdicts.loc[4, ["reason", "notes"]].tolist() == ["Both phases", "another organ"]
    assert verdicts["notes"].iloc[0] == "without portal: portal not found"
    without, flow = judge(table, [], pd.DataFrame(index=table.index), converted)
    assert without["status"].tolist() == ["ok", "failed", "ok", "failed", "excluded"]
    assert flow["rule"].tolist() == ["", "Images converted", ""]
    with pytest.raises(ConfigError, match="has none"):
        judge(table, rules, pd.DataFrame(index=table.index))


# ---- the whole stage ------------------------------------------------------------------------------------------------

COLUMNS = {
    "stage": {"kind": "category", "levels": ["A", "B", "C"], "available_at": "baseline"},
    "os_days": {"kind": "number", "available_at": "outcome"},
    "os_event": {"kind": "binary", "available_at": "outcome"},
}
SPECS = {"response": RESPONSE, "os": {"kind": "survival", "time": "os_days", "event": "os_event"}}
SETTINGS = {
    "study": "t",
    "seed": 1,
    "columns": COLUMNS,
    "endpoints": SPECS,
    "eligibility": [{"name": "stage", "column": "stage", "in": ["A", "B"]}, {"name": "known", "endpoint": "response"}],
    "null_seed": None,
    "split": {"folds": 3, "repeats": 2, "test_fraction": 0.2, "stratify": ["response", "site"]},
}


def cohort(n: int = 40, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    table = people(
        stage=rng.choice(["A", "B", "C"], n).tolist(), os_days=rng.integers(10, 900, n).astype(float).tolist(),
        os_event=rng.integers(0, 2, n).tolist(),
    )  # fmt: skip
    table["site"] = rng.choice(["A", "B"], n)
    rows = []
    for subject, reader in itertools.product(table["subject"], "123"):
        rows.append(lesion(subject, reader, "baseline", 0, float(rng.uniform(20, 60))))
        if subject != "P00":
            rows.append(lesion(subject, reader, "followup", 40, float(rng.uniform(0, 60))))
    return table, pd.DataFrame(rows)


def test_enrol_keeps_a_row_for_everyone():
    table, lesions = cohort()
    made = enrol(table, SETTINGS, cohort="c1", role=CohortRole.DEVELOPMENT, lesions=lesions)
    assert len(made.manifest) == len(table)
    assert (made.manifest["status"] == "ok").sum() == len(made.subjects)
    assert list(made.subjects.columns) == [
        "cohort", "subject", "session", "site", "batch", "role", "stage", "os_days", "response",
        "response_reader_1", "response_reader_2", "response_reader_3", "os_time_days", "os_event", "os_entry_days",
    ]  # fmt: skip
    check_table(made.flow.astype(str), load_schema("flow"), where="flow")
    groups = made.agreement.groupby("metric")["group"].agg(set)
    assert groups["kappa"] == {"1 and 2", "1 and 3", "2 and 3"}
    assert len(groups["auc_ceiling"]) == 12


def test_every_session_is_a_case_and_shares_its_subjects_response():
    table, lesions = cohort()
    twice = pd.concat([table.assign(session="w1"), table.assign(session="w2", stage="C")], ignore_index=True)
    made = enrol(twice, SETTINGS, cohort="c1", role=CohortRole.DEVELOPMENT, lesions=lesions)
    assert len(made.manifest) == 2 * len(table)
    assert set(made.subjects["session"]) == {"w1"}  # rules are per case: the second session fails the stage rule
    once = enrol(table, SETTINGS, cohort="c1", role=CohortRole.DEVELOPMENT, lesions=lesions)
    assert made.subjects["response"].tolist() == once.subjects["response"].tolist()


def test_an_unknown_category_is_refused():
    table, lesions = cohort()
    odd = {**SETTINGS, "endpoints": {"response": {**RESPONSE, "positive": ["CR", "OR"]}}}
    with pytest.raises(ConfigError, match="unknown response category 'OR'"):
        enrol(table, odd, cohort="c1", role=CohortRole.DEVELOPMENT, lesions=lesions)


def test_nobody_eligible_is_said():
    table, lesions = cohort()
    settings_ = {**SETTINGS, "eligibility": [{"name": "never", "column": "os_days", "at_least": 1e9}]}
    with pytest.raises(HccflowError, match="never"):
        enrol(table, settings_, cohort="c1", role=CohortRole.DEVELOPMENT, lesions=lesions)


# ---- the null permutation -------------------------------------------------------------------------------------------


def test_null_permutes_the_outcome_block_jointly():
    table, lesions = cohort()
    real = enrol(table, SETTINGS, cohort="c1", role=CohortRole.DEVELOPMENT, lesions=lesions).subjects
    nulls = [
        enrol(table, {**SETTINGS, "null_seed": 7}, cohort=name, role=CohortRole.DEVELOPMENT, lesions=lesions).subjects
        for name in ("c1", "c1", "c2")
    ]
    block = [c for c in real.columns if c.startswith(("response", "os_"))]
    pd.testing.assert_frame_equal(nulls[0], nulls[1])
    assert not nulls[0][block].equals(nulls[2][block])
    assert not nulls[0][block].equals(real[block])
    assert nulls[0].drop(columns=block).equals(real.drop(columns=block))
    rows = [sorted(t[block].astype(str).agg("|".join, axis=1)) for t in (real, nulls[0])]
    assert rows[0] == rows[1]
    assert nulls[0].dtypes.equals(real.dtypes)


def test_null_moves_whole_subjects():
    table = pd.DataFrame(
        {"subject": list("AABBCD"), "session": ["1", "2", "1", "2", "", ""], "y": [1.0, 2, 3, 4, 5, 6]}
    )
    seen = {tuple(permute_outcomes(table, ["y"], seed, "c")["y"]) for seed in range(40)}
    assert seen == {(a, b, c, d, e, f) for (a, b), (c, d) in (((1, 2), (3, 4)), ((3, 4), (1, 2)))
                    for e, f in ((5, 6), (6, 5))}  # fmt: skip


# ---- the commands ---------------------------------------------------------------------------------------------------


def test_commands_write_the_contract(tmp_path):
    table, lesions = cohort()
    table.to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    lesions.to_csv(tmp_path / "lesions.tsv", sep="\t", index=False)
    text = json.dumps(SETTINGS)
    out = tmp_path / "enrol"
    arguments = ["enrol", "--cohort", "dev", "--role", "development", "--settings", text, "--out", str(out / "dev")]
    arguments += ["--participants", str(tmp_path / "participants.tsv"), "--lesions", str(tmp_path / "lesions.tsv")]
    assert main([*arguments, "--manifest"]) == 0
    assert main(["split", "--subjects", str(out / "dev" / "subjects.tsv"), "--settings", text,
                 "--out", str(out / "split.tsv")]) == 0  # fmt: skip
    subjects = read_table(out / "dev" / "subjects.tsv", "subjects")
    manifest = read_table(out / "dev" / "manifest.tsv", "enrol")
    assert set(subjects["subject"]) == set(manifest.loc[manifest["status"] == "ok", "subject"])
    flow = read_table(out / "dev" / "flow.tsv", "flow")
    assert flow.loc[flow["step"] == "enrolled", "n_left"].item() == len(subjects)
    assert not read_table(out / "dev" / "agreement.tsv", "metrics").empty
    split = read_table(out / "split.tsv", "split")
    assert set(split["subject"]) == set(subjects["subject"])
    assert set(split["repeat"]) == {0, 1}
    first = {path.name: path.read_bytes() for path in (out / "dev").iterdir()}
    assert main(arguments) == 0
    assert first == {path.name: path.read_bytes() for path in (out / "dev").iterdir()}


def test_commands_refuse_with_one_line(tmp_path, capsys):
    table, lesions = cohort()
    table.to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    pd.concat([lesions, lesions.iloc[[3]]]).to_csv(tmp_path / "lesions.tsv", sep="\t", index=False)
    arguments = ["enrol", "--cohort", "dev", "--role", "development", "--settings", json.dumps(SETTINGS)]
    arguments += ["--out", str(tmp_path / "o"), "--participants", str(tmp_path / "participants.tsv")]
    assert main([*arguments, "--lesions", str(tmp_path / "lesions.tsv")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "measured twice" in message
    assert "subject P01, reader 1" in message
    assert main(arguments) == 2
    assert "derived from lesions" in capsys.readouterr().err
