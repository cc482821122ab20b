"""Reading and writing of images: NIfTI, NRRD, MHA, DICOM, pictures, NumPy arrays, members of a MedMNIST archive.

Volumes come in the axis order nearest to RAS (left to right, back to front, foot to head) whatever the file's own, so
that flips, crops and figures mean the same for every scan; `write_mask` puts a mask back into the file's order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import orientations
from PIL import Image as Picture

from selfmae.data import arrays, dicom
from selfmae.data.dicom_masks import load_mask as load_dicom_mask
from selfmae.data.itk import ENDINGS, load_itk, save_itk
from selfmae.data.nifti import open_nifti, read_canonical
from selfmae.errors import UserError

NIFTI = (".nii", ".nii.gz")
VOLUMES = (*NIFTI, *ENDINGS)
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
ARRAYS = arrays.ENDINGS
COLOURS = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}


@dataclass(frozen=True)
class Image:
    """An image in memory. Pictures and arrays have no spacing: `spacing_mm` is () and `affine` is None."""

    array: np.ndarray  # [C, *S] float32
    spacing_mm: tuple[float, ...]
    affine: np.ndarray | None  # [4, 4] from voxels to mm, RAS


@dataclass(frozen=True)
class Mask:
    """A mask in memory, in the axis order of the image it belongs to."""

    array: np.ndarray  # [*S] integers
    spacing_mm: tuple[float, ...]
    affine: np.ndarray | None


def suffix_of(path: Path) -> str:
    """Return the file's ending in lower case, ".nii.gz" counted as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def stem_of(path: Path) -> str:
    """Return the file's name without its ending."""
    return path.name[: len(path.name) - len(suffix_of(path))] if suffix_of(path) else path.name


def is_image(path: Path) -> bool:
    """Return whether the name is that of an image file which can be read."""
    return suffix_of(path) in (*VOLUMES, *PICTURES, *ARRAYS) and not path.name.startswith(".")


def read_image(paths: Sequence[Path]) -> Image:
    """Return the image of one study; several files are its channels, in order, and must have one grid."""
    parts = [_read(path) for path in paths]
    arrays = [_as_channels(part) for part in parts]
    for path, array in zip(paths[1:], arrays[1:], strict=True):
        if array.shape[1:] != arrays[0].shape[1:]:
            raise UserError(
                f"The channels of one study must have one size, but {paths[0].name} has {list(arrays[0].shape[1:])} "
                f"and {path.name} {list(array.shape[1:])}: resample one onto the other."
            )
    whole = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    return Image(np.ascontiguousarray(whole, dtype=np.float32), parts[0].spacing_mm, parts[0].affine)


def read_mask(path: Path) -> Mask:
    """Return a mask; raise `UserError` where its values are not whole numbers or it has several channels."""
    raw = _read(path, mask=True)
    array = raw.array
    if array.ndim > raw.num_axes and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != raw.num_axes:
        raise UserError(
            f"The mask {path} has {array.shape[-1]} channels, but a mask has one with a number for each label: "
            "join the channels to one."
        )
    if not np.issubdtype(array.dtype, np.integer):
        array = _as_whole(array, path)
    return Mask(array, raw.spacing_mm, raw.affine)


def _as_whole(array: np.ndarray, path: Path) -> np.ndarray:
    """Return the numbers of a mask as integers, plane by plane; raise `UserError` where one is none."""
    small = array.size > 0 and abs(array.min()) < 2**15 and abs(array.max()) < 2**15
    whole = np.empty(array.shape, np.int16 if small else np.int32)
    for plane, rounded in zip(array, whole, strict=True):
        rounded[...] = np.nan_to_num(plane)
        if not np.array_equal(rounded, plane):
            raise UserError(
                f"The mask {path} holds fractions (or NaN), but masks hold whole numbers, one for each label: "
                "was it resampled with interpolation, or is it an image?",
                "fractional_label",
            )
    return whole


@dataclass(frozen=True)
class _Raw:
    """Values as in the file, channels last if there are any, in canonical axis order."""

    array: np.ndarray
    num_axes: int  # spatial axes; one more axis of the array is the channel
    spacing_mm: tuple[float, ...]
    affine: np.ndarray | None


def _as_channels(raw: _Raw) -> np.ndarray:
    array = raw.array[None] if raw.array.ndim == raw.num_axes else np.moveaxis(raw.array, -1, 0)
    return array.astype(np.float32, copy=False)


