"""Planted study over several seeds, without the detour over DICOM: tables for many, images for some.

    python benchmarks/planted_seeds.py --out DIR --clinical 1 2 3 ... --imaging 1 2 3

Each seed makes other subjects, images and outcomes of the phantom's process. The clinical and the radiomics model are
those of config.yaml, fitted, frozen and applied by the commands' own functions; features come from the stage's own
extraction with the settings of config.yaml, on the images of the generator as the scanner stores them (no DICOM, no
conversion: `planted_study.py` has the whole way). Printed: external AUC and the share of the way from 0.5 to the
Bayes-optimal AUC of what the model may know, by seed, with means. Pass: the mean share is at least --share; a single
share scatters, since the AUC of 800 external subjects has a standard error of about 0.015.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from deep_phantom import draw_images, response
from hccflow.enrol.split import make_split
from hccflow.extract.radiomics import Extractor
from hccflow.ids import CohortRole
from hccflow.metrics.auc import auc
from hccflow.phantom import tables
from hccflow.phantom.cohorts import PRESETS, make_cards
from hccflow.phantom.parameters import Parameters
from hccflow.phantom.people import people
from hccflow.phantom.truth import bayes_truth
from hccflow.predict import open_frozen, predict
from hccflow.study import check_config
from hccflow.tables import read_table, write_table
from hccflow.train.training import train, write_training

ROOT = Path(__file__).resolve().parents[1]
#: Which information of the phantom's truth each model may use.
INFORMATION = {"clinical": "clinical", "radiomics": "imaging"}
COHORTS = {"phantom-dev": CohortRole.DEVELOPMENT, "phantom-ext": CohortRole.EXTERNAL}


def features_of(p: Parameters, cohort: str, config: dict[str, Any], out: Path) -> pd.DataFrame:
    """Features of every subject of a cohort; kept in a file, so that a killed run goes on."""
    if out.is_file():
        return read_table(out)
    section = config["extract"]
    extractor = Extractor(section["radiomics"], section["intensity"], section["rois"]["manual"]["min_voxels"])
    rows = []
    for one in people(p):
        phases, tumour, liver = draw_images(p, one)
        images = dict(zip(config["imaging"]["channels"], phases, strict=True))
        found = extractor.extract(images, tumour, organ=liver)
        rows.append({"cohort": cohort, "subject": one.subject, "session": "", **found.values})
    write_table(pd.DataFrame(rows), out)
    return read_table(out)


def run_seed(seed: int, models: list[str], config: dict[str, Any], sizes: tuple[int, int], out: Path) -> list[dict]:
    """Train on the development cohort of a seed, judge on its external cohort; one row per model."""
    size = replace(PRESETS["enlarged"], dev=sizes[0], ext=sizes[1], fup=2, shared=1)
    subjects, features = {}, {}
    for name, card in make_cards(size, seed).items():
        if name not in COHORTS:
            continue
        p = Parameters.from_card(card)
        rows, _ = tables.participants_and_lesions(p, card["batches"])
        labels = [response(p, one) for one in people(p)]
        table = rows.assign(cohort=name, role=COHORTS[name].value, response=labels)
        write_table(table, out / str(seed) / f"{name}.tsv")
        subjects[name] = read_table(out / str(seed) / f"{name}.tsv")
        if "radiomics" in models:
            features[name] = features_of(p, name, config, out / str(seed) / f"{name}.features.tsv")
    truth = bayes_truth(p)["response"]["auc"]
    split = make_split([subjects["phantom-dev"]], config)
    found = []
    for model in models:
        own = features if config["models"][model].get("roi") else {}
        folder = out / str(seed) / model
        write_training(train(model, config, subjects["phantom-dev"], split, own.get("phantom-dev")), folder)
        scores = predict(
            open_frozen(folder), "phantom-ext", CohortRole.EXTERNAL, subjects["phantom-ext"], own.get("phantom-ext")
        )
        area, best = auc(scores["y_true"].to_numpy(float), scores["y_prob"]), truth[INFORMATION[model]]["value"]
        found.append({
            "seed": seed, "model": model, "n": area.n, "auc": area.value, "ci_low": area.ci_low,
            "ci_high": area.ci_high, "bayes": best, "share": (area.value - 0.5) / (best - 0.5),
        })  # fmt: skip
        print(pd.DataFrame(found[-1:]).round(3).to_string(index=False, header=False), flush=True)
    return found


def main() -> int:
    """Run every seed; 0 when the mean share of each model passes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clinical", type=int, nargs="*", default=[], help="seeds for the clinical model")
    parser.add_argument("--imaging", type=int, nargs="*", default=[], help="seeds for the radiomics model")
    parser.add_argument("--n-dev", type=int, default=400)
    parser.add_argument("--n-ext", type=int, default=800)
    parser.add_argument("--share", type=float, default=0.85)
    args = parser.parse_args()
    config = check_config(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")))
    rows = []
    for models, seeds in ((["clinical"], args.clinical), (["radiomics"], args.imaging)):
        for seed in seeds:
            rows += run_seed(seed, models, config, (args.n_dev, args.n_ext), args.out)
    runs = pd.DataFrame(rows)
    write_table(runs, args.out / "runs.tsv")
    shares = runs.groupby("model")["share"].agg(["count", "mean", "std", "min", "max"])
    print(shares.round(3).to_string())
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    return 0 if (shares["mean"] >= args.share).all() else 1


if __name__ == "__main__":
    sys.exit(main())
