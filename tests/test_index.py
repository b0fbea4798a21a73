"""index: a proposal for every series, a written reason for every one that is not taken, edits kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dicom_files import write_seg, write_series
from hccflow.cli import main
from hccflow.images import make_image, write_image
from hccflow.naming import channel_name, structure_name
from hccflow.provenance import series_digest
from hccflow.tables import read_table, read_text_table, write_table


def index(images: Path, *more: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    assert main(["index", "--images", str(images), *more]) == 0
    return read_table(images / "series.tsv", "series"), read_text_table(images / "series_report.tsv")


@pytest.mark.parametrize(
    ("description", "name"),
    [
        ("Ax LAVA ART", "arterial"), ("t1_vibe_fs_tra_art", "arterial"), ("LIVER 3 PHASE (AP)", ""),
        ("Portal venous 2.5", "portal"), ("t1_vibe_fs_tra_pv", "portal"), ("late arterial", "arterial"),
        ("Equilibrium", "delayed"), ("PRE LIVER", "pre"), ("non-contrast", "pre"), ("HBP 20 min", "hbp"),
        ("T2 HASTE cor", "t2"), ("ADC (10^-6)", "adc"), ("DWI b800", "dwi"), ("CT Body 3.0", "ct"),
        ("MR_T1_image", "t1"), ("PET_image", "pet"), ("start partial artifact", ""), ("", ""),
    ],
)  # fmt: skip
def test_words_suggest_channels(description: str, name: str) -> None:
    assert channel_name(description) == name


@pytest.mark.parametrize(
    ("label", "name"),
    [("Liver", "liver"), ("GTV_Mass_CT", "tumour"), ("Tumor 1", "tumour"), ("HCC", "tumour"), ("spine", "")],
)
def test_words_suggest_structures(label: str, name: str) -> None:
    assert structure_name(label) == name


def test_a_hospital_folder(tmp_path: Path) -> None:
    base = tmp_path / "Doe_Jane" / "CT"
    arterial = write_series(base / "a")
    write_series(base / "b", description="Ax LAVA PV")
    write_series(base / "copy_of_b", description="Ax LAVA PV", edit=lambda ds, k: _as(ds, base / "b", k))
    write_series(base / "scout", edit=lambda ds, k: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    write_series(base / "shot", edit=lambda ds, k: setattr(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"))
    write_series(base / "gap", positions=[(0, 0, 3.0 * k) for k in (0, 1, 2, 4, 5)])
    write_series(base / "burned", edit=lambda ds, k: setattr(ds, "BurnedInAnnotation", "YES"))
    write_series(base / "dynamic", positions=[(0, 0, 3.0 * k) for k in range(4)] * 4,
                 edit=lambda ds, k: setattr(ds, "ContentTime", f"10{10 + k // 4}00"))  # fmt: skip
    mask = np.zeros((6, 16, 20), bool)
    mask[2, 4:8, 4:8] = True
    seg = write_seg(base / "seg" / "x.dcm", base / "a", {"Liver": mask, "Tumor 1": mask})
    (base / "readme.txt").write_text("no DICOM")

    series, report = index(tmp_path)
    rows = series.set_index("name")
    assert set(series["subject"]) == {"P0001"}
    assert rows.loc["arterial", ["path", "n_files", "format"]].tolist() == ["Doe_Jane/CT/a", 6, "dicom"]
    assert rows.loc["arterial", "sha256"] == series_digest(arterial)
    assert rows.loc["portal", "path"] == "Doe_Jane/CT/b"
    dynamic = rows[rows["path"] == "Doe_Jane/CT/dynamic"].sort_values("value")
    assert dynamic["value"].tolist() == [1, 2, 3, 4]  # the larger series have taken the plain names
    assert dynamic.index.tolist() == ["pre", "arterialx2", "portalx2", "delayed"]
    assert sorted(rows.index.difference(dynamic.index)) == ["arterial", "liver", "portal", "tumour"]
    assert rows.loc["tumour", ["segment", "format", "sha256"]].tolist() == ["Tumor 1", "seg", series_digest([seg])]
    reasons = report.set_index("path")["reason"].to_dict()
    for folder, reason in {
        "scout": "localizer", "shot": "secondary capture", "gap": "slices are missing", "burned": "burned into",
        "copy_of_b": "copy of instances", "readme.txt": "not readable as DICOM",
        "dynamic": "4 volumes in the order of time",
    }.items():  # fmt: skip
        assert reason in reasons[f"Doe_Jane/CT/{folder}"], folder
    assert read_text_table(tmp_path / "subjects.tsv").to_numpy().tolist() == [["MRN99887766", "P0001"]]


def _as(ds: Any, original: Path, k: int) -> None:
    """Give a file the identifiers of a series that was written into another folder."""
    from dicom_files import uid

    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(f"{original}s{k}")
    ds.SeriesInstanceUID = uid(f"{original}s")


def test_edits_are_kept_and_a_clash_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "p" / "a", description="something")
    write_series(tmp_path / "p" / "b", description="Ax LAVA PV")
    series, _ = index(tmp_path)
    assert sorted(series["name"]) == ["portal", "series7"]
    series["name"] = series["name"].replace("series7", "arterial")
    write_table(series, tmp_path / "series.tsv")
    again, _ = index(tmp_path)
    assert sorted(again["name"]) == ["arterial", "portal"]
    series["name"] = "portal"
    write_table(series, tmp_path / "series.tsv")
    assert main(["index", "--images", str(tmp_path)]) == 2
    assert "two series of one name" in capsys.readouterr().err


def test_studies_become_sessions_in_the_order_of_time(tmp_path: Path) -> None:
    def later(ds: Any, k: int) -> None:
        ds.StudyInstanceUID, ds.StudyDate = "1.2.3", "20240501"

    write_series(tmp_path / "x" / "late", edit=later)
    write_series(tmp_path / "x" / "early")
    series, _ = index(tmp_path)
    assert dict(zip(series["path"], series["session"], strict=True)) == {"x/early": "1", "x/late": "2"}
    people = pd.DataFrame(
        {"subject": "S1", "session": ["w0", "w8"], "site": "a", "batch": "01", "source_id": "MRN99887766"}
    )
    write_table(people, tmp_path / "participants.tsv")
    for name in ("series.tsv", "subjects.tsv"):
        (tmp_path / name).unlink()
    series, _ = index(tmp_path, "--participants", str(tmp_path / "participants.tsv"))
    assert sorted(zip(series["subject"], series["path"], series["session"], strict=True)) == [
        ("S1", "x/early", "w0"),
        ("S1", "x/late", "w8"),
    ]


def test_nifti_folders(tmp_path: Path) -> None:
    image = make_image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    one, two = np.zeros((3, 4, 5), np.uint8), np.zeros((3, 4, 5), np.uint8)
    one[1, 1, 1] = 1
    two[1, 1, 1:3] = 1, 2
    write_image(image, tmp_path / "sub-A7" / "ses-w2" / "anat" / "sub-A7_ses-w2_T2w.nii.gz")
    write_image(
        make_image(two, np.eye(4)), tmp_path / "sub-A7" / "ses-w2" / "anat" / "sub-A7_ses-w2_desc-tumour_mask.nii.gz"
    )
    write_image(image, tmp_path / "STS_003" / "PET_image.nii.gz")
    write_image(make_image(one, np.eye(4)), tmp_path / "STS_003" / "PET_mask.nii.gz")
    write_image(make_image(one * 0, np.eye(4)), tmp_path / "STS_003" / "empty_mask.nii.gz")
    (tmp_path / "STS_003" / "broken_image.nii.gz").write_bytes(b"no NIfTI")
    series, report = index(tmp_path)
    found = set(series[["subject", "session", "name", "kind"]].itertuples(index=False, name=None))
    assert found == {
        ("A7", "w2", "t2", "image"), ("A7", "w2", "tumourv1", "mask"), ("A7", "w2", "tumourv2", "mask"),
        ("P0001", "", "pet", "image"), ("P0001", "", "maskpet", "mask"),
    }  # fmt: skip
    reasons = report.set_index("path")["reason"].to_dict()
    assert reasons["STS_003/empty_mask.nii.gz"] == "an empty mask"
    assert "cannot be read" in reasons["STS_003/broken_image.nii.gz"]


def test_participants_limit_what_is_taken(tmp_path: Path) -> None:
    for name in ("STS_001", "STS_002"):
        write_image(make_image(np.ones((3, 4, 5), np.int16), np.eye(4)), tmp_path / "deep" / name / "PET_image.nii.gz")
    write_table(pd.DataFrame({"subject": ["STS001"], "session": "", "site": "a", "batch": "01"}), tmp_path / "p.tsv")
    series, report = index(tmp_path, "--participants", str(tmp_path / "p.tsv"))
    assert series["subject"].tolist() == ["STS001"]
    reason = report.set_index("path").loc["deep/STS_002/PET_image.nii.gz", "reason"]
    assert reason.startswith("no participant of this identifier")


def test_hospital_identifiers_are_matched_by_a_key_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "x")
    write_table(pd.DataFrame({"subject": ["S1"], "session": "", "site": "a", "batch": "01"}), tmp_path / "p.tsv")
    people = ("--participants", str(tmp_path / "p.tsv"))
    series, _ = index(tmp_path, *people)
    assert series.empty
    key = read_text_table(tmp_path / "subjects.tsv")
    assert key.to_numpy().tolist() == [["MRN99887766", ""]], "the table to fill in"
    write_table(pd.DataFrame([["MRN99887766", "S1"], ["MRN5", "S1"]], columns=key.columns), tmp_path / "subjects.tsv")
    series, _ = index(tmp_path, *people)
    assert series["subject"].tolist() == ["S1"]
    assert read_text_table(tmp_path / "subjects.tsv")["source"].tolist() == ["MRN5", "MRN99887766"], "nothing is lost"
    write_table(pd.DataFrame([["MRN99887766", "S2"]], columns=key.columns), tmp_path / "subjects.tsv")
    assert main(["index", "--images", str(tmp_path), *people]) == 2
    assert "a subject of the key table is no participant" in capsys.readouterr().err


def test_no_folder_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "--images", str(tmp_path / "none")]) == 2
    assert "folder of images not found" in capsys.readouterr().err


@pytest.mark.realdata
def test_real_folders(realdata: Any, tmp_path: Path) -> None:
    shutil.copytree(realdata("totalseg_ct"), tmp_path / "t")
    series, _ = index(tmp_path / "t")
    assert series[series["format"] == "dicom"][["name", "n_files"]].to_numpy().tolist() == [["ct", 20]]
    shutil.copytree(realdata("sts_dicom_rtstruct"), tmp_path / "s")
    series, _ = index(tmp_path / "s")
    assert series["kind"].value_counts().to_dict() == {"image": 3, "mask": 3}
    assert set(series[series["kind"] == "image"]["name"]) == {"ct", "t1", "pet"}
    assert set(series["segment"]) == {"", "GTV_Mass_CT", "GTV_Mass_MR_T1", "GTV_Mass_PET"}
