"""Development training cases -> an nnU-Net data set, planned and preprocessed, with the study's own folds.

Every converted case gets a row in cases.tsv: used, or the reason why not. The preprocessed data go to a work folder,
what describes the model (plans, label table, folds) to the model folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pandas as pd

from hccflow.cli._arguments import settings
from hccflow.errors import ConfigError
from hccflow.tables import read_table, write_table, write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--folders", required=True, nargs="+", type=Path, help="batch folders of development cohorts")
    parser.add_argument("--manifests", required=True, nargs="+", type=Path, help="their manifests, in the same order")
    parser.add_argument("--subjects", required=True, nargs="+", type=Path, help="subjects.tsv of development cohorts")
    parser.add_argument("--split", required=True, type=Path, help="split.tsv")
    parser.add_argument("--settings", required=True, type=settings, help="sections imaging and segment")
    parser.add_argument("--work", required=True, type=Path, help="work folder for the preprocessed data set")
    parser.add_argument("--out", required=True, type=Path, help="model folder")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")


def run(args: argparse.Namespace) -> None:
    """Select, check, export, plan, preprocess."""
    from hccflow.ids import Status
    from hccflow.segment import dataset

    if len(args.folders) != len(args.manifests):
        raise ConfigError("--folders and --manifests differ in number", expected="one manifest per folder")
    spec, segment = dataset.Spec.of(args.settings), args.settings["segment"]
    tables = [read_table(path, "manifest") for path in args.manifests]
    places = {
        case: folder for folder, table in zip(args.folders, tables, strict=True) for case in dataset.cases_of(table)
    }
    enrolled = pd.concat([read_table(path) for path in args.subjects], ignore_index=True)
    split = read_table(args.split)
    table, cases = dataset.select(pd.concat(tables, ignore_index=True), enrolled, split, spec)
    if args.work.exists():
        shutil.rmtree(args.work)
    from hccflow.segment.nnunet.planning import plan_dataset
    from hccflow.segment.nnunet.shim import DATASET
    from hccflow.segment.nnunet.trainer import configuration_of, find_trainer

    find_trainer(segment["trainer"])  # a misspelt name must not cost a night of preprocessing
    raw, preprocessed = args.work / "raw" / DATASET, args.work / "preprocessed" / DATASET
    labels, problems = dataset.write_raw(cases, places, spec, raw)
    table = dataset.with_problems(table, problems)
    splits = dataset.make_splits(table, 1 + max(dataset.folds_of(split).values()))
    n = int((table["status"] == Status.OK.value).sum())
    _write(raw / "dataset.json", dataset.dataset_json(spec, n))
    plan_dataset(args.work, planner=segment["planner"], configuration=configuration_of(segment), jobs=args.jobs)
    shutil.rmtree(args.work / "raw")
    _write(preprocessed / "splits_final.json", splits)
    about = {
        "channels": spec.channels, "reference": spec.reference, "labels": labels.names, "contains": labels.contains,
        "trainer": segment["trainer"], "configuration": configuration_of(segment, predict=True),
    }  # fmt: skip
    _write(preprocessed / "model.json", about)
    for name in ("plans", "dataset", "dataset_fingerprint", "splits_final", "model"):
        write_text(args.out / f"{name}.json", (preprocessed / f"{name}.json").read_text(encoding="utf-8"))
    for folder in (preprocessed, args.out):  # last of all: a folder that has it is whole
        write_table(table, folder / "cases.tsv", sort_by=dataset.KEYS)


def _write(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")
