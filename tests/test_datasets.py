"""Adapters of published data sets, on the real archives, from their tables to an enrolled and split cohort."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from hccflow.cli import main
from hccflow.datasets.folder import subject_key
from hccflow.datasets.hcc_tace_seg import radiomics
from hccflow.enrol.enrolment import enrol
from hccflow.enrol.response import read_responses
from hccflow.enrol.split import make_split
from hccflow.errors import DataAbsentError, TableError
from hccflow.ids import CohortRole
from hccflow.provenance import file_digest, series_digest
from hccflow.study import Study, load_study
from hccflow.tables import read_table

ROOT = Path(__file__).resolve().parents[1]
CODES = {"CR": 1, "PR": 2, "SD": 3, "PD": 4}


@pytest.fixture(scope="module")
def data(realdata: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data")
    for name, archive in (("sts", "sts_nifti"), ("hcc-tace-seg", "hcc_tace_seg_tables")):
        assert main(["dataset", name, "--source", str(realdata(archive)), "--out", str(out)]) == 0
    return out


def study(name: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("HCCFLOW_DATA", str(data))
    return load_study(yaml.safe_load((ROOT / "studies" / f"{name}.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def sheet(realdata: Callable[[str], Path]) -> pd.DataFrame:
    """The published clinical sheet, read without the adapter."""
    (path,) = realdata("hcc_tace_seg_tables").glob("**/general/clinical_data.csv")
    table = pd.read_csv(path)
    return table.assign(subject=table["ID"].map(subject_key)).set_index("subject")


def test_keys_and_absence(tmp_path, capsys):
    assert subject_key("HCC_001") == "HCC001"
    with pytest.raises(TableError):
        subject_key("HCC 001")
    assert main(["dataset", "sts", "--source", str(tmp_path / "no"), "--out", str(tmp_path)]) == 2
    assert main(["dataset", "sts", "--source", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "outcome_lungmets_give.csv" in capsys.readouterr().err
    with pytest.raises(DataAbsentError):
        load_study(yaml.safe_load((ROOT / "studies" / "sts.yaml").read_text(encoding="utf-8")), tmp_path)


def test_radiomics_needs_paths_that_agree():
    paths = pd.DataFrame(
        {"Image": ["D:\\x\\HCC_002\\a_(01_01_1999)\\i.nii"], "Mask": ["D:\\x\\HCC_003\\m.nrrd"], "f": "1"}
    )
    with pytest.raises(TableError, match="once"):
        radiomics(paths)


@pytest.mark.realdata
def test_sts(data, monkeypatch):
    loaded = study("sts", data, monkeypatch)
    sizes = {"sts-dev": (22, 7), "sts-ext": (12, 6)}
    for name, (n, events) in sizes.items():
        cohort = loaded.cohorts[name]
        assert (len(cohort.participants), cohort.participants["lung_metastasis"].sum()) == (n, events)
        index = read_table(cohort.images / "series.tsv", "series")
        assert len(index) == 2 * n
        assert set(index.groupby("subject")["name"].agg(tuple)) == {("pet", "tumour")}
        row = index.iloc[0]
        assert series_digest([cohort.images / row["path"]]) == row["sha256"]
    assert not set(loaded.cohorts["sts-dev"].participants["subject"]) & set(
        loaded.cohorts["sts-ext"].participants["subject"]
    )


@pytest.mark.realdata
def test_sts_split_has_an_event_in_every_fold(data, monkeypatch):
    loaded = study("sts", data, monkeypatch)
    settings = loaded.section("columns", "endpoints", "split")
    made = enrol(
        loaded.cohorts["sts-dev"].participants, settings, cohort="sts-dev", role=CohortRole.DEVELOPMENT
    ).subjects
    split = make_split([made], settings).merge(made[["subject", "lungmets"]], on="subject")
    assert split.groupby(["repeat", "fold"])["lungmets"].sum().between(1, 2).all()


@pytest.mark.realdata
@pytest.mark.parametrize(("source", "column"), [("mrecist", "mRECIST"), ("recist", "RECIST")])
def test_derived_response_equals_the_recorded_one(data, sheet, source, column):
    lesions = read_table(data / "hcc-tace-seg" / "lesions.tsv", "lesions")
    found = read_responses(lesions, {"source": source}, "lesions.tsv").categories
    for reader, n in (("1", 96), ("2", 96), ("3", 95)):
        recorded = sheet[f"{reader}_{column}"].dropna()
        assert len(recorded) == n
        assert found[reader].map(CODES).dropna().to_dict() == recorded.to_dict()


@pytest.mark.realdata
def test_easl_on_the_published_areas(data, sheet):
    lesions = read_table(data / "hcc-tace-seg" / "lesions.tsv", "lesions")
    found = read_responses(lesions, {"source": "easl"}, "lesions.tsv").categories
    counts = found["1"].value_counts().to_dict()
    # The sheet codes only complete response (3) and the rest (4).
    assert counts["CR"] == (sheet["1_EASL"] == 3).sum() == 21
    assert {k: v for k, v in counts.items() if k} == {"CR": 21, "PR": 42, "SD": 24, "PD": 9}
    assert (found["2"] == "").all()


@pytest.mark.realdata
def test_follow_up_of_the_tace_patients(data, sheet, monkeypatch):
    people = study("hcc_tace_seg", data, monkeypatch).cohorts["hcc-tace-seg"].participants.set_index("subject")
    assert people["os_event"].sum() == 93
    assert people["ttp_event"].value_counts().to_dict() == {0: 7, 1: 45, 2: 53}
    assert np.abs(people["os_days"] - 7 * sheet["OS"]).max() < 0.1
    assert np.abs(people["ttp_days"] - 7 * sheet["TTP"]).max() < 0.1
    moved = people["ttp_death_days"] != people["ttp_days"]
    assert (people.loc[moved, "ttp_event"] == 2).all()
    assert (people["ttp_death_days"] >= people["ttp_days"]).all()
    assert people["tumour_size_cm"].isna().sum() == 52
    assert people["bclc"].value_counts().to_dict() == {"C": 66, "B": 24, "A": 12, "D": 3}


@pytest.mark.realdata
def test_intervals_stay_and_the_window_counts_them(data, sheet, monkeypatch):
    loaded = study("hcc_tace_seg", data, monkeypatch)
    cohort = loaded.cohorts["hcc-tace-seg"]
    lesions = read_table(cohort.folder / "lesions.tsv", "lesions")
    days = lesions[lesions["timepoint"] == "baseline"].groupby("subject")["days"].first()
    assert days.to_dict() == (-sheet["Interval_BL"].astype(float)).reindex(days.index).to_dict()
    assert lesions.loc[(lesions["subject"] == "HCC017") & (lesions["timepoint"] == "followup"), "days"].eq(-181).all()
    settings = loaded.section("columns", "endpoints", "eligibility", "null_seed")
    made = enrol(cohort.participants, settings, cohort=cohort.name, role=cohort.role, lesions=lesions)
    assert len(made.manifest) == 105
    assert made.subjects["response"].notna().all()
    assert "HCC017" in set(made.subjects["subject"])
    window = made.flow[made.flow["rule"].str.startswith("response_window")]
    assert window["n_out"].sum() == made.subjects["response_window"].isna().sum() > 20
    kappa = made.agreement.query("metric == 'kappa' and endpoint == 'response'").set_index("group")["value"]
    assert kappa.round(2).to_dict() == {"1 and 2": 0.31, "1 and 3": 0.46, "2 and 3": 0.47}


@pytest.mark.realdata
def test_features_are_joined_by_identifier_and_bear_no_path(data, realdata):
    features = read_table(data / "hcc-tace-seg" / "features.tsv").set_index("subject")
    (path,) = realdata("hcc_tace_seg_tables").glob("**/general/radiomics_features.csv")
    published = pd.read_csv(path, low_memory=False)
    shuffled = radiomics(published.astype(str).replace("nan", "").sample(frac=1, random_state=1)).set_index("subject")
    pd.testing.assert_frame_equal(shuffled.sort_index().astype(float), features.astype(float), check_exact=False)
    assert features.shape == (101, 2016)
    for row in (0, 50, 104):
        subject = subject_key(published["Image"][row].split("\\")[3])
        assert features.loc[subject, "shape__MeshVolume"] == published["original_shape_MeshVolume"][row]
    text = (data / "hcc-tace-seg" / "features.tsv").read_text()
    assert "\\" not in text
    assert "D:" not in text


@pytest.mark.realdata
def test_adapters_are_deterministic(data, realdata, tmp_path):
    assert (
        main(["dataset", "hcc-tace-seg", "--source", str(realdata("hcc_tace_seg_tables")), "--out", str(tmp_path)]) == 0
    )
    for file in (tmp_path / "hcc-tace-seg").iterdir():
        assert file_digest(file) == file_digest(data / "hcc-tace-seg" / file.name)


@pytest.mark.realdata
def test_the_import_of_features_leaves_nobody_out(data, tmp_path):
    folder = data / "hcc-tace-seg"
    features, rows = tmp_path / "f.tsv", tmp_path / "m.tsv"
    arguments = ["extract", "--import", folder / "features.tsv", "--participants", folder / "participants.tsv"]
    arguments += ["--cohort", "hcc-tace-seg", "--roi", "tumour", "--out-features", features, "--out-manifest", rows]
    assert main([str(argument) for argument in arguments]) == 0
    manifest = read_table(rows, "manifest")
    assert manifest["status"].value_counts().to_dict() == {"ok": 101, "failed": 4}
    failed = manifest.loc[manifest["status"] == "failed", "subject"]
    assert sorted(failed) == ["HCC082", "HCC085", "HCC089", "HCC095"]
