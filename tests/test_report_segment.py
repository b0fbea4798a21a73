"""The report's sections on masks and networks: their numbers, their pictures, and what they refuse to hide."""

from __future__ import annotations

import copy
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from PIL import Image, ImageColor

import report_tree
from hccflow.figures.plane import Axis, against, curves
from hccflow.figures.segment import PREDICTED, REFERENCE, outlines
from hccflow.metrics.estimate import Estimate, metrics_table
from hccflow.paths import case_file
from hccflow.report import build_report, render
from hccflow.report.page import Callout, Cell, Figure, Gallery, Section, Table, Text
from hccflow.report.results import Results
from hccflow.report.sections import networks, segment
from hccflow.tables import read_table, write_table, write_text
from segmentdata import ball, image_of, write_case

DICE = [0.91, 0.88, 0.95, 0.60, 0.0]
FAR = [2.0, 2.5, 1.5, 9.0, np.nan]


def _manifest(cohort: str, letter: str) -> pd.DataFrame:
    """Five segmented cases, the last with an empty tumour, and a failed one."""
    ok = pd.DataFrame({
        "cohort": cohort, "subject": [f"{letter}{i:03d}" for i in range(5)], "session": "", "status": "ok",
        "reason": "",
        "kind": "oof" if cohort == "phantom-dev" else "frozen", "fold": 0, "masks": "liver,tumour", "notes": "",
        "dice_liver": 0.97, "hd95_liver_mm": 2.5, "volume_liver_ml": 1500.0, "reference_volume_liver_ml": 1510.0,
        "entropy_liver_bits": 0.1, "dice_tumour": DICE, "hd95_tumour_mm": FAR,
        "volume_tumour_ml": [22.0, 18.0, 30.0, 8.0, 0.0], "reference_volume_tumour_ml": [20.0, 20.0, 31.0, 16.0, 4.0],
        "entropy_tumour_bits": 0.2, "surface_dice_liver": 0.98, "n_lesions_liver": 1, "n_found_liver": 1,
        "n_false_liver": 0, "surface_dice_tumour": [0.9, 0.8, 1.0, 0.5, 0.0], "n_lesions_tumour": [1, 2, 1, 1, 3],
        "n_found_tumour": [1, 2, 1, 1, 0], "n_false_tumour": [0, 1, 0, 0, 0], "digest": "",
    })  # fmt: skip
    ok.loc[4, ["masks", "notes"]] = ["liver", "tumour is empty"]
    failed = {
        "cohort": cohort,
        "subject": f"{letter}009",
        "session": "",
        "status": "failed",
        "reason": "no image of 'portal'",
    }
    return pd.concat([ok, pd.DataFrame([failed])], ignore_index=True)


def _held_out(cohort: str, kind: str, letter: str, found: list[float]) -> pd.DataFrame:
    """Dice of a network's own segmentation, of the first repeat; a Dice of 0 is that of an empty mask."""
    place = 0 if kind == "oof" else pd.NA
    return pd.DataFrame({
        "cohort": cohort, "subject": [f"{letter}{i:03d}" for i in range(len(found))], "session": "", "kind": kind,
        "repeat": place, "fold": place, "dice": found, "n_reference": 50, "n_predicted": [60 * (d > 0) for d in found],
    })  # fmt: skip


