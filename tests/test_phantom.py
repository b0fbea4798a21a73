"""The phantom: reproducible, readable by others, with the truth that it states."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
import yaml
from lifelines.utils import concordance_index
from scipy.special import expit
from scipy.stats import norm, spearmanr

from hccflow.cli import main
from hccflow.errors import ConfigError
from hccflow.phantom import process, tables
from hccflow.phantom.anatomy import draw_anatomy
from hccflow.phantom.cohorts import NAMES, PRESETS, make_cards
from hccflow.phantom.faults import FAULTS, planted_faults
from hccflow.phantom.identity import planted_identities
from hccflow.phantom.images import write_cohort
from hccflow.phantom.parameters import INFORMATION, Parameters
from hccflow.phantom.people import people, person
from hccflow.phantom.series import geometry
from hccflow.phantom.write import write_study
from hccflow.provenance import series_digest
from hccflow.study import load_study
from hccflow.tables import read_table

ROOT = Path(__file__).resolve().parents[1]
MICRO = make_cards(PRESETS["micro"])
FILES = ("cohort.yaml", "participants.tsv", "lesions.tsv", "rna.tsv", "histology.tsv", "truth.json")


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cards and tables of the default size, written anew."""
    out = tmp_path_factory.mktemp("default")
    write_study(make_cards(PRESETS["default"]), out)
    return out


@pytest.fixture(scope="module")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """DICOM of the three micro cohorts."""
    folders = {name: tmp_path_factory.mktemp(name) / "dicom" for name in NAMES}
    for name, folder in folders.items():
        write_cohort(MICRO[name], folder)
    return folders


def index_of(folder: Path) -> pd.DataFrame:
    return read_table(folder / "series.tsv", "series").set_index(["subject", "name"])


def known(name: str) -> Parameters:
    return Parameters.from_card(MICRO[name])


# --- tables -----------------------------------------------------------------------------------------------------------


def test_committed_tables_are_what_the_generator_writes(default: Path) -> None:
    for name in NAMES:
        for file in (*FILES, "genesets.gmt") if name == NAMES[0] else FILES:
            assert (default / name / file).read_bytes() == (ROOT / "data" / name / file).read_bytes(), f"{name}/{file}"


