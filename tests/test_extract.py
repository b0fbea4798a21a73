"""extract: bad masks become clear errors, cropping changes time and not numbers, and IBSI's values come out."""

from __future__ import annotations

import json
import logging
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from radiomics import featureextractor

from hccflow.cli import main
from hccflow.errors import ConfigError, RoiError, TableError
from hccflow.extract.cases import import_features
from hccflow.extract.crops import make_crop
from hccflow.extract.intensity import correct_bias, normalise
from hccflow.extract.radiomics import Extractor
from hccflow.phantom.anatomy import Anatomy, draw_anatomy
from hccflow.phantom.cohorts import PRESETS, make_cards
from hccflow.phantom.parameters import Parameters
from hccflow.phantom.people import people
from hccflow.tables import read_table, write_table

NONE = {"kind": "none"}
CLASSES = {name: [] for name in ("shape", "firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm")}


def volume(
    shape=(40, 96, 90), spacing=(0.8, 0.9, 2.5), seed=0, offset=(0.0, 0.0, 0.0)
) -> tuple[sitk.Image, sitk.Image]:
    """Smooth noise with an ellipsoid ROI in an oblique, shifted frame."""
    rng = np.random.default_rng(seed)
    image = sitk.GetImageFromArray(rng.normal(size=shape))
    image.SetSpacing(spacing)
    image = sitk.Cast(sitk.SmoothingRecursiveGaussian(image, 1.5) * 400 + 100, sitk.sitkFloat32)
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    roi = ((z - 18) / 6.0) ** 2 + ((y - 50) / 12.0) ** 2 + ((x - 44) / 10.0) ** 2 <= 1
    mask = sitk.GetImageFromArray(roi.astype(np.uint8))
    c, s = np.cos(0.2), np.sin(0.2)
    for item in (image, mask):
        item.SetSpacing(spacing)
        item.SetOrigin(tuple(np.add((-31.5, 12.25, 101.0), offset)))
        item.SetDirection((c, -s, 0, s, c, 0, 0, 0, 1))
    return image, mask


def stock(image: sitk.Image, mask: sitk.Image, parameters: dict) -> dict[str, float]:
    logging.getLogger("radiomics").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        engine = featureextractor.RadiomicsFeatureExtractor(json.loads(json.dumps(parameters)))
    raw = engine.execute(image, mask)
    values = {k: float(v) for k, v in raw.items() if not k.startswith("diagnostics_")}
    return {
        (k.replace("original_shape_", "shape__") if k.startswith("original_shape_") else f"a__{k}"): v
        for k, v in values.items()
    }


@pytest.mark.parametrize("setting", [
    {"binWidth": 25},
    {"binWidth": 25, "resampledPixelSpacing": [2, 2, 2], "interpolator": "sitkBSpline", "padDistance": 20},
    {"binWidth": 25, "resampledPixelSpacing": [1, 1, 0], "interpolator": "sitkLinear", "padDistance": 20},
    {"binWidth": 25, "resampledPixelSpacing": [0.8, 0.9, 2.5], "interpolator": "sitkBSpline", "padDistance": 40},
    {"binWidth": 25, "resegmentRange": [50, 400], "normalize": True, "normalizeScale": 300},
])  # fmt: skip
@pytest.mark.parametrize(
    "types", [{"Original": {}, "LoG": {"sigma": [3.0]}, "Wavelet": {}}, {"Square": {}, "Gradient": {}}]
)
def test_equal_to_stock_pyradiomics(setting, types):
    image, mask = volume(shape=(40, 200, 190))
    parameters = {"setting": setting, "imageType": types, "featureClass": CLASSES}
    ours = Extractor(parameters, NONE, 20).extract({"a": image}, mask).values
    theirs = stock(image, mask, parameters)
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=2e-6, abs=1e-9), name


