"""Masks of one batch from the frozen networks, or of one case by hand.

In a study a training subject is segmented by the one network that has not seen it, everybody else by all of them.
By hand: hccflow segment_predict --frozen FOLDER --image arterial=a.nii.gz --image portal=p.nii.gz --out DIR, where
FOLDER is the study's folder segment, with freeze.json and model/.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from hccflow.cli._arguments import settings
from hccflow.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--frozen", type=Path, help="folder with freeze.json and model/; not for imported masks")
    parser.add_argument("--threads", type=int, default=1, help="threads on the CPU")
    batch = parser.add_argument_group("in a study")
    batch.add_argument("--cohort", help="name of the cohort")
    batch.add_argument("--folder-in", type=Path, help="batch folder made by convert")
    batch.add_argument("--manifest-in", type=Path, help="manifest made by convert")
    batch.add_argument("--split", type=Path, help="split.tsv")
    batch.add_argument("--shared-with", nargs="?", default="", const="", help="development cohort with shared subjects")
    batch.add_argument("--settings", type=settings, help="sections imaging and segment")
    batch.add_argument("--folder", type=Path, help="folder to write")
    batch.add_argument("--manifest", type=Path, help="manifest to write")
    hand = parser.add_argument_group("by hand")
    hand.add_argument("--image", action="append", default=[], help="CHANNEL=FILE, once for each channel of the model")
    hand.add_argument("--out", type=Path, help="folder for <label>.nii.gz")
    hand.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="by hand only")


def run(args: argparse.Namespace) -> None:
    """Predict."""
    if args.image:
        _need(args, "frozen", "out")
        _by_hand(args)
    else:
        _need(args, "cohort", "folder_in", "manifest_in", "settings", "folder", "manifest")
        _batch(args)


def _need(args: argparse.Namespace, *names: str) -> None:
    missing = [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) is None]
    if missing:
        raise ConfigError("an option is missing", expected=", ".join(missing), todo="hccflow segment_predict --help")


def _batch(args: argparse.Namespace) -> None:
    from hccflow.batch import run_batch
    from hccflow.provenance import code_digest
    from hccflow.segment.dataset import Spec, cases_of
    from hccflow.segment.labels import Labels
    from hccflow.segment.prediction import CaseSegmenter
    from hccflow.tables import read_table

    rows = read_table(args.manifest_in, "manifest").fillna({"channels": "", "masks": ""})
    cases = cases_of(rows)
    records = [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]
    segment = args.settings["segment"]
    imported = segment["imported"].get(args.cohort)
    spec = Spec.of(args.settings)
    key: dict[str, Any] = {
        "settings": args.settings,
        "code": code_digest("segment_predict"),
        "in": list(rows["digest"]),
    }
    own: dict[str, Any] = {"labels": Labels(spec.labels, {}), "imported": imported}
    if imported is None:
        _need(args, "frozen", "split")
        networks, frozen = _networks(args, segment["device"])
        own = {"labels": _labels(networks.about), "networks": networks, "judges": _judges(args)}
        key |= {"frozen": frozen["digest"]}
    work = CaseSegmenter(
        args.folder_in, {case.stem: row for case, row in zip(cases, records, strict=True)}, spec,
        tolerance_mm=segment["surface_tolerance_mm"], shared_with=args.shared_with, **own,
    )  # fmt: skip
    run_batch(cases, work, folder=args.folder, manifest=args.manifest, key=key)


def _networks(args: argparse.Namespace, device: str) -> tuple[Any, dict[str, Any]]:
    from hccflow.freeze import verify

    frozen = verify(args.frozen)
    from hccflow.segment.nnunet.predictor import Ensemble

    return Ensemble(args.frozen / "model", device=device, threads=args.threads), frozen


def _labels(model: dict[str, Any]) -> Any:
    from hccflow.segment.labels import Labels

    return Labels(tuple(model["labels"]), {name: tuple(inner) for name, inner in model["contains"].items()})


def _judges(args: argparse.Namespace) -> Any:
    from hccflow.segment.prediction import Judges
    from hccflow.tables import read_table

    splits = json.loads((args.frozen / "model" / "splits_final.json").read_text(encoding="utf-8"))
    return Judges.of(read_table(args.split), splits)


def _by_hand(args: argparse.Namespace) -> None:
    from hccflow.images import read_image, write_image
    from hccflow.segment.volumes import make_volume

    networks, frozen = _networks(args, args.device)
    model = networks.about
    given = dict(text.split("=", 1) if "=" in text else ("", text) for text in args.image)
    missing = [name for name in {model["reference"]: 0, **dict.fromkeys(model["channels"])} if name not in given]
    if missing or len(given) < len(args.image):
        raise ConfigError(
            "the model needs every channel by its name", expected=", ".join(model["channels"]), found=", ".join(given),
            todo="--image CHANNEL=FILE for each",
        )  # fmt: skip
    images = {name: read_image(path) for name, path in given.items()}
    volume = make_volume([images[name] for name in model["channels"]], images[model["reference"]])
    probabilities = networks.probabilities(volume, range(frozen["folds"]))
    for name, mask in _labels(model).masks(probabilities.argmax(axis=0)).items():
        write_image(volume.mask_image(mask), args.out / f"{name}.nii.gz")