def test_tables_follow_the_study_that_uses_them(default: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCCFLOW_DATA", str(default))
    study = load_study(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")), ROOT)
    assert {name: len(c.participants) for name, c in study.cohorts.items()} == dict(
        zip(NAMES, (60, 30, 24), strict=True)
    )
    for cohort in study.cohorts.values():
        lesions = read_table(cohort.folder / "lesions.tsv", "lesions")
        assert set(lesions["subject"]) == set(cohort.participants["subject"])
        assert (lesions["viable_mm"] <= lesions["diameter_mm"]).all()
        people = cohort.participants
        assert (people["pfs_days"] <= people["os_days"].fillna(np.inf)).all()
        first = lesions.query("reader == 'R1' and timepoint == 'baseline' and lesion == 'L1'").set_index("subject")
        assert (people.set_index("subject")["diameter_mm"] == first["diameter_mm"]).all()
    dev, fup = (study.cohorts[name].participants.set_index("subject") for name in (NAMES[0], NAMES[2]))
    shared = dev.index.intersection(fup.index)
    assert len(shared) == 16
    baseline = ["site", "age", "sex", "bclc", "child_pugh", "afp_ng_ml", "tumour_number", "diameter_mm"]
    pd.testing.assert_frame_equal(dev.loc[shared, baseline], fup.loc[shared, baseline])
    assert (fup.loc[shared, "os_days"] >= dev.loc[shared, "os_days"]).all()
    died = dev.loc[shared, "os_event"] == 1
    assert (fup.loc[shared, "os_days"] == dev.loc[shared, "os_days"])[died].all()
    assert fup.loc[shared, "os_event"].sum() > died.sum(), "longer follow-up sees more deaths"


def test_a_larger_cohort_begins_with_the_same_subjects() -> None:
    larger = make_cards(replace(PRESETS["micro"], dev=31))["phantom-dev"]
    few, many = known("phantom-dev"), Parameters.from_card(larger)
    for small, large in zip(
        tables.participants_and_lesions(few, 2), tables.participants_and_lesions(many, 2), strict=True
    ):
        kept = large[large["subject"].isin(few.subjects())].reset_index(drop=True)
        pd.testing.assert_frame_equal(small, kept)
    one, same = (draw_anatomy(p, person(p, "D005", "A")) for p in (few, many))
    assert np.array_equal(one.phases["portal"], same.phases["portal"])
    other = Parameters.from_card(make_cards(PRESETS["micro"], seed=1)["phantom-dev"])
    assert not np.array_equal(one.phases["portal"], draw_anatomy(other, person(other, "D005", "A")).phases["portal"])


def test_faults_are_in_the_tables() -> None:
    p = known("phantom-dev")
    participants, lesions = tables.participants_and_lesions(p, 2)
    participants = participants.set_index("subject")
    assert planted_faults(p) == {s: [kind] for kind, (s,) in p.faults.items()}
    planted = {kind for name in NAMES for kinds in planted_faults(known(name)).values() for kind in kinds}
    assert planted == set(FAULTS) - {"small_tumour"}, "the micro study shows every fault of the default shape"
    assert participants.loc["D020", "bclc"] == "C"
    assert (participants["bclc"] == "C").sum() == 1
    assert participants["os_days"].isna().sum() == 1
    assert np.isnan(participants["os_days"].astype(float)["D023"])
    days = lesions[lesions["timepoint"] == "followup"].groupby("subject")["days"].first()
    assert sorted(set(participants.index) - set(days.index)) == ["D019"]
    assert days[~days.between(21, 90)].to_dict() == {"D022": 140}


def test_biology_follows_heterogeneity() -> None:
    p = Parameters.from_card(make_cards(replace(PRESETS["enlarged"], dev=150))["phantom-dev"])
    h = pd.Series({one.subject: one.heterogeneity for one in people(p)})
    expression = tables.rna(p).set_index("subject")
    assert 0.5 < len(expression) / len(h) < 0.7
    sets = tables.gene_sets(p)
    assert len(sets) == 20
    assert all(set(genes) <= set(expression.columns) for genes in sets.values())
    rho = {name: expression[sets[name]].mean(axis=1).corr(h, method="spearman") for name in tables.MODULES}
    assert rho["PHANTOM_SIGNAL"] > 0.9
    assert max(abs(rho["PHANTOM_MODULE_A"]), abs(rho["PHANTOM_MODULE_B"])) < 3 / np.sqrt(len(expression))
    histology = tables.histology(p).set_index("subject")
    assert spearmanr(histology["viability_pct"], h[histology.index])[0] > 0.5
    assert histology.to_numpy().min() >= 0
    assert histology.to_numpy().max() <= 100


# --- truth ------------------------------------------------------------------------------------------------------------


def test_bayes_auc_agrees_with_numerical_integration(default: Path) -> None:
    """Gauss-Legendre over the three normals; only the readers' error rates are simulated, by another derivation."""
    p = Parameters.from_card(make_cards(PRESETS["default"])["phantom-dev"])
    truth = json.loads((default / "phantom-dev" / "truth.json").read_text())["response"]
    node, weight = np.polynomial.legendre.leggauss(60)
    x = node * p.latent_bound
    w = weight * norm.pdf(x)
    w /= w.sum()
    b = p.response.coefficients
    h, s, z, c = np.meshgrid(x, x, x, [0.0, 1.0], indexing="ij")
    mass = np.einsum("i,j,k,l->ijkl", w, w, w, [1 - p.clinical.child_pugh_b, p.clinical.child_pugh_b]).ravel()
    parts = {
        "heterogeneity": h * b["heterogeneity"],
        "size": s * b["size"],
        "afp": z * b["afp"],
        "child_pugh_b": c * b["child_pugh_b"],
    }
    response = expit(p.response.intercept + sum(parts.values())).ravel()
    sensitivity, false = (positive_label_rate(p, value) for value in (True, False))
    positive = sensitivity * response + false * (1 - response)
    assert float((mass * positive).sum()) == pytest.approx(truth["prevalence"], abs=0.006)
    for information, names in INFORMATION.items():
        score = sum(parts[name] for name in names).ravel().round(9)
        _, level = np.unique(score, return_inverse=True)
        ones, zeros = (np.bincount(level, mass * q) for q in (positive, 1 - positive))
        below = np.cumsum(zeros) - zeros / 2
        auc = (ones * below).sum() / (ones.sum() * zeros.sum())
        stated = truth["auc"][information]
        assert auc == pytest.approx(stated["value"], abs=4 * stated["se"] + 0.002), information
    assert 0.70 < truth["auc"]["clinical"]["value"] < 0.75
    assert 0.80 < truth["auc"]["imaging"]["value"] < 0.85
    assert 0.88 < truth["auc"]["all"]["value"] < 0.92
    printed = " | ".join(f"{stated['value']:.3f}" for stated in truth["auc"].values())
    assert f"| AUC of response | {printed} |" in (ROOT / "docs" / "phantom.md").read_text(encoding="utf-8")
    assert truth["agreement_with_true_response"] > 0.97
    assert 0.8 < truth["kappa_between_readers"] < 0.95


def positive_label_rate(p: Parameters, response: bool) -> float:
    """Share of positive majority labels among true responders or non-responders, derived reader by reader."""
    n, rng = 20_000, np.random.default_rng(5)
    ratio, new = process.draw_course(p.response, rng, np.full(n, response))
    diameters = process.draw_diameters(p, rng, process.truncated_normal(rng, n, p.latent_bound))
    read = process.draw_readings(p.response, rng, diameters, ratio)
    votes = np.zeros(n)
    for r in range(len(p.response.readers)):
        before, after = (np.nan_to_num(read[f"{t}_viable"][:, r, :2]).sum(axis=1) for t in ("baseline", "followup"))
        votes += (100 * (after - before) / before <= -30) & ~new
    return float((votes >= 2).mean())


@pytest.mark.parametrize("name", ["phantom-dev", "phantom-fup"])
def test_bayes_c_index_agrees_with_lifelines_on_another_simulation(default: Path, name: str) -> None:
    p = Parameters.from_card(make_cards(PRESETS["default"])[name])
    truth = json.loads((default / name / "truth.json").read_text())
    n, rng, s = 20_000, np.random.default_rng(11), p.survival
    x = process.draw_covariates(p, rng, n)
    rate = np.exp(sum(s.coefficients[k] * x[k] for k in s.coefficients))
    scale = rate ** (-1 / s.shape)
    death = s.delay_days + s.death_scale_days * scale * rng.weibull(s.shape, n)
    progression = s.delay_days + s.progression_scale_days * scale * rng.weibull(s.shape, n)
    censoring = rng.uniform(*s.censoring_days, n)
    for endpoint, time in {"os": death, "pfs": np.minimum(death, progression)}.items():
        event = time <= censoring
        assert event.mean() == pytest.approx(truth[endpoint]["event_fraction"], abs=0.015)
        for information, names in INFORMATION.items():
            risk = sum(s.coefficients[k] * x[k] for k in names)
            stated = truth[endpoint]["c_index"][information]
            reached = concordance_index(np.minimum(time, censoring), -risk, event)
            assert reached == pytest.approx(stated["value"], abs=4 * stated["se"] + 0.008), (endpoint, information)


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["phantom-dev", "phantom-ext"])
def test_heterogeneity_and_size_can_be_read_from_the_image(name: str) -> None:
    p = Parameters.from_card(make_cards(PRESETS["default"])[name])
    rows = []
    for one in people(p)[:24]:
        a = draw_anatomy(p, one)
        image = a.phases["arterial"].astype(float)
        liver = image[a.liver & ~a.tumour]
        volume = a.tumour.sum() * np.prod(p.scanners[one.site].spacing_mm)
        contrast = (image[a.tumour].mean() - liver.mean()) / liver.std()
        rows.append(
            (one.heterogeneity, np.log(image[a.tumour].std() / liver.std()), one.size, np.log(volume), contrast)
        )
    h, spread, s, volume, contrast = np.array(rows).T
    assert np.corrcoef(h, spread)[0, 1] > 0.9
    assert np.corrcoef(s, volume)[0, 1] > 0.9
    assert contrast.min() > 3, "a tumour is clearly brighter than liver in the arterial phase"


@pytest.mark.parametrize(
    ("name", "subject"), [("phantom-dev", "D001"), ("phantom-dev", "D002"), ("phantom-ext", "E001")]
)
def test_others_read_the_same_image_and_masks(dicom: dict[str, Path], name: str, subject: str) -> None:
    p, folder = known(name), dicom[name]
    index = index_of(folder)
    one = person(p, subject, p.subjects()[subject])
    scanner, drawn = p.scanners[one.site], draw_anatomy(p, one)
    directions, origin = geometry(scanner)
    for phase in ("arterial", "portal"):
        series = folder / index.loc[(subject, phase), "path"]
        image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series)))
        assert image.GetSpacing() == pytest.approx(scanner.spacing_mm, abs=1e-5)
        assert image.GetOrigin() == pytest.approx(origin, abs=1e-5)
        assert np.reshape(image.GetDirection(), (3, 3)) == pytest.approx(directions, abs=1e-6)
        assert np.array_equal(sitk.GetArrayFromImage(image), drawn.phases[phase] * scanner.slope)
    seg = hd.seg.segread(folder / index.loc[(subject, "tumour"), "path"])
    assert [seg.get_segment_description(i).segment_label for i in (1, 2)] == ["liver", "tumour"]
    slices = sorted((folder / index.loc[(subject, "arterial"), "path"]).iterdir())
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in slices]
    masks = seg.get_pixels_by_source_instance(
        uids, ignore_spatial_locations=False, assert_missing_frames_are_empty=True
    )
    up = slice(None, None, -1) if scanner.descending else slice(None)
    assert np.array_equal(masks[up, :, :, 0], drawn.liver)
    assert np.array_equal(masks[up, :, :, 1], drawn.tumour)
    assert drawn.tumour.sum() >= 20
    assert not (drawn.tumour & ~drawn.liver).any(), "the liver includes the tumour"


