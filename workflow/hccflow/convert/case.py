"""One case: every channel and mask that the study asks for, from whatever the index names."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import SimpleITK as sitk  # noqa: N813 - its usual name

from hccflow.batch import Case
from hccflow.convert.masks import read_mask
from hccflow.convert.qc import picture
from hccflow.convert.sidecar import dump, sidecar
from hccflow.convert.source import Files, Volume, read_volume
from hccflow.duplicates import fingerprint
from hccflow.errors import DataAbsentError, HccflowError
from hccflow.images import same_grid, write_image
from hccflow.paths import case_file
from hccflow.tables import write_text

log = logging.getLogger(__name__)


def convert_case(
    case: Case, folder: Path, *, images: Path, series: pd.DataFrame, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Convert one case.

    Parameters
    ----------
    case : Case
        Subject and session.
    folder : Path
        Batch folder; files get their places from `hccflow.paths.case_file`.
    images : Path
        Folder of ``series.tsv``.
    series : DataFrame
        Rows of ``series.tsv``.
    settings : mapping
        Sections ``imaging`` and ``convert`` of the configuration.

    Returns
    -------
    dict
        Manifest columns ``channels, masks, spacing_x_mm, spacing_y_mm, spacing_z_mm, n_slices, fingerprint, notes``.

    Raises
    ------
    HccflowError
        The reference channel cannot be had; whatever else cannot be had becomes a note.
    """
    rows = series[(series["subject"] == case.subject) & (series["session"] == case.session)]
    imaging = settings["imaging"]
    reference, files = imaging["reference"], Files(images)
    notes: list[str] = []
    with _told(reference):
        volumes = {reference: read_volume(_row(rows, reference, "image"), files, settings)}
    for channel in imaging["channels"]:
        if channel != reference:
            with _noted(channel, notes):
                volumes[channel] = read_volume(_row(rows, channel, "image"), files, settings)
    masks: dict[str, sitk.Image] = {}
    for structure in imaging["masks"]:
        with _noted(structure, notes):
            masks[structure], more = _mask(_row(rows, structure, "mask"), files, volumes[reference])
            notes += [f"{structure}: {note}" for note in more]
    channels = {name: volumes[name] for name in imaging["channels"] if name in volumes}
    _write(case, folder, channels, masks, reference)
    base = volumes[reference].image
    for name, volume in channels.items():
        notes += [f"{name}: {note}" for note in volume.notes]
        if not same_grid(volume.image, base):
            notes.append(f"{name}: another grid than {reference}")
    x, y, z = (round(v, 6) for v in base.GetSpacing())
    return {
        "channels": ",".join(channels),
        "masks": ",".join(masks),
        "spacing_x_mm": x,
        "spacing_y_mm": y,
        "spacing_z_mm": z,
        "n_slices": base.GetSize()[2],
        "fingerprint": fingerprint(base),
        "notes": " | ".join(notes),
    }


def _row(rows: pd.DataFrame, name: str, kind: str) -> pd.Series:
    found = rows[(rows["name"] == name) & (rows["kind"] == kind)]
    if len(found) != 1:
        raise DataAbsentError(
            f"series.tsv names {'no' if found.empty else 'more than one'} {kind} for this case",
            todo=f"write '{name}' into the column name of the right series",
        )
    return found.iloc[0]


def _mask(row: pd.Series, files: Files, reference: Volume) -> tuple[sitk.Image, list[str]]:
    headers = files.of(row)
    if len(headers) != 1:
        raise DataAbsentError("a mask is one file", found=f"{len(headers)} files")
    value = None if pd.isna(row["value"]) else int(row["value"])
    return read_mask(
        headers[0].path, row["format"], row["segment"], value, reference.image, reference.frame_of_reference
    )


def _write(
    case: Case, folder: Path, channels: Mapping[str, Volume], masks: Mapping[str, sitk.Image], reference: str
) -> None:
    def place(suffix: str, **parts: str) -> Path:
        return folder / case_file(case.subject, case.session, suffix, **parts)

    for name, volume in channels.items():
        write_image(volume.image, place(name))
        write_text(place(name, ext=".json"), dump(sidecar(volume.header, volume.image)))
    for name, mask in masks.items():
        write_image(mask, place("mask", desc=name))
    first = {reference: channels[reference].image} | {name: volume.image for name, volume in channels.items()}
    picture(first, masks, place("image", desc="qc", ext=".png"))


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Errors of one channel or structure in words that may stand in a manifest: no path, no text of a foreign tag."""
    try:
        yield
    except HccflowError as error:
        raise type(error)(
            f"{name}: {error.what}", expected=error.expected, found=error.found, todo=error.todo
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None:  # the disk, not the case
            raise
        log.debug("%s", name, exc_info=error)
        raise HccflowError(f"{name}: the files cannot be read", found=type(error).__name__) from error


@contextmanager
def _noted(name: str, notes: list[str]) -> Iterator[None]:
    """As `_told`, but the error becomes a note and the case goes on without this channel or mask."""
    try:
        with _told(name):
            yield
    except HccflowError as error:
        notes.append(str(error))
