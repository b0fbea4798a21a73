"""Judge frozen and out-of-fold scores: discrimination, operating point, calibration, benefit, comparisons, subgroups.

Works on any table that follows the schema ``predictions``: only the columns model, cohort, subject, kind and y_true,
and y_prob (probabilities) or risk (any other score; higher = event), are needed. Scores of subjects that a model was
fitted on (kind apparent) are refused. Writes metrics.tsv, supplement.tsv, curves/*.tsv and figures/*.{svg,png};
docs/metrics.md defines every number.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hccflow.cli._arguments import settings
from hccflow.errors import ConfigError, DataAbsentError
from hccflow.ids import CohortRole
from hccflow.ledger import PRIMARY, primary_words, record_primary
from hccflow.study import check_section
from hccflow.tables import check_table, load_schema, read_table, read_text_table, write_table
from hccflow.validate import Options, validate
from hccflow.validate.groups import COMPLETE
from hccflow.validate.options import predictors_of

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``hccflow validate``."""
    parser.add_argument("--predictions", required=True, nargs="+", type=Path, help="tables of scores")
    parser.add_argument("--thresholds", type=Path, help="JSON {model: threshold}; default: the column threshold")
    parser.add_argument(
        "--subjects", nargs="+", type=Path, default=[],
        help="subjects.tsv of these cohorts, and of the development cohorts for case mix and medians",
    )  # fmt: skip
    parser.add_argument(
        "--settings", type=settings, default={}, help="sections validate, columns, endpoints, models, primary, seed"
    )
    parser.add_argument(
        "--ledger", type=Path,
        help="ledger of the primary comparisons under which external cohorts were judged; primary.tsv tells them",
    )  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, help="folder to write")


def run(args: argparse.Namespace) -> None:
    """Read, evaluate, write."""
    options = make_options(args.settings)
    predictions = pd.concat([read_table(path, "predictions") for path in args.predictions], ignore_index=True)
    schema = load_schema("subjects")
    subjects = [check_table(read_text_table(path), schema, where=path) for path in dict.fromkeys(args.subjects)]
    thresholds = read_thresholds(args.thresholds) if args.thresholds else {}
    if args.ledger is not None:
        write_table(in_force(args.ledger, subjects, args.settings), args.out / "primary.tsv")
    results = validate(predictions, thresholds, subjects, options)
    for name, table in results.curves.items():
        write_table(table, args.out / "curves" / f"{name}.tsv")
    from hccflow.figures.validate import draw_all

    columns = {name: spec.get("label", name) for name, spec in options.columns.items()}
    columns[COMPLETE] = "All clinical predictors known"
    for path in draw_all(results.metrics, results.curves, args.out / "figures", options.labels, columns):
        log.info("%s", path)
    write_table(results.supplement, args.out / "supplement.tsv")
    write_table(results.metrics, args.out / "metrics.tsv")
    log.info("%s: %d numbers", args.out / "metrics.tsv", len(results.metrics))


def in_force(ledger: Path, subjects: Sequence[pd.DataFrame], given: Mapping[str, Any]) -> pd.DataFrame:
    """Write down the primary comparison for each cohort that may only judge, and return all that were for them."""
    if not given.get("primary"):
        raise ConfigError(
            "no primary comparison to write down", where="--settings", expected="the section primary",
            todo="give it, or leave --ledger out",
        )  # fmt: skip
    judging = [table.loc[table["role"] != CohortRole.DEVELOPMENT, "cohort"] for table in subjects]
    names = sorted({name for part in judging for name in part})
    looks = [record_primary(ledger, name, primary_words(given["primary"])) for name in names]
    return pd.concat([pd.DataFrame(columns=PRIMARY), *looks], ignore_index=True)


def make_options(given: Mapping[str, Any]) -> Options:
    """Options from the sections of a configuration; sections that validation does not use are left alone."""
    section = check_section("validate", given.get("validate", {}))
    models, primary = given.get("models", {}), given.get("primary") or {}
    return Options(
        level=section["confidence"],
        draws=section["bootstrap"],
        net_benefit_at=tuple(section["net_benefit_at"]),
        subgroups=None if section["subgroups"] is None else tuple(section["subgroups"]),
        columns=given.get("columns", {}),
        survival=tuple(name for name, spec in given.get("endpoints", {}).items() if spec["kind"] == "survival"),
        predictors=predictors_of(models),
        labels={name: spec.get("label", name) for name, spec in models.items()},
        primary=(primary["model"], primary["comparator"]) if primary.get("comparator") else None,
        seed=given.get("seed", 0),
    )


def read_thresholds(path: Path) -> dict[str, float]:
    """Frozen operating points ``{model: threshold}`` from a JSON file."""
    if not path.is_file():
        raise DataAbsentError("thresholds not found", where=path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConfigError("not valid JSON", where=path, found=str(error)) from error
    if not isinstance(values, dict):
        raise ConfigError("thresholds are not an object", where=path, expected='{"model": 0.5}')
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigError(f"the threshold of '{name}' is not a number", where=path, found=repr(value))
    return {name: float(value) for name, value in values.items()}
