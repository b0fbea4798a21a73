"""Freeze the folds' networks: digests of every file, of what they have learnt from and of the code."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hccflow.cli._arguments import settings
from hccflow.freeze import freeze
from hccflow.provenance import code_digest, digest_of, file_digest, versions
from hccflow.segment.dataset import subject_of
from hccflow.tables import subjects_digest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--folder", required=True, type=Path, help="folder that holds model/; gets freeze.json")
    parser.add_argument("--split", required=True, type=Path, help="split.tsv")
    parser.add_argument("--settings", required=True, type=settings, help="sections imaging and segment")


def run(args: argparse.Namespace) -> None:
    """Freeze."""
    splits = json.loads((args.folder / "model" / "splits_final.json").read_text(encoding="utf-8"))
    # by number: a split that had more folds may have left theirs in the folder
    abouts = [args.folder / "model" / f"fold-{k}" / "fold.json" for k in range(len(splits))]
    folds = [json.loads(path.read_text(encoding="utf-8")) for path in abouts]
    subjects = [subject_of(name) for fold in splits for name in fold["val"]]
    facts = {
        "kind": "nnunet",
        "folds": len(splits),
        "devices": sorted({fold["device"] for fold in folds}),
        "seed": args.settings["seed"],
        "n_subjects": len(set(subjects)),
        "subjects_digest": subjects_digest(subjects),
        "split_digest": file_digest(args.split),
        "settings_digest": digest_of({name: args.settings[name] for name in ("imaging", "segment")}),
        "code_digest": code_digest("segment_train"),
        "versions": versions(["nnunetv2", "torch", "dynamic-network-architectures", "SimpleITK", "numpy"]),
    }
    freeze(args.folder, facts)