def test_native_original_and_wavelet_are_bit_identical():
    image, mask = volume(shape=(40, 200, 190))
    parameters = {"setting": {"binWidth": 25}, "imageType": {"Original": {}, "Wavelet": {}}, "featureClass": CLASSES}
    assert Extractor(parameters, NONE, 20).extract({"a": image}, mask).values == stock(image, mask, parameters)


@pytest.mark.slow
def test_a_small_roi_in_a_large_scan_takes_a_fraction_of_the_time():
    rng = np.random.default_rng(1)
    image = sitk.GetImageFromArray(rng.normal(size=(150, 400, 400)).astype(np.float32) * 50)
    roi = np.zeros((150, 400, 400), np.uint8)
    roi[70:85, 200:220, 180:205] = 1
    mask = sitk.GetImageFromArray(roi)
    setting = {
        "binWidth": 25,
        "resampledPixelSpacing": [1.5, 1.5, 1.5],
        "interpolator": "sitkBSpline",
        "padDistance": 20,
    }
    parameters = {"setting": setting, "imageType": {"Original": {}, "LoG": {"sigma": [3.0]}}, "featureClass": CLASSES}
    extractor = Extractor(parameters, NONE, 20)
    t0 = time.perf_counter()
    ours = extractor.extract({"a": image}, mask).values
    t1 = time.perf_counter()
    theirs = stock(image, mask, parameters)
    t2 = time.perf_counter()
    assert t1 - t0 < 0.6 * (t2 - t1)
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_channels_share_one_shape_and_may_lie_on_another_grid_when_resampled():
    image, mask = volume()
    other, _ = volume(shape=(45, 110, 100), spacing=(0.7, 0.8, 2.2), seed=5, offset=(0.3, -0.2, 0.1))
    resampled = {"resampledPixelSpacing": [2, 2, 2], "interpolator": "sitkBSpline", "binWidth": 25}
    parameters = {"setting": resampled, "imageType": {"Original": {}}, "featureClass": {"shape": [], "firstorder": []}}
    values = Extractor(parameters, NONE, 20).extract({"a": image, "b": other}, mask).values
    assert len([n for n in values if n.startswith("shape__")]) == 14
    assert {n.split("__")[0] for n in values} == {"shape", "a", "b"}
    # both channels are looked at through the same voxels, those of the mask's lattice
    assert values["a__original_firstorder_TotalEnergy"] != values["b__original_firstorder_TotalEnergy"]
    native = Extractor({"setting": {}, "imageType": {"Original": {}}, "featureClass": {"firstorder": []}}, NONE, 20)
    with pytest.raises(RoiError, match="not on the grid of the mask.*resampledPixelSpacing"):
        native.extract({"a": image, "b": other}, mask)


def test_a_window_cuts_and_maps_to_its_scale() -> None:
    image = sitk.GetImageFromArray(np.linspace(-1000, 500, 7 * 6 * 5).reshape(7, 6, 5).astype(np.int16))
    how = {"kind": "window", "window": [-20, 180], "scale": 100}
    out = sitk.GetArrayFromImage(normalise(image, image, None, how))
    values = sitk.GetArrayFromImage(image).astype(float)
    assert out.min() == 0
    assert out.max() == 100
    middle = (values > -20) & (values < 180)
    np.testing.assert_allclose(out[middle], (values[middle] + 20) / 2)


