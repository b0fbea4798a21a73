"""The shapes of the published designs: their tables, images and truth, and that scans of one animal stay together."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
import yaml
from scipy.stats import median_abs_deviation
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from hccflow.cli import main
from hccflow.enrol.enrolment import permute_outcomes
from hccflow.enrol.split import make_split
from hccflow.errors import ConfigError
from hccflow.metrics.auc import auc, placements, stratified_auc
from hccflow.phantom import process, tables
from hccflow.phantom.anatomy import draw_anatomy
from hccflow.phantom.faults import planted_faults
from hccflow.phantom.identity import identity, planted_identities
from hccflow.phantom.images import write_cohort
from hccflow.phantom.parameters import Parameters
from hccflow.phantom.people import people, visits
from hccflow.phantom.shapes import SHAPES, shape_cards
from hccflow.phantom.truth import session_scores
from hccflow.phantom.write import write_study
from hccflow.study import load_study
from hccflow.tables import read_table

ROOT = Path(__file__).resolve().parents[1]


@cache
def parameters(name: str, null: bool = False) -> dict[str, Parameters]:
    return {cohort: Parameters.from_card(card) for cohort, card in shape_cards(name, null=null).items()}


def no_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hccflow.phantom.write.bayes_truth", lambda p: {})


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(SHAPES))
def test_committed_tables_are_what_the_shape_writes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_truth(monkeypatch)
    cards = shape_cards(name)
    write_study(cards, tmp_path)
    committed = {path.name for path in (ROOT / "data").glob(f"{name}-*")}
    assert committed == set(cards)
    for cohort in cards:
        made = sorted(path.name for path in (tmp_path / cohort).iterdir())
        kept = sorted(path.name for path in (ROOT / "data" / cohort).iterdir() if path.is_file())
        assert kept == made
        for file in made:
            if file != "truth.json":
                assert (tmp_path / cohort / file).read_bytes() == (ROOT / "data" / cohort / file).read_bytes(), file


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SHAPES))
def test_committed_truth_is_what_the_shape_writes(name: str, tmp_path: Path) -> None:
    write_study(shape_cards(name), tmp_path)
    for cohort in shape_cards(name):
        file = Path(cohort, "truth.json")
        assert (tmp_path / file).read_bytes() == (ROOT / "data" / file).read_bytes()


@pytest.mark.parametrize("name", list(SHAPES))
def test_truth_follows_the_columns_and_endpoints_of_its_study(name: str) -> None:
    config = yaml.safe_load((ROOT / "studies" / f"{name}.yaml").read_text(encoding="utf-8"))
    study = load_study(config, ROOT)
    for cohort, truth in study.truth.items():
        assert truth is not None, cohort
        known = set(truth) - {"information", "columns", "method"}
        assert set(config["endpoints"]) <= known
        assert set(truth["columns"]) <= set(config["columns"])
        best = next(truth[name]["auc"] for name in known if "auc" in truth[name])
        assert 0.5 < best["size"]["value"] < best["imaging"]["value"] < best["all"]["value"] < 0.95


def test_published_sizes_are_the_stated_ones() -> None:
    stated = {
        "li2022": {"dev": 170, "ext": 78}, "eob2026": {"dev": 160, "ext": 38}, "jia2026": {"dev": 308, "ext": 80},
        "chen2025": {"dev": 134, "exta": 31, "extb": 30},
    }  # fmt: skip
    for name, sizes in stated.items():
        for end, n in sizes.items():
            p = Parameters.from_card(shape_cards(name, "published")[f"{name}-{end}"])
            assert len(p.subjects()) - len(planted_faults(p)) == n
    followed = Parameters.from_card(shape_cards("eob2026", "published")["eob2026-fup"]).subjects()
    development = Parameters.from_card(shape_cards("eob2026", "published")["eob2026-dev"]).subjects()
    assert len(followed) == 117
    assert followed.items() <= development.items()


def test_a_label_or_a_follow_up_is_missing_in_the_stated_share() -> None:
    big = replace(SHAPES["jia2026"].cohorts["dev"], tested=(600,))
    shape = replace(SHAPES["jia2026"], cohorts={"dev": big})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SHAPES, "jia2026", shape)
        p = Parameters.from_card(shape_cards("jia2026")["jia2026-dev"])
    people_table, lesions = tables.participants_and_lesions(p, 2)
    assert lesions.empty
    for column, share in {"mvi": 0.1, "os_days": 0.15, "rfs_days": 0.1}.items():
        assert people_table[column].isna().mean() == pytest.approx(share, abs=0.04)
    assert (people_table["os_days"].isna() == people_table["os_event"].isna()).all()
    known = people_table.dropna(subset=["os_days", "rfs_days"])
    assert (known["rfs_days"] <= known["os_days"]).all()


def test_tumours_of_the_hepatobiliary_shape_exceed_three_cm_but_for_the_planted_ones() -> None:
    for p in parameters("eob2026").values():
        small = set(p.faults.get("small_tumour", ()))
        for one in people(p):
            assert (one.diameters[0] <= 30) == (one.subject in small)


def test_rats_take_turns_in_four_arms_and_come_every_week() -> None:
    p = parameters("yu2025")["yu2025-rats"]
    table, _ = tables.participants_and_lesions(p, 2)
    assert table.groupby("subject")["arm"].nunique().eq(1).all()
    assert table.groupby("subject")["outcome"].nunique().eq(1).all()
    assert set(table.groupby("arm")["subject"].nunique()) == {8}
    assert table.groupby("subject")["session"].apply(list).map(tuple).unique().tolist() == [("w0", "w1", "w2", "w3")]
    first, last = (table[table["week"] == week].set_index("subject") for week in (0, 3))
    change = np.log(last["diameter_mm"] / first["diameter_mm"])
    assert change[last["outcome"] == 1].mean() < 0 < change[last["outcome"] == 0].mean()
    tissue = tables.histology(p)
    assert tissue["session"].eq("w3").all()
    assert len(tissue) == 32
    r = tissue.set_index("subject")["viability_pct"].groupby(last["outcome"]).mean()
    assert r[1] < r[0]


# --- nothing to be found ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(SHAPES))
def test_in_the_null_shape_nothing_tells_the_label(name: str) -> None:
    """Label, survival and biology do not change when all that is seen is drawn anew, nor the reverse."""
    for p in parameters(name, null=True).values():
        assert set(p.response.coefficients.values()) == set(p.survival.coefficients.values()) == {0.0}
        assert not p.biology.signal
    p = next(iter(parameters(name, null=True).values()))
    other = next(iter(parameters(name).values()))
    table, same = tables.participants_and_lesions(p, 2)[0], tables.participants_and_lesions(other, 2)[0]
    if p.design.label != "response":
        assert not table[p.design.label].equals(same[p.design.label]), "the label is drawn without the covariates"
    seen = [c for c in ("age", "afp_ng_ml", "child_pugh", "arm") if c in table]
    pd.testing.assert_frame_equal(table[seen], same[seen])


def test_the_null_truth_is_a_half() -> None:
    from hccflow.phantom import truth

    p = parameters("yu2025", null=True)["yu2025-rats"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(truth, "BLOCKS", 5)
        found = truth.bayes_truth(p)["outcome"]
    assert {entry["value"] for entry in found["auc"].values()} == {0.5}
    assert found["prevalence"] == pytest.approx(0.5, abs=0.03)


def test_the_truth_of_a_scan_begins_with_that_of_the_first_and_grows() -> None:
    truth = json.loads((ROOT / "data" / "yu2025-rats" / "truth.json").read_text(encoding="utf-8"))["outcome"]
    by_week = [truth["auc_by_session"][f"w{week}"] for week in range(4)]
    for kind in ("imaging", "all"):
        assert by_week[0][kind]["value"] == pytest.approx(truth["auc"][kind]["value"], abs=0.003)
        values = [entry[kind]["value"] for entry in by_week]
        assert values == sorted(values)
    assert by_week[3]["all"]["value"] > by_week[3]["imaging"]["value"] > 0.85


def test_no_score_of_what_a_scan_shows_beats_the_stated_one() -> None:
    """Another way to the same number: a forest on many animals, given just what a scan of week 2 shows."""
    p, n = parameters("yu2025")["yu2025-rats"], 4000
    rng = np.random.default_rng(1)
    x = process.draw_covariates(p, rng, n)
    label = process.draw_response(p.response, rng, x)
    rate = np.array(p.design.growth)[label.astype(int)]
    seen = np.column_stack([x["heterogeneity"], x["size"] + 2 * rate / p.tumour.diameter_log_slope])
    half = n // 2
    forest = RandomForestClassifier(200, min_samples_leaf=25, random_state=0, n_jobs=1).fit(seen[:half], label[:half])
    reached = auc(label[half:], forest.predict_proba(seen[half:])[:, 1]).value
    best = auc(label, np.clip(session_scores(p, x, label)["w2", "imaging"], -50, 50)).value
    assert reached is not None
    assert best is not None
    assert best - 0.05 < reached < best + 0.02


# --- images -----------------------------------------------------------------------------------------------------------


def test_ct_is_in_hounsfield_units(tmp_path: Path) -> None:
    card = shape_cards("jia2026")["jia2026-ext"]
    card["source"]["parameters"]["groups"][0]["n"] = 1
    card["source"]["parameters"]["faults"] = {}
    index = write_cohort(card, tmp_path).set_index("name")
    assert list(index.index) == ["arterial", "portal", "delayed", "liver", "tumour"]
    folder = tmp_path / index.loc["portal", "path"]
    header = pydicom.dcmread(sorted(folder.iterdir())[0])
    assert (header.Modality, header.SOPClassUID.name, header.RescaleType) == ("CT", "CT Image Storage", "HU")
    image = sitk.GetArrayFromImage(sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))))
    p = Parameters.from_card(card)
    drawn = draw_anatomy(p, people(p)[0])
    assert np.array_equal(image, drawn.phases["portal"].astype(int) - 1024)
    assert image[0, 0, 0] == pytest.approx(-1000, abs=60)
    assert np.median(image[drawn.liver & ~drawn.tumour]) == pytest.approx(112, abs=5)


def test_sessions_are_studies_of_one_patient(tmp_path: Path) -> None:
    card = shape_cards("yu2025")["yu2025-rats"]
    card["source"]["parameters"]["groups"][0]["n"] = 1
    card["source"]["parameters"]["design"]["weeks"] = [0, 2]
    write_cohort(card, tmp_path)
    index = read_table(tmp_path / "series.tsv", "series")
    assert list(index.groupby("session").size().items()) == [("w0", 5), ("w2", 5)]
    headers = [
        pydicom.dcmread(sorted((tmp_path / path).iterdir())[0], stop_before_pixels=True)
        for path in index.loc[index["name"] == "t2", "path"]
    ]
    assert len({h.PatientID for h in headers}) == 1
    assert len({h.StudyInstanceUID for h in headers}) == 2
    days = [pd.Timestamp(h.StudyDate) for h in headers]
    assert (days[1] - days[0]).days == 14
    planted = planted_identities(card, "R001")
    assert {h.StudyInstanceUID for h in headers} <= set(planted)
    assert {h.AccessionNumber for h in headers} <= set(planted)


def test_an_animal_keeps_its_anatomy_and_its_tumour_changes() -> None:
    p = parameters("yu2025")["yu2025-rats"]
    one = next(one for one in people(p) if not one.response)
    before, after = (draw_anatomy(p, one, visit) for visit in visits(p, one)[::3])
    assert identity(p, one, visits(p, one)[0]).patient_id == identity(p, one, visits(p, one)[3]).patient_id
    overlap = (before.liver & after.liver).sum() / (before.liver | after.liver).sum()
    assert overlap > 0.95
    assert after.tumour.sum() > 1.3 * before.tumour.sum()
    assert not np.array_equal(before.phases["t2"], after.phases["t2"])


@pytest.mark.parametrize(("name", "channel"), [("li2022", "arterial"), ("jia2026", "arterial"), ("eob2026", "hbp")])
def test_heterogeneity_can_be_read_from_the_image(name: str, channel: str) -> None:
    p = parameters(name)[f"{name}-dev"]
    rows = []
    for one in people(p)[:20]:
        drawn = draw_anatomy(p, one)
        image = drawn.phases[channel].astype(float)
        around = median_abs_deviation(image[drawn.liver & ~drawn.tumour])
        rows.append((one.heterogeneity, np.log(image[drawn.tumour].std()), np.log(around)))
    h, tumour, liver = np.array(rows).T
    assert np.corrcoef(h, tumour)[0, 1] > 0.7
    # Where the whole liver shows it, knowing the tumour's place is of no use; elsewhere the liver distracts.
    assert (np.corrcoef(h, liver)[0, 1] > 0.7) == p.design.fills_liver


# --- scans of one animal ----------------------------------------------------------------------------------------------


#: What a forest sees of a scan.
SEEN = [
    *(f"{channel}_{what}" for channel in ("contrast", "t1", "t2") for what in ("sd", "mean")),
    *"xyz",
    "liver",
    "volume",
]


@cache
def null_rats() -> pd.DataFrame:
    """Every scan of 32 animals of whom nothing can be told, with a few numbers measured in the image."""
    p = parameters("yu2025", null=True)["yu2025-rats"]
    rows: list[dict[str, Any]] = []
    for one in people(p):
        for visit in visits(p, one):
            drawn = draw_anatomy(p, one, visit)
            row = {"cohort": "rats", "subject": one.subject, "session": visit.session, "outcome": int(one.response)}
            for channel, image in drawn.phases.items():
                inside, liver = image[drawn.tumour].astype(float), image[drawn.liver].astype(float)
                row |= {f"{channel}_sd": inside.std(), f"{channel}_mean": inside.mean() / liver.mean()}
            z, y, x = np.argwhere(drawn.tumour).mean(axis=0)
            rows.append({**row, "x": x, "y": y, "z": z, "liver": drawn.liver.sum(), "volume": drawn.tumour.sum()})
    return pd.DataFrame(rows)


def by_scan(rats: pd.DataFrame, seed: int) -> float:
    """AUC of scans whose animal has taught the forest by its other scans."""
    y = rats["outcome"].to_numpy()
    cv = StratifiedKFold(5, shuffle=True, random_state=seed)
    score = cross_val_predict(forest(), rats[SEEN].to_numpy(), y, cv=cv, method="predict_proba")[:, 1]
    return placements(y, score).auc


def by_animal(rats: pd.DataFrame, seed: int) -> float:
    """AUC of animals on the study's own split, among pairs of the same fold.

    Pairs of two folds have been scored by two forests, whose levels need not agree.
    """
    settings = {
        "seed": seed, "columns": {}, "endpoints": {"outcome": {"kind": "binary"}},
        "split": {"folds": 5, "stratify": ["outcome"]},
    }  # fmt: skip
    enrolled = rats.assign(role="development", site="LAB", outcome=rats["outcome"].astype("Int64"))
    folds = make_split([enrolled], settings).set_index("subject")["fold"].reindex(rats["subject"]).to_numpy()
    score = np.full(len(rats), np.nan)
    for fold in range(5):
        rest, held = rats[folds != fold], rats[folds == fold]
        fitted = forest().fit(rest[SEEN].to_numpy(), rest["outcome"])
        score[folds == fold] = fitted.predict_proba(held[SEEN].to_numpy())[:, 1]
    scored = rats.assign(score=score, fold=folds).groupby("subject")
    animal = scored.agg(y=("outcome", "first"), score=("score", "mean"), fold=("fold", "first"))
    found = stratified_auc(animal["y"], animal["score"], animal["fold"]).value
    assert found is not None
    return found


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(50, random_state=1, n_jobs=1)


def null_draw(seed: int) -> pd.DataFrame:
    """The null rats with other outcomes, drawn as `null_seed` of a study draws them."""
    return permute_outcomes(null_rats(), ["outcome"], seed, "rats")


def test_a_split_by_scan_leaks_on_purpose_and_ours_does_not() -> None:
    """No image tells the outcome, yet a forest recognises the animals whose other scans it has learnt."""
    assert null_rats().groupby("subject")["session"].nunique().eq(4).all()
    leaking = [by_scan(null_draw(seed), seed) for seed in range(4)]
    assert min(leaking) > 0.9, "a split by scan reports a result where there is none"
    honest = np.array([by_animal(null_draw(seed), seed) for seed in range(20)])
    error = honest.std(ddof=1) / np.sqrt(len(honest))
    assert error < 0.05, "enough draws to tell 0.5 from a leak"
    assert abs(honest.mean() - 0.5) < 3 * error


# --- the command ------------------------------------------------------------------------------------------------------


def test_command_writes_a_shape(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    no_truth(monkeypatch)
    assert main(["phantom", "--out", str(tmp_path), "--shape", "yu2025", "--null"]) == 0
    card = yaml.safe_load((tmp_path / "yu2025-rats" / "cohort.yaml").read_text(encoding="utf-8"))
    assert card["title"].endswith("(no signal)")
    assert json.loads((tmp_path / "yu2025-rats" / "truth.json").read_text()) == {}
    assert main(["phantom", "--out", str(tmp_path), "--shape", "yu2025", "--n-dev", "3"]) == 2
    assert "do not belong together" in capsys.readouterr().err
    assert main(["phantom", "--out", str(tmp_path), "--null"]) == 2
    assert "do not belong together" in capsys.readouterr().err


def test_a_card_with_an_unknown_channel_is_refused(tmp_path: Path) -> None:
    card = shape_cards("eob2026")["eob2026-ext"]
    card["source"]["parameters"]["design"]["channels"] = ["hpb"]
    with pytest.raises(ConfigError, match="unknown channel 'hpb'"):
        write_cohort(card, tmp_path)
