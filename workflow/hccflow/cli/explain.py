"""What a frozen network sees in a cohort: maps of its worst, median and best cases, deep features, its segmentation.

Writes cam.tsv (a row for each case, endpoint and method, with the share of the map inside the region of interest and
the check with randomised weights, or why there is no map) and one picture a case; and a table of the final networks'
deep features of all cases, where ``kind`` says whom they have seen (apparent) and whom not (frozen); and, of a network
that learns to segment, the Dice of its segmentation of the cases that it has not seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hccflow.cli import _arguments
from hccflow.ids import ScoreKind
from hccflow.participants import read_subjects
from hccflow.tables import read_table, write_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--train",
        type=Path,
        required=True,
        help="training folder of a network or of a choice among networks, with the folds",
    )
    parser.add_argument("--crops", type=Path, required=True, help="folder crop-<name> of the cohort")
    parser.add_argument("--subjects", type=Path, required=True, help="subjects.tsv of the cohort")
    parser.add_argument("--predictions", type=Path, required=True, help="the network's scores, made by predict")
    parser.add_argument("--settings", type=_arguments.settings, required=True, help="JSON, or a YAML or JSON file")
    parser.add_argument("--cases", type=int, default=3, help="cases of each group")
    parser.add_argument("--threads", type=int, default=1, help="threads on the CPU")
    parser.add_argument("--out", type=Path, required=True, help="folder of the maps to make")
    parser.add_argument("--features", type=Path, required=True, help="table of deep features to make")
    parser.add_argument("--dice", type=Path, required=True, help="table of Dice to make; empty if it does not segment")


def run(args: argparse.Namespace) -> None:
    """Explain one cohort."""
    from hccflow.freeze import verify
    from hccflow.models.encoding import KEYS
    from hccflow.networks.croptable import crop_table
    from hccflow.networks.device import choose_device, prepare
    from hccflow.networks.model import load_network
    from hccflow.networks.overlap import frozen_dice
    from hccflow.networks.overlays import deep_features, explain_cohort

    frozen = verify(args.train)
    prepare(choose_device("cpu"), args.threads)
    subjects = read_subjects([args.subjects], args.settings["columns"])
    crops, scores = crop_table([args.crops]), read_table(args.predictions, "predictions")
    explain_cohort(args.train, frozen, subjects, crops, scores, args.out, each=args.cases, seed=args.settings["seed"])
    unseen = scores[scores["kind"] == ScoreKind.FROZEN.value]
    model = load_network(args.train / "model")
    write_table(deep_features(model, subjects, crops, unseen), args.features, sort_by=KEYS)
    write_table(frozen_dice(model, subjects, crops, unseen), args.dice, sort_by=KEYS)
