"""Volumes and masks -> crops for the networks: a batch of a study."""

from __future__ import annotations

import argparse
from pathlib import Path

from hccflow.batch import run_batch
from hccflow.cli import _arguments
from hccflow.errors import ConfigError
from hccflow.provenance import code_digest
from hccflow.tables import read_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--crop", required=True, help="name of the crop in the settings")
    parser.add_argument("--folder-in", type=Path, required=True, help="batch folder made by convert")
    parser.add_argument("--manifest-in", type=Path, required=True, help="manifest made by convert")
    parser.add_argument("--masks-in", nargs="?", type=Path, help="segment's manifest, for a region of source nnunet")
    parser.add_argument("--settings", type=_arguments.settings, required=True, help="JSON, or a YAML or JSON file")
    parser.add_argument("--folder", type=Path, required=True, help="batch folder to make")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to make")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")


def run(args: argparse.Namespace) -> None:
    """Crop a batch."""
    from hccflow.extract.cases import converted_cases, rows_by_case
    from hccflow.extract.crops import CaseCropper

    settings = args.settings
    if args.crop not in settings["crops"]:
        raise ConfigError(f"unknown crop '{args.crop}'", where="crops", expected=", ".join(settings["crops"]))
    rows = read_table(args.manifest_in, "manifest")
    cases, converted = converted_cases(rows, where=args.manifest_in)
    section, box = settings["extract"], settings["crops"][args.crop]
    segmented, folder_masks, digests = None, None, rows["digest"].tolist()
    if section["rois"][box["roi"]]["source"] == "nnunet":
        if args.masks_in is None:
            raise ConfigError("--masks-in is missing", where=f"crops.{args.crop}", todo="give segment's manifest")
        masks = read_table(args.masks_in, "segment")
        segmented, folder_masks = rows_by_case(masks), args.masks_in.with_suffix("")
        digests += masks["digest"].tolist()
    work = CaseCropper(args.folder_in, converted, settings["imaging"], section, args.crop, box, segmented, folder_masks)
    key = {"settings": settings, "crop": args.crop, "code": code_digest("crop"), "in": digests}
    run_batch(cases, work, folder=args.folder, manifest=args.manifest, key=key, jobs=args.jobs)
