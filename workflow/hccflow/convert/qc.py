"""The quality-control picture of a case: every channel in three cuts through the lesion, masks as outlines."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its usual name
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from hccflow.figures.style import COLOURS

#: Longest side of a panel and height of a caption, in pixels.
PANEL, CAPTION = 320, 18
#: Display window of CT in Hounsfield units (soft tissue); other images are shown from their 1st to 99th percentile.
CT_WINDOW = (-110.0, 240.0)
#: A volume whose height is below this share of its largest extent is shown in axial cuts only.
THIN = 0.35
VIEWS = ("axial", "coronal", "sagittal")
#: Outline colours of the usual structures, and of any others in their order.
OUTLINES = {"liver": COLOURS[4], "tumour": COLOURS[1]}
OTHERS = (COLOURS[2], COLOURS[3], COLOURS[5])


def picture(channels: Mapping[str, sitk.Image], masks: Mapping[str, sitk.Image], path: Path) -> None:
    """Write the picture (PNG; the same images give the same bytes).

    Parameters
    ----------
    channels : mapping of str to SimpleITK.Image
        Volumes by name, the reference first; the others are drawn on its grid.
    masks : mapping of str to SimpleITK.Image
        Masks on the grid of the reference. The cuts go where the last one is largest.
    path : Path
        File to write.
    """
    names = list(channels)
    grid = sitk.DICOMOrient(channels[names[0]], "LPS")
    drawn = {name: sitk.GetArrayFromImage(sitk.DICOMOrient(mask, "LPS")) for name, mask in masks.items()}
    shape = grid.GetSize()[::-1]
    extent = np.array(grid.GetSpacing())[::-1] * shape
    cuts = _cuts(list(drawn.values())[-1] if drawn else None, extent, shape)
    colours = _colours(list(masks))
    scale = PANEL / extent.max()
    rows = []
    for name in names:
        image = grid if name == names[0] else sitk.Resample(channels[name], grid, sitk.Transform(), sitk.sitkLinear)
        array = sitk.GetArrayFromImage(image)
        low, high = _window(array)
        panels = []
        for axis, at in cuts:
            cut = _upright(np.take(array, at, axis), axis)
            outlines = [_upright(np.take(mask, at, axis), axis) for mask in drawn.values()]
            sides = np.delete(extent, axis) * scale
            panels.append(_panel(cut, outlines, colours, (low, high), (round(sides[1]), round(sides[0]))))
        places = ", ".join(f"{VIEWS[axis]} {at + 1}/{shape[axis]}" for axis, at in cuts)
        rows.append(_row(panels, f"{name}   {places}   {low:.4g} to {high:.4g}"))
    _stack(rows, dict(zip(masks, colours, strict=True))).save(path)


def _cuts(target: NDArray | None, extent: NDArray, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Axis and index of each cut: three planes where the target is largest, or three axial ones in a thin slab."""
    thin = extent[0] < THIN * extent.max()
    if target is None:
        return (
            [(0, round(shape[0] * part)) for part in (0.25, 0.5, 0.75)]
            if thin
            else [(a, shape[a] // 2) for a in range(3)]
        )
    largest = [int(np.argmax(target.sum(axis=tuple(a for a in range(3) if a != axis)))) for axis in range(3)]
    if not thin:
        return list(enumerate(largest))
    inside = np.flatnonzero(target.any(axis=(1, 2)))
    low, high = (int(v) for v in np.rint(np.percentile(inside, (20, 80))))
    return [(0, at) for at in sorted({low, largest[0], high})]


def _colours(masks: list[str]) -> list[str]:
    rest = cycle(OTHERS)
    return [OUTLINES[name] if name in OUTLINES else next(rest) for name in masks]


def _upright(cut: NDArray, axis: int) -> NDArray:
    """A cut of an LPS volume as radiologists look at it: anterior or head up."""
    return cut if axis == 0 else cut[::-1]


def _window(array: NDArray) -> tuple[float, float]:
    low, high = (float(v) for v in np.percentile(array[:, ::2, ::2], (1, 99)))
    if low < -500:
        return CT_WINDOW
    return low, high if high > low else low + 1


def _panel(
    cut: NDArray, outlines: list[NDArray], colours: list[str], window: tuple[float, float], size: tuple[int, int]
) -> Image.Image:
    low, high = window
    grey = np.clip((cut.astype(float) - low) / (high - low), 0, 1) * 255
    size = (max(size[0], 8), max(size[1], 8))
    panel = Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR).convert("RGB")
    pixels = np.array(panel)
    for outline, colour in zip(outlines, colours, strict=True):
        inside = np.array(Image.fromarray((outline > 0).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)) > 0
        ring = np.pad(inside, 1)
        core = ring[:-2, 1:-1] & ring[2:, 1:-1] & ring[1:-1, :-2] & ring[1:-1, 2:]
        pixels[inside & ~core] = ImageColor.getrgb(colour)
    return Image.fromarray(pixels)


def _row(panels: list[Image.Image], caption: str) -> Image.Image:
    width = sum(p.width for p in panels) + 4 * (len(panels) - 1)
    row = Image.new("RGB", (width, max(p.height for p in panels) + CAPTION))
    ImageDraw.Draw(row).text((4, 2), caption, fill="white", font=ImageFont.load_default(12))
    left = 0
    for panel in panels:
        row.paste(panel, (left, CAPTION))
        left += panel.width + 4
    return row


def _stack(rows: list[Image.Image], legend: Mapping[str, str]) -> Image.Image:
    width = max(max(row.width for row in rows), 360)
    sheet = Image.new("RGB", (width, sum(row.height + 4 for row in rows) + CAPTION))
    draw, left = ImageDraw.Draw(sheet), 4.0
    for name, colour in legend.items():
        draw.text((left, 2), name, fill=colour, font=ImageFont.load_default(12))
        left += draw.textlength(name, font=ImageFont.load_default(12)) + 12
    top = CAPTION
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + 4
    return sheet
