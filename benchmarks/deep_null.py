"""Null study of networks and fusion: responses permuted many times on crops that are there already.

    python benchmarks/deep_phantom.py --data DIR --make --coarser 2 --first 200
    python benchmarks/deep_null.py --data DIR --permutations 40

Each permutation of the responses of both cohorts goes through the split, the folds, early stopping, the final fit,
stacking and scoring, by the commands' own functions. Crops of 12 x 12 x 8 voxels show the same 60 mm as those of
24 x 24 x 16, and 80 subjects teach a small network for a few epochs, so a permutation of five models takes seconds.
Verdict as in `null_study.py`. The control is the final multi-task network judged on the subjects that taught it
(``apparent``), which hccflow never does: it must be seen. Of the two fusions the stacked one may fail within folds,
where its scores are optimistic in small cohorts (docs/networks.md).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deep_phantom import cohorts, fit, settings
from hccflow.predict import open_frozen
from hccflow.tables import read_table, write_table
from null_study import CONTROL, auc, permuted, verdict

NETWORK = {"width": 4, "epochs": 6, "patience": 6, "batch_size": 16, "learning_rate": 0.005, "seeds": 1}


def null(
    config: dict[str, Any], subjects: dict[str, pd.DataFrame], crops: dict[str, pd.DataFrame], out: Path, n: int
) -> pd.DataFrame:
    """Permute the responses `n` times; one row per permutation and model. What is in ``runs.tsv`` is not run again."""
    logging.disable(logging.WARNING)
    path = out / "runs.tsv"
    rows = read_table(path).to_dict("records") if path.is_file() else []
    for number in range(len({row["permutation"] for row in rows}), n):
        rng = np.random.default_rng([config["seed"], number])
        shuffled = {name: permuted(table, ["response"], rng) for name, table in subjects.items()}
        work = out / "permutation"
        shutil.rmtree(work, ignore_errors=True)
        scores, _ = fit(config, shuffled, crops, work)
        for name, table in scores.items():
            oof = read_table(work / name / "predictions.tsv")
            inside = [_auc(part) for _, part in oof.groupby(["repeat", "fold"])]
            y, p = table["y_true"].to_numpy(float), table["y_prob"].to_numpy(float)
            called = p >= table["threshold"].to_numpy(float)
            rows.append({
                "permutation": number, "model": name, "within-fold": float(np.nanmean(inside)), "pooled": _auc(oof),
                "external": _auc(table), "balanced": float(called[y == 1].mean() + 1 - called[y == 0].mean()) / 2,
            })  # fmt: skip
        dev = shuffled["phantom-dev"]
        apparent, _ = open_frozen(work / "multitask").model.predict(dev, crops["phantom-dev"])
        leak = auc(dev["response"].to_numpy(float), apparent)
        rows.append({"permutation": number, "model": CONTROL, "within-fold": leak})
        write_table(pd.DataFrame(rows), path)
    return pd.DataFrame(rows)


def _auc(table: pd.DataFrame) -> float:
    return auc(table["y_true"].to_numpy(float), table["y_prob"].to_numpy(float))


def main() -> int:
    """Print the table; 0 when every judged measure is at chance and the control's leak is seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--permutations", type=int, default=40)
    parser.add_argument("--first", type=int, default=80, help="development subjects")
    parser.add_argument("--network", type=json.loads, default={}, help="options of the network as JSON")
    args = parser.parse_args()
    started = time.perf_counter()
    config = settings({**NETWORK, **args.network})
    out = args.data / f"null-{args.first}"
    found = verdict(null(config, *cohorts(args.data, args.first), out, args.permutations))
    print(found.to_string(index=False, float_format=lambda v: f"{v:.4f}"))
    write_table(found, out / "result.tsv")
    print(f"{time.perf_counter() - started:.0f} s, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    return int(found["verdict"].isin(["FAIL", "LEAK NOT SEEN"]).any())


if __name__ == "__main__":
    sys.exit(main())
