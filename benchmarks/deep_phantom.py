"""Networks and fusion on the enlarged phantom, whose best possible AUC is known.

    python benchmarks/deep_phantom.py --data DIR --make     # images -> crops, tables, split (once)
    python benchmarks/deep_phantom.py --data DIR            # clinical, multi-task, its single-task ablation, fused
    python benchmarks/deep_phantom.py --data DIR --first 60 # with the development subjects of the default study
    python benchmarks/deep_phantom.py --data DIR --make --shape li2022   # another shape: multi-task should win
    python benchmarks/deep_phantom.py --data DIR --make --shape eob2026  # and one where it should not

400 development and 400 external subjects of the generator's own anatomy (without the detour over DICOM), cropped by the
stage's own code, trained through the commands' own functions. Printed: external AUC of each model with its interval,
the share of the way from 0.5 to the Bayes-optimal AUC of what the model may know, and DeLong's paired test of the
multi-task network against its single-task ablation over the same folds, seeds and subjects.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk
from safetensors.numpy import save_file

from hccflow.enrol.split import make_split
from hccflow.extract.crops import make_crop
from hccflow.ids import CohortRole, ScoreKind
from hccflow.images import make_image
from hccflow.metrics.auc import auc, paired_auc
from hccflow.models.fusion import logit_table
from hccflow.networks.croptable import crop_table
from hccflow.paths import case_file
from hccflow.phantom import process, tables
from hccflow.phantom.anatomy import draw_anatomy
from hccflow.phantom.cohorts import PRESETS, make_cards
from hccflow.phantom.contrast import INTERCEPT
from hccflow.phantom.parameters import Parameters
from hccflow.phantom.people import BASELINE, Person, Visit, people
from hccflow.phantom.series import geometry
from hccflow.phantom.shapes import shape_cards
from hccflow.phantom.truth import bayes_truth
from hccflow.predict import open_frozen, predict
from hccflow.provenance import file_digest
from hccflow.study import check_section
from hccflow.tables import read_table, write_table
from hccflow.train.networks import train_fold, train_network
from hccflow.train.stacking import train_fusion
from hccflow.train.training import train, write_training

COHORTS = {"phantom-dev": CohortRole.DEVELOPMENT, "phantom-ext": CohortRole.EXTERNAL}
#: Box and normalisation, as in the study of each shape.
SEEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({"size": [24, 24, 16], "spacing_mm": [2.5, 2.5, 4.0]}, {"kind": "organ", "scale": 1.0}),
    "li2022": (
        {"size": [24, 24, 16], "spacing_mm": [3.0, 3.0, 4.5]},
        {"kind": "window", "window": [-20, 180], "scale": 1.0},
    ),
    "eob2026": ({"size": [24, 24, 16], "spacing_mm": [3.5, 3.5, 5.0]}, {"kind": "zscore", "scale": 1.0}),
}
ENLARGED = 400
KNOWN = {"available_at": "baseline"}
KNOWS = {"clinical": "clinical", "multitask": "imaging", "singletask": "imaging", "fused": "all", "fused_mean": "all"}


def settings(options: dict[str, Any]) -> dict[str, Any]:
    """Settings of the commands, with the same defaults that a study gets."""
    network = {"architecture": "multitask_encoder", "crop": "tumour", **options}
    base = {"endpoint": "response"}
    models = {
        "clinical": {
            **base, "kind": "tabular", "columns": ["child_pugh", "afp_ng_ml"], "transforms": {"afp_ng_ml": "log1p"},
        },
        "multitask": {**base, "kind": "network", "network": network},
        "singletask": {**base, "kind": "network", "network": {**network, "tasks": {"response": 1.0}}},
        "fused": {**base, "kind": "fusion", "inputs": ["clinical", "multitask"], "learner": "logistic"},
        "fused_mean": {**base, "kind": "fusion", "inputs": ["clinical", "multitask"]},
    }  # fmt: skip
    return {
        "study": "enlarged", "seed": 20261120, "survive": {"cut": "median"},
        "columns": {
            "child_pugh": {"kind": "category", "levels": ["A", "B"], **KNOWN},
            "afp_ng_ml": {"kind": "number", **KNOWN},
        },
        "endpoints": {"response": {"kind": "binary", "landmark_days": 0}},
        "split": {"folds": 5, "repeats": 1, "test_fraction": 0, "stratify": ["response", "site"]},
        "models": check_section("models", models),
    }  # fmt: skip


def cards(shape: str) -> dict[str, dict[str, Any]]:
    """Cards of the development and the external cohort, enlarged and without faults."""
    if shape == "default":
        found = make_cards(PRESETS["enlarged"])
        return {name: found[name] for name in COHORTS}
    found = {name: shape_cards(shape)[f"{shape}-{name.removeprefix('phantom-')}"] for name in COHORTS}
    for card in found.values():
        card["source"]["parameters"]["groups"][0]["n"] = ENLARGED
        card["source"]["parameters"]["faults"] = {}
    return found


def make(data: Path, shape: str, coarser: int = 1, n: int = ENLARGED) -> None:
    """Write crops, manifests, subjects (the first `n`) and truth of both cohorts; voxels `coarser` times as long."""
    for name, card in cards(shape).items():
        p = Parameters.from_card(card)
        participants, _ = tables.participants_and_lesions(p, card["batches"])
        everybody = people(p)[:n]
        labels = [response(p, one) for one in everybody]
        rows = participants.head(n).assign(cohort=name, role=COHORTS[name].value, response=labels)
        write_table(rows, data / name / "subjects.tsv")
        folder, manifest = data / name / "crop-tumour", []
        for one in everybody:
            path = folder / "batch-01" / case_file(one.subject, "", "crop", desc="tumour", ext=".safetensors")
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_crop(p, one, path, shape, coarser)
            keys = {"cohort": name, "subject": one.subject, "session": "", "status": "ok", "reason": ""}
            manifest.append({**keys, "digest": file_digest(path)[:16]})
        write_table(pd.DataFrame(manifest), folder / "manifest.tsv")
    truth = bayes_truth(p)["response"]["auc"]
    (data / "truth.json").write_text(json.dumps(truth), encoding="utf-8")


def response(p: Parameters, one: Person) -> int:
    """Label as the study derives it: objective response by the majority of the readers."""
    stream = p.stream("readers", one.subject)
    readings = process.draw_readings(p.response, stream, one.diameters[None], np.array([one.ratio]))
    readers = process.objective_response(readings, np.array([one.new_lesion]))[0]
    return int(readers.sum() * 2 > len(readers))


def draw_images(p: Parameters, one: Person, visit: Visit = BASELINE) -> tuple[list[sitk.Image], sitk.Image, sitk.Image]:
    """All channels as the scanner stores them, tumour and liver mask of one scan of a subject."""
    scanner, anatomy = p.scanners[one.site], draw_anatomy(p, one, visit)
    affine = np.eye(4)
    directions, affine[:3, 3] = geometry(scanner)
    affine[:3, :3] = directions * scanner.spacing_mm
    values = [pixels * scanner.slope + INTERCEPT[p.design.modality] for pixels in anatomy.phases.values()]
    images = [make_image(value.astype(np.float32), affine) for value in values]
    tumour, liver = (make_image(m.astype(np.uint8), affine) for m in (anatomy.tumour, anatomy.liver))
    return images, tumour, liver


def _write_crop(p: Parameters, one: Person, path: Path, shape: str, coarser: int) -> None:
    images, tumour, liver = draw_images(p, one)
    box, intensity = SEEN[shape]
    box = {
        "size": [k // coarser for k in box["size"]],
        "spacing_mm": [mm * coarser for mm in box["spacing_mm"]],
    }
    crop = make_crop(images, tumour, box, organ=liver if intensity["kind"] == "organ" else None, intensity=intensity)
    save_file({"image": crop.image, "mask": crop.mask}, path)


def cohorts(data: Path, first: int = ENLARGED) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """Subjects and crops of both cohorts; a larger phantom begins with the same subjects."""
    subjects = {name: read_table(data / name / "subjects.tsv") for name in COHORTS}
    subjects["phantom-dev"] = subjects["phantom-dev"].head(first)
    return subjects, {name: crop_table([data / name / "crop-tumour"]) for name in COHORTS}


def train_folds(
    name: str, config: dict[str, Any], subjects: pd.DataFrame, split: pd.DataFrame, crops: pd.DataFrame, out: Path
) -> list[Path]:
    """Train the folds of a network that are not there yet; their folders."""
    folds = [out / f"fold-0-{fold}" for fold in range(config["split"]["folds"])]
    for fold, folder in enumerate(folds):
        if not (folder / "fold.json").is_file():
            train_fold(name, config, subjects, split, crops, repeat=0, fold=fold, out=folder, work=out.parent / "work")
    return folds


def fit(
    config: dict[str, Any], subjects: dict[str, pd.DataFrame], crops: dict[str, pd.DataFrame], out: Path
) -> tuple[dict[str, pd.DataFrame], dict[str, float]]:
    """Train every model on the development cohort; external scores and seconds by model."""
    dev, ext = subjects["phantom-dev"], subjects["phantom-ext"]
    split = make_split([dev], config)
    seconds: dict[str, float] = {}
    scores: dict[str, pd.DataFrame] = {}
    for name, spec in config["models"].items():
        started = time.perf_counter()
        if spec["kind"] == "tabular":
            training = train(name, config, dev, split)
        elif spec["kind"] == "network":
            args = (name, config, dev, split, crops["phantom-dev"])
            training, _ = train_network(*args, train_folds(*args, out / name), work=out / "work")
        else:
            training = train_fusion(name, config, dev, split, {n: out / n for n in spec["inputs"]})
        write_training(training, out / name)
        seconds[name] = time.perf_counter() - started
        features = crops["phantom-ext"] if spec["kind"] == "network" else None
        if spec["kind"] == "fusion":
            features = logit_table(
                [scores[n] for n in spec["inputs"]], spec["inputs"], spec["endpoint"], ScoreKind.FROZEN
            )
        scores[name] = predict(open_frozen(out / name), "phantom-ext", CohortRole.EXTERNAL, ext, features)
    return scores, seconds


def run(
    data: Path, config: dict[str, Any], subjects: dict[str, pd.DataFrame], crops: dict[str, pd.DataFrame], out: Path
) -> pd.DataFrame:
    """Train every model and score the external cohort; one row per model."""
    scores, seconds = fit(config, subjects, crops, out)
    truth = json.loads((data / "truth.json").read_text(encoding="utf-8"))
    rows = []
    for name, table in scores.items():
        found, oof = auc(table["y_true"].to_numpy(float), table["y_prob"]), read_table(out / name / "predictions.tsv")
        best = truth[KNOWS[name]]["value"]
        rows.append({
            "model": name, "auc_external": found.value, "ci_low": found.ci_low, "ci_high": found.ci_high,
            "auc_oof": auc(oof["y_true"], oof["y_prob"]).value, "bayes": best,
            "share_of_the_way": (found.value - 0.5) / (best - 0.5), "seconds": seconds[name],
        })  # fmt: skip
    y = scores["multitask"]["y_true"].to_numpy(float)
    test = paired_auc(y, scores["multitask"]["y_prob"], scores["singletask"]["y_prob"])
    print(pd.DataFrame(rows).round(4).to_string(index=False))
    print("multi-task minus single-task:", test)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--shape", choices=list(SEEN), default="default", help="with --make")
    parser.add_argument("--coarser", type=int, default=1, help="with --make: voxels so many times as long")
    parser.add_argument("--first", type=int, default=ENLARGED, help="development subjects; with --make, of each cohort")
    parser.add_argument("--network", type=json.loads, default={}, help="options of the network as JSON")
    args = parser.parse_args()
    if args.make:
        make(args.data, args.shape, args.coarser, args.first)
        return
    out = args.data / f"planted-{args.first}"
    found = run(args.data, settings(args.network), *cohorts(args.data, args.first), out)
    write_table(found, out / "result.tsv")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
