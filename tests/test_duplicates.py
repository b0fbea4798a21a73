"""One patient under two names: what is found, and what is not taken for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name

import report_tree
from hccflow.duplicates import CHANCE, NEAR, PAIR, fingerprint, like_people, near_images
from hccflow.orchestration.check import Findings, check_people
from hccflow.report.page import Callout, Table
from hccflow.report.results import Results
from hccflow.report.sections import leakage
from hccflow.study import load_study
from hccflow.tables import read_table, write_table
from mockstudy import default_config, write_mock


def volume(seed: int, size: tuple[int, int, int] = (48, 40, 20)) -> sitk.Image:
    """A smooth random volume: one patient."""
    rng = np.random.default_rng(seed)
    image = sitk.GetImageFromArray(rng.normal(0, 1, size[::-1]).astype(np.float32))
    image.SetSpacing((1.5, 1.5, 4.0))
    return sitk.Cast(500 * sitk.DiscreteGaussian(image, 16.0) + 100, sitk.sitkFloat32)


def differing(a: sitk.Image, b: sitk.Image) -> float:
    """Share of differing bits of two volumes."""
    bits = [np.unpackbits(np.frombuffer(bytes.fromhex(fingerprint(i)), dtype=np.uint8)) for i in (a, b)]
    return float((bits[0] != bits[1]).mean())


def test_the_same_scan_in_another_form_is_near_and_another_patient_is_not() -> None:
    image = volume(1)
    rescaled = sitk.Cast(image * 4 - 1000, sitk.sitkInt16)
    flipped = sitk.DICOMOrient(image, "RAS")
    grid = sitk.Image([36, 30, 20], sitk.sitkFloat32)
    grid.SetSpacing((2.0, 2.0, 4.0))
    noise = sitk.GetImageFromArray(np.random.default_rng(3).normal(0, 2, (20, 40, 48)).astype(np.float32))
    noise.CopyInformation(image)
    for other in (rescaled, flipped, sitk.Resample(image, grid), image + noise):
        assert differing(image, other) <= NEAR
    others = [differing(image, volume(seed)) for seed in range(2, 30)]
    assert min(others) > 4 * NEAR
    assert fingerprint(volume(1, (8, 40, 20))) == "", "smaller than its blocks"


def test_only_pairs_of_different_subjects_are_told_and_each_once() -> None:
    one, two = fingerprint(volume(1)), fingerprint(volume(2))
    rows = [
        ("a", "A1", one), ("a", "A1", one), ("b", "B7", one), ("b", "B8", two), ("c", "A1", one), ("c", "C1", ""),
        ("c", "C2", None),
    ]  # fmt: skip
    found = near_images(pd.DataFrame(rows, columns=["cohort", "subject", "fingerprint"]))
    assert found[PAIR].to_numpy().tolist() == [["a", "A1", "b", "B7"], ["b", "B7", "c", "A1"]]
    assert found["differing"].tolist() == [0, 0]
    assert near_images(pd.DataFrame(columns=["cohort", "subject", "fingerprint"])).empty


def people(n: int, seed: int = 0) -> pd.DataFrame:
    """Unrelated people of two cohorts."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "cohort": np.where(np.arange(n) < n // 2, "a", "b"), "subject": [f"S{i:03d}" for i in range(n)],
        "age": rng.integers(40, 80, n).astype(float), "sex": rng.choice(["F", "M"], n),
        "afp": rng.lognormal(3, 2, n).round(1), "os_days": rng.integers(20, 2000, n).astype(float),
    })  # fmt: skip


def test_people_who_agree_in_everything_are_told_and_chance_is_not() -> None:
    columns = ["age", "sex", "afp", "os_days"]
    table = people(200)
    assert like_people(table, columns).empty
    table.loc[150, columns] = table.loc[3, columns]
    table.loc[150, "age"] = np.nan
    found = like_people(table, columns)
    assert found[PAIR].to_numpy().tolist() == [["a", "S003", "b", "S150"]]
    assert found["agree"].item() == 3 and found["expected"].item() < CHANCE
    table.loc[150, "sex"] = "F" if table.loc[3, "sex"] == "M" else "M"
    assert like_people(table, columns).empty, "one value that contradicts is enough"
    assert like_people(table.assign(afp=1.0, os_days=2.0, age=3.0), columns).empty, "what all share says nothing"
    assert like_people(table.assign(subject="X"), columns).empty, "two rows of one subject"


def test_check_tells_it_before_any_compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCCFLOW_DATA", str(write_mock(tmp_path)))
    study = load_study(default_config())
    findings = Findings()
    check_people(study, findings)
    assert not findings.odd, "in the mock everybody is alike, which is no sign"
    ext, dev = study.cohorts["phantom-ext"].participants, study.cohorts["phantom-dev"].participants
    columns, rng = ["age", "afp_ng_ml", "os_days", "pfs_days"], np.random.default_rng(0)
    for table in (ext, dev):
        table[columns] = rng.integers(40, 900, (len(table), 4)).astype(float)
    check_people(study, findings)
    assert not findings.odd
    ext.loc[ext.index[0], columns] = dev.loc[dev.index[1], columns].to_numpy()
    check_people(study, findings)
    assert len(findings.odd) == 1
    assert f"{ext['subject'].iloc[0]} (phantom-ext)" in findings.odd[0]


def test_the_report_warns_and_says_what_was_compared(tmp_path: Path) -> None:
    given = report_tree.build(tmp_path)
    section = leakage.build(Results(tmp_path, given))
    assert [b.title for b in section.blocks if isinstance(b, Callout)] == ["No patient twice, as far as can be seen"]
    one = fingerprint(volume(1))
    for cohort, subject in (("phantom-dev", "D003"), ("phantom-ext", "E005")):
        manifest = read_table(tmp_path / f"convert/{cohort}/manifest.tsv")
        manifest["fingerprint"] = [one if s == subject else "" for s in manifest["subject"]]
        write_table(manifest, tmp_path / f"convert/{cohort}/manifest.tsv")
    section = leakage.build(Results(tmp_path, given))
    table = next(b for b in section.blocks if isinstance(b, Table) and b.name == "duplicates")
    assert [[cell.text for cell in row.cells] for row in table.rows] == [
        ["D003 (Phantom development)", "E005 (Phantom external)", "image differs in 0.0 % of the fingerprint"]
    ]
    assert "Perhaps one patient under two names" in [b.title for b in section.blocks if isinstance(b, Callout)]
