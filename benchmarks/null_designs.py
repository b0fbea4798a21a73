"""The five designs where there is nothing to find: each whole study on the null version of its phantom.

    python benchmarks/null_designs.py --out DIR                    # about as long as `make studies`
    python benchmarks/null_designs.py --out DIR --studies yu2025   # one of them
    python benchmarks/null_designs.py --out DIR --judge            # only read what is there

Every study runs by Snakemake from DICOM to the report on cohorts made with ``hccflow phantom --shape NAME --null``;
nothing is changed but its name and the folder of its data.

Judged
------
Every test that a reader of the report could take for a finding: AUC and Harrell's C against 0.5, differences between
models and from variants, interactions with subgroups, risk groups, numbers of genes and sets, correlations with
histology and its slopes, contrasts of arms. The p is the report's own. AUC has none there and gets the Mann-Whitney
test, summed over folds (van Elteren) where scores are out of fold: those of different folds come from different models,
which pulls a pooled AUC below 0.5.
Criterion: no p at or below 0.05 after Holm's correction over all tests of a study. Printed beside: how many of them are
at or below 0.05 without correction, of which chance gives a twentieth (the tests of a study are correlated).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata

from hccflow.metrics.multiplicity import adjust
from hccflow.phantom.shapes import SHAPES
from hccflow.tables import read_table, write_table

ROOT = Path(__file__).resolve().parents[1]
ALPHA = 0.05
#: Metrics whose p tests that something was found.
FINDINGS = (
    "auc_difference", "auc_difference_within_folds", "c_harrell", "c_difference", "c_difference_within_folds",
    "logrank_chi2", "auc_interaction",
    "genes_significant", "sets_significant", "spearman", "slope", "slope_partial",
    "arm_difference", "arm_slope_difference",
)  # fmt: skip


def run(name: str, out: Path, seed: int) -> None:
    """Make the null cohorts of a shape, if they are not there, and run its study."""
    data = out / name
    if not data.is_dir():
        command = [sys.executable, "-m", "hccflow", "phantom", "--shape", name, "--null", "--seed", str(seed)]
        subprocess.run([*command, "--out", str(data)], check=True, cwd=ROOT)
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--quiet", "rules"]
    command += ["--configfile", f"studies/{name}.yaml", "--config", f"study={name}-null"]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "HCCFLOW_DATA": str(data)})


def mann_whitney(predictions: pd.DataFrame) -> tuple[float, float, int]:
    """AUC among scores of the same models, its two-sided p, and the subjects; sessions of a subject are averaged."""
    table = predictions.fillna({"repeat": 0, "fold": 0}).groupby(["kind", "repeat", "fold", "subject"], as_index=False)
    wins = pairs = variance = 0.0
    subjects = table[["y_true", "y_prob"]].mean()
    for _, part in subjects.groupby(["kind", "repeat", "fold"]):
        y, ranks = part["y_true"].to_numpy(float) > 0.5, rankdata(part["y_prob"])
        n1, n0 = int(y.sum()), int((~y).sum())
        # Of a sum of n1 of the ranks, drawn without replacement; with ties as well.
        variance += n1 * n0 * ranks.var(ddof=1) / len(part) if len(part) > 1 else 0.0
        wins += ranks[y].sum() - n1 * (n1 + 1) / 2
        pairs += n1 * n0
    z = (wins - pairs / 2) / np.sqrt(variance) if variance > 0 else 0.0
    return wins / pairs, float(2 * norm.sf(abs(z))), subjects["subject"].nunique()


def findings(results: Path) -> pd.DataFrame:
    """Every judged test of a study: ``cohort, model, comparator, endpoint, metric, value, p, n``."""
    found = pd.concat([read_table(path, "metrics") for path in sorted(results.glob("*/*/metrics.tsv"))])
    group = found["group"].fillna("")
    column = found["metric"].eq("auc_interaction") & ~group.str.contains("=")  # the others are of one kind of scores
    found.loc[column, "comparator"] = group[column]
    found = found[(group.eq("") | column | found["metric"].str.startswith("arm_")) & found["repeat"].isna()]
    tables = [found]
    variants = results / "validate" / "experiment.tsv"
    if variants.is_file():
        tables.append(read_table(variants))
    rows = []
    for path in sorted(results.glob("validate/*/*.predictions.tsv")):
        scores = read_table(path, "predictions").dropna(subset=["y_true", "y_prob"])
        for (cohort, model, endpoint), part in scores.groupby(["cohort", "model", "endpoint"]):
            if part["y_true"].nunique() == 2:
                value, p, n = mann_whitney(part)
                own = {"cohort": cohort, "model": model, "endpoint": endpoint, "metric": "auc"}
                rows.append({**own, "value": value, "p": p, "n": n})
    tests = pd.concat(tables, ignore_index=True)
    tests = pd.concat([tests[tests["metric"].isin(FINDINGS)], pd.DataFrame(rows)], ignore_index=True)
    columns = ["cohort", "model", "comparator", "endpoint", "metric", "value", "p", "n"]
    # Of out-of-fold scores the test is the one within folds, of slopes with covariates the adjusted one; what stands
    # beside it is no second test.
    tests["comparator"] = tests["comparator"].fillna("")
    for better in ("_within_folds", "_partial"):
        named = tests.assign(metric=tests["metric"] + better)[columns[:5]].apply(tuple, axis=1)
        tests = tests[~named.isin(set(tests[columns[:5]].apply(tuple, axis=1)))]
    return tests.loc[tests["p"].notna(), columns]


def main() -> int:
    """Print the tests with the smallest p of each study and the verdict; 0 when every study passes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the null cohorts and the table of tests")
    parser.add_argument("--studies", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--judge", action="store_true", help="do not run; judge the results that are there")
    args = parser.parse_args()
    rows = []
    for name in args.studies:
        if not args.judge:
            run(name, args.out.resolve(), args.seed)
        tests = findings(ROOT / "results" / f"{name}-null")
        tests["p_holm"] = adjust(list(tests["p"]))
        write_table(tests, args.out / f"{name}.tests.tsv")
        first = tests.nsmallest(3, "p")
        print(f"\n{name}: the smallest p of {len(tests)} tests\n{first.to_string(index=False)}", flush=True)
        small, chance = int((tests["p"] <= ALPHA).sum()), ALPHA * len(tests)
        auc = tests[tests["metric"] == "auc"]["value"]
        c = tests[tests["metric"] == "c_harrell"]["value"]
        passed = bool((tests["p_holm"] > ALPHA).all())
        rows.append((name, len(tests), small, chance, auc.mean(), c.mean(), "pass" if passed else "FAIL"))
    names = ["study", "tests", "p <= 0.05", "by chance", "mean AUC", "mean C", "verdict"]
    table = pd.DataFrame(rows, columns=names)
    print("\n" + table.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    write_table(table, args.out / "result.tsv")
    return int((table["verdict"] == "FAIL").any())


if __name__ == "__main__":
    sys.exit(main())
