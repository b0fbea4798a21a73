"""The image of one scan: a liver with one tumour, in every channel of the study.

All shapes are analytic in millimetres, so every grid shows the same anatomy. MR intensities are relative to unenhanced
liver until the scanner's gain, bias field and noise are applied; CT intensities are HU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from hccflow.phantom.contrast import AIR, CHANNELS, INTERCEPT
from hccflow.phantom.parameters import Parameters, Scanner
from hccflow.phantom.people import BASELINE, Person, Visit

Volume = NDArray[np.float64]
LIVER_TEXTURE, LIVER_TEXTURE_MM = 0.05, 2.5
#: How much stronger the liver's texture is where it shows heterogeneity: veins must not drown it.
FILLING = 2.0


@dataclass(frozen=True)
class Anatomy:
    """Stored pixel values by phase and masks, all of shape (slices, rows, columns).

    Columns run to the patient's left, rows to the back, slices to the head.
    """

    phases: dict[str, NDArray[np.uint16]]
    liver: NDArray[np.bool_]
    tumour: NDArray[np.bool_]


def draw_anatomy(p: Parameters, one: Person, visit: Visit = BASELINE) -> Anatomy:
    """Draw one scan of a subject on its site's grid; the liver mask includes the tumour.

    Organs and the shape of the tumour belong to the subject, so they are the same at every visit; the diameter of the
    tumour, textures, bias field and noise are the visit's own.
    """
    # A small body on a fine grid is a person on a coarse one.
    scanner = p.scanners[one.site]
    scanner = replace(scanner, spacing_mm=[step / p.design.body for step in scanner.spacing_mm])
    rng = p.stream("image", one.subject)
    grid = _grid(scanner)
    shapes = _organs(grid, rng, scanner)
    tumour, inside = _tumour(p, one.diameters[0] * visit.growth / p.design.body, grid, shapes["liver"], rng, scanner)
    if visit.session:
        rng = p.stream("image", visit.stream_of(one.subject))
    blotches = _blotches(p, one, inside, rng, scanner)
    growth = float(np.exp(p.tumour.texture_log_slope * one.heterogeneity))
    liver_texture = _background(p, one) * LIVER_TEXTURE * _smooth_noise(rng, scanner, LIVER_TEXTURE_MM)
    bias = _bias(grid, scanner, rng)
    phases = {}
    for name in p.design.channels:
        image = np.full(tumour.shape, AIR[p.design.modality])
        for tissue in ("fat", "muscle", "spine", "aorta", "spleen", "liver", "vein"):
            value = CHANNELS[p.design.modality][name].tissue[tissue]
            texture = liver_texture * (FILLING * growth if p.design.fills_liver else 1.0) if tissue == "liver" else 0.0
            image += shapes[tissue] * (value * (1 + texture) - image)
        mean = p.tumour.mean[name] + p.tumour.mean_slope[name] * one.heterogeneity
        image += tumour * (np.maximum(mean + p.tumour.texture[name] * growth * blotches, 0.05) - image)
        phases[name] = _acquire(image * bias, scanner, p.design.modality, rng)
    return Anatomy(phases, np.maximum(shapes["liver"], tumour) >= 0.5, inside)


def _background(p: Parameters, one: Person) -> float:
    """Amplitude of the liver's own texture in this subject, relative to the usual one."""
    if not p.design.background:
        return 1.0
    return float(np.exp(p.design.background * np.clip(p.stream("background", one.subject).standard_normal(), -2, 2)))


def _grid(scanner: Scanner) -> list[Volume]:
    """Coordinates x, y, z in mm from the centre of the volume, ready to broadcast."""
    x, y, z = (
        np.linspace(-0.5, 0.5, n, dtype=np.float64) * (n - 1) * step
        for n, step in zip(scanner.matrix, scanner.spacing_mm, strict=True)
    )
    return [x[None, None, :], y[None, :, None], z[:, None, None]]


def _soft(radius: Volume, extent_mm: float, scanner: Scanner) -> Volume:
    """Share of a voxel inside a shape whose border is at radius 1: partial volume over one voxel."""
    return np.clip((1 - radius) * extent_mm / float(np.mean(scanner.spacing_mm)) + 0.5, 0, 1)


def _ellipsoid(grid: list[Volume], centre: list[float], semi: list[float]) -> Volume:
    return np.sqrt(sum(((g - c) / s) ** 2 for g, c, s in zip(grid, centre, semi, strict=True)))