def shaded(shape=(16, 64, 64), spacing=(3.0, 3.0, 6.0)) -> tuple[sitk.Image, np.ndarray, np.ndarray]:
    """A body in air, with a homogeneous organ and 2.5 % of noise in it, under a known smooth field; organ and field."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    body, organ = (x / 0.85) ** 2 + (y / 0.7) ** 2 < 1, ((x + 0.25) / 0.4) ** 2 + (y / 0.45) ** 2 + z**2 < 0.8
    field = np.exp(0.25 * x + 0.2 * y**2 - 0.15 * z + 0.1 * x * y)
    noise = np.random.default_rng(3).normal(0, 10, shape)
    image = sitk.GetImageFromArray(np.abs(np.where(organ, 400, np.where(body, 250, 0)) * field + noise).astype("int16"))
    image.SetSpacing(spacing)
    return image, organ, np.where(body, field, np.nan)


@pytest.mark.parametrize("shape", [(16, 64, 64), (6, 96, 80)])
def test_n4_takes_a_smooth_field_out_and_finds_the_true_one(shape: tuple[int, int, int]) -> None:
    image, organ, field = shaded(shape)
    before, after = sitk.GetArrayFromImage(image).astype(float), sitk.GetArrayFromImage(correct_bias(image))

    def variation(values: np.ndarray) -> float:
        return float(values[organ].std() / values[organ].mean())

    assert variation(before) > 0.07
    assert variation(after) < 0.45 * variation(before), "2.5 % of noise is left"
    body = np.isfinite(field) & (before > 0)
    assert np.corrcoef(np.log(before[body] / after[body]), np.log(field[body]))[0, 1] > 0.99


@pytest.mark.parametrize("place", [0, 2])
def test_n4_gives_the_phantom_s_liver_back_its_own_texture(place: int) -> None:
    p = Parameters.from_card(make_cards(PRESETS["default"])["phantom-ext"])

    def scan(bias: float) -> tuple[np.ndarray, Anatomy]:
        drawn = draw_anatomy(
            replace(p, scanners={site: replace(scanner, bias=bias) for site, scanner in p.scanners.items()}),
            people(p)[place],
        )
        return drawn.phases["arterial"].astype(float), drawn

    (plain, drawn), (bright, _) = scan(0.0), scan(0.15)  # the same subject, texture and noise
    liver = drawn.liver & ~drawn.tumour
    variation = [
        float(values[liver].std() / values[liver].mean())
        for values in (plain, bright, sitk.GetArrayFromImage(correct_bias(sitk.GetImageFromArray(bright))))
    ]
    assert variation[1] > 1.3 * variation[0]
    assert variation[2] == pytest.approx(variation[0], rel=0.05)


def test_n4_gives_the_same_bytes_on_any_number_of_cores() -> None:
    image, _, _ = shaded()
    default = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    made = []
    try:
        for cores in (1, 2, 3, 3):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(cores)
            made.append(sitk.GetArrayFromImage(correct_bias(image)).tobytes())
            assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == cores, "others keep theirs"
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(default)
    assert len(set(made)) == 1


def test_n4_comes_first_for_features_and_crops_alike_and_only_when_asked_for() -> None:
    image, organ, _ = shaded()
    mask = sitk.GetImageFromArray(organ.astype(np.uint8))
    mask.CopyInformation(image)
    parameters = {"setting": {}, "imageType": {"Original": {}}, "featureClass": {"firstorder": []}}
    box = {"size": [16, 16, 8], "margin_mm": 4.0}
    corrected = correct_bias(image)
    for kind in ("none", "zscore"):
        plain, n4 = {"kind": kind}, {"kind": kind, "bias_field": "n4"}
        wanted = Extractor(parameters, plain, 20).extract({"a": corrected}, mask).values
        assert Extractor(parameters, n4, 20).extract({"a": image}, mask).values == wanted
        crops = [make_crop([i], mask, box, intensity=how).image for i, how in ((image, n4), (corrected, plain))]
        np.testing.assert_array_equal(*crops)
        off = (
            normalise(image, mask, None, {"scale": 1.0, "kind": kind, **more}) for more in ({}, {"bias_field": "none"})
        )
        first, second = map(sitk.GetArrayFromImage, off)
        assert first.tobytes() == second.tobytes() and first.dtype == second.dtype
    assert normalise(image, mask, None, {"kind": "none"}) is image


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones((2, 30, 30)), "too thin for a bias field.*30 x 30 x 2"),
        (np.ones((9, 30, 30)), "constant or not finite"),
        (np.where(np.arange(9 * 30 * 30).reshape(9, 30, 30) < 20, 9.0, 0.0), "too little of the image is body"),
    ],
)
def test_an_image_without_a_bias_field_says_so(values: np.ndarray, words: str) -> None:
    with pytest.raises(RoiError, match=words):
        correct_bias(sitk.GetImageFromArray(values))


def test_intensity_normalisation_makes_features_blind_to_the_scale_of_mr():
    image, mask = volume()
    organ = sitk.BinaryDilate(mask, (8, 8, 3))
    parameters = {
        "setting": {"binWidth": 25},
        "imageType": {"Original": {}},
        "featureClass": {"firstorder": [], "glcm": []},
    }
    for kind in ("zscore", "organ"):
        extractor = Extractor(parameters, {"kind": kind, "organ": "liver", "scale": 100}, 20)
        one = extractor.extract({"a": image}, mask, organ=organ).values
        two = extractor.extract({"a": image * 7.0 + 31.0}, mask, organ=organ).values
        assert one == pytest.approx(two, rel=1e-4)
    outside = (sitk.GetArrayFromImage(organ) > 0) & (sitk.GetArrayFromImage(mask) == 0)
    voxels = sitk.GetArrayFromImage(image).astype(float)
    inside = voxels[sitk.GetArrayFromImage(mask) > 0]
    expected = 100 * (inside.mean() - voxels[outside].mean()) / voxels[outside].std(ddof=1)
    assert one["a__original_firstorder_Mean"] == pytest.approx(expected, rel=1e-6)
    with pytest.raises(RoiError, match="no organ mask"):
        extractor.extract({"a": image}, mask)
    with pytest.raises(RoiError, match="do not vary"):
        extractor.extract({"a": image * 0.0}, mask, organ=organ)


def bad_masks() -> dict[str, tuple[np.ndarray, str]]:
    _, mask = volume()
    roi = sitk.GetArrayFromImage(mask)
    empty, one, flat, two = (np.zeros_like(roi) for _ in range(4))
    one[10, 10, 10] = 1
    flat[18] = roi[18]
    two[10:15, 10:20, 10:20], two[30:35, 10:20, 10:20] = 1, 2
    tiny = np.zeros_like(roi)
    tiny[10:12, 10:12, 10:12] = 1
    return {
        "empty": (empty, "mask is empty"), "voxel": (one, "single voxel"), "slice": (flat, "single slice"),
        "labels": (two, "2 labels"), "tiny": (tiny, "too small.*found: 8"),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(bad_masks()))
def test_bad_masks_are_refused_in_one_sentence(name):
    image, good = volume()
    array, message = bad_masks()[name]
    mask = sitk.GetImageFromArray(array)
    mask.CopyInformation(good)
    extractor = Extractor({"featureClass": {"firstorder": []}}, NONE, 20)
    with pytest.raises(RoiError, match=message):
        extractor.extract({"a": image}, mask)


def test_a_label_and_a_slice_may_be_asked_for():
    image, good = volume()
    for name, setting in (("labels", {"label": 2}), ("slice", {"force2D": True})):
        mask = sitk.GetImageFromArray(bad_masks()[name][0])
        mask.CopyInformation(good)
        parameters = {"setting": setting, "imageType": {"Original": {}}, "featureClass": {"glcm": []}}
        result = Extractor(parameters, NONE, 20).extract({"a": image}, mask)
        assert len(result.values) == 24
        assert result.n_voxels == {"labels": 500, "slice": int(bad_masks()["slice"][0].sum())}[name]


@pytest.mark.realdata
def test_geometry_mismatch_and_foreign_voxels(realdata):
    nifti = realdata("autoradiomics_nifti") / "autoradiomics" / "nifti"
    image = sitk.ReadImage(str(nifti / "prostate" / "img.nii.gz"))
    extractor = Extractor({"setting": {"binWidth": 25}, "featureClass": {"firstorder": [], "shape": []}}, NONE, 20)
    expected = {
        "prostate/seg_empty": "empty", "prostate/seg_two_labels": "2 labels",
        "prostate/seg_single_slice": "single slice", "CT_head_seg": "not on the grid of its image",
    }  # fmt: skip
    for name, message in expected.items():
        with pytest.raises(RoiError, match=message):
            extractor.extract({"a": image}, sitk.ReadImage(str(nifti / f"{name}.nii.gz")))
    mask = sitk.ReadImage(str(nifti / "prostate" / "seg_one_label.nii.gz"))
    result = extractor.extract({"a": image}, mask)
    assert result.n_voxels == 19401
    theirs = stock(image, mask, {"setting": {"binWidth": 25}, "featureClass": {"firstorder": [], "shape": []}})
    assert result.values == pytest.approx(theirs, rel=1e-12)


def test_parameters_are_checked_before_any_case():
    with pytest.raises(ConfigError, match="binWidht"):
        Extractor({"setting": {"binWidht": 25}}, NONE, 20)
    log = {"setting": {"resampledPixelSpacing": [1, 1, 1], "padDistance": 5}, "imageType": {"LoG": {"sigma": [5.0]}}}
    with pytest.raises(ConfigError, match="at least 20 voxels"):
        Extractor(log, NONE, 20)
    log["setting"].pop("padDistance")
    assert Extractor(log, NONE, 20).setting["padDistance"] == 40


def test_what_pyradiomics_skips_is_in_the_notes_and_not_on_the_terminal(capfd):
    rng = np.random.default_rng(0)
    image = sitk.GetImageFromArray(rng.normal(size=(3, 30, 30)))
    mask = sitk.GetImageFromArray(np.pad(np.ones((2, 8, 8), np.uint8), ((0, 1), (9, 13), (9, 13))))
    parameters = {"imageType": {"Original": {}, "LoG": {"sigma": [2.0]}}, "featureClass": {"glcm": []}}
    result = Extractor(parameters, NONE, 20).extract({"a": image}, mask)
    assert any("too small to apply LoG" in note for note in result.notes)
    assert capfd.readouterr() == ("", "")


# --- IBSI-1 ------------------------------------------------------------------------------------------------------
FIRST = {
    "Mean": "mean", "Variance": "var", "Skewness": "skew", "Median": "median", "Minimum": "min", "Maximum": "max",
    "10Percentile": "p10", "90Percentile": "p90", "InterquartileRange": "iqr", "Range": "range",
    "Kurtosis": "kurt", "MeanAbsoluteDeviation": "mad", "RobustMeanAbsoluteDeviation": "rmad",
    "Energy": "energy", "RootMeanSquared": "rms",
}  # fmt: skip
SHAPE = {
    "MeshVolume": "volume", "VoxelVolume": "vol_approx", "SurfaceArea": "area_mesh", "SurfaceVolumeRatio": "av",
    "Sphericity": "sphericity", "Maximum3DDiameter": "diam", "MajorAxisLength": "pca_maj_axis",
    "MinorAxisLength": "pca_min_axis", "LeastAxisLength": "pca_least_axis", "Elongation": "pca_elongation",
    "Flatness": "pca_flatness",
}  # fmt: skip
GLCM = {
    "MaximumProbability": "joint_max", "JointAverage": "joint_avg", "JointEntropy": "joint_entr",
    "SumSquares": "joint_var",
    "DifferenceAverage": "diff_avg", "DifferenceVariance": "diff_var", "DifferenceEntropy": "diff_entr",
    "SumEntropy": "sum_entr", "JointEnergy": "energy", "Contrast": "contrast", "Id": "inv_diff", "Idn": "inv_diff_norm",
    "Idm": "inv_diff_mom", "Idmn": "inv_diff_mom_norm", "InverseVariance": "inv_var", "Correlation": "corr",
    "Autocorrelation": "auto_corr", "ClusterTendency": "clust_tend", "ClusterShade": "clust_shade",
    "ClusterProminence": "clust_prom", "Imc1": "info_corr1", "Imc2": "info_corr2",
}  # fmt: skip
GLRLM = {
    "ShortRunEmphasis": "sre", "LongRunEmphasis": "lre", "LowGrayLevelRunEmphasis": "lgre",
    "HighGrayLevelRunEmphasis": "hgre", "ShortRunLowGrayLevelEmphasis": "srlge",
    "ShortRunHighGrayLevelEmphasis": "srhge",
    "LongRunLowGrayLevelEmphasis": "lrlge", "LongRunHighGrayLevelEmphasis": "lrhge", "GrayLevelNonUniformity": "glnu",
    "GrayLevelNonUniformityNormalized": "glnu_norm", "RunLengthNonUniformity": "rlnu",
    "RunLengthNonUniformityNormalized": "rlnu_norm", "RunPercentage": "r_perc", "GrayLevelVariance": "gl_var",
    "RunVariance": "rl_var", "RunEntropy": "rl_entr",
}  # fmt: skip
GLSZM = {
    "SmallAreaEmphasis": "sze", "LargeAreaEmphasis": "lze", "LowGrayLevelZoneEmphasis": "lgze",
    "HighGrayLevelZoneEmphasis": "hgze", "SmallAreaLowGrayLevelEmphasis": "szlge",
    "SmallAreaHighGrayLevelEmphasis": "szhge", "LargeAreaLowGrayLevelEmphasis": "lzlge",
    "LargeAreaHighGrayLevelEmphasis": "lzhge", "GrayLevelNonUniformity": "glnu",
    "GrayLevelNonUniformityNormalized": "glnu_norm", "SizeZoneNonUniformity": "zsnu",
    "SizeZoneNonUniformityNormalized": "zsnu_norm", "ZonePercentage": "z_perc", "GrayLevelVariance": "gl_var",
    "ZoneVariance": "zs_var", "ZoneEntropy": "zs_entr",
}  # fmt: skip
NGTDM = {name: name.lower() for name in ("Coarseness", "Contrast", "Busyness", "Complexity", "Strength")}


def ibsi_names(suffix_avg: str, suffix: str) -> dict[str, str]:
    """PyRadiomics' name -> IBSI tag; texture directions are averaged, zones taken once."""
    return {
        **{f"shape__{k}": f"morph_{v}" for k, v in SHAPE.items()},
        **{f"a__original_firstorder_{k}": f"stat_{v}" for k, v in FIRST.items()},
        **{f"a__original_glcm_{k}": f"cm_{v}_{suffix_avg}" for k, v in GLCM.items()},
        **{f"a__original_glrlm_{k}": f"rlm_{v}_{suffix_avg}" for k, v in GLRLM.items()},
        **{f"a__original_glszm_{k}": f"szm_{v}_{suffix}" for k, v in GLSZM.items()},
        **{f"a__original_ngtdm_{k}": f"ngt_{v}_{suffix}" for k, v in NGTDM.items()},
    }