def _read(path: Path, mask: bool = False) -> _Raw:
    """Read a file; every error of a reader becomes one sentence."""
    try:
        return _read_raw(path, mask)
    except UserError:
        raise
    except FileNotFoundError as error:
        kind = "mask" if mask else "image"
        raise UserError(f"The {kind} {path} was expected, but there is no such file: check the path.") from error
    except Exception as error:  # readers raise many kinds for files that are damaged
        # SimpleITK puts places in its own source code before the reason.
        reason = " ".join(str(error).rpartition("ERROR: ")[2].split()) or type(error).__name__
        raise UserError(
            f"{path} could not be read ({reason}): the file is damaged or of another kind; copy it again."
        ) from error


def _read_raw(path: Path, mask: bool) -> _Raw:
    suffix = suffix_of(path)
    if suffix in ARRAYS or any(parent.suffix == ".npz" for parent in path.parents):
        return _Raw(*arrays.load_array(path), (), None)
    if suffix in VOLUMES:
        return _read_volume(path, mask)
    if suffix in PICTURES:
        return _read_picture(path, mask)
    if dicom.is_dicom(path):
        return _read_dicom(path, mask)
    raise UserError(
        f"{path} is no image file that can be read: expected {', '.join((*VOLUMES, *PICTURES, *ARRAYS))} or "
        "DICOM; convert it."
    )


def _read_dicom(path: Path, mask: bool) -> _Raw:
    if mask:
        return _as_canonical(nib.Nifti1Image(*load_dicom_mask(path)), mask)
    if dicom.is_volume(path):
        return _read_volume(path, mask)
    array, spacing = dicom.load_picture(path)
    return _Raw(array, 2, spacing, None)


def _load_volume(path: Path) -> Any:
    if suffix_of(path) in ENDINGS:
        return load_itk(path)
    return open_nifti(path) if suffix_of(path) in NIFTI else nib.Nifti1Image(*dicom.load_series(path))


def _is_volume(path: Path) -> bool:
    return suffix_of(path) in VOLUMES or (dicom.is_dicom(path) and dicom.is_volume(path))


def _read_volume(path: Path, mask: bool) -> _Raw:
    return _as_canonical(_load_volume(path), mask)


def _as_canonical(image: Any, mask: bool) -> _Raw:
    array, affine = read_canonical(image, mask)
    spacing = tuple(round(float(step), 6) for step in nib.affines.voxel_sizes(affine))
    return _Raw(array, 3, spacing, np.asarray(affine, dtype=float))


def _read_picture(path: Path, mask: bool) -> _Raw:
    with Picture.open(path) as picture:
        # A palette holds colours for people: in a mask its indices are the labels.
        colours = None if mask and picture.mode == "P" else COLOURS.get(picture.mode)
        return _Raw(np.asarray(picture.convert(colours) if colours else picture), 2, (), None)


def mask_suffix(like: Path) -> str:
    """Return the ending of a mask file that goes with an image file."""
    suffix = suffix_of(like)
    if suffix in ENDINGS:
        return ".mha" if suffix == ".mhd" else suffix  # one file, not two
    if _is_volume(like):
        return ".nii.gz"  # also for a DICOM series
    return ".png" if suffix in PICTURES or dicom.is_dicom(like) else ".npy"


def write_mask(array: np.ndarray, path: Path, like: Path) -> None:
    """Write a mask [*S], in the axis order of `read_image(like)`, onto the grid and in the axis order of `like`."""
    number_type = np.uint8 if array.max(initial=0) < 256 else np.uint16
    array = array.astype(number_type)
    part = path.with_name(f".part-{path.name}")
    if _is_volume(like):
        reference = _load_volume(like)
        own = orientations.io_orientation(reference.affine)
        back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), own)
        array = orientations.apply_orientation(array, back)
        if suffix_of(path) in ENDINGS:
            save_itk(array, part, like)
        else:
            _save_nifti(array, part, reference)
    elif suffix_of(path) == ".png":
        Picture.fromarray(array).save(part, format="PNG")
    else:
        np.save(part, array)
    part.replace(path)


def _save_nifti(array: np.ndarray, path: Path, like: Any) -> None:
    mask = nib.Nifti1Image(array, like.affine, like.header)
    mask.header.set_data_dtype(array.dtype)
    mask.header.set_slope_inter(1, 0)
    mask.header["cal_max"] = mask.header["cal_min"] = 0
    nib.save(mask, path)
