"""Numbers of the reference cases that come with tables of their own: agreement, LASSO, rank correlation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from hccflow.metrics.agreement import icc, limits_of_agreement, lin_ccc
from hccflow.models.lasso import lasso_path
from hccflow.relate.correlation import correlation

from .common import Case, Row, cases

TABLES = {"shrout_fleiss": "icc_shrout_fleiss.csv", "r30x2": "icc_30x2.csv"}
KINDS = {"ICC2": "agreement", "ICC3": "consistency"}
COVARIATES = ["age", "sex", "afp", "tumorsize", "vascular", "tnm", "cxcl17t"]


def rows(stats: Path) -> list[Row]:
    """Compare every such number below `stats`."""
    return [row for case in cases(stats) for row in [*_icc(case), *_training(case, stats)]]


def _icc(case: Case) -> Iterator[Row]:
    r = case.expected.get("icc")
    if r is None:
        return
    for name, file in TABLES.items():
        table = pd.read_csv(case.folder / file)
        for key, kind in KINDS.items():
            ours = icc(table, kind)
            for side, mine, theirs, tolerance in (
                ("", ours.value, r[name][key]["icc"], 1e-8), (" low", ours.ci_low, r[name][key]["lo"], 1e-4),
                (" high", ours.ci_high, r[name][key]["hi"], 1e-4), (" p", ours.p, r[name][key]["p"], 1e-9),
            ):  # fmt: skip
                yield Row(case.name, f"icc {name} {kind}{side}", mine, theirs, tolerance)
    constant = icc(pd.read_csv(case.folder / "icc_constant.csv"), "agreement")
    yield Row(case.name, "icc constant", constant.value, r["constant"]["icc"], 0)
    one, two = pd.read_csv(case.folder / TABLES["r30x2"]).to_numpy().T
    limits, theirs = limits_of_agreement(one, two), case.expected["bland_altman"]
    yield Row(case.name, "Bland-Altman bias", limits["bias"].value, theirs["bias"], 1e-9)
    for name, expected in zip(("loa_low", "loa_high"), theirs["loa"], strict=True):
        yield Row(case.name, f"Bland-Altman {name}", limits[name].value, expected, 1e-9)
    yield Row(case.name, "Lin ccc", lin_ccc(one, two).value, case.expected["lin_ccc"]["ccc_n"], 1e-9)


def _training(case: Case, stats: Path) -> Iterator[Row]:
    """LASSO at given penalties and a rank correlation, on the training rows of the first case."""
    r = case.expected.get("lasso_case01_train")
    if r is None:
        return
    table = pd.read_csv(stats / "01_hcc_resection_asaur" / "input.csv")
    table = table[(table["cohort"] == "train") & table["y_true"].notna()]
    x = table[COVARIATES].to_numpy(float)
    path = lasso_path((x - x.mean(0)) / x.std(0), table["y_true"].to_numpy(float), np.array(r["lambda"], float))
    for k, penalty in enumerate(r["lambda"]):
        for j, name in enumerate(["intercept", *COVARIATES]):
            yield Row(case.name, f"lasso {penalty:g} {name}", float(path[j, k]), r["coef"][k][name], 1e-4)
    both = table[["cxcl17t", "cd8t"]].dropna().to_numpy(float)
    ours, theirs = correlation(both[:, :1], both[:, 1]), case.expected["spearman"]
    yield Row(case.name, "spearman n", len(both), theirs["n"], 0)
    yield Row(case.name, "spearman rho", float(ours.r[0]), theirs["rho"], 1e-9)
    yield Row(case.name, "spearman p", float(ours.p(ours.r)[0]), theirs["p"], 1e-9)