def ibsi_conventions(values: dict[str, float], n: int) -> dict[str, float]:
    """Where PyRadiomics follows another convention by design: kurtosis without - 3, axes by the covariance over n."""
    axes = {f"shape__{name}AxisLength" for name in ("Major", "Minor", "Least")}
    out = {k: v * np.sqrt(n / (n - 1)) if k in axes else v for k, v in values.items()}
    out["a__original_firstorder_Kurtosis"] -= 3
    return out


def deviations(ours: dict[str, float], reference: Path, names: dict[str, str]) -> dict[str, tuple[float, float, float]]:
    """Values beyond IBSI's tolerance (at least half a unit of the third digit, to which consensus values are given)."""
    table = pd.read_csv(reference, sep=";").dropna().set_index("tag")
    compared = {name: tag for name, tag in names.items() if tag in table.index}
    assert len(compared) > 80, "the reference table has lost its tags"
    bad = {}
    for name, tag in compared.items():
        value, tolerance = float(table.loc[tag, "reference value"]), float(table.loc[tag, "tolerance"])
        digit = 0.5 * 10 ** (np.floor(np.log10(abs(value))) - 2) if value else 0
        if not abs(ours[name] - value) <= max(tolerance, digit) * (1 + 1e-9):
            bad[name] = (ours[name], value, max(tolerance, digit))
    return bad