def test_dicom_headers_are_valid(dicom: dict[str, Path]) -> None:
    seen: set[str] = set()
    for name in NAMES[:2]:
        for (subject, channel), row in index_of(dicom[name]).query("kind == 'image'").iterrows():
            if "truncated_file" in planted_faults(known(name)).get(subject, []):
                continue
            for path in sorted((dicom[name] / row["path"]).iterdir())[:2]:
                with pydicom.config.strict_reading():
                    header = pydicom.dcmread(path)
                    list(header.iterall())
                assert re.fullmatch(r"2\.25\.[1-9][0-9]{0,38}", header.SOPInstanceUID)
                assert header.SeriesInstanceUID == row["series_uid"]
                assert header.SOPInstanceUID not in seen
                seen.add(header.SOPInstanceUID)
                assert header.SeriesDescription == getattr(
                    known(name).scanners[known(name).subjects()[subject]], channel
                )


def test_same_card_same_bytes(dicom: dict[str, Path], tmp_path: Path) -> None:
    card = yaml.safe_load(yaml.safe_dump(MICRO["phantom-fup"]))
    write_cohort(card, tmp_path / "again", jobs=2)
    files = sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(dicom["phantom-fup"]) for p in dicom["phantom-fup"].rglob("*") if p.is_file())
    assert all((tmp_path / "again" / f).read_bytes() == (dicom["phantom-fup"] / f).read_bytes() for f in files)


