"""Parts of the report by themselves: words, numbers, pictures, tables, drawings."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import report_tree
from hccflow.figures.report import Bar, Flow, ForestRow, bars, dots, flow_diagram, forest
from hccflow.metrics.estimate import Estimate, metrics_table, undefined
from hccflow.models.contributions import BASE
from hccflow.predict import NO_TABLE
from hccflow.report.page import DASH, Callout, Cell, Figure, Row, Table, Text, condense, footnote_mark
from hccflow.report.results import Results
from hccflow.report.sections import (
    baseline,
    comparisons,
    contributions,
    headline,
    images,
    leakage,
    limitations,
    models,
    performance,
    relate,
    subgroups,
    truth,
)
from hccflow.report.words import caption, estimate, number, p_value, percent
from hccflow.tables import read_table, subjects_digest, write_table, write_text


def test_information_is_stated_only_for_just_these_variables() -> None:
    found = report_tree.settings()
    known = found["truth"]["phantom-ext"]
    specs = {
        **found["models"],
        "both": {"columns": ["child_pugh", "afp_ng_ml"], "roi": "manual"},
        "one": {"columns": ["child_pugh"]},
        "none": {"columns": ["age"]},
        "shape": {"roi": "manual", "features": ["shape__*"]},
        "deep": {"network": {"crop": "tumour"}},
        "late": {"inputs": ["clinical", "deep"]},
    }
    assert {name: truth.information_of(name, specs, known) for name in specs} == {
        **dict.fromkeys(found["models"], "imaging"), "size": "size", "clinical": "clinical", "both": "all",
        "one": "", "none": "", "shape": "", "deep": "imaging", "late": "all",
    }  # fmt: skip


def judged_tree(root: Path, *, test_part: bool) -> Results:
    """A development cohort judged out of fold, with or without frozen scores of a test part, as the primary one."""
    found = report_tree.settings()
    found["primary"] |= {"cohort": "phantom-dev", "model": "radiomics", "comparator": "clinical"}
    rows = []
    parts = {"kind=oof": 0.0, "kind=frozen": 0.1, "": 0.05} if test_part else {"": 0.0}
    for group, more in parts.items():
        where = {"study": "phantom", "endpoint": "response", "cohort": "phantom-dev", "group": group}
        n = {"n": 20 if group == "kind=frozen" else 40, "n_events": 9}
        inside = group == ("kind=oof" if test_part else "")
        for model, value in (("radiomics", 0.71), ("clinical", 0.61)):
            value += more
            rows.append(Estimate(value, value - 0.1, value + 0.1, "DeLong", **n).row("auc", model=model, **where))
            rows.append(Estimate(0.2, **n).row("brier", model=model, **where))
            rows.append(Estimate(0.5 + more, 0.3, 0.7, "bootstrap", **n).row("f1", at=0.4, model=model, **where))
            if inside:
                within = Estimate(value + 0.03, value - 0.1, value + 0.1, "DeLong within strata", **n)
                rows.append(within.row("auc_within_folds", model=model, **where))
        gap = Estimate(0.1 + more, -0.1, 0.3, "DeLong", p=0.3, **n)
        pair = {"model": "radiomics", "comparator": "clinical", **where}
        rows += [gap.row("auc_difference", **pair), gap.row("auc_difference_holm", **pair)]
        if inside:
            gap = Estimate(0.13, -0.1, 0.3, "DeLong, paired, within strata", p=0.2, **n)
            rows += [gap.row(f"auc_difference_within_folds{end}", **pair) for end in ("", "_holm")]
    write_table(metrics_table(rows), root / "validate/phantom-dev/metrics.tsv")
    write_table(pd.DataFrame({"subject": ["a"]}), root / "enrol/phantom-dev/subjects.tsv")
    return Results(root, found)


@pytest.mark.parametrize("test_part", [False, True])
def test_out_of_fold_scores_are_told_within_folds_and_a_test_part_by_itself(tmp_path: Path, test_part: bool) -> None:
    results = judged_tree(tmp_path, test_part=test_part)
    own, gap = headline._performance(results, "radiomics"), headline.difference(results)
    sentence = headline._sentence(results, own, headline._performance(results, "clinical"), gap)
    assert "the AUC within folds of Radiomics" in sentence and "was 0.74" in sentence and "+0.13" in sentence
    assert ("the out-of-fold part of" in sentence) == test_part
    table = performance._table(results, "response", "performance", performance.DISCRIMINATION)
    mine = [[c.text for c in r.cells] for r in table.rows if not r.heading]
    names, where = [row[0] for row in mine], [table.columns.index(c) for c in ("AUC within folds", "AUC", "F1")]
    first = next(row for row in mine if row[0].startswith("Radiomics"))
    assert [first[k].split(" ")[0] for k in where] == ["0.74", "0.71", "0.50"]
    assert (performance.INTERNAL in names) == test_part
    assert ("out of fold" in table.rows[0].cells[0].text) == test_part
    compared = comparisons.build(results).blocks[0]
    assert isinstance(compared, Table)
    told = {r.cells[1].text: (r.cells[3].text[:4], r.cells[6].text) for r in compared.rows if not r.heading}
    expected = {"AUC within folds": ("0.13", "primary")}
    if test_part:
        expected["AUC, internal validation"] = ("0.20", "exploratory")
        assert mine[mine.index(first) + 1][where[1]].startswith("0.81")
    assert told == expected, "no row of both kinds together"


@pytest.mark.parametrize(
    ("interval", "p", "said"),
    [
        ((0.02, 0.2), 0.03, "above zero and the exchange test agrees: in this cohort Radiomics (LASSO, XGBoost) was b"),
        (
            (-0.2, -0.02),
            0.03,
            "below zero and the exchange test agrees: in this cohort Radiomics (LASSO, XGBoost) was w",
        ),
        ((0.02, 0.2), 0.13, "above zero, but the exchange test does not"),
        ((-0.2, -0.02), 0.13, "below zero, but the exchange test does not"),
        ((-0.02, 0.2), 0.03, "includes zero, though the exchange test alone"),
        ((-0.02, 0.2), 0.13, "includes zero: these data do not show"),
    ],
)
def test_within_folds_nobody_is_better_by_the_interval_alone(
    tmp_path: Path, interval: tuple[float, float], p: float, said: str
) -> None:
    results = judged_tree(tmp_path, test_part=False)
    own, other = (headline._performance(results, name) for name in ("radiomics", "clinical"))
    gap = {**(headline.difference(results) or {}), "ci_low": interval[0], "ci_high": interval[1], "p": p}
    sentence = headline._sentence(results, own, other, gap)
    assert said in sentence
    settled = "agrees" in said
    assert ("better" in sentence or "worse" in sentence) == settled
    pooled = headline._sentence(results, own, other, {**gap, "metric": "auc_difference"})
    assert ("better" in pooled or "worse" in pooled) == (interval[0] * interval[1] > 0), "DeLong's p is the interval's"
    assert "exchange" not in pooled


@pytest.mark.parametrize("adjust", [[], ["arm"]])
def test_both_slopes_of_histology_stand_beside_their_holm_p(tmp_path: Path, adjust: list[str]) -> None:
    found = report_tree.settings()
    found["relate"] = {"histology": {"adjust": adjust}, "signatures": {"s": {}}}
    kinds = {"spearman": 0.01, "slope": 0.02, **({"slope_partial": 0.3} if adjust else {})}
    where = {"study": "phantom", "cohort": "phantom-dev", "model": "s", "endpoint": "viability"}
    rows = [
        Estimate(p, p - 1, p + 1, p=factor * p, n=30).row(f"{metric}{end}", **where)
        for metric, p in kinds.items()
        for end, factor in (("", 1), ("_holm", 3))
    ]
    write_table(metrics_table(rows), tmp_path / "relate/phantom-dev/metrics.tsv")
    results = Results(tmp_path, found)
    metrics = results.need("relate/phantom-dev/metrics.tsv", schema="metrics").assign(source="relate")
    (table,) = relate._histology(results, metrics)
    assert isinstance(table, Table)
    cells = dict(zip(table.columns, (cell.text for cell in table.rows[-1].cells), strict=True))
    assert cells["Slope per SD (95% CI)"].startswith("0.02") and cells["Holm p, slope per SD"] == "0.060"
    assert ("Holm p, slope per SD given arm" in cells) == bool(adjust)
    if adjust:
        assert cells["Slope per SD given arm (95% CI)"].startswith("0.30")
        assert cells["Holm p, slope per SD given arm"] == "0.90"


def test_a_choice_may_use_what_the_base_of_its_sweep_may() -> None:
    found = report_tree.settings()
    found["experiment"] = {"backbones": {"of": "deep"}}
    found["models"] |= {
        "deep": {"kind": "network", "endpoint": "response", "network": {"crop": "tumour"}},
        "chosen": {"kind": "choice", "endpoint": "response", "choose": {"among": "backbones"}},
        "joined": {"kind": "fusion", "endpoint": "response", "inputs": ["clinical", "chosen"]},
    }
    results = Results(Path("nowhere"), found)
    assert truth.best(results, "phantom-ext", "chosen", "response")[0] == "imaging"
    assert truth.best(results, "phantom-ext", "joined", "response")[0] == "all"


def test_a_mean_over_sessions_is_not_put_beside_the_best_of_one(tmp_path: Path) -> None:
    found = report_tree.settings()
    known = found["truth"]["phantom-ext"]["response"]
    weeks = {"w0": {"imaging": {"value": 0.86}}, "w1": {"imaging": {"value": 0.93}}}
    found["truth"] = {"phantom-ext": {**found["truth"]["phantom-ext"], "response": {**known, "auc_by_session": weeks}}}
    where = {"study": "phantom", "endpoint": "response", "cohort": "phantom-ext"}
    reached = {"": 0.99, "session=w0": 0.68, "session=w1": 0.715}
    rows = [
        Estimate(value).row("auc", model=model, group=group, **where)
        for model in ("radiomics", "clinical") for group, value in reached.items()
    ]  # fmt: skip
    write_table(metrics_table(rows), tmp_path / "validate/phantom-ext/metrics.tsv")
    results = Results(tmp_path, found)
    assert truth.best(results, "phantom-ext", "radiomics", "response") == ("imaging", None)
    table = truth.build(results).blocks[0]
    assert isinstance(table, Table) and caption("truth_sessions") in table.caption
    told = {row.cells[0].text: [c.text for c in row.cells[2:]] for row in table.rows if not row.heading}
    assert told["Radiomics (LASSO, XGBoost), session w0"] == ["0.86", "0.68", "50%"]
    assert told["Radiomics (LASSO, XGBoost), session w1"] == ["0.93", "0.71", "50%"]
    assert told["Clinical, session w0"] == ["0.76", "0.68", "69%"], "the general truth is that of the first session"
    assert "Clinical, session w1" not in told, "nobody states what clinical variables tell at the second"


def test_a_model_is_told_by_its_own_kind() -> None:
    found = report_tree.settings()
    found["models"] |= {
        "deep": {**found["models"]["size"], "kind": "network", "columns": [], "label": "Deep",
                 "network": {"crop": "tumour", "architecture": "multitask_encoder", "seeds": 2}},
        "late": {**found["models"]["clinical"], "kind": "fusion", "columns": [], "inputs": ["clinical", "deep"]},
    }  # fmt: skip
    table = models.build(Results(Path("nowhere"), found)).blocks[0]
    assert isinstance(table, Table)
    told = {name: [c.text for c in row.cells[1:4]] for name, row in zip(found["models"], table.rows, strict=True)}
    assert told["deep"] == ["image crop tumour", "none", "network multitask_encoder, 2 seeds averaged"]
    assert told["late"] == ["out-of-fold scores of Clinical, Deep", "none", "logistic regression"]


@pytest.mark.parametrize("learner", ["mean", "logistic"])
def test_fusion_minus_its_best_part_whatever_the_sign(learner: str) -> None:
    found = report_tree.settings()
    fusion = {"kind": "fusion", "endpoint": "response"}
    found["cohorts"] |= {"more": {"role": "development"}, "unlabelled": {"role": "external"}}
    found["models"] |= {
        "late": {**fusion, "label": "Late", "inputs": ["size", "clinical"], "learner": learner},
        "idle": {**fusion, "label": "Idle", "inputs": ["unscored"], "learner": "mean"},
        "unscored": {"kind": "tabular", "label": "Unscored", "endpoint": "response"},
    }
    results = Results(Path("nowhere"), found)
    rows = []
    # The larger cohort decides: 0.9 of 10 and 0.5 of 90 against 0.6 of all.
    for cohort, n, size, clinical in (("phantom-dev", 10, 0.9, 0.6), ("more", 90, 0.5, 0.6), ("phantom-ext", 40, 1, 0)):
        where = {"study": "phantom", "endpoint": "response", "cohort": cohort}
        for model, value in (("size", size), ("clinical", clinical), ("late", 0.55)):
            rows.append(Estimate(value, 0.1, 1.0, "DeLong", n=n, n_events=5).row("auc", model=model, **where))
        gap = Estimate(0.05, -0.03, 0.13, "DeLong, paired", p=0.2, n=n, n_events=5)
        rows.append(gap.row("auc_difference", model="clinical", comparator="late", **where))
    where = {"study": "phantom", "endpoint": "response", "cohort": "unlabelled"}
    nobody = undefined("no rows with label and score", n=0)
    rows += [nobody.row("auc", model=model, **where) for model in ("size", "clinical", "late")]
    rows.append(nobody.row("auc_difference", model="clinical", comparator="late", **where))
    results.metrics = metrics_table(rows).assign(source="validate/phantom-dev/metrics.tsv")
    assert comparisons.best_parts(results) == [("late", "clinical")]
    table = comparisons.build(results).blocks[1]
    assert isinstance(table, Table) and table.rows[0].cells[0].text.startswith("Late against ")
    shown = [[cell.text for cell in row.cells[2:5]] for row in table.rows[1:3]]
    assert (
        shown == [["0.55 (0.10 to 1.00)", "0.60 (0.10 to 1.00)", "\N{MINUS SIGN}0.05 (\N{MINUS SIGN}0.13 to 0.03)"]] * 2
    )
    nothing = next(row for row in table.rows if row.cells[0].text.startswith("unlabelled"))
    assert [cell.text for cell in nothing.cells[1:]] == ["0", DASH, DASH, DASH, DASH]
    # The follow-up cohort reuses out-of-fold scores of the development cohort.
    warned = ["Phantom development (development)", "more (development)", "Phantom follow-up (follow-up)"]
    warned = warned if learner == "logistic" else []
    measures = next(block for block in performance.build(results).blocks if isinstance(block, Table))
    for one, names in ((table, warned), (measures, ["Late"] * len(warned))):
        assert [row.cells[0].text for row in one.rows if row.cells[0].note == caption("stacked")] == names
    pairs = comparisons.build(results).blocks[0].rows
    assert sum(row.cells[0].note == caption("stacked") for row in pairs) == (2 if warned else 0)
    lines = limitations.build(results).blocks[0].items
    assert [line for line in lines if "these fusions are optimistic" in line] == (
        [caption("limit_stacked", models="Late")] if warned else []
    )


def test_share_of_the_way() -> None:
    row = {**Estimate(0.75).row("auc"), "reason": ""}
    assert truth.share(row, 0.9).text == "62%"
    assert truth.share(row, 0.5).text == "–"
    assert truth.share({**undefined("one class").row("auc")}, 0.9) == Cell("–", "one class")
    turned = truth.share({**Estimate(0.3).row("c_harrell"), "reason": ""}, 0.65)
    assert turned.text == "–"
    assert turned.note.startswith("below 0.5")


def test_large_picture_is_made_smaller(tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    Image.new("RGB", (2400, 800), "#336699").save(path)
    data = base64.b64decode(images.picture_uri(path).split(",")[1])
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (images.MAX_WIDTH, 240)


def test_cases_with_remarks_are_shown_first() -> None:
    rows = [
        {"subject": f"S{i}", "session": "", "status": "ok", "notes": "odd" if i in (7, 8, 9) else ""} for i in range(10)
    ]
    chosen = images.choose(pd.DataFrame(rows))["subject"].tolist()
    assert chosen == ["S7", "S0", "S1"]


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(-0.5, 2, "−0.50"), (-0.001, 2, "0.00"), (math.inf, 2, "∞"), (2.5e7, 2, "2.5×10^7"), (1234.4, 0, "1234")],
)
def test_numbers(value: float, digits: int, text: str) -> None:
    assert number(value, digits) == text


def test_p_values_and_shares() -> None:
    assert [p_value(p) for p in (0.00001, 0.0404, 0.0994, 0.21, 1.0)] == ["<0.001", "0.040", "0.099", "0.21", "1.00"]
    assert percent(0, 0) == "0"
    assert percent(1, 3) == "1 (33%)"


def test_estimates() -> None:
    table = metrics_table([Estimate(0.5, 0.25, 0.75).row("auc"), undefined("one class").row("brier")])
    assert [estimate(row) for row in table.to_dict("records")] == [Cell("0.50 (0.25 to 0.75)"), Cell("–", "one class")]
    assert estimate(None).note == "not computed in this run"
    narrow = metrics_table([Estimate(1.0004, 1.0001, 1.0008).row("cox_hr"), Estimate(1.0, 1.0, 1.0).row("auc")])
    assert [estimate(row).text for row in narrow.to_dict("records")] == [
        "1.00",
        "1.000 (1.000 to 1.001)",
    ]
    sparse = metrics_table([Estimate(2.0, 0.1, 40.0, reason="sparse: 1 subjects, 1 events").row("cox_hr")])
    assert estimate(sparse.to_dict("records")[0]).note == "sparse: 1 subjects, 1 events"


def test_sources_are_condensed() -> None:
    names = ["validate/a/metrics.tsv", "validate/b/metrics.tsv", "enrol/a/flow.tsv", "enrol/split.tsv"]
    assert condense(names) == ["validate/*/metrics.tsv", "enrol/a/flow.tsv", "enrol/split.tsv"]


def test_footnotes_are_shared_and_lettered() -> None:
    rows = [
        Row([Cell("x"), Cell("–", "a reason")]),
        Row([Cell("y"), Cell("–", "another")]),
        Row([Cell("z"), Cell("–", "a reason")]),
    ]
    table = Table("t", "", ["", "v"], rows, ["f"])
    assert [table.mark(row.cells[1]) for row in rows] == ["a", "b", "a"]
    assert [footnote_mark(i) for i in (25, 26, 27)] == ["z", "aa", "ab"]


def test_subgroup_names() -> None:
    assert subgroups.split_group("age>=62") == ("age", "≥ 62")
    assert subgroups.split_group("sex=F") == ("sex", "F")


def test_captions_refuse_a_missing_number() -> None:
    with pytest.raises(KeyError):
        caption("flow", total=3)


# --- drawings -------------------------------------------------------------------------------------------------------


def _numbers(svg: str, pattern: str) -> list[float]:
    return [float(x) for found in re.findall(pattern, svg) for x in ([found] if isinstance(found, str) else found)]


def test_forest_stays_on_its_canvas() -> None:
    rows = [
        ForestRow("far", 3.0, 0.0001, 5e7, "3.0"),
        ForestRow("none", text="–"),
        ForestRow("zero", 1.0, 0.0, 2.0, "1.0"),
    ]
    svg = str(forest(rows, axis="HR", reference=1.0, log=True))
    width = _numbers(svg, r'viewBox="0 0 ([\d.]+)')[0]
    for points in re.findall(r'points="([^"]+)"', svg):
        assert all(0 <= float(pair.split(",")[0]) <= width for pair in points.split())
    assert "nan" not in svg
    assert "inf" not in svg


@pytest.mark.parametrize(
    ("low", "high", "log"), [(0.4, 0.95, False), (0.01, 40, True), (0.9, 1.1, True), (-0.02, 0.03, False)]
)
def test_axis_has_readable_ticks(low: float, high: float, log: bool) -> None:
    svg = str(forest([ForestRow("a", low, low, high, "x")], axis="v", limits=(low, high), log=log))
    ticks = re.findall(r'font-size="11"[^>]*>([^<]+)<', svg)
    assert 3 <= len(ticks) <= 12


def test_drawings_without_rows_and_with_long_names() -> None:
    assert "svg" in str(forest([], axis="AUC"))
    long = "a very long eligibility rule " * 12
    svg = str(flow_diagram([long], [Flow("a" * 80, "external", 5, [2], 3, [("validation only", 3)])], alt="x"))
    assert "…" in svg
    assert str(bars([Bar("f", 0.0, "0%"), Bar("g", 1.0, "100%", strong=False)], axis="share")).count("<rect") == 2


def test_levels_that_look_like_numbers() -> None:
    spec = {"kind": "category", "levels": ["1", "2"]}
    assert baseline.as_levels(pd.Series([1.0, 2.0, np.nan]), spec).tolist() == ["1", "2", ""]
    assert baseline.as_levels(pd.Series([1, None], dtype="Int64"), {"kind": "binary"}).tolist() == ["1", ""]


def test_training_sets_of_a_split() -> None:
    split = pd.DataFrame(
        {
            "cohort": "c",
            "subject": list("abcde"),
            "role": ["train"] * 4 + ["test"],
            "repeat": 0,
            "fold": [0, 0, 1, 1, np.nan],
        }
    )
    sets = leakage.training_sets(split, {"c/a", "c/b", "c/c", "c/e"})
    assert sets == {
        None: subjects_digest(["c/a", "c/b", "c/c"]),
        (0, 0): subjects_digest(["c/c"]),
        (0, 1): subjects_digest(["c/a", "c/b"]),
    }


def test_contributions_stand_beside_the_selection(tmp_path: Path) -> None:
    settings = report_tree.build(tmp_path)
    found = contributions.build(Results(tmp_path, settings))
    figures = [block for block in found.blocks if isinstance(block, Figure)]
    tables = {block.name: block for block in found.blocks if isinstance(block, Table)}
    # No picture of a model of one predictor.
    assert len(figures) == 2 and set(tables) == {f"contributions_{name}" for name in ("size", "clinical", "radiomics")}
    radiomics = tables["contributions_radiomics"]
    assert radiomics.columns == ["Predictor", "Share of the folds", "Phantom external"]
    assert len(radiomics.rows) == contributions.MOST  # of 12; neither the base nor a case without a score
    cells = [[cell.text for cell in row.cells] for row in radiomics.rows[:2]]
    assert cells == [["arterial__original_glcm_feature00", "100%", "1.000"],
                     ["arterial__original_glcm_feature01", "88%", "0.500"]]  # fmt: skip
    assert "the 10 largest of 12, with" in figures[1].caption
    assert "arterial__original_glcm_feature01 0.50 (in 88% of the folds)" in figures[1].alt
    assert {source.split("/")[1] for source in figures[1].sources} == {"phantom-ext", "radiomics"}

    path = tmp_path / "validate/phantom-ext/clinical.contributions.tsv"
    table = read_table(path)
    write_table(table[table["feature"].isin(["", BASE])], path)  # a model that has selected nothing
    for name in ("size", "radiomics"):
        (tmp_path / f"validate/phantom-ext/{name}.contributions.tsv").unlink()
    _, told = contributions.build(Results(tmp_path, settings)).blocks
    assert isinstance(told, Callout) and told.text == caption("contributions_nothing")
    path.unlink()
    (told,) = contributions.build(Results(tmp_path, settings)).blocks
    assert isinstance(told, Callout) and told.text == caption("contributions_none")


def test_choices_and_fusions_contribute_and_networks_do_not(tmp_path: Path) -> None:
    settings = report_tree.build(tmp_path)
    own = {name: settings["models"].pop(name) for name in list(settings["models"])}
    settings["models"] = {
        "deep": {"kind": "network", "endpoint": "response"},
        "backbone": {"kind": "choice", "endpoint": "response", "choose": {"among": "backbones"}},
    }
    place = "validate/phantom-ext/{}.contributions.tsv"
    tables = {name: read_table(tmp_path / place.format(name)) for name in own}
    silent = tables["size"].iloc[:0].reindex(range(2)).assign(cohort="phantom-ext", subject=["E001", "E002"])
    for name, facts in (("deep", {}), ("backbone", {"chosen": "deep__width_4"})):
        write_text(tmp_path / f"train/{name}/freeze.json", json.dumps({"kind": "network", **facts}))
        write_table(silent.assign(reason=NO_TABLE), tmp_path / place.format(name))
    (told,) = contributions.build(Results(tmp_path, settings)).blocks
    assert isinstance(told, Callout) and told.text == caption("contributions_none")

    settings["models"] |= {
        "best": {"kind": "choice", "label": "Best", "endpoint": "response", "choose": {"among": "learners"}},
        "fused": {"kind": "fusion", "label": "Fused", "endpoint": "response", "inputs": ["clinical", "deep"]},
    }
    clinical = tables["clinical"]
    write_table(clinical, tmp_path / place.format("best"))
    names = clinical["feature"].map({BASE: BASE, "": "", "age": "clinical", "child_pugh": "deep"})
    write_table(clinical.assign(feature=names).dropna(subset="feature"), tmp_path / place.format("fused"))
    chosen = {"kind": "tabular", "chosen": "clinical__learner_ridge"}
    write_text(tmp_path / "train/best/freeze.json", json.dumps(chosen))
    write_text(tmp_path / "train/fused/freeze.json", json.dumps({"kind": "fusion"}))
    for name, shares in (
        ("best", {"clinical": 0.2, "clinical__learner_ridge": 0.8}),  # its candidates
        ("clinical__learner_ridge", {"age": 0.6, "child_pugh": 0.4}),
        ("fused", {"clinical": 1.0, "deep": 1.0}),
    ):
        table = pd.DataFrame({"feature": list(shares), "frequency": shares.values(), "in_final_model": 1})
        write_table(table, tmp_path / f"train/{name}/selection.tsv")
    found = contributions.build(Results(tmp_path, settings))
    assert isinstance(found.blocks[0], Text) and found.blocks[0].text == caption("contributions_lead")
    best, fused = (block for block in found.blocks if isinstance(block, Table))
    cells = [[cell.text for cell in row.cells] for row in best.rows]
    assert cells[:2] == [["age", "60%", "1.000"], ["child_pugh", "40%", "0.500"]]
    assert best.caption.startswith("Best (clinical__learner_ridge): ")
    assert best.sources == [
        place.format("best"), "train/best/freeze.json", "train/clinical__learner_ridge/selection.tsv",
    ]  # fmt: skip
    assert [[cell.text for cell in row.cells] for row in fused.rows] == [
        ["clinical", "100%", "1.000"],
        ["deep", "100%", "0.500"],
    ]
    assert fused.caption.startswith("Fused: ")


def test_dots_lie_on_one_scale_from_0() -> None:
    drawn = str(dots({"a <b>": [0.2, None], "c": [0.0, 0.4]}, ["10%", "20%"], ["one", "two"], axis="x", alt="said"))
    markers = re.findall(r'<rect x="([\d.]+)"', drawn)
    assert "a &lt;b&gt;" in drawn and "<b>" not in drawn and len(markers) == 3 + 2  # and the key
    at = {value: float(x) for value, x in zip((0.2, 0.0, 0.4), markers, strict=False)}
    assert at[0.2] - at[0.0] == pytest.approx(at[0.4] - at[0.2], abs=0.02)