@pytest.mark.realdata
def test_ibsi_digital_phantom(realdata):
    root = realdata("ibsi1")
    folder = root / "ibsi_data_sets" / "ibsi_1_digital_phantom" / "nifti"
    image, mask = (sitk.ReadImage(str(folder / name)) for name in ("image/phantom.nii.gz", "mask/mask.nii.gz"))
    parameters = {"setting": {"binWidth": 1}, "imageType": {"Original": {}}, "featureClass": CLASSES}
    result = Extractor(parameters, NONE, 20).extract({"a": image}, mask)
    ours = ibsi_conventions(result.values, result.n_voxels)
    assert result.n_voxels == 74
    reference = root / "mirp_ibsi_refs" / "ibsi_1_reference_values" / "ibsi_1_dig_phantom.csv"
    assert deviations(ours, reference, ibsi_names("3D_avg", "3D")) == {}


@pytest.mark.slow
@pytest.mark.realdata
def test_ibsi_ct_phantom_configuration_a(realdata):
    """No interpolation, re-segmentation to [-500, 400] HU, bins of 25 HU, textures by slice (2.5D)."""
    root = realdata("ibsi1")
    folder = root / "ibsi_data_sets" / "ibsi_1_ct_radiomics_phantom" / "nifti"
    image, mask = (sitk.ReadImage(str(folder / name)) for name in ("image/phantom.nii.gz", "mask/mask.nii.gz"))
    setting = {"binWidth": 25, "resegmentRange": [-500, 400], "force2D": True, "force2Ddimension": 0}
    parameters = {"setting": setting, "imageType": {"Original": {}}, "featureClass": CLASSES}
    result = Extractor(parameters, NONE, 20).extract({"a": image}, mask)
    ours = ibsi_conventions(result.values, result.n_voxels)
    reference = root / "mirp_ibsi_refs" / "ibsi_1_reference_values" / "ibsi_1_chest_config_a.csv"
    assert deviations(ours, reference, ibsi_names("2_5D_avg", "2_5D")) == {}


