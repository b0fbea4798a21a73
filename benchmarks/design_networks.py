"""How much of what can be known each published design's own networks find, on enlarged phantoms of its shape.

    python benchmarks/design_networks.py --study jia2026 --data DIR
    python benchmarks/design_networks.py --study chen2025 --data DIR --models deep deep_clinical --first 100
    python benchmarks/design_networks.py --study li2022 --data DIR --models singletask --first 48 --null 20

Networks, folds, crops and intensities are those of ``studies/NAME.yaml``; every declared network and every variant of
one is trained on `--first` development subjects by the commands' own functions and judged on 400 subjects of the first
external cohort (``yu2025`` has none: other rats of the same laboratory, first scans only). Images come from the
generator without the detour over DICOM. "Share" is the share of the way from 0.5 to the Bayes-optimal AUC or C-index of
what the network may know: images, or everything where it takes columns too. A variant is compared with its base by
DeLong's test. What is there is not made or trained again.

With ``--null N``, nothing is to be found: the folds alone are trained, on N draws of the null shape (seeds 2 and up; 1
is that of ``null_designs.py``), and the AUC within folds of each draw is printed with mean and standard deviation.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from safetensors.numpy import save_file

from deep_phantom import draw_images, train_folds
from hccflow.enrol.enrolment import enrol
from hccflow.enrol.split import make_split
from hccflow.extract.crops import CHANNELS, make_crop
from hccflow.ids import CohortRole, ScoreKind
from hccflow.metrics.auc import auc, paired_auc
from hccflow.metrics.concordance import Concordance
from hccflow.networks.croptable import crop_table
from hccflow.participants import read_participants, read_subjects
from hccflow.paths import case_file
from hccflow.phantom.parameters import Parameters
from hccflow.phantom.people import people, visits
from hccflow.phantom.shapes import SHAPES, shape_cards
from hccflow.phantom.tables import participants_and_lesions
from hccflow.phantom.truth import bayes_truth
from hccflow.predict import open_frozen, predict
from hccflow.provenance import file_digest
from hccflow.study import check_config, expand_variants
from hccflow.tables import read_table, write_table
from hccflow.train.networks import train_network
from hccflow.train.training import write_training
from null_designs import mann_whitney

ROOT = Path(__file__).resolve().parents[1]
DEV, EXT = CohortRole.DEVELOPMENT, CohortRole.EXTERNAL
ENLARGED = 400


def enlarged(study: str, role: CohortRole, n: int, null_seed: int | None = None) -> Parameters:
    """Parameters of the development cohort or of the first external one, without faults, with `n` subjects."""
    cards = shape_cards(study) if null_seed is None else shape_cards(study, seed=null_seed, null=True)
    ends = [name for name in cards if name.endswith("-ext") or name.endswith("-exta")]
    name = next(iter(cards)) if role is DEV else (ends or list(cards))[0]
    card = cards[name]["source"]["parameters"]
    prefix = {"prefix": "X"} if role is EXT and not ends else {}
    card["groups"] = [{**card["groups"][0], **prefix, "n": n}]
    card["faults"] = {}
    return Parameters.from_card(cards[name])


def make(p: Parameters, config: Mapping[str, Any], role: CohortRole, folder: Path) -> None:
    """Write subjects with their endpoints, and the crops of every scan."""
    participants, lesions = participants_and_lesions(p, 1)
    write_table(participants, folder / "participants.tsv")
    enrolled = enrol(
        read_participants(folder / "participants.tsv", config["columns"]), {**config, "eligibility": []},
        cohort=folder.name, role=role, lesions=None if lesions.empty else lesions,
    )  # fmt: skip
    intensity, channels = config["extract"]["intensity"], config["imaging"]["channels"]
    for name, box in config["crops"].items():
        manifest = []
        for one in people(p):
            for visit in visits(p, one):
                images, tumour, liver = draw_images(p, one, visit)
                organ = liver if intensity["kind"] == "organ" else None
                crop = make_crop(images, tumour, box, organ=organ, intensity=intensity)
                file = case_file(one.subject, visit.session, "crop", desc=name, ext=".safetensors")
                path = folder / f"crop-{name}" / "batch-01" / file
                path.parent.mkdir(parents=True, exist_ok=True)
                save_file({"image": crop.image, "mask": crop.mask}, path, metadata={CHANNELS: ",".join(channels)})
                keys = {"cohort": folder.name, "subject": one.subject, "session": visit.session}
                manifest.append({**keys, "status": "ok", "reason": "", "digest": file_digest(path)[:16]})
        write_table(pd.DataFrame(manifest), folder / f"crop-{name}" / "manifest.tsv")
    write_table(enrolled.subjects, folder / "subjects.tsv")


def fit(name: str, config: dict[str, Any], subjects: pd.DataFrame, crops: pd.DataFrame, out: Path) -> None:
    """Train folds and final network of one model, unless they are frozen already."""
    if not (out / "freeze.json").is_file():
        args = (name, config, subjects, make_split([subjects], config), crops)
        training, _ = train_network(*args, train_folds(*args, out), work=out.parent / "work")
        write_training(training, out)


def null(name: str, study: str, config: dict[str, Any], n: int, seeds: range, data: Path) -> pd.DataFrame:
    """AUC within folds of one network on draws in which nothing is to be found."""
    rows = []
    for seed in seeds:
        work = data / f"null-{seed}"
        folder = work / f"{study}-{DEV.value}"
        make(enlarged(study, DEV, n, seed), config, DEV, folder)
        subjects = read_subjects([folder / "subjects.tsv"], config["columns"])
        crops = crop_table([folder / f"crop-{config['models'][name]['network']['crop']}"])
        folds = train_folds(name, config, subjects, make_split([subjects], config), crops, work / name)
        scores = [read_table(folder / "predictions.tsv") for folder in folds]
        auc_within, p, subjects_judged = mann_whitney(pd.concat(scores).assign(kind=ScoreKind.OOF.value))
        rows.append({"seed": seed, "auc": float(auc_within), "p": p, "n": subjects_judged})
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def judge(scores: pd.DataFrame, truth: Mapping[str, Any], knows: str) -> list[dict[str, Any]]:
    """Value, interval and share of every endpoint of one model."""
    rows = []
    for endpoint, part in scores.groupby("endpoint", sort=False):
        if part["y_true"].notna().any():
            known = part.dropna(subset=["y_true"])
            found, metric = auc(known["y_true"].to_numpy(float), known["y_prob"].to_numpy(float)), "auc"
        else:
            known = part.dropna(subset=["time_days"])
            columns = (known[column].to_numpy(float) for column in ("time_days", "event", "risk"))
            found, metric = Concordance(*columns).estimate(), "c_index"
        best = truth[endpoint][metric][knows]["value"]
        rows.append({
            "endpoint": endpoint, "metric": metric, "n": len(known), "value": found.value, "ci_low": found.ci_low,
            "ci_high": found.ci_high, "bayes": best, "share": (found.value - 0.5) / (best - 0.5),
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, choices=list(SHAPES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--first", type=int, default=ENLARGED, help="development subjects")
    parser.add_argument("--models", nargs="*", help="only these networks and variants")
    parser.add_argument("--null", type=int, default=0, help="draws in which nothing is to be found")
    args = parser.parse_args()
    config = check_config(yaml.safe_load((ROOT / "studies" / f"{args.study}.yaml").read_text(encoding="utf-8")))
    config["split"]["test_fraction"] = 0
    variants = expand_variants(config)
    config["models"] |= {name: dict(variant.spec) for name, variant in variants.items()}
    chosen = args.models or [name for name, spec in config["models"].items() if spec["kind"] == "network"]
    if args.null:
        for name in chosen:
            draws = null(name, args.study, config, args.first, range(2, 2 + args.null), args.data)
            error = draws["auc"].std() / len(draws) ** 0.5
            print(f"{name}: mean {draws['auc'].mean():.3f}, SE {error:.3f}, SD of a draw {draws['auc'].std():.3f}")
        return
    folders, subjects = {role: args.data / f"{args.study}-{role.value}" for role in (DEV, EXT)}, {}
    for role, folder in folders.items():
        p = enlarged(args.study, role, args.first if role is DEV else ENLARGED)
        if not (folder / "subjects.tsv").is_file():
            make(p, config, role, folder)
        subjects[role] = read_subjects([folder / "subjects.tsv"], config["columns"])
    truth = bayes_truth(p)
    rows, scores = [], {}
    for name in chosen:
        spec = config["models"][name]
        crops = {role: crop_table([folder / f"crop-{spec['network']['crop']}"]) for role, folder in folders.items()}
        out, started = args.data / "models" / name, time.perf_counter()
        fit(name, config, subjects[DEV], crops[DEV], out)
        seconds = time.perf_counter() - started
        table = predict(open_frozen(out), folders[EXT].name, EXT, subjects[EXT], crops[EXT])
        scores[name] = table[table["session"].fillna("").isin(["", "w0"])]
        knows = "all" if spec.get("columns") else "imaging"
        rows += [{"model": name, **row, "seconds": seconds} for row in judge(scores[name], truth, knows)]
        print(pd.DataFrame(rows[-3:]).round(3).to_string(index=False), flush=True)
    for name, table in scores.items():
        base = variants[name].base if name in variants else ""
        if base in scores:
            y, other = table["y_true"].to_numpy(float), scores[base]["y_prob"].to_numpy(float)
            first = table["endpoint"] == config["models"][base]["endpoint"]
            print(f"{name} minus {base}:", paired_auc(y[first], table["y_prob"].to_numpy(float)[first], other[first]))
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    write_table(pd.DataFrame(rows), args.data / f"{args.study}.tsv")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
