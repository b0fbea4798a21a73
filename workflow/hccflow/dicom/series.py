"""One image series: from its files to the volumes that it holds."""

from __future__ import annotations

from collections.abc import Sequence

from hccflow.dicom.geometry import Stack, volumes
from hccflow.dicom.headers import Header, integer, planes_of, text
from hccflow.errors import GeometryError
from hccflow.provenance import file_digest


def volumes_of(
    headers: Sequence[Header], *, gap_tolerance: float = 0.05, min_slices: int = 3
) -> tuple[list[Stack], list[str]]:
    """Volumes of one image series in the order of time, and notes on what was left out.

    Parameters
    ----------
    headers : sequence of Header
        Every file of the series.
    gap_tolerance, min_slices :
        As in `hccflow.dicom.geometry.volumes`; the defaults are those of the configuration's section convert.

    Raises
    ------
    GeometryError
        Cut-off or colour images, two different files under one identity, or no regular volume.
    """
    images = [h for h in headers if h.kind == "image"]
    cut = sum(not h.complete for h in images)
    if cut:
        raise GeometryError("pixel data are cut off", found=f"{cut} of {len(images)} files end too early")
    if any(integer(h.dataset, "SamplesPerPixel") > 1 for h in images):
        raise GeometryError("a colour image (screen copy or rendering), not a scan")
    if any(text(h.dataset, "BurnedInAnnotation").upper() == "YES" for h in images):
        raise GeometryError(
            "text is burned into the pixels", todo="a picture of it could name the patient: use the scan itself"
        )
    single, copies = _without_copies(images)
    planes = [plane for header in single for plane in planes_of(header)]
    notes = [f"{copies} copies of slices ignored"] if copies else []
    return volumes(planes, gap_tolerance=gap_tolerance, min_slices=min_slices), notes


def _without_copies(headers: Sequence[Header]) -> tuple[list[Header], int]:
    """Headers without byte-identical second files of the same instance, and how many those were."""
    first: dict[str, Header] = {}
    kept = []
    for header in headers:
        uid = str(header.dataset.get("SOPInstanceUID", "")) if header.dataset is not None else ""
        if not uid or uid not in first:
            first[uid] = header
            kept.append(header)
        elif file_digest(header.path) != file_digest(first[uid].path):
            raise GeometryError("two different files carry the same SOPInstanceUID", todo="export the series again")
    return kept, len(headers) - len(kept)