def test_batch_gather_and_by_hand(tmp_path):
    settings = {
        "imaging": {"channels": ["portal", "arterial"], "reference": "arterial", "masks": ["liver", "tumour"]},
        "extract": {
            "rois": {"manual": {"source": "reference", "mask": "tumour", "min_voxels": 20}},
            "intensity": {"kind": "organ", "organ": "liver", "scale": 100},
            "radiomics": {"setting": {"binWidth": 25}, "featureClass": {"shape": [], "firstorder": []}},
        },
    }  # fmt: skip
    converted = tmp_path / "in"
    for number, subject in enumerate(("P1", "P2", "P3")):
        (converted / f"sub-{subject}").mkdir(parents=True)
        image, mask = volume(seed=number)
        if subject == "P3":
            mask = mask * 0
        stem = converted / f"sub-{subject}" / f"sub-{subject}"
        sitk.WriteImage(sitk.BinaryDilate(mask, (8, 8, 3)), f"{stem}_desc-liver_mask.nii.gz")
        sitk.WriteImage(mask, f"{stem}_desc-tumour_mask.nii.gz")
        sitk.WriteImage(image, f"{stem}_arterial.nii.gz")
        if subject != "P2":
            sitk.WriteImage(image + 5, f"{stem}_portal.nii.gz")
    rows = [
        (s, "ok", "", "arterial,portal" if s != "P2" else "arterial", "liver,tumour", s) for s in ("P1", "P2", "P3")
    ]
    rows += [("P4", "failed", "a slice is missing", "", "", ""), ("P5", "excluded", "not in the study", "", "", "")]
    manifest = pd.DataFrame(rows, columns=["subject", "status", "reason", "channels", "masks", "digest"])
    manifest.insert(0, "cohort", "dev")
    manifest.insert(2, "session", "")
    write_table(manifest, tmp_path / "in.tsv")
    command = ["extract", "--cohort", "dev", "--roi", "manual", "--folder-in", str(converted)]
    command += ["--manifest-in", str(tmp_path / "in.tsv"), "--settings", json.dumps(settings)]
    for name, jobs in (("one", "1"), ("two", "2")):
        out = ["--folder", str(tmp_path / name), "--manifest", str(tmp_path / f"{name}.tsv"), "--jobs", jobs]
        assert main(command + out) == 0
    assert (tmp_path / "one.tsv").read_bytes() == (tmp_path / "two.tsv").read_bytes()
    made = read_table(tmp_path / "one.tsv", "manifest").set_index("subject")
    assert made["status"].tolist() == ["ok", "ok", "failed", "failed", "excluded"]
    assert "empty" in made.loc["P3", "reason"]
    assert "a slice is missing" in made.loc["P4", "reason"]
    assert "no image of 'portal'" in made.loc["P2", "notes"]
    features = tmp_path / "features.tsv"
    gather = ["gather", "--manifests", str(tmp_path / "one.tsv"), "--out", str(tmp_path / "all.tsv")]
    assert main([*gather, "--features-in", str(tmp_path / "one"), "--features-out", str(features)]) == 0
    table = read_table(features)
    assert table["subject"].tolist() == ["P1", "P2"]
    assert table["portal__original_firstorder_Mean"].isna().tolist() == [False, True]

    (tmp_path / "s.yaml").write_text(json.dumps({"extract": settings["extract"]}))
    stem = converted / "sub-P1" / "sub-P1"
    hand = ["extract", "--image", f"arterial={stem}_arterial.nii.gz", "--image", f"portal={stem}_portal.nii.gz"]
    hand += ["--mask", f"{stem}_desc-tumour_mask.nii.gz", "--organ-mask", f"{stem}_desc-liver_mask.nii.gz"]
    assert main([*hand, "--settings", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "hand.tsv")]) == 0
    byhand = read_table(tmp_path / "hand.tsv")
    names = [name for name in table if "__" in name]
    assert byhand[names].iloc[0].tolist() == table[names].iloc[0].tolist()