def test_shared_subjects_have_the_same_images(dicom: dict[str, Path]) -> None:
    dev, fup = index_of(dicom["phantom-dev"]), index_of(dicom["phantom-fup"])
    shared = fup.index.intersection(dev.index)
    assert set(shared.get_level_values(0)) == {f"D{i:03d}" for i in range(1, 7)}
    pd.testing.assert_frame_equal(dev.loc[shared], fup.loc[shared])


def test_index_lists_what_is_on_disk(dicom: dict[str, Path]) -> None:
    for name in NAMES:
        p, index = known(name), index_of(dicom[name])
        assert set(index.index.get_level_values(0)) == set(p.subjects())
        for (subject, channel), row in index.iterrows():
            path = dicom[name] / row["path"]
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            assert row["n_files"] == len(files)
            assert row["sha256"] == series_digest(files)
            slices = p.scanners[p.subjects()[subject]].matrix[2]
            missing = p.has_fault("missing_slice", subject) and channel == "arterial"
            assert len(files) == (slices - missing if row["kind"] == "image" else 1)
        for subject in p.subjects():
            assert ((subject, "portal") in index.index) != p.has_fault("missing_portal", subject)
    truncated = sorted(
        (dicom["phantom-ext"] / index_of(dicom["phantom-ext"]).loc[("E004", "arterial"), "path"]).iterdir()
    )
    sizes = [path.stat().st_size for path in truncated]
    assert sum(size < max(sizes) - 100 for size in sizes) == 1
    with pytest.raises((ValueError, EOFError, OSError)):
        _ = pydicom.dcmread(truncated[int(np.argmin(sizes))]).pixel_array


