"""Volumes and masks -> radiomic features: a batch of a study, features imported from a table, or one case by hand.

By hand: hccflow extract --image arterial=a.nii.gz --image portal=p.nii.gz --mask m.nii.gz --settings s.yaml --out f.tsv
where the settings are a study's configuration, its section `extract`, or a parameter file of PyRadiomics.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hccflow.batch import run_batch
from hccflow.cli import _arguments
from hccflow.errors import ConfigError, DataAbsentError
from hccflow.provenance import code_digest
from hccflow.tables import read_table, write_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--settings", type=_arguments.settings, help="JSON, or a YAML or JSON file")
    parser.add_argument("--cohort", help="name of the cohort")
    parser.add_argument("--roi", help="name of the region of interest")
    batch = parser.add_argument_group("a batch")
    batch.add_argument("--folder-in", type=Path, help="batch folder made by convert")
    batch.add_argument("--manifest-in", type=Path, help="manifest made by convert")
    batch.add_argument("--masks-in", nargs="?", type=Path, help="segment's manifest, for a region of source nnunet")
    batch.add_argument("--folder", type=Path, help="batch folder to make")
    batch.add_argument("--manifest", type=Path, help="manifest to make")
    batch.add_argument("--jobs", type=int, default=1, help="worker processes")
    table = parser.add_argument_group("features imported from a table")
    table.add_argument("--import", dest="table", type=Path, help="TSV with subject, [session] and features")
    table.add_argument("--participants", type=Path, help="participants.tsv of the cohort")
    table.add_argument("--out-features", type=Path, help="feature table to make")
    table.add_argument("--out-manifest", type=Path, help="manifest to make")
    hand = parser.add_argument_group("one case by hand")
    hand.add_argument("--image", action="append", default=[], help="[NAME=]FILE, the reference first; may be repeated")
    hand.add_argument("--mask", type=Path, help="mask on the grid of the first image")
    hand.add_argument("--organ-mask", type=Path, help="organ for intensity normalisation of kind organ")
    hand.add_argument("--within-mask", type=Path, help="structure that the ring of the ROI stays inside")
    hand.add_argument("--out", type=Path, help="table to make")


def run(args: argparse.Namespace) -> None:
    """Extract a batch, import a table, or extract one case."""
    if args.table is not None:
        _need(args, "participants", "cohort", "out_features", "out_manifest")
        _import(args)
    elif args.image:
        _need(args, "mask", "settings", "out")
        _by_hand(args)
    else:
        _need(args, "cohort", "roi", "folder_in", "manifest_in", "settings", "folder", "manifest")
        _batch(args)


def _need(args: argparse.Namespace, *names: str) -> None:
    for name in names:
        if getattr(args, name) is None:
            raise ConfigError(f"--{name.replace('_', '-')} is missing", todo="see hccflow extract --help")


def _batch(args: argparse.Namespace) -> None:
    from hccflow.extract.cases import CaseExtractor, converted_cases, rows_by_case

    rows = read_table(args.manifest_in, "manifest")
    cases, converted = converted_cases(rows, where=args.manifest_in)
    section = args.settings["extract"]
    if args.roi not in section["rois"]:
        raise ConfigError(f"unknown ROI '{args.roi}'", where="extract.rois", expected=", ".join(section["rois"]))
    segmented, folder_masks, digests = None, None, rows["digest"].tolist()
    if section["rois"][args.roi]["source"] == "nnunet":
        _need(args, "masks_in")
        masks = read_table(args.masks_in, "segment")
        segmented, folder_masks = rows_by_case(masks), args.masks_in.with_suffix("")
        digests += masks["digest"].tolist()
    work = CaseExtractor(
        args.folder_in, converted, args.settings["imaging"], section, args.roi, segmented, folder_masks
    )
    work.extractor  # noqa: B018 - a bad parameter is the study's fault, not each case's
    key = {"settings": args.settings, "roi": args.roi, "code": code_digest("extract"), "in": digests}
    run_batch(cases, work, folder=args.folder, manifest=args.manifest, key=key, jobs=args.jobs)


def _import(args: argparse.Namespace) -> None:
    from hccflow.extract.cases import KEYS, import_features

    participants = read_table(args.participants, "participants")
    features, manifest = import_features(args.table, participants, cohort=args.cohort)
    write_table(features, args.out_features, sort_by=KEYS)
    write_table(manifest, args.out_manifest, sort_by=KEYS)


def _by_hand(args: argparse.Namespace) -> None:
    import SimpleITK as sitk

    from hccflow.extract.radiomics import Extractor

    section = _extract_section(args.settings)
    roi = section.get("rois", {}).get(args.roi, {})
    if ("within" in roi) != (args.within_mask is not None):
        raise ConfigError(
            "--within-mask belongs to a ring inside a structure", where=f"--roi {args.roi or 'is not given'}",
            expected=f"--within-mask with the mask of {roi['within']}" if "within" in roi else "no --within-mask",
        )  # fmt: skip
    intensity = section.get("intensity", {"kind": "none"})
    extractor = Extractor(section["radiomics"], intensity, roi.get("min_voxels", 20), roi)
    named = [re.fullmatch(r"(?:([a-z][a-z0-9]{0,15})=)?(.+)", text) for text in args.image]
    files = {match[1] or "image": Path(match[2]) for match in named if match}
    if len(files) < len(args.image):
        raise ConfigError("two images have the same name", found=", ".join(args.image), todo="use --image NAME=FILE")
    for path in (*files.values(), args.mask, args.organ_mask, args.within_mask):
        if path is not None and not path.is_file():
            raise DataAbsentError("image not found", where=path)
    organ, within = (sitk.ReadImage(str(path)) if path else None for path in (args.organ_mask, args.within_mask))
    images = {name: sitk.ReadImage(str(path)) for name, path in files.items()}
    result = extractor.extract(images, sitk.ReadImage(str(args.mask)), organ=organ, within=within)
    row = {
        "n_voxels": result.n_voxels,
        "volume_ml": result.volume_ml,
        "n_components": result.n_components,
        "notes": "; ".join(result.notes),
        **result.values,
    }
    write_table(pd.DataFrame([row]), args.out)


def _extract_section(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Section `extract` of a configuration, the section itself, or a parameter file of PyRadiomics."""
    if "extract" in settings:
        return dict(settings["extract"])
    if "radiomics" in settings:
        return dict(settings)
    return {"radiomics": settings}
