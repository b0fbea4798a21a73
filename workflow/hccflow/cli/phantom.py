"""Make a phantom study: tables of its cohorts (--out), or the DICOM of one from its card (--card, --dicom)."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import yaml

from hccflow.errors import ConfigError, DataAbsentError
from hccflow.phantom.cohorts import PRESETS, SEED, make_cards
from hccflow.phantom.shapes import SHAPES, SIZES, shape_cards

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``hccflow phantom``."""
    tables = parser.add_argument_group("tables of the three cohorts")
    tables.add_argument("--out", type=Path, help="data folder: writes OUT/phantom-{dev,ext,fup}/")
    tables.add_argument("--preset", choices=list(PRESETS), help="sizes and grid (default: default)")
    for name, what in (
        ("dev", "development subjects"),
        ("ext", "external subjects"),
        ("fup", "follow-up subjects"),
        ("shared", "follow-up subjects who are also development subjects"),
    ):
        tables.add_argument(f"--n-{name}", type=int, metavar="N", help=f"{what}, instead of the preset's number")
    tables.add_argument("--seed", type=int, help=f"seed of everything (default: {SEED})")
    shapes = parser.add_argument_group("tables of a published design's shape, with --out")
    shapes.add_argument("--shape", choices=list(SHAPES), help="the design: writes OUT/SHAPE-<cohort>/")
    shapes.add_argument("--size", choices=SIZES, help="number of subjects (default: tested)")
    shapes.add_argument("--null", action="store_true", help="nothing is to be found: for the null version of a study")
    images = parser.add_argument_group("DICOM of one cohort")
    images.add_argument("--card", type=Path, help="the cohort's cohort.yaml")
    images.add_argument("--dicom", type=Path, help="folder for the DICOM and its series.tsv")
    images.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")


def run(args: argparse.Namespace) -> int | None:
    """Write tables or DICOM."""
    sizes = {name: getattr(args, f"n_{name}") for name in ("dev", "ext", "fup", "shared")}
    sizes = {name: n for name, n in sizes.items() if n is not None}
    default_only, shape_only = bool(sizes) or args.preset is not None, args.size is not None or args.null
    table_options = default_only or shape_only or args.shape is not None or args.seed is not None
    if args.out and not args.card and not args.dicom:
        from hccflow.phantom.write import write_study

        if default_only if args.shape else shape_only:
            raise ConfigError(
                "options that do not belong together",
                expected="--shape with --size and --null, or --preset with --n-dev, --n-ext, --n-fup, --n-shared",
            )
        seed = {} if args.seed is None else {"seed": args.seed}
        if args.shape:
            cards = shape_cards(args.shape, args.size or "tested", null=args.null, **seed)
        else:
            cards = make_cards(replace(PRESETS[args.preset or "default"], **sizes), **seed)
        write_study(cards, args.out)
        log.info("wrote %s below %s", ", ".join(cards), args.out)
        return 0
    if not (args.card and args.dicom) or args.out or table_options:
        raise ConfigError("incomplete options", expected="--out with its options, or --card and --dicom with --jobs")
    if not args.card.is_file():
        raise DataAbsentError("card not found", where=args.card, todo="write it with `hccflow phantom --out`")
    from hccflow.phantom.images import write_cohort

    logging.getLogger("highdicom").setLevel(logging.WARNING)  # it tells of every attribute that it copies
    card = yaml.safe_load(args.card.read_text(encoding="utf-8"))
    index = write_cohort(card, args.dicom, jobs=args.jobs)
    log.info("wrote %d subjects to %s", index["subject"].nunique(), args.dicom)
    return 0
