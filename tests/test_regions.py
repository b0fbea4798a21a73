"""Which lesion counts and what lies around it: the regions that `extract.rois` makes of a mask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from safetensors.numpy import load_file

from hccflow.batch import Case, run_batch
from hccflow.cli import main
from hccflow.errors import ConfigError, RoiError
from hccflow.extract.crops import CaseCropper
from hccflow.extract.radiomics import Extractor
from hccflow.extract.regions import Region, find_region
from hccflow.images import components, write_image
from hccflow.paths import case_file
from hccflow.study import check_config
from hccflow.tables import read_table
from mockstudy import changed, default_config
from segmentdata import SETTINGS, SPACING, ball, image_of, write_batch

SPACING_KJI = np.array([3.0, 1.25, 0.7])


def image(array: np.ndarray) -> sitk.Image:
    """Image on an anisotropic, oblique grid."""
    made = sitk.GetImageFromArray(array)
    made.SetSpacing(SPACING_KJI[::-1].tolist())
    made.SetOrigin((-12.5, 40.0, 7.25))
    c, s = np.cos(0.3), np.sin(0.3)
    made.SetDirection((c, -s, 0, s, c, 0, 0, 0, 1))
    return made


def two_lesions() -> tuple[np.ndarray, np.ndarray]:
    """A large and a small lesion, 5 voxels apart."""
    large, small = np.zeros((14, 26, 30), np.uint8), np.zeros((14, 26, 30), np.uint8)
    large[4:9, 6:14, 5:14] = 1
    large[4, 6, 5] = 0
    small[5:7, 8:12, 19:23] = 1
    return large, small


def find(mask: np.ndarray, **entry: Any) -> tuple[np.ndarray, Region]:
    within = entry.pop("within", None)
    whole = image(mask)
    region = find_region(whole, whole, entry, within=within, min_voxels=4, flat=False)
    assert region.roi.GetOrigin() == whole.GetOrigin() and region.roi.GetDirection() == whole.GetDirection()
    return sitk.GetArrayFromImage(region.roi), region


def near(lesion: np.ndarray, ring_mm: float) -> np.ndarray:
    """Voxels within a distance, from all pairs of voxel centres."""
    places = np.argwhere(np.ones_like(lesion)) * SPACING_KJI
    gap = np.linalg.norm(places[:, None] - (np.argwhere(lesion) * SPACING_KJI)[None], axis=-1).min(axis=1)
    return gap.reshape(lesion.shape) <= ring_mm + 1e-6


@pytest.mark.parametrize("ring_mm", [0.7, 2.0, 3.0, 5.5, 40.0])
def test_a_ring_holds_what_brute_force_finds(ring_mm: float) -> None:
    large, small = two_lesions()
    both = large | small
    ring, region = find(both, ring_mm=ring_mm)
    np.testing.assert_array_equal(ring > 0, near(both, ring_mm) & (both == 0))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(region.whole), both)
    ring, _ = find(both, ring_mm=ring_mm, lesion="largest")
    np.testing.assert_array_equal(ring > 0, near(large, ring_mm) & (both == 0), "no voxel of another lesion")


@pytest.mark.parametrize("grow_mm", [0.7, 2.0, 3.0, -0.7, -1.4, -2.0])
def test_an_outline_drawn_anew_holds_what_brute_force_finds(grow_mm: float) -> None:
    large, small = two_lesions()
    both = large | small
    drawn, region = find(both, grow_mm=grow_mm)
    wider, closer = near(both, abs(grow_mm)), (both > 0) & ~near(1 - both, abs(grow_mm))
    np.testing.assert_array_equal(drawn > 0, wider if grow_mm > 0 else closer)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(region.whole), both)
    organ = np.zeros_like(large)
    organ[:, :, 12:] = 1
    if grow_mm > 0:
        drawn, _ = find(both, grow_mm=grow_mm, within=image(organ), lesion="largest")
        np.testing.assert_array_equal(drawn > 0, (large > 0) | (near(large, grow_mm) & (organ > 0)))


def test_an_outline_that_leaves_nothing_is_said() -> None:
    _, small = two_lesions()
    with pytest.raises(RoiError, match="nothing is left of the mask within 9 mm of its border"):
        find(small, grow_mm=-9.0)
    for grow_mm in (0.1, -0.1):
        with pytest.raises(RoiError, match=r"an outline moved by -?0.1 mm is the same.*at least 0\.\d+ mm"):
            find(small, grow_mm=grow_mm)


def test_a_ring_stays_inside_its_organ_and_may_be_empty() -> None:
    large, _ = two_lesions()
    organ = np.zeros_like(large)
    organ[:, :, 12:] = 1
    ring, _ = find(large, ring_mm=4.0, within=image(organ))
    np.testing.assert_array_equal(ring > 0, near(large, 4.0) & (large == 0) & (organ > 0))
    with pytest.raises(RoiError, match="the ring of 0.5 mm is empty"):
        find(large, ring_mm=0.5)
    with pytest.raises(RoiError, match="the ring of 4 mm is empty"):
        find(large, ring_mm=4.0, within=image(large * 0))
    other = image(organ)
    other.SetOrigin((0, 0, 0))
    with pytest.raises(RoiError, match="within which the region lies is not on the grid of the ROI"):
        find(large, ring_mm=4.0, within=other)


def test_the_largest_lesion_counts_and_of_equals_the_first() -> None:
    large, small = two_lesions()
    found, region = find(small + large, lesion="largest")
    np.testing.assert_array_equal(found, large)
    assert region.n_components == 2
    assert region.notes == ["the largest of 2 components, 92 % of the mask"]
    for entry in ({}, {"lesion": "all"}):
        everything, region = find(large | small, **entry)
        np.testing.assert_array_equal(everything, large | small)
        assert (region.n_components, region.notes, region.roi is region.whole) == (2, [], True)
    equal = np.zeros((8, 12, 12), np.uint8)
    for k, j, i in ((4, 1, 1), (1, 8, 6), (1, 3, 8)):
        equal[k : k + 2, j : j + 2, i : i + 2] = 1
    assert [tuple(np.argwhere(components(equal > 0)[0] == n)[0]) for n in (1, 2, 3)] == [
        (1, 3, 8),
        (1, 8, 6),
        (4, 1, 1),
    ]
    first, _ = find(equal, lesion="largest")
    assert np.argwhere(first)[0].tolist() == [1, 3, 8] and first.sum() == 8
    corner = np.zeros((8, 8, 8), np.uint8)
    corner[1:3, 1:3, 1:3] = corner[3:5, 3:5, 3:5] = 1
    assert find(corner, lesion="largest")[1].n_components == 1, "voxels that share a corner belong together"
    with pytest.raises(RoiError, match="the largest lesion is too small"):
        find_region(image(equal), image(equal), {"lesion": "largest"}, min_voxels=9, flat=False)


def test_the_organ_of_a_normalisation_leaves_out_every_lesion() -> None:
    large, small = two_lesions()
    rng = np.random.default_rng(4)
    values = rng.normal(100, 10, large.shape) + np.where(large | small, 300, 0)
    scan, organ = image(values), image(np.ones_like(large))
    outside = values[(large | small) == 0]
    how = {"kind": "organ", "organ": "liver", "scale": 1}
    for entry, inside in (
        ({"lesion": "largest"}, large > 0),
        ({"ring_mm": 2.0}, find(large | small, ring_mm=2.0)[0] > 0),
    ):
        extractor = Extractor({"featureClass": {"firstorder": ["Mean"]}}, how, 4, entry)
        found = extractor.extract({"a": scan}, image(large | small), organ=organ)
        expected = (values[inside].mean() - outside.mean()) / outside.std(ddof=1)
        assert found.values["a__original_firstorder_Mean"] == pytest.approx(expected)
        assert (found.n_voxels, found.n_components) == (inside.sum(), 2)


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    """Three cases: a lesion, two lesions, and one whose ring is empty since nothing of the liver is left around it."""
    write_batch(tmp_path, "dev", [("A", ""), ("B", ""), ("C", "")])
    folder = tmp_path / "convert" / "dev" / "batch-01"
    small = ball((6, 12, 12), (2, 3, 3)) | ball((6, 12, 21), (1.5, 2, 2))
    write_image(image_of(small.astype(np.uint8)), folder / case_file("B", "", "mask", desc="tumour"))
    tumour = folder / case_file("C", "", "mask", desc="tumour")
    write_image(sitk.ReadImage(str(tumour)), folder / case_file("C", "", "mask", desc="liver"))
    return tmp_path


ROIS = {
    "ring": {"source": "reference", "mask": "tumour", "ring_mm": 6, "within": "liver", "min_voxels": 5},
    "largest": {"source": "reference", "mask": "tumour", "lesion": "largest", "min_voxels": 5},
    "plain": {"source": "reference", "mask": "tumour", "min_voxels": 5},
}


def test_the_command_extracts_from_the_ring_and_says_when_it_is_empty(batch: Path) -> None:
    radiomics = {"setting": {"binWidth": 25}, "featureClass": {"firstorder": ["Mean"]}}
    extract = {"rois": ROIS, "intensity": {"kind": "none"}, "radiomics": radiomics}
    settings = json.dumps({"imaging": SETTINGS["imaging"], "extract": extract})
    folder = batch / "convert" / "dev" / "batch-01"
    made = {}
    for roi in ROIS:
        command = ["extract", "--cohort", "dev", "--roi", roi, "--folder-in", str(folder), "--settings", settings]
        command += ["--manifest-in", str(folder.with_suffix(".tsv"))]
        assert main([*command, "--folder", str(batch / roi), "--manifest", str(batch / f"{roi}.tsv")]) == 0
        made[roi] = read_table(batch / f"{roi}.tsv", "manifest").set_index("subject")
    ring = made["ring"]
    assert ring["status"].tolist() == ["ok", "ok", "failed"]
    assert "the ring of 6 mm is empty" in ring.loc["C", "reason"]
    arrays = {name: sitk.ReadImage(str(folder / case_file("A", "", "mask", desc=name))) for name in ("liver", "tumour")}
    liver, tumour = (sitk.GetArrayFromImage(mask) > 0 for mask in arrays.values())
    distance = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(arrays["tumour"], False, False, True))
    inside = (distance <= 6) & ~tumour & liver
    assert ring.loc["A", "n_voxels"] == inside.sum()
    assert ring.loc["A", "volume_ml"] == pytest.approx(inside.sum() * np.prod(SPACING) / 1000)
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / case_file("A", "", "arterial"))))
    table = read_table(batch / "ring" / case_file("A", "", "features", desc="ring", ext=".tsv"))
    assert table["arterial__original_firstorder_Mean"].iloc[0] == pytest.approx(values[inside].mean(), rel=1e-6)
    assert made["largest"]["n_components"].tolist() == made["plain"]["n_components"].tolist() == [1, 2, 1]
    assert (
        made["largest"].loc["B", "n_voxels"] == ball((6, 12, 12), (2, 3, 3)).sum() < made["plain"].loc["B", "n_voxels"]
    )
    assert "the largest of 2 components" in made["largest"].loc["B", "notes"]

    hand = ["extract", "--roi", "ring", "--settings", settings, "--out", str(batch / "hand.tsv")]
    hand += ["--image", f"arterial={folder / case_file('A', '', 'arterial')}"]
    hand += ["--mask", str(folder / case_file("A", "", "mask", desc="tumour"))]
    assert main(hand) == 2, "the ring needs its structure"
    assert main([*hand, "--within-mask", str(folder / case_file("A", "", "mask", desc="liver"))]) == 0
    assert read_table(batch / "hand.tsv")["n_voxels"].iloc[0] == inside.sum()


def test_networks_see_the_same_region(batch: Path) -> None:
    folder = batch / "convert" / "dev" / "batch-01"
    cases = [Case("dev", name) for name in "ABC"]
    row = {"status": "ok", "reason": "", "channels": "arterial,portal", "masks": "liver,tumour"}
    rows = {case.stem: row for case in cases}
    extract = {"rois": ROIS, "intensity": {"kind": "none"}}
    for roi, status in (("largest", ["ok", "ok", "ok"]), ("ring", ["ok", "ok", "failed"])):
        box = {"roi": roi, "size": [24, 24, 12], "spacing_mm": list(SPACING), "around": "liver"}
        work = CaseCropper(folder, rows, SETTINGS["imaging"], extract, "box", box)
        table = run_batch(cases, work, folder=batch / roi, manifest=batch / f"{roi}.tsv", key={})
        assert table["status"].tolist() == status
        assert table["n_components"].tolist()[:2] == [1, 2]
        mask = load_file(batch / roi / case_file("B", "", "crop", desc="box", ext=".safetensors"))["mask"] > 0
        assert mask.sum() == table["n_voxels"].iloc[1]
        assert roi == "ring" or components(mask)[1] == 1
    assert "the ring of 6 mm is empty" in table["reason"].iloc[2]


@pytest.mark.parametrize(
    ("roi", "words"),
    [
        ({"lesion": "biggest"}, "'biggest' is not one of.*all.*largest"),
        ({"ring_mm": 0}, "0 is less than or equal to the minimum of 0"),
        ({"within": "liver"}, "'within' belongs to a ring"),
        ({"grow_mm": -2, "within": "liver"}, "'within' belongs to a ring or a wider outline"),
        ({"grow_mm": 2, "ring_mm": 5}, "a ring or an outline drawn anew"),
        ({"grow_mm": 0}, "grow_mm"),
        ({"ring_mm": 5, "within": "spleen"}, "unknown mask 'spleen'"),
        ({"ring_mm": 5, "within": "tumour"}, "a ring lies outside its own structure"),
        ({"source": "table", "ring_mm": 5}, "a table has no mask to take a region from"),
    ],
)
def test_mistakes_are_told_in_one_line(roi: dict[str, Any], words: str) -> None:
    config = default_config()
    entry = config["extract"]["rois"]["manual"]
    check_config(
        changed(config, "extract.rois.manual", {**entry, "ring_mm": 5, "within": "liver", "lesion": "largest"})
    )
    with pytest.raises(ConfigError, match=words) as caught:
        check_config(changed(config, "extract.rois.manual", {**entry, **roi}))
    assert "config.extract.rois.manual" in str(caught.value)
