"""PyRadiomics on a small part of the volume, with the numbers of PyRadiomics on the whole volume.

Most of PyRadiomics' time on a large scan goes into voxels that no feature sees. What is cropped here, and why the
features stay:

- On the native grid the image is cropped to the ROI with a margin beyond the reach of the filters in use. Filters that
  look at the whole image (Square, SquareRoot, Logarithm, Exponential scale by its maximum) are not cropped for.
- With resampling, the new lattice is that of the whole volume: PyRadiomics' own `resampleImage` gets the whole mask,
  from which it derives the lattice, and an image cropped beyond the reach of the interpolation. The mask is resampled
  whole, so its nearest-neighbour ties fall as PyRadiomics lets them fall.

References
----------
van Griethuysen et al., Cancer Research 77 (2017) e104.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from radiomics import featureextractor, imageoperations

from hccflow.errors import ConfigError, RoiError
from hccflow.extract.intensity import normalise
from hccflow.extract.regions import TOLERANCE, crop_around, describe, find_region, same_grid

#: Image types whose voxels depend on a neighbourhood only.
LOCAL = frozenset({"Original", "LoG", "Wavelet", "Gradient"})
#: Voxels around the ROI: enough for the cubic B-spline (its memory falls by 0.27 a voxel) and for one wavelet level.
MARGIN = 40
#: Reach of the recursive Gaussian in sigmas, where its tail is below 1e-9.
REACH = 15.0
#: Fewest sigmas of padding around a resampled ROI; there LoG is still within 1 %.
MIN_PAD_SIGMAS = 4.0
SHAPES = ("shape", "shape2D")


@dataclass(frozen=True)
class Features:
    """Features of one ROI by name, size of the ROI on its own grid, components of the mask, and what was odd."""

    values: dict[str, float]
    n_voxels: int
    volume_ml: float
    n_components: int
    notes: list[str]


class Extractor:
    """PyRadiomics with one set of parameters, checked once.

    Parameters
    ----------
    parameters : mapping
        PyRadiomics' own form: ``setting``, ``imageType``, ``featureClass``. `padDistance` is 40 where it is not given
        (PyRadiomics' default of 5 moves LoG features by tens of per cent).
    intensity : mapping
        ``extract.intensity``: ``kind, scale`` (and ``organ``).
    min_voxels : int
        Fewest voxels of a usable ROI, on its own grid.
    entry : mapping
        ``extract.rois.<name>``: ``lesion`` and ``ring_mm``, as in `find_region`.

    Raises
    ------
    ConfigError
        PyRadiomics refuses the parameters, or the padding is too small for LoG.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        intensity: Mapping[str, Any],
        min_voxels: int,
        entry: Mapping[str, Any] | None = None,
    ) -> None:
        own = copy.deepcopy(dict(parameters))
        setting = own.setdefault("setting", {})
        setting.setdefault("padDistance", MARGIN)
        with _quiet():
            try:
                checked = featureextractor.RadiomicsFeatureExtractor(copy.deepcopy(own))
            except Exception as error:  # pykwalify and PyRadiomics raise what they like on a bad parameter
                raise ConfigError(
                    "PyRadiomics refuses its parameters", where="extract.radiomics", found=error
                ) from error
        self.setting: dict[str, Any] = {**checked.settings, "additionalInfo": False}
        self.types: dict[str, dict[str, Any]] = {k: v or {} for k, v in checked.enabledImagetypes.items()}
        self.classes: dict[str, Any] = dict(checked.enabledFeatures)
        self.label: int | None = setting.get("label")
        self.tolerance = float(setting.get("geometryTolerance") or TOLERANCE)
        self.intensity = {"scale": 1.0, **intensity}
        self.min_voxels = min_voxels
        self.entry = entry or {}
        self._check_padding()

    @property
    def spacing(self) -> np.ndarray | None:
        """Spacing (x, y, z) in mm of resampled images, 0 where an axis keeps its own; None without resampling."""
        wanted = self.setting["resampledPixelSpacing"]
        return None if wanted is None or self.setting["interpolator"] is None else np.asarray(wanted, dtype=float)

    @property
    def sigmas(self) -> list[float]:
        """Sigmas of the LoG filter in mm."""
        return [float(s) for s in self.types.get("LoG", {}).get("sigma", [])]

    def _check_padding(self) -> None:
        if self.spacing is None or not self.sigmas:
            return
        spacing = self.spacing[self.spacing > 0]
        need = max(self.sigmas) * MIN_PAD_SIGMAS
        if spacing.size and self.setting["padDistance"] * spacing.min() < need:
            raise ConfigError(
                "padDistance is too small for LoG: the filter would see the border of the crop",
                where="extract.radiomics.setting.padDistance",
                expected=f"at least {int(np.ceil(need / spacing.min()))} voxels ({MIN_PAD_SIGMAS:g} sigma)",
                found=self.setting["padDistance"],
            )

    def extract(
        self,
        images: Mapping[str, sitk.Image],
        mask: sitk.Image,
        *,
        organ: sitk.Image | None = None,
        within: sitk.Image | None = None,
    ) -> Features:
        """Features of one ROI in one or more images.

        Parameters
        ----------
        images : mapping
            Whole volumes by channel; the first is the reference, on whose grid the mask lies and from which shape is
            computed. Another channel may lie on another grid when images are resampled.
        mask : SimpleITK.Image
            Label map.
        organ : SimpleITK.Image, optional
            Organ mask for ``intensity.kind: organ``.
        within : SimpleITK.Image, optional
            Mask that a ring does not leave.

        Returns
        -------
        Features
            Names are ``<channel>__<imageType>_<class>_<feature>`` and ``shape__<feature>``. A value that is not finite
            is NaN and named in the notes.

        Raises
        ------
        RoiError
            The mask cannot be used; see `find_region`, `normalise`.
        """
        reference = next(iter(images.values()))
        region = find_region(
            mask, reference, self.entry, within=within, label=self.label, min_voxels=self.min_voxels,
            flat=bool(self.setting["force2D"]), tolerance=self.tolerance,
        )  # fmt: skip
        roi = region.roi
        n = int(sitk.GetArrayViewFromImage(roi).sum())
        values: dict[str, float] = {}
        notes = list(region.notes)
        for channel, image in images.items():
            scaled = normalise(image, region.whole, organ, self.intensity)
            found, warned = self._extract_one(scaled, roi, shape=channel == next(iter(images)), channel=channel)
            values |= found
            notes += [f"{channel}: {text}" for text in warned]
        odd = [name for name, value in values.items() if not np.isfinite(value)]
        if odd:
            notes.append(f"{len(odd)} features undefined: {', '.join(odd[:5])}{' …' if len(odd) > 5 else ''}")
            values |= dict.fromkeys(odd, float("nan"))
        volume_ml = n * float(np.prod(roi.GetSpacing())) / 1000.0
        return Features(values, n, volume_ml, region.n_components, notes)

    def _extract_one(
        self, image: sitk.Image, roi: sitk.Image, *, shape: bool, channel: str
    ) -> tuple[dict[str, float], list[str]]:
        with _quiet() as warned:
            engine = featureextractor.RadiomicsFeatureExtractor()  # tells of defaults that are replaced below
            try:
                part, part_roi = self._prepare(image, roi)
                # Everything but the filters and the features has been done; the tolerance is a global of SimpleITK.
                done = {"interpolator": None, "resampledPixelSpacing": None, "normalize": False, "label": 1}
                engine.settings = {**self.setting, **done, "preCrop": False, "correctMask": False}
                engine.settings.pop("geometryTolerance", None)
                engine.enabledImagetypes = copy.deepcopy(self.types)
                engine.enabledFeatures = {k: v for k, v in self.classes.items() if shape or k not in SHAPES}
                raw = engine.execute(part, part_roi)
            except (ValueError, RuntimeError, AssertionError, IndexError) as error:
                raise RoiError(f"PyRadiomics cannot use the ROI in '{channel}'", found=str(error).strip()) from error
        return {_name(key, channel): float(np.asarray(value)) for key, value in raw.items()}, sorted(set(warned))

    def _prepare(self, image: sitk.Image, roi: sitk.Image) -> tuple[sitk.Image, sitk.Image]:
        """Part of the image, resampled when asked, and the ROI on the same grid."""
        if self.setting["normalize"]:  # PyRadiomics' own z-score is over the whole image, so before any crop
            image = imageoperations.normalizeImage(image, **self.setting)
        if self.spacing is not None:
            target = np.where(self.spacing > 0, self.spacing, roi.GetSpacing())
            # The ROI may end inside a voxel of the new lattice, hence one voxel more.
            part = crop_around(image, roi, (self.setting["padDistance"] + 1) * target, [MARGIN] * 3)
            return imageoperations.resampleImage(part, roi, **{**self.setting, "label": 1})
        if not same_grid(image, roi, self.tolerance):
            if not self.setting.get("correctMask"):
                raise RoiError(
                    "the image is not on the grid of the mask", expected=describe(roi), found=describe(image),
                    todo="set resampledPixelSpacing (features on the lattice of the mask) or correctMask: true",
                )  # fmt: skip
            roi = sitk.Resample(roi, image, sitk.Transform(), sitk.sitkNearestNeighbor)
        else:
            roi = sitk.Image(roi)
            roi.CopyInformation(image)  # equal within the tolerance; PyRadiomics wants them equal to the last digit
        if not set(self.types) <= LOCAL:
            return image, roi
        margin = self._filter_margin(np.asarray(image.GetSpacing()))
        return crop_around(image, roi, [0, 0, 0], margin), crop_around(roi, roi, [0, 0, 0], margin)

    def _filter_margin(self, spacing: np.ndarray) -> list[int]:
        """Voxels (x, y, z) around the ROI that the filters in use can see."""
        sigma = max(self.sigmas, default=0.0)
        wavelet = 0
        if "Wavelet" in self.types:
            import pywt

            given = {**self.setting, **self.types["Wavelet"]}
            levels = given.get("start_level", 0) + given.get("level", 1)
            wavelet = pywt.Wavelet(given.get("wavelet", "coif1")).dec_len * 2**levels
        return [int(max(MARGIN, wavelet, np.ceil(REACH * sigma / mm))) for mm in spacing]


def _name(key: str, channel: str) -> str:
    """Name of a feature in our tables from PyRadiomics' own."""
    for shape in SHAPES:
        if key.startswith(f"original_{shape}_"):
            return key.replace(f"original_{shape}_", f"{shape}__", 1)
    return f"{channel}__{key}"


class _Collect(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # Feature classes warn on every call that two features are redundant; only the others concern a case.
        if record.name in ("radiomics.imageoperations", "radiomics.featureextractor"):
            self.texts.append(record.getMessage().replace("\n", " ").replace("\t", " "))


@contextlib.contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep PyRadiomics and its validator off the terminal; their warnings about a case are handed back."""
    loggers = [logging.getLogger(name) for name in ("radiomics", "pykwalify")]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    collect = _Collect()
    for logger in loggers:
        logger.handlers, logger.propagate = [collect], False
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the validator's way to load its rules
            yield collect.texts
    finally:
        for logger, (handlers, propagate, old) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(old)
