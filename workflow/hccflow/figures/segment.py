"""Two outlines on one slice: the mask of a person and that of a network."""

from __future__ import annotations

import io

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its usual name
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hccflow.figures.style import house_style

#: Colours and lines of the two outlines, which differ in grey too.
REFERENCE, PREDICTED = ("#56B4E9", "solid"), ("#E69F00", "dashed")
#: Tissue shown around the outlines in mm, and the side of the picture in inches at 100 dots per inch.
MARGIN_MM, SIDE = 25.0, 3.2


def outlines(image: sitk.Image, reference: sitk.Image, predicted: sitk.Image | None) -> bytes:
    """Picture (PNG) of the axial slice with most of the reference mask, with both outlines.

    Parameters
    ----------
    image, reference : SimpleITK.Image
        Volume and mask on one grid; the mask is not empty.
    predicted : SimpleITK.Image or None
        Mask on the same grid; None when it is empty.

    Returns
    -------
    bytes
        The same images give the same bytes.
    """
    grey, mask = _array(image).astype(float), _array(reference) > 0
    other = _array(predicted) > 0 if predicted is not None else np.zeros_like(mask)
    k = int(mask.sum(axis=(1, 2)).argmax())
    spacing = np.array(sitk.DICOMOrient(image, "LPS").GetSpacing())
    rows, columns = _window(mask[k] | other[k], spacing[1::-1])
    part, first, second = grey[k, rows, columns], mask[k, rows, columns], other[k, rows, columns]
    low, high = np.percentile(part, [1, 99])
    with house_style():
        height = SIDE * part.shape[0] * spacing[1] / (part.shape[1] * spacing[0])
        figure = Figure(figsize=(SIDE, height))
        axis = figure.subplots()
        figure.subplots_adjust(0, 0, 1, 1)
        axis.imshow(part, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=spacing[1] / spacing[0])
        for outline, (colour, line) in ((first, REFERENCE), (second, PREDICTED)):
            if outline.any():
                axis.contour(
                    np.pad(outline, 1), [0.5], colors=colour, linestyles=line, linewidths=1.6, extent=_extent(part)
                )
        axis.set_axis_off()
        axis.set_xlim(-0.5, part.shape[1] - 0.5)
        axis.set_ylim(part.shape[0] - 0.5, -0.5)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def _array(image: sitk.Image) -> NDArray:
    return sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS"))


def _extent(part: NDArray) -> tuple[float, float, float, float]:
    """Place of an array padded by one voxel, in the coordinates of the unpadded picture (voxel centres)."""
    return (-1.0, part.shape[1], -1.0, part.shape[0])


def _window(inside: NDArray[np.bool_], spacing: NDArray) -> tuple[slice, slice]:
    """Square part of a slice around what is inside, with a margin, as far as the slice reaches."""
    found = np.argwhere(inside)
    low, high = found.min(axis=0) * spacing, (found.max(axis=0) + 1) * spacing
    half, middle = (high - low).max() / 2 + MARGIN_MM, (low + high) / 2
    starts = np.clip(np.floor((middle - half) / spacing), 0, np.array(inside.shape) - 2).astype(int)
    stops = np.clip(np.ceil((middle + half) / spacing), starts + 2, inside.shape).astype(int)
    return slice(starts[0], stops[0]), slice(starts[1], stops[1])