def test_gather_refuses_a_case_in_two_batches(tmp_path):
    row = pd.DataFrame([{"cohort": "dev", "subject": "P1", "session": "", "status": "ok", "reason": ""}])
    for name in ("a", "b"):
        write_table(row, tmp_path / f"{name}.tsv")
    assert main(["gather", "--manifests", str(tmp_path / "a.tsv"), str(tmp_path / "b.tsv"), "--out", "x.tsv"]) == 2


def test_imported_features_are_joined_by_subject(tmp_path):
    participants = pd.DataFrame({"subject": ["P1", "P2", "P3"], "session": ["", "", ""]})
    path = tmp_path / "features.tsv"
    path.write_text("subject\tf1\tf2\nP3\t3\t\nP9\t9\t9\nP1\t1\t10\n")
    features, manifest = import_features(path, participants, cohort="dev")
    assert features[["subject", "f1"]].to_numpy().tolist() == [["P1", 1.0], ["P3", 3.0]]
    assert np.isnan(features["f2"].iloc[1])
    assert manifest["status"].tolist() == ["ok", "failed", "ok"]
    assert manifest["notes"].str.contains("1 rows").all()
    path.write_text("f1\n3\n9\n1\n")
    with pytest.raises(TableError, match="never by order"):
        import_features(path, participants, cohort="dev")
    path.write_text("subject\tf1\nP1\t3\nP1\t9\n")
    with pytest.raises(TableError, match="stands twice"):
        import_features(path, participants, cohort="dev")