def _network(root: Path, model: str, cohort: str) -> None:
    """Training of a network with two folds and two seeds, and its maps in a cohort."""
    rows = []
    for fold in (0, 1):
        for seed in (0, 1):
            for epoch in range(1, 5):
                loss = {"train_response": 0.7 - 0.1 * epoch, "stop_response": 0.6 + 0.05 * (epoch - 3) ** 2}
                rows.append({"epoch": epoch, **loss, "seed": seed, "repeat": 0, "fold": fold})
        facts = {"repeat": 0, "fold": fold, "best_epochs": [3, 4], "seed_sd": {"response": 0.04 + 0.02 * fold}}
        write_text(root / f"train/{model}/fold-0-{fold}/fold.json", json.dumps(facts))
    write_table(pd.DataFrame(rows), root / f"train/{model}/history.tsv")
    freeze = {"threshold": {"value": 0.5, "rule": "youden", "reason": ""}, "epochs": 4, "seed_sd": {"response": 0.05}}
    freeze["devices"] = ["CPU", "NVIDIA H100, CUDA 12.4, cuDNN 90100, driver 550.54.14"]
    freeze["initial_weights"] = {"file": "r18.safetensors", "licence": "MIT", "sha256": "0" * 64}
    freeze |= {
        "training": {"n": 37, "n_events": 17, "cohorts": ["phantom-dev"], "subjects_digest": "ab" * 8},
        "files": {},
    }
    write_text(root / f"train/{model}/freeze.json", json.dumps(freeze))
    if model == "deep":
        held = _held_out(cohort, "oof", "D", [0.8, 0.9, 0.0, 0.7])
        write_table(pd.concat([held, held.assign(repeat=1, dice=0.5)]), root / f"train/{model}/dice.tsv")
        for where, found in ((cohort, []), ("phantom-ext", [0.4, 0.6])):
            write_table(_held_out(where, "frozen", "E", found), root / f"validate/{where}/{model}.dice.tsv")
    cases = [
        ("D000", "worst", 1, 0.05),
        ("D001", "worst", 0, 0.99),
        ("D002", "median", 1, 0.6),
        ("D003", "best", 1, 0.98),
    ]
    found = [
        {
            "cohort": cohort, "subject": subject, "session": "", "chosen": chosen, "kind": "oof", "fold": 0,
            "y_true": y, "y_prob": p, "error": abs(y - p), "endpoint": "response",
            "explains": "event" if p >= 0.5 else "no event", "method": method,
            "energy_in_mask": 0.4, "mask_fraction": 0.05, "randomised_correlation": 0.1,
            "reason": "",
        }
        for subject, chosen, y, p in cases
        for method in ("gradcam", "hirescam")
    ]  # fmt: skip
    found[0] |= {"energy_in_mask": None, "randomised_correlation": None, "reason": "nothing speaks for the answer"}
    write_table(pd.DataFrame(found), root / f"validate/{cohort}/{model}.cam/cam.tsv")
    for subject, chosen, _, _ in cases:
        name = case_file(subject, "", "cam", desc=chosen, ext=".png").name
        report_tree.picture(root / f"validate/{cohort}/{model}.cam/{name}", 3)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A study with masks by networks, a twin model on them, and a network with its ablation."""
    root = tmp_path_factory.mktemp("report") / "phantom"
    config = report_tree.build(root)
    for cohort, letter in (("phantom-dev", "D"), ("phantom-ext", "E")):
        write_table(_manifest(cohort, letter), root / f"segment/{cohort}/manifest.tsv")
        for number in range(5):
            subject = f"{letter}{number:03d}"
            write_case(root / f"convert/{cohort}/batch-01", subject)
            if number < 4:
                mask = image_of(ball((6, 12, 12), (2, 3, 3 + number)).astype(np.uint8))
                path = root / f"segment/{cohort}/batch-01" / case_file(subject, "", "mask", desc="tumour")
                path.parent.mkdir(parents=True, exist_ok=True)
                sitk.WriteImage(mask, str(path))
    taught = [
        ("phantom-dev", "D000", "", "ok", ""),
        ("phantom-dev", "D007", "", "excluded", "the tumour mask is empty"),
    ]
    write_text(root / "segment/freeze.json", json.dumps({"devices": ["CPU", "NVIDIA H100, CUDA 12.4"]}))
    columns = ["cohort", "subject", "session", "status", "reason"]
    write_table(pd.DataFrame(taught, columns=columns), root / "segment/model/cases.tsv")
    models = config["models"]
    models["radiomics_nnunet"] = {**copy.deepcopy(models["radiomics"]), "label": "Radiomics, nnU-Net", "roi": "nnunet"}
    network = {
        "architecture": "multitask_encoder",
        "crop": "t",
        "seeds": 2,
        "tasks": {"response": 1.0, "segmentation": 0.5},
    }
    models["deep"] = {"kind": "network", "label": "Deep", "endpoint": "response", "columns": [], "network": network}
    alone = {**network, "tasks": {"response": 1.0}}
    models["deep_alone"] = {**models["deep"], "label": "Deep, response alone", "network": alone}
    config["crops"] = {"t": {"roi": "manual", "size": [8, 8, 8], "margin_mm": 4}}
    _network(root, "deep", "phantom-dev")
    rows = []
    for model, comparator, value in (("radiomics", "radiomics_nnunet", 0.03), ("deep", "deep_alone", 0.05)):
        where = {"study": "phantom", "endpoint": "response", "cohort": "phantom-ext"}
        gap = Estimate(value, value - 0.1, value + 0.2, "DeLong", p=0.6, n=21, n_events=9)
        rows.append(gap.row("auc_difference", model=model, comparator=comparator, **where))
        rows.append(Estimate(0.76, 0.6, 0.9, "DeLong", n=21, n_events=9).row("auc", model=comparator, **where))
    path = root / "validate/phantom-ext/metrics.tsv"
    known = read_table(path, "metrics")
    write_table(pd.concat([known, metrics_table(rows)], ignore_index=True), path)
    return root, config


@pytest.fixture
def own(tree: tuple[Path, dict[str, Any]], tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy that a test may change."""
    shutil.copytree(tree[0], tmp_path / "own")
    return tmp_path / "own", copy.deepcopy(tree[1])


