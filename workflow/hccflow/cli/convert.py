"""Turn DICOM or NIfTI into de-identified volumes, masks and quality-control pictures.

In a study: one batch of one cohort, as its series.tsv (made by `hccflow index`) names the series. By hand: with --dicom
and --out, every series below a file or folder, with the masks of a SEG or an RTSTRUCT.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from hccflow.cli._arguments import settings
from hccflow.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    batch = parser.add_argument_group("in a study")
    batch.add_argument("--cohort", help="name of the cohort")
    batch.add_argument("--batch", help="batch of the participants table, for example 01")
    batch.add_argument("--images", type=Path, help="folder of the images, with series.tsv")
    batch.add_argument("--participants", type=Path, help="participants table of the cohort")
    batch.add_argument("--settings", type=settings, help="sections imaging and convert: JSON, or a YAML file")
    batch.add_argument("--folder", type=Path, help="folder to write")
    batch.add_argument("--manifest", type=Path, help="manifest to write")
    batch.add_argument("--jobs", type=int, default=1, help="worker processes")
    hand = parser.add_argument_group("by hand")
    hand.add_argument("--dicom", type=Path, help="DICOM file or folder")
    hand.add_argument("--seg", type=Path, help="DICOM SEG whose segments become masks")
    hand.add_argument("--rtstruct", type=Path, help="DICOM RTSTRUCT whose ROIs become masks")
    hand.add_argument("--out", type=Path, help="folder to write")


def run(args: argparse.Namespace) -> int:
    """Run the command; by hand 1 when nothing could be converted or a mask failed."""
    if args.dicom is not None:
        from hccflow.convert.byhand import convert_folder

        _need(args, "dicom", "out")
        table = convert_folder(args.dicom, args.out, seg=args.seg, rtstruct=args.rtstruct)
        print(table.to_csv(sep="\t", index=False), end="")  # noqa: T201 - the answer of a command by hand
        return int((table["status"] != "ok").any())
    _need(args, "cohort", "batch", "images", "participants", "settings", "folder", "manifest")
    _run_batch(args)
    return 0


def _need(args: argparse.Namespace, *names: str) -> None:
    missing = [f"--{name}" for name in names if getattr(args, name) is None]
    if missing:
        raise ConfigError("an option is missing", expected=", ".join(missing), todo="hccflow convert --help")


def _run_batch(args: argparse.Namespace) -> None:
    from hccflow.batch import Case, run_batch
    from hccflow.convert.case import convert_case
    from hccflow.participants import read_participants
    from hccflow.provenance import code_digest
    from hccflow.tables import read_table

    people = read_participants(args.participants, {})
    people = people[people["batch"] == args.batch]
    series = read_table(args.images / "series.tsv", "series")
    for column, empty in {"series_uid": "", "segment": "", "value": None, "n_files": None}.items():
        if column not in series:
            series[column] = empty
    series = series[series["subject"].isin(people["subject"])]
    config = {name: args.settings[name] for name in ("imaging", "convert")}
    run_batch(
        [Case(args.cohort, row.subject, row.session) for row in people.itertuples()],
        partial(convert_case, images=args.images, series=series, settings=config),
        folder=args.folder,
        manifest=args.manifest,
        key={
            "settings": config,
            "code": code_digest("convert"),
            "series": series.drop(columns=["series_uid"]).astype(str).to_numpy().tolist(),
        },
        jobs=args.jobs,
    )