def _organs(grid: list[Volume], rng: np.random.Generator, scanner: Scanner) -> dict[str, Volume]:
    """Share of each organ in each voxel; later ones in the drawing order lie over earlier ones."""
    x, y, z = grid
    scale = 1 + 0.04 * np.clip(rng.standard_normal(), -2, 2)
    shift = 2.0 * rng.standard_normal(3)
    body = np.broadcast_to(np.sqrt((x / 77) ** 2 + (y / 62) ** 2), np.broadcast_shapes(x.shape, y.shape, z.shape))
    right = _ellipsoid(grid, [-24 + shift[0], -2 + shift[1], shift[2]], [44 * scale, 46 * scale, 41 * scale])
    left = _ellipsoid(grid, [12 + shift[0], -24 + shift[1], 8 + shift[2]], [36 * scale, 22 * scale, 28 * scale])
    inner = _soft(body / 0.93, 58, scanner)
    # Two branches of a vein cross the liver; their axes are lines through a common point.
    veins = np.zeros(body.shape)
    for angle in (0.5, 2.3) + 0.2 * rng.standard_normal(2):
        distance = np.hypot((x + 18) * np.sin(angle) - (y + 4) * np.cos(angle), z - 6 - 0.25 * (x + 18))
        veins = np.maximum(veins, _soft(distance / 3.0, 3.0, scanner))
    liver = np.maximum(_soft(right, 44, scanner), _soft(left, 28, scanner)) * inner
    return {
        "fat": _soft(body, 62, scanner),
        "muscle": inner,
        "spine": _soft(np.hypot(x / 15, (y - 40) / 13) + 0 * z, 14, scanner),
        "aorta": _soft(np.hypot((x - 17) / 8, (y - 29) / 8) + 0 * z, 8, scanner),
        "spleen": _soft(_ellipsoid(grid, [48, 14, 10], [17, 26, 27]), 22, scanner) * inner,
        "liver": liver,
        "vein": veins * (liver >= 0.99),
    }


def _tumour(
    p: Parameters, diameter: float, grid: list[Volume], liver: Volume, rng: np.random.Generator, scanner: Scanner
) -> tuple[Volume, NDArray[np.bool_]]:
    """Share of tumour in each voxel, and its mask: an ellipsoid with an irregular border, inside the right lobe."""
    radius = diameter / 2
    semi = radius * np.array([1.0, *rng.uniform(0.8, 0.95, 2)])[rng.permutation(3)]
    room = np.maximum(np.array([40.0, 40.0, 37.0]) - radius, 2.0)
    direction = rng.standard_normal(3)
    offset = room * direction / np.linalg.norm(direction) * rng.random() ** (1 / 3) * 0.85
    centre = np.array([-24.0, -2.0, 0.0]) + offset
    wobble = p.tumour.border * _smooth_noise(rng, scanner, 5.0)
    share = _soft(_ellipsoid(grid, centre.tolist(), semi.tolist()) + wobble, radius, scanner) * (liver > 0.5)
    return share, share >= 0.5


def _smooth_noise(rng: np.random.Generator, scanner: Scanner, sigma_mm: float) -> Volume:
    """Gaussian field of mean 0 and SD 1 with a smoothness given in mm."""
    columns, rows, slices = scanner.matrix
    sigma = [sigma_mm / step for step in reversed(scanner.spacing_mm)]
    field = gaussian_filter(rng.standard_normal((slices, rows, columns)), sigma, mode="wrap")
    return field / field.std()


def _blotches(
    p: Parameters, one: Person, inside: NDArray[np.bool_], rng: np.random.Generator, scanner: Scanner
) -> Volume:
    """Texture of the tumour, standardised inside it: its amplitude is then heterogeneity and nothing else."""
    size = p.tumour.blotch_mm * np.exp(p.tumour.blotch_log_slope * one.heterogeneity)
    field = _smooth_noise(rng, scanner, size)
    return np.clip((field - field[inside].mean()) / field[inside].std(), -3, 3)


def _bias(grid: list[Volume], scanner: Scanner, rng: np.random.Generator) -> Volume:
    """Multiplicative receive field: the exponential of a random quadratic over the field of view."""
    x, y, z = (g / 80 for g in grid)
    a = rng.standard_normal(6)
    field = a[0] * x + a[1] * y + a[2] * z + a[3] * x * y + a[4] * (x**2 - y**2) + a[5] * z * y
    return np.exp(scanner.bias * (field - field.mean()) / field.std())


def _acquire(image: Volume, scanner: Scanner, modality: str, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Stored values (value = slope * stored + intercept): Rician noise for an MR, Gaussian for a CT."""
    real, imaginary = scanner.noise * rng.standard_normal((2, *image.shape))
    value = scanner.gain * (np.hypot(image + real, imaginary) if modality == "MR" else image + real)
    return np.clip(np.rint((value - INTERCEPT[modality]) / scanner.slope), 0, 4095).astype(np.uint16)
