"""Survival by unseen scores: Kaplan-Meier by the frozen cut, log-rank, Cox, concordance, AUC(t), competing risks.

By hand: --table follows the schema ``predictions`` (time_days, event, y_prob or risk, model, cohort, subject, kind;
covariates in further columns), --config is YAML with covariates, cut: {model: value}, times, tau, ties, conf_type.
In a study: --predictions, --subjects, --freeze and --settings; with --development and --split also the clinical Cox
model of the training rows, judged in this cohort. Scores of subjects that a model was fitted on (kind
apparent) are refused. Writes metrics.tsv, curves/*.tsv and figures/*.{svg,png}; docs/metrics_survival.md defines every
number.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hccflow.cli._arguments import settings
from hccflow.errors import ConfigError, FreezeError
from hccflow.freeze import read_freeze
from hccflow.ids import CLINICAL_COX
from hccflow.study import check_section
from hccflow.survive import Result, Settings, analyse, read_settings
from hccflow.survive.assemble import assemble, study_settings
from hccflow.survive.frozen_cox import OWN, frozen_clinical
from hccflow.survive.multiplicity import with_holm
from hccflow.tables import check_table, load_schema, read_table, read_text_table, write_table

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``hccflow survive``."""
    parser.add_argument("--table", type=Path, help="scores with follow-up and covariates")
    parser.add_argument("--config", type=settings, help="covariates, cut, times, tau, ties, conf_type")
    parser.add_argument("--predictions", nargs="+", type=Path, help="tables of scores of one cohort")
    parser.add_argument("--subjects", type=Path, help="subjects.tsv of that cohort")
    parser.add_argument("--freeze", nargs="+", type=Path, default=[], help="freeze.json of each model")
    parser.add_argument("--development", nargs="*", type=Path, default=[], help="subjects.tsv of development cohorts")
    parser.add_argument("--split", nargs="?", type=Path, help="split.tsv of the study")
    parser.add_argument(
        "--settings", type=settings, help="sections columns, endpoints, models, survive, cohorts (labels)"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder to write")


def run(args: argparse.Namespace) -> None:
    """Read, analyse, write."""
    labels: dict[str, str] = {CLINICAL_COX: "Clinical Cox model"}
    if args.table is not None:
        chosen = read_settings(args.config or {}, where="--config")
        result = analyse(read_table(args.table, "predictions"), chosen)
    elif args.predictions and args.subjects and args.settings:
        result, chosen = _study(args)
        for section in ("models", "endpoints", "columns", "cohorts"):
            labels |= {name: spec.get("label", name) for name, spec in args.settings.get(section, {}).items()}
    else:
        raise ConfigError(
            "nothing to analyse", expected="--table with --config, or --predictions, --subjects and --settings"
        )
    (args.out / "curves").mkdir(parents=True, exist_ok=True)
    (args.out / "figures").mkdir(parents=True, exist_ok=True)
    for name, curve in result.curves.items():
        if not curve.empty:
            write_table(curve, args.out / "curves" / f"{name}.tsv")
    from hccflow.figures.survive import draw_all

    for path in draw_all(result.metrics, result.curves, chosen.level, args.out / "figures", labels):
        log.info("%s", path)
    metrics = with_holm(result.metrics)
    write_table(metrics, args.out / "metrics.tsv")
    log.info("%s: %d numbers", args.out / "metrics.tsv", len(metrics))


def _study(args: argparse.Namespace) -> tuple[Result, Settings]:
    study = {**args.settings, "survive": check_section("survive", args.settings.get("survive", {}))}
    subjects = check_table(read_text_table(args.subjects), load_schema("subjects"), where=args.subjects)
    predictions = pd.concat([read_table(path, "predictions") for path in args.predictions], ignore_index=True)
    models = sorted(set(predictions["model"]))
    freezes, endpoints = _freezes(args.freeze, models), study["survive"]["endpoints"]
    settings_of = {endpoint: study_settings(study, freezes, endpoint) for endpoint in endpoints}
    chosen = settings_of[endpoints[0]]
    parts = [analyse(assemble(predictions, subjects, name, study), one) for name, one in settings_of.items()]
    if args.development and args.split is not None and chosen.covariates:
        schema = load_schema("subjects")
        tables = [check_table(read_text_table(path), schema, where=path) for path in args.development]
        development, split = pd.concat(tables, ignore_index=True), read_table(args.split, "split")
        # The formula of a study is that of its training rows, not another one for each cohort.
        parts = [Result(p.metrics, {n: c for n, c in p.curves.items() if n not in OWN}) for p in parts]
        parts += [frozen_clinical(subjects, development, split, name, study, chosen) for name in endpoints]
    metrics = pd.concat([part.metrics for part in parts], ignore_index=True)
    names = dict.fromkeys(name for part in parts for name in part.curves)
    curves = {name: pd.concat([p.curves[name] for p in parts if name in p.curves], ignore_index=True) for name in names}
    return Result(metrics, {**dict.fromkeys(OWN, pd.DataFrame()), **curves}), chosen


def _freezes(paths: list[Path], models: list[str]) -> dict[str, Mapping[str, Any]]:
    """Frozen facts of each model; every model with scores must have them."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in paths:
        content = read_freeze(path)
        found[content["model"]] = content
    for model in models:
        if model not in found:
            raise FreezeError(
                f"no freeze.json for model '{model}'", where="--freeze", expected="one for every model with scores",
                found=", ".join(sorted(found)) or "none",
            )  # fmt: skip
    return {model: found[model] for model in models}