def tables(part: Section) -> dict[str, Table]:
    return {block.name: block for block in part.blocks if isinstance(block, Table)}


def test_agreement_is_that_of_the_manifest(tree: tuple[Path, dict[str, Any]]) -> None:
    table = tables(segment.build(Results(*tree)))["segmentation"]
    row = next(row for row in table.rows if row.cells[0].text == "tumour")
    q1, median, q3 = np.percentile(DICE, [25, 50, 75])
    far = np.percentile(FAR[:4], [25, 50, 75])
    assert [cell.text for cell in row.cells] == [
        "tumour", "out of fold", "5", f"{median:.3f} [{q1:.3f} to {q3:.3f}]", "0.000",
        f"{far[1]:.1f} [{far[0]:.1f} to {far[2]:.1f}]", "0.800", "\N{MINUS SIGN}10.0", "1",
    ]  # fmt: skip
    assert "Surface Dice at 2 mm, median" in table.columns
    assert row.cells[5].note == "of the 4 of 5 cases in which both masks are there"
    assert row.cells[3].note == ""
    assert [r.cells[1].text for r in table.rows if r.cells[0].text == "tumour"] == ["out of fold", "frozen"]
    assert any("1 case without masks" in row.cells[0].text for row in table.rows)


def test_the_hardware_of_nnunet_is_told_where_it_was_trained(own: tuple[Path, dict[str, Any]]) -> None:
    root, config = own

    def told() -> list[Any]:
        return [block.text for block in segment.build(Results(root, config)).blocks if isinstance(block, Text)]

    text = "The networks were trained on CPU and NVIDIA H100, CUDA 12.4."
    assert text in told()
    for path in root.glob("segment/*/manifest.tsv"):
        write_table(read_table(path, "segment").assign(kind="imported"), path)
    assert text not in told(), "an old freeze says nothing of imported masks"


def test_lesions_are_pooled_by_cohort(tree: tuple[Path, dict[str, Any]]) -> None:
    rows = [[cell.text for cell in row.cells] for row in tables(segment.build(Results(*tree)))["segment_lesions"].rows]
    counts = ["5", "8", "5", "0.625", "1", "0.20"]
    assert rows == [["Phantom development", "out of fold", *counts], ["Phantom external", "frozen", *counts]]


def test_a_demand_that_is_not_met_is_a_warning(own: tuple[Path, dict[str, Any]]) -> None:
    first = segment.build(Results(*own)).blocks[0]
    assert isinstance(first, Callout)
    assert (first.kind, first.title) == ("warning", "Demand not met"), "an empty mask"
    assert "0.880 in Phantom development (n = 5, 1 empty)." in first.text
    path = own[0] / "segment/phantom-dev/manifest.tsv"
    table = read_table(path)
    write_table(table[table["subject"] != "D004"], path)
    met = segment.build(Results(*own)).blocks[0]
    assert isinstance(met, Callout)
    assert met.kind == "note"


def test_failures_are_listed_with_their_reasons(tree: tuple[Path, dict[str, Any]]) -> None:
    rows = [[cell.text for cell in row.cells] for row in tables(segment.build(Results(*tree)))["segment_failures"].rows]
    assert ["D009", "Phantom development", "no masks", "no image of 'portal'"] in rows
    assert ["E004", "Phantom external", "empty: tumour", "tumour is empty"] in rows
    assert ["D007", "Phantom development", "did not teach", "the tumour mask is empty"] in rows
    assert len(rows) == 5


def test_worst_median_and_best_are_shown(tree: tuple[Path, dict[str, Any]]) -> None:
    galleries = [block for block in segment.build(Results(*tree)).blocks if isinstance(block, Gallery)]
    said = [figure.caption for figure in galleries[0].figures]
    assert said[0] == "Worst: D004. Dice 0.000, HD95 undefined: the predicted mask is empty (out of fold)."
    assert said[1].startswith("Median: D001. Dice 0.880, HD95 2.5 mm")
    assert said[2].startswith("Best: D002. Dice 0.950")
    one = segment.extremes(_manifest("phantom-dev", "D").head(1), "tumour")
    assert [name for name, _ in one] == ["worst"]