def test_identities_are_planted_in_the_dicom_and_nowhere_else(dicom: dict[str, Path]) -> None:
    card, folder = MICRO["phantom-dev"], dicom["phantom-dev"]
    everywhere: set[str] = set()
    for subject in known("phantom-dev").subjects():
        everywhere |= set(planted_identities(card, subject))
    assert min(map(len, everywhere)) >= 6, "short strings would be found by chance"
    planted = planted_identities(card, "D001")
    series = folder / index_of(folder).loc[("D001", "arterial"), "path"]
    seg = folder / index_of(folder).loc[("D001", "tumour"), "path"]
    portal = folder / index_of(folder).loc[("D001", "portal"), "path"]
    text = series.as_posix() + "".join(
        path.read_bytes().decode("latin-1") for path in (series / "IM0001.dcm", portal / "IM0001.dcm", seg)
    )
    notations = re.compile(r"\d{4}-\d\d-\d\d|\d\d\.\d\d\.\d{4}")
    assert [s for s in planted if s not in text and not notations.fullmatch(s)] == []
    for path in (ROOT / "data").rglob("*"):
        if path.is_file() and not {"dicom", "nifti"} & set(path.relative_to(ROOT / "data").parts):
            content = path.read_text(encoding="utf-8")
            assert not [s for s in everywhere if s in content], path


# --- the command and its messages -------------------------------------------------------------------------------------


def test_command_writes_tables_and_dicom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--n-dev", "3", "--n-ext", "2", "--n-fup", "3", "--n-shared", "2", "--seed", "7"]
    assert main(["phantom", "--out", str(tmp_path), "--preset", "micro", *sizes]) == 0
    card = tmp_path / "phantom-fup" / "cohort.yaml"
    assert main(["phantom", "--card", str(card), "--dicom", str(tmp_path / "dicom")]) == 0
    assert set(index_of(tmp_path / "dicom").index.get_level_values(0)) == {"D001", "D002", "F001"}
    assert main(["phantom", "--out", str(tmp_path), "--card", str(card)]) == 2
    assert "incomplete options" in capsys.readouterr().err
    assert main(["phantom", "--out", str(tmp_path), "--n-dev", "3", "--n-shared", "4"]) == 2
    assert "n-shared 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.update(sead=1), "unknown parameter 'sead'"),
        (lambda p: p["tumour"].pop("border"), "missing parameter 'border'"),
        (lambda p: p["scanners"].pop("A"), "site 'A' has no scanner"),
        (lambda p: p["faults"].update(haunted=["D001"]), "unknown fault 'haunted'"),
        (lambda p: p["faults"].update(missing_portal=["D999"]), "unknown subject 'D999'"),
    ],
)
def test_a_wrong_card_is_refused(change, words: str, tmp_path: Path) -> None:
    card = yaml.safe_load(yaml.safe_dump(MICRO["phantom-dev"]))
    change(card["source"]["parameters"])
    with pytest.raises(ConfigError, match=words):
        write_cohort(card, tmp_path / "dicom")


def test_no_planted_identity_is_in_git() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    needles: set[str] = set()
    for file in sorted((ROOT / "data").glob("*/cohort.yaml")):
        card = yaml.safe_load(file.read_text(encoding="utf-8"))
        if card["source"]["kind"] != "phantom":
            continue
        for subject in Parameters.from_card(card).subjects():
            needles |= {text for text in planted_identities(card, subject) if len(text) >= 6}
    assert len(needles) > 1000
    for file in listed.stdout.decode().split("\0"):
        path = ROOT / file
        if file and path.is_file():
            text = path.read_bytes().decode("utf-8", "replace")
            text = re.sub(r"\bseed: \d+", "", text)  # a seed may look like a date
            words = {*re.findall(r"[A-Za-z0-9]+", text), *re.findall(r"[A-Za-z0-9.-]+", text)}
            assert not words & needles, f"{file} holds {sorted(words & needles)}"
