"""Converting one volume with dcm2niix, and checking what came out against the DICOM headers.

dcm2niix gets the files of one already checked stack and nothing else. Its result must lie where the headers say, and
its middle slice must hold the values that a second decoder reads; else the stack is rewritten as plain uncompressed
slices by pydicom and converted again, and refused when that does not verify either.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - its usual name
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from hccflow.dicom.geometry import Stack
from hccflow.dicom.headers import Plane
from hccflow.errors import DataAbsentError, GeometryError, HccflowError
from hccflow.images import SAME_GRID_VOXELS, affine_of, corners, make_image, read_image

#: Values of the middle slice may differ from the second decoder's by this fraction of its largest value.
SAME_VALUES = 1e-4


@cache
def binary() -> Path:
    """The dcm2niix program: beside this Python, else on the PATH."""
    beside = Path(sys.executable).parent / "dcm2niix"
    found = beside if beside.is_file() else shutil.which("dcm2niix")
    if found is None:
        raise DataAbsentError("the program dcm2niix is not installed", todo="pip install dcm2niix")
    return Path(found)


def convert_stack(stack: Stack) -> tuple[sitk.Image, list[str]]:
    """Convert one volume.

    Returns
    -------
    image : SimpleITK.Image
        Voxels in DICOM order (first axis along rows, third along the normal) as int16 where they are such numbers,
        else float32; rescaled as the headers say.
    notes : list of str
        What was repaired.

    Raises
    ------
    GeometryError
        Neither dcm2niix nor the detour through plain slices gives a volume that agrees with the headers.
    """
    notes = []
    if stack.tilt_degrees:
        notes.append(f"gantry tilt of {stack.tilt_degrees:.1f} degrees corrected by dcm2niix")
    try:
        middle = _decode(stack.planes[len(stack.planes) // 2])
    except Exception as error:  # noqa: BLE001 - decoders raise what they like; what they cannot read cannot be checked
        raise GeometryError("the pixel data cannot be decoded", found=type(error).__name__) from error
    multiframe = any(plane.frame is not None for plane in stack.planes)
    whole = not multiframe or len({p.path for p in stack.planes}) * _frames(stack.planes[0]) == len(stack.planes)
    with TemporaryDirectory(prefix="hccflow-") as name:
        folder = Path(name)
        if whole:
            try:
                return _verified(_run(_link(stack, folder / "in"), folder / "out", stack), stack, middle), notes
            except HccflowError:
                notes.append("decoded by pydicom, as dcm2niix could not read the files correctly")
        return _verified(_run(_rewrite(stack, folder / "plain"), folder / "again", stack), stack, middle), notes


def _frames(plane: Plane) -> int:
    dataset = pydicom.dcmread(plane.path, stop_before_pixels=True, specific_tags=["NumberOfFrames"])
    return int(dataset.get("NumberOfFrames") or 1)


def _run(source: Path, out: Path, stack: Stack) -> Path:
    """Run dcm2niix on a folder that holds one volume; the file that it made."""
    out.mkdir()
    # The standard's own rescaling; only where it differs between slices does dcm2niix need its precise floats.
    constant = len({(plane.slope, plane.intercept) for plane in stack.planes}) == 1
    options = ["-g", "i", "-b", "n", "-z", "n", "-x", "i", "-m", "y", "-d", "0", "-p", "n" if constant else "y"]
    command = [str(binary()), *options, "-f", "volume", "-o", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    made = sorted(out.glob("*_Tilt*.nii" if stack.tilt_degrees else "*.nii"))
    if len(made) != 1:
        raise GeometryError("dcm2niix did not make one volume", found=f"{len(made)} files, exit code {done.returncode}")
    return made[0]


def _link(stack: Stack, folder: Path) -> Path:
    folder.mkdir()
    for index, path in enumerate(sorted({plane.path for plane in stack.planes})):
        (folder / f"{index:05d}.dcm").symlink_to(path.resolve())
    return folder


def _decode(plane: Plane) -> NDArray:
    """Stored pixel values of a slice, by pydicom and its decoders."""
    if plane.frame is None:
        return pydicom.dcmread(plane.path).pixel_array
    return pydicom.pixels.pixel_array(plane.path, index=plane.frame)


def _rewrite(stack: Stack, folder: Path) -> Path:
    """The stack as plain single-slice files: no compression, no vendor, only what makes a volume."""
    folder.mkdir()
    root = "1.2.826.0.1.3680043.8.498."
    for index, plane in enumerate(stack.planes):
        pixels = _decode(plane)
        signed = np.issubdtype(pixels.dtype, np.signedinteger)
        room = np.iinfo(np.int16 if signed else np.uint16)
        if pixels.dtype.kind not in "iu" or pixels.min() < room.min or pixels.max() > room.max:
            raise GeometryError("pixel values do not fit into 16 bits")
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = UID(f"{root}2.{index + 1}")
        plain = Dataset()
        plain.file_meta = meta
        plain.SOPClassUID, plain.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        plain.StudyInstanceUID, plain.SeriesInstanceUID, plain.Modality = f"{root}3", f"{root}4", "CT"
        plain.SeriesNumber, plain.InstanceNumber = 1, index + 1
        plain.Columns, plain.Rows = plane.size
        plain.ImagePositionPatient, plain.ImageOrientationPatient = list(plane.position), list(plane.orientation)  # type: ignore[arg-type]
        plain.PixelSpacing, plain.SliceThickness = list(plane.spacing), stack.spacing[2]  # type: ignore[arg-type]
        plain.RescaleSlope, plain.RescaleIntercept = plane.slope, plane.intercept
        plain.SamplesPerPixel, plain.PhotometricInterpretation = 1, "MONOCHROME2"
        plain.BitsAllocated, plain.BitsStored, plain.HighBit, plain.PixelRepresentation = 16, 16, 15, int(signed)
        plain.PixelData = pixels.astype("<i2" if signed else "<u2").tobytes()
        plain.save_as(folder / f"{index:05d}.dcm", enforce_file_format=True)
    return folder


def _verified(path: Path, stack: Stack, middle: NDArray) -> sitk.Image:
    """The converted volume in DICOM order, when it agrees with the headers."""
    made = read_image(path)
    if made.GetDimension() != 3 or made.GetNumberOfComponentsPerPixel() != 1:
        raise GeometryError("dcm2niix did not make one grey volume")
    target = stack.straight_affine
    array, affine = _in_axes_of(sitk.GetArrayFromImage(made), affine_of(made), target)
    size = array.shape[::-1]
    points = corners(size)
    moved = np.linalg.solve(target, affine @ points)
    offset = moved[:3, 0].copy()
    if stack.tilt_degrees:  # the corrected grid is longer along the columns and may begin elsewhere on that line
        target = target.copy()
        target[:3, 3] += target[:3, 1] * offset[1]
        moved[1] -= offset[1]
    wrong = float(np.abs(moved - points).max())
    same_size = size == stack.size or (stack.tilt_degrees > 0 and size[0::2] == stack.size[0::2])
    if not same_size or wrong > SAME_GRID_VOXELS:
        raise GeometryError(
            "the converted volume is not where the headers say",
            expected=f"{' x '.join(map(str, stack.size))} voxels within {SAME_GRID_VOXELS} voxel",
            found=f"{' x '.join(map(str, size))} voxels, {wrong:.3g} voxels away",
        )
    _check_values(array, stack, middle, offset[1] if stack.tilt_degrees else 0.0)
    whole = all(float(v).is_integer() for plane in stack.planes for v in (plane.slope, plane.intercept))
    small = whole and array.min() >= -32768 and array.max() <= 32767
    return make_image(np.rint(array).astype(np.int16) if small else array.astype(np.float32), target)


def _in_axes_of(
    array: NDArray, affine: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray, NDArray[np.float64]]:
    """Permute and flip `array` (k, j, i), with its affine, so that its axes run as those of `target`."""
    turn = np.linalg.solve(target[:3, :3], affine[:3, :3])
    axes = np.argmax(np.abs(turn), axis=1)
    if sorted(axes) != [0, 1, 2]:
        raise GeometryError("the converted volume has other axes than the headers")
    affine = affine[:, [*axes, 3]].copy()
    array = array.transpose([2 - axes[2 - n] for n in range(3)])
    for axis in range(3):
        if turn[axis, axes[axis]] < 0:
            affine[:3, 3] += affine[:3, axis] * (array.shape[2 - axis] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, 2 - axis)
    return array, affine


def _check_values(array: NDArray, stack: Stack, middle: NDArray, first_row: float) -> None:
    """Compare the middle slice with the second decoder's; under tilt along the shifted, interpolated columns."""
    index = len(stack.planes) // 2
    plane = stack.planes[index]
    expected = middle.astype(float) * plane.slope + plane.intercept
    found = array[index].astype(float)
    peak = float(np.abs(expected).max())
    if not stack.tilt_degrees:
        if not np.allclose(found, expected, rtol=0, atol=SAME_VALUES * peak):
            raise GeometryError("the converted values are not those of the DICOM files")
        return
    step = stack.affine[:3, 2] - stack.straight_affine[:3, 2]
    column = stack.affine[:3, 1]
    shift = index * float(step @ column) / float(column @ column)
    rows = np.arange(found.shape[0]) + first_row - shift  # row of the original slice at each row of the corrected one
    inside = (rows >= 0) & (rows <= expected.shape[0] - 1)
    low = np.clip(np.floor(rows[inside]).astype(int), 0, expected.shape[0] - 2)
    part = (rows[inside] - low)[:, None]
    between = expected[low] * (1 - part) + expected[low + 1] * part
    if np.abs(between - found[inside]).mean() > 1e-3 * peak:
        raise GeometryError("the tilt-corrected values are not those of the DICOM files")