def _coloured(png: bytes, colour: str) -> int:
    """Pixels close to a colour."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    return int((np.abs(pixels - ImageColor.getrgb(colour)).max(axis=-1) < 40).sum())


def test_outlines_lie_on_the_slice_with_most_of_the_reference() -> None:
    reference = ball((3, 12, 12), (2, 5, 5)).astype(np.uint8)
    image = image_of((100 * reference + np.arange(12)[:, None, None]).astype(np.float32))
    near = image_of(ball((3, 12, 14), (2, 4, 4)).astype(np.uint8))
    png = outlines(image, image_of(reference), near)
    assert png == outlines(image, image_of(reference), near), "the same images, the same bytes"
    assert _coloured(png, REFERENCE[0]) > 300
    assert _coloured(png, PREDICTED[0]) > 150
    elsewhere = image_of(ball((9, 12, 14), (1.5, 4, 4)).astype(np.uint8))
    for missed in (None, elsewhere):
        assert _coloured(outlines(image, image_of(reference), missed), PREDICTED[0]) == 0


def test_outlines_do_not_depend_on_the_order_of_axes() -> None:
    reference = ball((3, 14, 9), (2, 5, 3)).astype(np.uint8)
    rng = np.random.default_rng(3)
    volumes = [image_of(rng.normal(size=reference.shape).astype(np.float32)), image_of(reference), image_of(reference)]
    assert outlines(*volumes) == outlines(*(sitk.DICOMOrient(volume, "RAS") for volume in volumes))


def test_results_under_both_masks_stand_side_by_side(own: tuple[Path, dict[str, Any]]) -> None:
    root, config = own
    table = tables(segment.build(Results(root, config)))["segment_models"]
    assert [row.cells[0].text for row in table.rows if row.heading] == [
        "Radiomics, nnU-Net against Radiomics (LASSO, XGBoost): Objective response (mRECIST, majority of three readers)"
    ]
    external = next(row for row in table.rows if row.cells[0].text == "Phantom external (external)")
    assert [cell.text for cell in external.cells[1:]] == [
        "21 / 9", "0.76 (0.60 to 0.90)", "0.79 (0.65 to 0.92)",
        "\N{MINUS SIGN}0.03 (\N{MINUS SIGN}0.23 to 0.07)", "0.60"
    ]  # fmt: skip
    development = next(row for row in table.rows if row.cells[0].text.startswith("Phantom development"))
    assert development.cells[4] == Cell("–", "not computed in this run")
    config["models"]["radiomics_nnunet"]["learner"] = "ridge"
    assert "segment_models" not in tables(segment.build(Results(root, config))), "two changes compare nothing"


def test_networks_training_and_ablation(tree: tuple[Path, dict[str, Any]]) -> None:
    part = networks.build(Results(*tree))
    found = tables(part)
    row = found["networks"].rows[0]
    assert row.cells[1].text == (
        "multitask_encoder, 3D, from r18.safetensors (MIT), "
        "trained on CPU and NVIDIA H100, CUDA 12.4, cuDNN 90100, driver 550.54.14"
    )
    assert [cell.text for cell in row.cells[2:]] == [
        "response 1, segmentation 0.5", "2 × 2", "3.5 (3 to 4)", "4", "0.050 (0.040 to 0.060)"
    ]  # fmt: skip
    pair = next(r for r in found["network_tasks"].rows if r.cells[0].text.startswith("Phantom external"))
    assert pair.cells[4].text == "0.05 (\N{MINUS SIGN}0.05 to 0.25)"
    drawn = next(block for block in part.blocks if isinstance(block, Figure))
    label = tree[1]["endpoints"]["response"]["label"]
    assert drawn.alt == f"Loss of {label} by epoch of 4 trainings of Deep"
    assert str(drawn.svg).count("<polygon") == 5, "a mark at the kept epoch of each training, and one in the key"


def test_a_network_s_own_segmentation_is_told_by_cohort_and_kind(own: tuple[Path, dict[str, Any]]) -> None:
    table = tables(networks.build(Results(*own)))["networks_dice"]
    assert [[cell.text for cell in row.cells] for row in table.rows] == [
        ["Deep, against reference masks"],
        ["Phantom development (development)", "out of fold", "4", "0.750 [0.525 to 0.825]", "0.000", "1"],
        ["Phantom external (external)", "frozen", "2", "0.500 [0.450 to 0.550]", "0.400", "0"],
    ]
    assert "cannot be compared with that of a segmentation of whole volumes" in table.caption
    write_table(_held_out("phantom-dev", "oof", "D", []), own[0] / "train/deep/dice.tsv")
    for path in own[0].glob("validate/*/deep.dice.tsv"):
        path.unlink()
    assert "networks_dice" not in tables(networks.build(Results(*own))), "no network segments"


def test_every_head_of_a_network_has_its_loss_weight_and_spread(own: tuple[Path, dict[str, Any]]) -> None:
    root, config = own
    tasks = {"response": 1.0, "os": {"loss": "discrete", "weight": 0.5, "intervals_days": [365, 730]}}
    config["models"]["deep"]["network"] |= {"tasks": tasks, "weighting": "uncertainty"}
    left_over = root / f"train/deep/fold-0-{config['split']['folds']}/fold.json"
    write_text(left_over, (root / "train/deep/fold-0-1/fold.json").read_text(encoding="utf-8"))
    for path in (root / "train/deep").glob("**/*.json"):
        facts = json.loads(path.read_text(encoding="utf-8"))
        facts["seed_sd"]["os"], facts["task_weights"] = 12.0, {"response": 1.234, "os": 0.2}
        write_text(path, json.dumps(facts))
    cells = tables(networks.build(Results(root, config)))["networks"].rows[0].cells
    assert cells[2].text == "response 1.2 (learnt), os (discrete) 0.2 (learnt)"
    assert cells[3].text == "2 \N{MULTIPLICATION SIGN} 2", "a folder of a study with more folds is not this study's"
    assert cells[6].text == "response 0.050 (0.040 to 0.060); os 12.000 (12.000 to 12.000)"


def test_a_fold_without_a_case_has_no_spread_and_a_cohort_without_a_case_no_maps(
    own: tuple[Path, dict[str, Any]],
) -> None:
    root, config = own
    path = root / "train/deep/fold-0-1/fold.json"
    write_text(path, json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"seed_sd": {"response": None}}))
    for maps in root.glob("validate/*/deep.cam/cam.tsv"):
        write_table(read_table(maps)[:0], maps)
    found = tables(networks.build(Results(root, config)))
    assert found["networks"].rows[0].cells[6].text == "0.050 (0.040 to 0.040)"
    assert "maps_deep" not in found


def test_maps_show_failures_first_and_the_check_beside_them(tree: tuple[Path, dict[str, Any]]) -> None:
    part = networks.build(Results(*tree))
    rows = [row for row in tables(part)["maps_deep"].rows if not row.heading]
    assert [(row.cells[0].text, row.cells[1].text) for row in rows] == [
        ("D001", "worst"), ("D000", "worst"), ("D002", "median"), ("D003", "best")
    ]  # fmt: skip
    assert [cell.text for cell in rows[1].cells[2:4]] == ["label 1", "probability 0.05"]
    assert rows[1].cells[4].text.endswith(": no event")
    undefined = rows[1].cells[5]
    assert undefined == Cell("–", "nothing speaks for the answer")
    assert [cell.text for cell in rows[0].cells[5:]] == ["0.40", "0.40", "0.05", "0.10", "0.10"]
    gallery = next(block for block in part.blocks if isinstance(block, Gallery))
    assert [figure.caption.split(",")[0] for figure in gallery.figures] == ["Worst: D001", "Median: D002", "Best: D003"]


def test_absent_parts_are_said(tree: tuple[Path, dict[str, Any]]) -> None:
    root, config = tree
    none = Results(root, {**config, "models": {"size": config["models"]["size"]}, "segment": {}})
    for build in (segment.build, networks.build):
        (block,) = build(none).blocks
        assert isinstance(block, Callout)
        assert block.kind == "absent"


def test_page_with_all_of_it_needs_nothing_else_and_repeats(tree: tuple[Path, dict[str, Any]]) -> None:
    page = render(build_report(*tree), tree[1])
    assert page == render(build_report(*tree), tree[1])
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert str(tree[0]) not in page


def test_points_and_lines_stay_on_their_canvas() -> None:
    svg = str(against([("a", [(1.0, 0.0), (30.0, 25.0)]), ("b", [(400.0, 390.0)])], "x", "y", alt="volumes"))
    lines = str(curves([("a", [[(1, 0.7), (60, 0.2)]]), ("b", [])], [(60, 0.2)], "x", "y", "kept", alt="losses"))
    for drawing in (svg, lines):
        width, height = (float(v) for v in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing)[0])
        for points in re.findall(r'points="([^"]+)"', drawing):
            for pair in points.split():
                x, y = (float(v) for v in pair.split(","))
                assert 0 <= x <= width
                assert 0 <= y <= height
    assert Axis("v", 1, 100, log=True).place(0) == 0
    assert Axis("v", 1, 100, log=True).place(10) == pytest.approx(0.5)
