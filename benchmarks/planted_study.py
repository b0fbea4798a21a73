"""Planted study: does the chain find what the phantom is known to hold?

Makes an enlarged phantom, runs the default study on it through Snakemake as far as validation, and lays the external
AUC of each model beside the Bayes-optimal AUC of the information that it may use: that of the process (bayes_auc,
share), and that of the best possible score on the very subjects that the model was judged on (bayes_here, share_here),
which does not scatter with who happened to be drawn. Pass: each model goes at least the stated share of the way from
0.5 to the latter. `planted_seeds.py` judges the former, as a mean over seeds.

    python benchmarks/planted_study.py --work DIR [--n-dev 400] [--n-ext 800] [--share 0.85] [--cores 2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from hccflow.metrics.auc import auc
from hccflow.phantom import process
from hccflow.phantom.parameters import Parameters
from hccflow.phantom.people import people

ROOT = Path(__file__).resolve().parents[1]
#: Which information of truth.json each model of the default study may use.
INFORMATION = {"clinical": "clinical", "radiomics": "imaging"}


def best_here(data: Path, predictions: Path, information: str) -> float:
    """AUC of the Bayes-optimal score on the very subjects that the model was judged on."""
    p = Parameters.from_card(yaml.safe_load((data / "phantom-ext" / "cohort.yaml").read_text(encoding="utf-8")))
    everybody = {one.subject: one for one in people(p)}
    judged = pd.read_csv(predictions, sep="\t")
    names = p.information[information]
    scores = [
        float(process.linear_predictor(p.response.coefficients, everybody[subject].covariates, names)[0])
        for subject in judged["subject"]
    ]
    return auc(judged["y_true"].to_numpy(float), np.array(scores)).value


def main() -> int:
    """Run the study and print one row per model; 0 when every model passes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder; a killed run goes on there")
    parser.add_argument("--n-dev", type=int, default=400)
    parser.add_argument("--n-ext", type=int, default=800)
    parser.add_argument("--seed", type=int, default=20261120, help="seed of the phantom")
    parser.add_argument("--share", type=float, default=0.85)
    parser.add_argument("--cores", type=int, default=2)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    data = args.work / "data"
    env = {**os.environ, "HCCFLOW_DATA": str(data.resolve()), "PYTHONPATH": str(ROOT / "workflow")}
    sizes = ["--n-dev", str(args.n_dev), "--n-ext", str(args.n_ext), "--n-fup", "2", "--n-shared", "1"]
    phantom = ["phantom", "--preset", "enlarged", *sizes, "--seed", str(args.seed), "--out", str(data)]
    subprocess.run([sys.executable, "-m", "hccflow", *phantom], env=env, check=True)
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    config["study"] = "planted"
    config["cohorts"].pop("phantom-fup")
    config["models"] = {name: config["models"][name] for name in INFORMATION}
    config["survive"]["models"] = list(INFORMATION)
    config.pop("segment", None)
    config["extract"]["rois"] = {name: roi for name, roi in config["extract"]["rois"].items() if name == "manual"}
    file = args.work / "config.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    command = ["-s", str(ROOT / "Snakefile"), "--directory", str(args.work), "--configfile", str(file)]
    subprocess.run(
        [sys.executable, "-m", "snakemake", "all_validate", *command, "--cores", str(args.cores), "--quiet", "rules"],
        env=env,
        check=True,
    )
    truth = json.loads((data / "phantom-ext" / "truth.json").read_text(encoding="utf-8"))["response"]["auc"]
    metrics = pd.read_csv(args.work / "results/planted/validate/phantom-ext/metrics.tsv", sep="\t")
    rows = metrics[(metrics["metric"] == "auc") & metrics["group"].isna() & metrics["repeat"].isna()].set_index("model")
    passed = True
    print("model\tinformation\tn\tauc\tci_low\tci_high\tbayes_auc\tshare\tbayes_here\tshare_here\tverdict")
    for model, information in INFORMATION.items():
        row, best = rows.loc[model], truth[information]["value"]
        here = best_here(data, args.work / f"results/planted/validate/phantom-ext/{model}.predictions.tsv", information)
        share, share_here = ((row["value"] - 0.5) / (bayes - 0.5) for bayes in (best, here))
        passed &= share_here >= args.share
        verdict = "pass" if share_here >= args.share else "FAIL"
        values = (row["value"], row["ci_low"], row["ci_high"], best, share, here, share_here)
        print(f"{model}\t{information}\t{row['n']:.0f}\t" + "\t".join(f"{x:.3f}" for x in values) + f"\t{verdict}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
