"""convert: geometry before conversion, masks by geometry, failures as rows, no identity in any output."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from dicom_files import AXIAL, IDENTITIES, uid, voxel, write_seg, write_series
from hccflow.cli import main
from hccflow.convert import dcm2niix
from hccflow.convert.byhand import convert_folder
from hccflow.convert.masks import mask_from_nifti, mask_from_rtstruct, mask_from_seg
from hccflow.convert.rtstruct import fill_polygon
from hccflow.dicom.headers import scan
from hccflow.dicom.series import volumes_of
from hccflow.errors import GeometryError, HccflowError, RoiError
from hccflow.images import affine_of, make_image, read_image, same_grid, write_image
from hccflow.provenance import series_digest
from hccflow.tables import read_table, write_table

SETTINGS = {
    "imaging": {"modality": "MR", "channels": ["arterial", "portal"], "reference": "arterial", "masks": ["tumour"]},
    "convert": {"gap_tolerance": 0.05, "min_slices": 3},
}


def array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def values_by_position(image: sitk.Image) -> np.ndarray:
    """What `dicom_files.voxel` says at the centre of every voxel of an image."""
    size = image.GetSize()
    k, j, i = np.meshgrid(*(np.arange(n) for n in size[::-1]), indexing="ij")
    affine = affine_of(image)
    return voxel(np.stack([i, j, k], -1) @ affine[:3, :3].T + affine[:3, 3])


def only(folder: Path) -> sitk.Image:
    stacks, _ = volumes_of(scan(folder))
    assert len(stacks) == 1
    return dcm2niix.convert_stack(stacks[0])[0]


# --- geometry ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("orientation", "step"),
    [
        (AXIAL, (0, 0, 3)),
        (AXIAL, (0, 0, -3)),
        ((0, 1, 0, 0, 0, -1), (-2, 0, 0)),
        ((0.8, 0.6, 0, -0.6, 0.8, 0), (0, 0, 2)),
    ],
)
def test_every_voxel_lies_where_the_headers_say(tmp_path: Path, orientation: Any, step: Any) -> None:
    write_series(
        tmp_path, orientation=orientation, positions=[np.array((5.0, -7, 11)) + k * np.array(step) for k in range(5)]
    )
    image = only(tmp_path)
    assert np.abs(array(image) - values_by_position(image)).max() <= 0.51  # stored as whole numbers


def test_missing_slice_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path, positions=[(0, 0, 3.0 * k) for k in (0, 1, 2, 4, 5, 6)])
    with pytest.raises(GeometryError, match="slices are missing.*about 1 missing"):
        volumes_of(scan(tmp_path))


@pytest.mark.parametrize(
    ("positions", "orientations", "reason"),
    [
        ([(0, 0, z) for z in (0, 3, 6.5, 9)], None, "uneven"),
        ([(0, 0, 3.0 * k) for k in range(2)], None, "too few slices"),
        ([(0, 0, 0)] * 5, None, "too few slices"),
        ([(0, 0, 3.0 * k) for k in range(5)] + [(0, 0, 6.0)], None, "same number of slices"),
        ([(0, 0, 3.0 * k) for k in range(5)] * 2, None, "no tag that tells them apart"),
        ([(0, 0, 3.0 * k) for k in range(4)], {2: (0, 1, 0, 0, 0, -1)}, "several orientations"),
        ([(0, 0, 0), (0, 0, 3), (4, 0, 6), (0, 0, 9)], None, "shifted"),
    ],
)
def test_irregular_series_are_refused_with_their_reason(
    tmp_path: Path, positions: Any, orientations: Any, reason: str
) -> None:
    def edit(ds: Any, k: int) -> None:
        if orientations and k in orientations:
            ds.ImageOrientationPatient = list(orientations[k])

    write_series(tmp_path, positions=positions, edit=edit)
    with pytest.raises(GeometryError, match=reason):
        volumes_of(scan(tmp_path))


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_missing_geometry_tags_are_named(tmp_path: Path, tag: str) -> None:
    write_series(tmp_path, edit=lambda ds, k: delattr(ds, tag) if k == 1 else None)
    with pytest.raises(GeometryError, match=f"{tag}.*absent in 1 of 6"):
        volumes_of(scan(tmp_path))


def test_phases_of_one_series_are_split_in_the_order_of_time(tmp_path: Path) -> None:
    def edit(ds: Any, k: int) -> None:
        late = k >= 5
        ds.ContentTime = f"1015{10 + 30 * late + k % 5}"  # the only tag that separates them, as in real DCE series
        ds.PixelData = (np.full((16, 20), 200 if late else 100, "<i2")).tobytes()

    positions = [(0, 0, 3.0 * k) for k in range(5)]
    write_series(tmp_path, positions=positions + positions, edit=edit)
    stacks, _ = volumes_of(scan(tmp_path))
    volumes = [array(dcm2niix.convert_stack(stack)[0]) for stack in stacks]
    assert [(v.shape, v.min(), v.max()) for v in volumes] == [((5, 16, 20), 100, 100), ((5, 16, 20), 200, 200)]


def test_interleaved_times_do_not_make_phases(tmp_path: Path) -> None:
    times = iter([1, 9, 3, 4, 5, 2, 10, 8, 7, 6])
    positions = [(0, 0, 3.0 * k) for k in range(5)]
    write_series(
        tmp_path, positions=positions * 2, edit=lambda ds, k: setattr(ds, "ContentTime", f"1015{next(times):02d}")
    )
    with pytest.raises(GeometryError, match="no tag that tells them apart"):
        volumes_of(scan(tmp_path))


def test_copies_of_files_are_ignored_and_said(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    shutil.copy(paths[2], tmp_path / "copy.dcm")
    stacks, notes = volumes_of(scan(tmp_path))
    assert stacks[0].size == (20, 16, 6)
    assert notes == ["1 copies of slices ignored"]


def test_gantry_tilt_is_corrected_and_said(tmp_path: Path) -> None:
    angle = np.radians(15)
    orientation = (1, 0, 0, 0, float(np.cos(angle)), float(-np.sin(angle)))
    write_series(
        tmp_path, modality="CT", size=(24, 40), orientation=orientation, spacing=(1.0, 1.0),
        positions=[(0, 0, 3.0 * k) for k in range(10)], edit=lambda ds, k: setattr(ds, "GantryDetectorTilt", -15),
    )  # fmt: skip
    stacks, _ = volumes_of(scan(tmp_path))
    assert stacks[0].tilt_degrees == pytest.approx(15, abs=1e-3)
    image, notes = dcm2niix.convert_stack(stacks[0])
    assert notes == ["gantry tilt of 15.0 degrees corrected by dcm2niix"]
    assert image.GetSpacing()[2] == pytest.approx(3 * np.cos(angle), abs=1e-4)
    k, j, i = np.meshgrid(*(np.arange(n) for n in image.GetSize()[::-1]), indexing="ij")
    place = affine_of(image) @ np.stack([i, j, k, np.ones_like(i)]).reshape(4, -1)
    row = np.linalg.solve(stacks[0].affine, place)[1].reshape(i.shape)
    inside = (row >= 0) & (row <= 39)  # the rest is padding
    assert inside.mean() > 0.7
    assert np.abs(array(image) - values_by_position(image))[inside].max() < 1.1


def test_cut_off_file_is_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    paths[3].write_bytes(paths[3].read_bytes()[:-100])
    with pytest.raises(GeometryError, match="cut off; found: 1 of 6"):
        volumes_of(scan(tmp_path))


def test_slopes_that_differ_between_slices_survive(tmp_path: Path) -> None:
    def edit(ds: Any, k: int) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = str(0.5 + 0.1 * k), "0"

    write_series(tmp_path, edit=edit)
    image = only(tmp_path)
    raw = np.rint(values_by_position(image))
    assert np.allclose(array(image), raw * (0.5 + 0.1 * np.arange(6))[:, None, None], rtol=1e-5)


def test_what_dcm2niix_cannot_decode_takes_the_detour(tmp_path: Path) -> None:
    def edit(ds: Any, k: int) -> None:
        ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian

    write_series(tmp_path, edit=edit)
    image, notes = dcm2niix.convert_stack(volumes_of(scan(tmp_path))[0][0])
    assert notes == ["decoded by pydicom, as dcm2niix could not read the files correctly"]
    assert np.abs(array(image) - values_by_position(image)).max() <= 0.51


def test_phases_of_an_enhanced_multiframe_file_are_split(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, positions=[(0, 0, 0)])
    ds = pydicom.dcmread(path)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedMRImageStorage
    frames, pixels = [], []
    for k in range(4):
        for phase in (2, 1):  # the file's order is not that of time
            content, place, frame = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
            content.TemporalPositionIndex, place.ImagePositionPatient = phase, [0.0, 0.0, 3.0 * k]
            frame.FrameContentSequence, frame.PlanePositionSequence = [content], [place]
            frames.append(frame)
            pixels.append(np.full((16, 20), 100 * phase + k, "<i2"))
    orientation, measures, shared = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing, measures.SliceThickness = list(AXIAL), [1.5, 2.0], 3
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(ds, tag)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], frames
    ds.NumberOfFrames, ds.PixelData = 8, np.stack(pixels).tobytes()
    ds.save_as(path)
    stacks, _ = volumes_of(scan(tmp_path))
    volumes = [array(dcm2niix.convert_stack(stack)[0]) for stack in stacks]
    assert [v[:, 0, 0].tolist() for v in volumes] == [[100, 101, 102, 103], [200, 201, 202, 203]]
    assert stacks[0].spacing == (2.0, 1.5, 3.0)


def test_a_wrong_conversion_is_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "in")
    stack = volumes_of(scan(tmp_path / "in"))[0][0]
    real = dcm2niix._run

    def shifted(*args: Any) -> Path:
        path = real(*args)
        image = sitk.ReadImage(str(path))
        image.SetOrigin([v + 0.5 for v in image.GetOrigin()])
        sitk.WriteImage(image, str(path))
        return path

    monkeypatch.setattr(dcm2niix, "_run", shifted)
    with pytest.raises(GeometryError, match="not where the headers say"):
        dcm2niix.convert_stack(stack)

    def brighter(*args: Any) -> Path:
        path = real(*args)
        sitk.WriteImage(sitk.ReadImage(str(path)) + 7, str(path))
        return path

    monkeypatch.setattr(dcm2niix, "_run", brighter)
    with pytest.raises(GeometryError, match="values are not those"):
        dcm2niix.convert_stack(stack)


# --- images --------------------------------------------------------------------------------------------------------


def test_written_images_are_whole_bare_and_the_same_bytes(tmp_path: Path) -> None:
    image = make_image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([1.0, 2, 3, 1]))
    image.SetMetaData("descrip", "Doe^Jane")
    for name in ("a.nii.gz", "b.nii.gz"):
        write_image(image, tmp_path / name)
    a, b = ((tmp_path / name).read_bytes() for name in ("a.nii.gz", "b.nii.gz"))
    assert a == b
    assert a[4:8] == bytes(4)  # no time in the gzip header
    assert b"Doe" not in gzip.decompress(a)
    header = nib.load(tmp_path / "a.nii.gz").header
    assert header["qform_code"] > 0
    assert header["sform_code"] > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]
    assert same_grid(read_image(tmp_path / "a.nii.gz"), image)


# --- masks ---------------------------------------------------------------------------------------------------------


def boxes() -> dict[str, np.ndarray]:
    first, second = np.zeros((6, 16, 20), bool), np.zeros((6, 16, 20), bool)
    first[1:4, 3:9, 4:12] = True
    second[3:5, 6:12, 8:15] = True  # overlaps the first
    return {"Tumour": first, "Liver": second}


def test_seg_segments_come_out_voxel_for_voxel_and_by_label(tmp_path: Path) -> None:
    write_series(tmp_path / "im")
    seg = write_seg(tmp_path / "seg.dcm", tmp_path / "im", boxes())
    image = only(tmp_path / "im")
    for label, expected in boxes().items():
        mask, notes = mask_from_seg(seg, label.lower(), image, uid("frameMRN99887766"))
        assert notes == []
        assert np.array_equal(array(mask) > 0, expected)
        assert same_grid(mask, image)
    with pytest.raises(RoiError, match="no segment of this label.*2 segments"):
        mask_from_seg(seg, "spleen", image, "")
    with pytest.raises(RoiError, match="several segments and none is named"):
        mask_from_seg(seg, "", image, "")
    with pytest.raises(RoiError, match="another frame of reference"):
        mask_from_seg(seg, "Liver", image, uid("elsewhere"))


def test_seg_on_another_grid_is_resampled_said_or_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "fine", positions=[(-10, -12, 3.0 * k) for k in range(6)])
    seg = write_seg(tmp_path / "seg.dcm", tmp_path / "fine", boxes())
    write_series(
        tmp_path / "coarse", spacing=(3.0, 4.0), size=(10, 8), positions=[(-9.4, -11.7, 3.0 * k) for k in range(6)]
    )
    mask, notes = mask_from_seg(seg, "Tumour", only(tmp_path / "coarse"), "")
    assert notes == ["mask resampled to the reference grid"]
    millilitres = array(mask).sum() * 3 * 4 * 3 / 1000
    assert millilitres == pytest.approx(boxes()["Tumour"].sum() * 1.5 * 2 * 3 / 1000, rel=0.35)
    write_series(tmp_path / "away", positions=[(500, 500, 900 + 3.0 * k) for k in range(6)])
    with pytest.raises(RoiError, match="does not overlap"):
        mask_from_seg(seg, "Tumour", only(tmp_path / "away"), "")


def write_rtstruct(path: Path, contours: list[np.ndarray], frame: str, name: str = "GTV") -> Path:
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(str(path))
    ds.Modality, ds.SeriesInstanceUID, ds.PatientID = "RTSTRUCT", uid(f"{path}s"), "MRN99887766"
    roi, contour_set = pydicom.Dataset(), pydicom.Dataset()
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 1, name, frame
    contour_set.ReferencedROINumber = 1
    contour_set.ContourSequence = []
    for points in contours:
        item = pydicom.Dataset()
        item.ContourGeometricType, item.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
        item.ContourData = [float(v) for v in np.asarray(points).ravel()]
        contour_set.ContourSequence.append(item)
    ds.StructureSetROISequence, ds.ROIContourSequence = [roi], [contour_set]
    ds.save_as(path, enforce_file_format=True)
    return path


def square(half: float, z: float) -> np.ndarray:
    return np.array([(-half, -half, z), (half, -half, z), (half, half, z), (-half, half, z)]) + (9.0, 0.0, 0.0)


def test_rtstruct_holes_planes_and_emptiness(tmp_path: Path) -> None:
    write_series(tmp_path / "im")
    image, frame = only(tmp_path / "im"), uid("frameMRN99887766")
    ring = [square(7.9, z) for z in (3, 6, 12)] + [square(2.9, z) for z in (3, 6, 12)]
    mask, notes = mask_from_rtstruct(write_rtstruct(tmp_path / "a.dcm", ring, frame), "", image, frame)
    k, j, i = np.meshgrid(*(np.arange(n) for n in image.GetSize()[::-1]), indexing="ij")
    x, y, z = -10 + 2.0 * i - 9, -12 + 1.5 * j, 3.0 * k
    expected = (np.maximum(abs(x), abs(y)) < 7.9) & ~(np.maximum(abs(x), abs(y)) < 2.9) & np.isin(z, (3, 6, 12))
    assert np.array_equal(array(mask) > 0, expected)
    assert notes == ["1 planes without contour inside the region"]
    with pytest.raises(RoiError, match="the mask is empty.*2 contours outside"):
        mask_from_rtstruct(
            write_rtstruct(tmp_path / "b.dcm", [square(8, 300), square(8, 303)], frame), "", image, frame
        )
    with pytest.raises(RoiError, match="another frame of reference"):
        mask_from_rtstruct(tmp_path / "a.dcm", "GTV", image, uid("other"))
    with pytest.raises(RoiError, match="no single ROI"):
        mask_from_rtstruct(tmp_path / "a.dcm", "PTV", image, frame)


@pytest.mark.parametrize("seed", range(5))
def test_polygons_are_filled_like_matplotlib_does(seed: int) -> None:
    from matplotlib.path import Path as Outline

    rng = np.random.default_rng(seed)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    points = np.c_[np.cos(turn), np.sin(turn)] * rng.uniform(4, 17, 24)[:, None] + (14.37, 11.21)
    ours = fill_polygon(points, (25, 30))
    j, i = np.mgrid[:25, :30]
    theirs = Outline(np.r_[points, points[:1]]).contains_points(np.c_[i.ravel(), j.ravel()]).reshape(25, 30)
    assert np.array_equal(ours, theirs)


def test_nifti_label_maps(tmp_path: Path) -> None:
    image = make_image(np.zeros((4, 5, 6), np.int16), np.eye(4))
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 1:3, 1:3], labels[2, 2:4, 2:5] = 1, 2
    write_image(make_image(labels, np.eye(4)), tmp_path / "l.nii.gz")
    mask, notes = mask_from_nifti(tmp_path / "l.nii.gz", 2, image)
    assert (array(mask).sum(), notes) == (6, [])
    with pytest.raises(RoiError, match="several values and none is named"):
        mask_from_nifti(tmp_path / "l.nii.gz", None, image)
    with pytest.raises(RoiError, match="the mask is empty; found: values 1, 2"):
        mask_from_nifti(tmp_path / "l.nii.gz", 3, image)
    far = np.eye(4)
    far[:3, 3] = 100
    with pytest.raises(RoiError, match="does not overlap"):
        mask_from_nifti(tmp_path / "l.nii.gz", 2, make_image(np.zeros((4, 5, 6), np.int16), far))


# --- batches -------------------------------------------------------------------------------------------------------


def study(root: Path) -> tuple[Path, Path]:
    """Six subjects, each with its own fate, indexed by the command itself; and their participants table."""
    images = root / "images"
    fates = {"MRNOK1": {}, "MRNGAP": {"positions": [(0, 0, 3.0 * k) for k in (0, 1, 3, 4)]}}
    for patient in ("MRNOK1", "MRNBYTES", "MRNEMPTY", "MRNGONE"):
        base = images / f"{patient}_Doe_Jane"
        write_series(base / "20240131_art", patient=patient)
        write_series(base / "20240131_pv", patient=patient, description="Ax LAVA PV", size=(10, 8), spacing=(3.0, 4.0))
        write_seg(base / "seg" / "s.dcm", base / "20240131_art", {"Tumour": boxes()["Tumour"]})
    write_series(images / "MRNGAP" / "art", patient="MRNGAP", **fates["MRNGAP"])
    people = pd.DataFrame(
        {"subject": ["S1", "S2", "S3", "S4", "S5", "S6"], "session": "", "site": "a", "batch": "01",
         "source_id": ["MRNOK1", "MRNGAP", "MRNBYTES", "MRNEMPTY", "MRNGONE", "MRNNEVER"]}
    )  # fmt: skip
    write_table(people, root / "participants.tsv")
    assert main(["index", "--images", str(images), "--participants", str(root / "participants.tsv")]) == 0
    arterial = images / "MRNBYTES_Doe_Jane" / "20240131_art" / "IM0002.dcm"
    arterial.write_bytes(arterial.read_bytes().replace(b"ACC5550123", b"ACC5550124"))
    seg = images / "MRNEMPTY_Doe_Jane" / "seg" / "s.dcm"
    seg.write_bytes(b"damaged before it was indexed")
    index = read_table(images / "series.tsv", "series")
    index.loc[(index["subject"] == "S4") & (index["kind"] == "mask"), "sha256"] = series_digest([seg])
    write_table(index, images / "series.tsv")
    shutil.rmtree(images / "MRNGONE_Doe_Jane" / "20240131_art")
    return images, root / "participants.tsv"


def run_batch(images: Path, people: Path, out: Path, jobs: int = 1) -> pd.DataFrame:
    command = ["convert", "--cohort", "c", "--batch", "01", "--images", str(images), "--participants", str(people)]
    command += ["--settings", json.dumps(SETTINGS), "--folder", str(out / "batch-01")]
    assert main([*command, "--manifest", str(out / "batch-01.tsv"), "--jobs", str(jobs)]) == 0
    return read_table(out / "batch-01.tsv", "convert").set_index("subject")


def test_a_batch_has_a_row_and_a_reason_for_every_case_and_no_identity(tmp_path: Path) -> None:
    images, people = study(tmp_path)
    table = run_batch(images, people, tmp_path / "one")
    assert table["status"].to_dict() == {
        "S1": "ok", "S2": "failed", "S3": "failed", "S4": "ok", "S5": "failed", "S6": "failed",
    }  # fmt: skip
    assert table.loc["S1", "channels"] == "arterial,portal"
    assert table.loc["S1", "masks"] == "tumour"
    assert table.loc["S1", "notes"] == "portal: another grid than arterial"
    assert table.loc["S1", ["spacing_x_mm", "spacing_y_mm", "spacing_z_mm", "n_slices"]].tolist() == [2.0, 1.5, 3.0, 6]
    assert "series.tsv names no image" in table.loc["S2", "reason"]  # the index did not take a series with a gap
    assert "not those that were indexed" in table.loc["S3", "reason"]
    assert "run hccflow index" in table.loc["S3", "reason"]
    assert table.loc["S4", "masks"] == ""
    assert "tumour: files cannot be read as DICOM" in table.loc["S4", "notes"]
    assert "the files are not there; do: run hccflow index" in table.loc["S5", "reason"]
    assert "series.tsv names no image" in table.loc["S6", "reason"]
    case = tmp_path / "one" / "batch-01" / "sub-S1"
    assert sorted(p.name for p in case.iterdir()) == [
        "sub-S1_arterial.json", "sub-S1_arterial.nii.gz", "sub-S1_desc-qc_image.png", "sub-S1_desc-tumour_mask.nii.gz",
        "sub-S1_portal.json", "sub-S1_portal.nii.gz",
    ]  # fmt: skip
    assert np.array_equal(array(read_image(case / "sub-S1_desc-tumour_mask.nii.gz")) > 0, boxes()["Tumour"])
    sidecar = json.loads((case / "sub-S1_arterial.json").read_text())
    assert sidecar["manufacturer"] == "Siemens"
    assert sidecar["model"] == ""  # it held a word of the patient's name
    assert sidecar["echo_time_ms"] == 1.9
    planted = [*IDENTITIES, "MRNOK1", "MRNGAP", uid("frameMRNOK1")[:20], str(tmp_path)]
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            data += gzip.decompress(data) if path.suffix == ".gz" else b""
            assert not [text for text in planted if text.encode() in data or text in path.name], path

    again = run_batch(images, people, tmp_path / "two", jobs=2)
    assert again.equals(table), "the same files give the same bytes, in parallel too"


def test_files_outside_the_folder_are_refused(tmp_path: Path) -> None:
    images, people = study(tmp_path)
    index = read_table(images / "series.tsv", "series")
    index.loc[:, "path"] = "../outside"
    (tmp_path / "outside").mkdir()
    write_table(index, images / "series.tsv")
    assert (run_batch(images, people, tmp_path / "out")["status"] == "failed").all()


def test_by_hand_tells_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--dicom", str(tmp_path / "none"), "--out", str(tmp_path / "o")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert main(["convert", "--cohort", "c"]) == 2
    assert "--batch, --images" in capsys.readouterr().err
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(dcm2niix.shutil, "which", lambda name: None)
        patch.setattr(dcm2niix.sys, "executable", str(tmp_path / "python"))
        dcm2niix.binary.cache_clear()
        with pytest.raises(HccflowError, match="dcm2niix is not installed.*pip install dcm2niix"):
            dcm2niix.binary()
    dcm2niix.binary.cache_clear()


@pytest.mark.slow
def test_the_phantom_converts_with_its_planted_faults_and_no_planted_identity(tmp_path: Path) -> None:
    import yaml

    from hccflow.phantom.identity import planted_identities

    assert main(["phantom", "--preset", "micro", "--out", str(tmp_path / "data")]) == 0
    cohort = tmp_path / "data" / "phantom-dev"
    assert main(["phantom", "--card", str(cohort / "cohort.yaml"), "--dicom", str(cohort / "dicom")]) == 0
    people = read_table(cohort / "participants.tsv")
    settings = SETTINGS | {"imaging": SETTINGS["imaging"] | {"masks": ["liver", "tumour"]}}
    tables = []
    for batch in sorted(people["batch"].unique()):
        out = tmp_path / "results" / f"batch-{batch}"
        command = ["convert", "--cohort", "phantom-dev", "--batch", batch, "--images", str(cohort / "dicom")]
        command += ["--participants", str(cohort / "participants.tsv"), "--settings", json.dumps(settings)]
        assert main([*command, "--folder", str(out), "--manifest", f"{out}.tsv"]) == 0
        tables.append(read_table(f"{out}.tsv", "convert"))
    table = pd.concat(tables).set_index("subject")
    assert len(table) == len(people)
    failed = table[table["status"] == "failed"]
    assert 0 < len(failed) < 5
    assert failed["reason"].str.contains("slices are missing|cut off|cannot be read").all()
    ok = table[table["status"] == "ok"]
    assert (ok["masks"] == "liver,tumour").all()
    assert ok["channels"].isin(["arterial,portal", "arterial"]).all()
    card = yaml.safe_load((cohort / "cohort.yaml").read_text())
    planted = [text.encode() for subject in table.index for text in planted_identities(card, subject)]
    assert len(planted) > len(table)
    for path in (tmp_path / "results").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            data += gzip.decompress(data) if path.suffix == ".gz" else b""
            assert not [text for text in planted if text in data or text.decode() in path.name], path


# --- real data -----------------------------------------------------------------------------------------------------


def sitk_series(paths: list[Path]) -> sitk.Image:
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    return sitk.ReadImage([str(p) for p in paths])


def assert_same_volume(ours: sitk.Image, theirs: sitk.Image) -> None:
    assert same_grid(ours, theirs)
    assert np.allclose(array(ours), array(theirs), rtol=0, atol=1e-4 * np.abs(array(theirs)).max())


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("archive", "folder"),
    [
        ("crlm_ct_1004", "mirp_crlm_ct/ct_images_seg/CRLM-CT-1004/image"),
        ("dcmqi_liver_seg", "dcmqi/segmentations/ct-3slice"),
        ("sts_dicom_rtstruct", "ibsi_validation_sts_dicom/dicom/STS_002/CT/image"),
        ("sts_dicom_rtstruct", "ibsi_validation_sts_dicom/dicom/STS_002/MR_T1/image"),
        ("sts_dicom_rtstruct", "ibsi_validation_sts_dicom/dicom/STS_002/PET/image"),
        ("totalseg_ct", "totalseg_example/example_ct_dicom"),
        ("d2n", "dicom2nifti_tests/generic/compressed/001"),
        ("d2n", "dicom2nifti_tests/generic/compressed_j2k/001"),
        ("d2n", "dicom2nifti_tests/generic/compressed_jpeg/001"),
        ("d2n", "dicom2nifti_tests/generic/compressed_jpegls/001"),
        ("d2n", "dicom2nifti_tests/generic/compressed_rle/001"),
        ("d2n", "dicom2nifti_tests/generic/anatomical/002_non_isotropic"),
        ("d2n", "dicom2nifti_tests/ge/anatomical/001"),
        ("d2n", "dicom2nifti_tests/siemens/anatomical/001"),
    ],
)
def test_real_series_equal_an_independent_reader(realdata: Any, archive: str, folder: str) -> None:
    stacks, _ = volumes_of(scan(realdata(archive) / folder))
    assert len(stacks) == 1
    ours, _ = dcm2niix.convert_stack(stacks[0])
    assert_same_volume(ours, sitk_series([plane.path for plane in stacks[0].planes]))
    if "compressed" in folder:
        assert 8298112 in array(ours).sum(axis=(1, 2))


@pytest.mark.realdata
@pytest.mark.parametrize("case", ["001", "001_implicit"])
def test_enhanced_multiframe_equals_its_ground_truth(realdata: Any, case: str) -> None:
    folder = realdata("d2n") / "dicom2nifti_tests" / "philips_enhanced" / "anatomical"
    ours = only(folder / case)
    truth = sitk.ReadImage(str(folder / f"{case}_ground_truth.nii.gz"))
    moved = sitk.Resample(ours, truth, sitk.Transform(), sitk.sitkNearestNeighbor, -1.0, sitk.sitkFloat32)
    assert np.mean(np.isclose(array(moved), array(truth), rtol=1e-3, atol=1)) > 0.99


@pytest.mark.realdata
def test_real_faults_are_refused(realdata: Any) -> None:
    failing = realdata("d2n") / "dicom2nifti_tests"
    for folder, reason in {
        "failing/sliceincrement/001": "slices are missing.*from 5 to 10 mm",
        "failing/notavolume/001": "too few slices",
        "failing/slicecount/001": "too few slices",
        "generic/rgb/001": "colour image",
    }.items():
        with pytest.raises(GeometryError, match=reason):
            volumes_of(scan(failing / folder))


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("archive", "folder", "degrees"),
    [
        ("ct_tilt_philips", "dcm_qa_ct/In/Philips/S21610/S2010", 18.5),
        ("d2n", "dicom2nifti_tests/failing/gantrytilting/001", 14.0),
    ],
)
def test_real_tilt_is_corrected_to_the_true_geometry(realdata: Any, archive: str, folder: str, degrees: float) -> None:
    from scipy.ndimage import map_coordinates

    (stack,), _ = volumes_of(scan(realdata(archive) / folder))
    assert stack.tilt_degrees == pytest.approx(degrees, abs=0.01)
    ours, _ = dcm2niix.convert_stack(stack)
    raw = np.stack([_rescaled(plane.path) for plane in stack.planes])
    rng = np.random.default_rng(0)
    index = np.stack([rng.integers(1, n - 1, 5000) for n in ours.GetSize()])
    place = affine_of(ours) @ np.r_[index, np.ones((1, 5000))]
    source = np.linalg.solve(stack.affine, place)[2::-1]
    expected = map_coordinates(raw, source, order=1, mode="constant", cval=np.nan)
    found = array(ours)[index[2], index[1], index[0]]
    inside = np.isfinite(expected)
    assert inside.mean() > 0.7
    assert np.abs(expected - found)[inside].mean() < 0.5


def _rescaled(path: Path) -> np.ndarray:
    ds = pydicom.dcmread(path)
    return ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)


@pytest.mark.realdata
def test_three_time_points_in_one_series_are_three_volumes(realdata: Any, tmp_path: Path) -> None:
    folder = realdata("dce_br08") / "mirp_dce_mr" / "dce_images_mr" / "UCSF-BR-08"
    stacks, _ = volumes_of(scan(folder / "image_dce_3dfgre_orig"))
    assert [s.size for s in stacks] == [(256, 256, 60)] * 3
    times = [{str(pydicom.dcmread(p.path, stop_before_pixels=True).ContentTime)[:4] for p in s.planes} for s in stacks]
    assert times == [{"0858"}, {"0904"}, {"0909"}]
    assert_same_volume(dcm2niix.convert_stack(stacks[1])[0], sitk_series([p.path for p in stacks[1].planes]))
    table = convert_folder(folder / "image_dce_3dfgre_orig", tmp_path, seg=folder / "mask" / "1-1.dcm")
    assert table["status"].eq("ok").all()
    seg = pydicom.dcmread(folder / "mask" / "1-1.dcm")
    volume = (seg.pixel_array >= 128).sum()  # same spacing, shifted by half a voxel in the plane
    assert table["n_voxels"].iloc[-1] == pytest.approx(volume, rel=0.01)
    assert "fractional segment cut at 0.5 | mask resampled to the reference grid" in table["notes"].iloc[-1]


@pytest.mark.realdata
def test_real_seg_voxel_for_voxel(realdata: Any) -> None:
    folder = realdata("dcmqi_liver_seg") / "dcmqi" / "segmentations"
    image = only(folder / "ct-3slice")
    liver, notes = mask_from_seg(folder / "liver.dcm", "liver", image, "")
    assert (array(liver).sum(), notes) == (107098, [])
    assert np.array_equal(array(liver), array(sitk.ReadImage(str(folder / "liver_seg.nrrd"))) > 0)
    labels = {"GREEN": (1, 1), "ORANGE": (2, 2), "PURPLE": (3, 3), "LIGHT_BLUE": (1, 4), "DARK_BLUE": (1, 5)}
    for label, (file, value) in labels.items():
        ours, _ = mask_from_seg(folder / "partial_overlaps.dcm", label, image, "")
        assert np.array_equal(
            array(ours) > 0, array(sitk.ReadImage(str(folder / f"partial_overlaps-{file}.nrrd"))) == value
        )
    small = only(folder / "24x38x3" / "image")
    for name in ("sparse-labelmap-noppv", "sparse-labelmap-ppv5"):
        ours, _ = mask_from_seg(folder / f"{name}.dcm", "", small, "")
        assert array(ours).sum(axis=(1, 2)).tolist() == [315, 0, 315]


@pytest.mark.realdata
def test_real_rtstruct_equals_the_published_masks(realdata: Any) -> None:
    dicom = realdata("sts_dicom_rtstruct") / "ibsi_validation_sts_dicom" / "dicom" / "STS_002"
    nifti = realdata("sts_nifti") / "ibsi_validation_sts_nifti" / "nifti" / "STS_002"
    for channel in ("MR_T1", "PET"):
        headers = scan(dicom / channel / "image")
        image = only(dicom / channel / "image")
        ours, _ = mask_from_rtstruct(
            dicom / channel / "mask" / "RS.dcm", "", image, str(headers[0].dataset.FrameOfReferenceUID)
        )
        theirs = sitk.ReadImage(str(nifti / f"{channel}_mask.nii.gz"))
        moved = sitk.Resample(theirs, ours, sitk.Transform(), sitk.sitkNearestNeighbor)
        assert np.array_equal(array(ours) > 0, array(moved) > 0), channel


@pytest.mark.realdata
def test_real_label_map_on_the_converted_ct(realdata: Any) -> None:
    folder = realdata("totalseg_ct") / "totalseg_example"
    image = only(folder / "example_ct_dicom")
    liver, notes = mask_from_nifti(folder / "example_seg_dicom.nii.gz", 5, image)
    truth = nib.load(folder / "example_seg_dicom.nii.gz")
    volume = (np.asarray(truth.dataobj) == 5).sum() * np.prod(truth.header.get_zooms()[:3])
    assert array(liver).sum() * np.prod(image.GetSpacing()) == pytest.approx(volume, rel=1e-4)
    assert notes == []
