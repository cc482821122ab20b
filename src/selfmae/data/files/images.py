"""Images in memory, read from one file or from one for each channel."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image as Picture

from selfmae.data.dicom import pixels
from selfmae.data.dicom.masks import load_mask as load_dicom_mask
from selfmae.data.files.formats import ARRAYS, ITK, NIFTI, PICTURES, VOLUMES, suffix_of
from selfmae.data.files.itk import load_itk
from selfmae.data.files.nifti import HALF_VOXEL, canonical_affine, differing_parts, read_canonical, voxels_apart
from selfmae.errors import UserError, first_of

COLOURS = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}

_archive_lock = threading.Lock()


@dataclass(frozen=True)
class Image:
    """An image in memory. Pictures and arrays have no spacing: `spacing_mm` is () and `affine` is None."""

    array: np.ndarray  # [C, *S] float32
    spacing_mm: tuple[float, ...]
    affine: np.ndarray | None  # [4, 4] from voxels to mm, RAS


@dataclass(frozen=True)
class Raw:
    """Values as in the file, channels last if there are any, in canonical axis order."""

    array: np.ndarray
    num_axes: int  # spatial axes; one more axis of the array is the channel
    spacing_mm: tuple[float, ...]
    affine: np.ndarray | None


def read_image(paths: Sequence[Path]) -> Image:
    """Return the image of one study; several files are its channels, in order, and must have one grid."""
    parts = [read_raw(path) for path in paths]
    arrays = [_as_channels(part) for part in parts]
    for path, array in zip(paths[1:], arrays[1:], strict=True):
        if array.shape[1:] != arrays[0].shape[1:]:
            raise UserError(
                f"The channels of one study must have one size, but {paths[0].name} has {list(arrays[0].shape[1:])} "
                f"and {path.name} {list(array.shape[1:])}: resample one onto the other."
            )
    for path, part in zip(paths[1:], parts[1:], strict=True):
        _check_position(parts[0], part, (paths[0], path))
    whole = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    return Image(np.ascontiguousarray(whole, dtype=np.float32), parts[0].spacing_mm, parts[0].affine)


def _check_position(one: Raw, other: Raw, paths: tuple[Path, Path]) -> None:
    """Raise where the same voxel of two channels has different positions; less than half a voxel is ignored."""
    if one.affine is None or other.affine is None:
        return
    apart = voxels_apart(one.affine, other.affine, one.array.shape[:3])
    if apart > HALF_VOXEL:
        raise UserError(
            f"The channels of one study must lie on one grid, but {paths[0].name} and {paths[1]} differ in "
            f"{' and '.join(differing_parts(one.affine, other.affine))} (voxels lie up to {apart:.3g} voxels apart, "
            f"{HALF_VOXEL:g} are allowed): correct the header that is wrong, or resample one onto the other.",
            "place_differs",
        )


def has_equal_channels(image: Image) -> bool:
    """Return whether this is a picture of three equal channels: a gray one that was saved in colour."""
    array = image.array
    return array.ndim == 3 and len(array) == 3 and all(np.array_equal(array[0], channel) for channel in array[1:])


def with_channels(image: Image, count: int) -> Image:
    """Return a gray picture with one channel or three equal ones, as `count` wants; all else as it is."""
    if count == 1 and has_equal_channels(image):
        return replace(image, array=image.array[:1])
    if count == 3 and image.array.ndim == 3 and len(image.array) == 1:
        return replace(image, array=np.repeat(image.array, 3, axis=0))
    return image


def _as_channels(raw: Raw) -> np.ndarray:
    array = raw.array[None] if raw.array.ndim == raw.num_axes else np.moveaxis(raw.array, -1, 0)
    return array.astype(np.float32, copy=False)


def read_raw(path: Path, mask: bool = False) -> Raw:
    """Read a file; every error of a reader becomes one sentence."""
    with _one_sentence(path, mask):
        found = _read_kind(path, mask)
        if not found.array.size:
            raise ValueError("it has no voxels")
        return found


def read_spacing(path: Path) -> tuple[float, ...]:
    """Return the spacing of an image in mm as `read_raw` gives it; of a volume no voxels are read."""
    if not is_volume(path):
        return read_raw(path).spacing_mm
    with _one_sentence(path, False):
        return _spacing_of(canonical_affine(load_volume(path)))


@contextmanager
def _one_sentence(path: Path, mask: bool) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        kind = "mask" if mask else "image"
        raise UserError(f"The {kind} {path} was expected, but there is no such file: check the path.") from error
    except Exception as error:  # readers raise many kinds for files that are damaged
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path} could not be read ({reason}): the file is damaged or of another kind; copy it again."
        ) from error


def _read_kind(path: Path, mask: bool) -> Raw:
    suffix = suffix_of(path)
    if suffix in ARRAYS or any(parent.suffix == ".npz" for parent in path.parents):
        return Raw(*_load_array(path), (), None)
    if suffix in PICTURES:
        return _read_picture(path, mask)
    if suffix not in VOLUMES and not pixels.is_dicom(path):
        raise UserError(
            f"{path} is no image file that can be read: expected {', '.join((*VOLUMES, *PICTURES, *ARRAYS))} or "
            "DICOM; convert it."
        )
    if suffix not in VOLUMES and mask:
        return _as_canonical(nib.Nifti1Image(*load_dicom_mask(path)), mask, path)
    if suffix in VOLUMES or pixels.is_volume(path):
        return _as_canonical(load_volume(path), mask, path)
    array, spacing = pixels.load_picture(path)
    return Raw(array, 2, spacing, None)


def load_volume(path: Path) -> Any:
    """Return a volume whose values are still on disk; a NIfTI file stays open, so that slabs follow one another."""
    if suffix_of(path) in ITK:
        return load_itk(path)
    if suffix_of(path) in NIFTI:
        return nib.load(path, keep_file_open=True)
    return nib.Nifti1Image(*pixels.load_series(path))


def is_volume(path: Path) -> bool:
    return suffix_of(path) in VOLUMES or (pixels.is_dicom(path) and pixels.is_volume(path))


def _as_canonical(image: Any, mask: bool, path: Path) -> Raw:
    try:
        array, affine = read_canonical(image, mask)
    except UserError as error:  # which does not know the file
        raise UserError(f"{path} could not be read: {error}", error.code) from error
    return Raw(array, 3, _spacing_of(affine), np.asarray(affine, dtype=float))


def _spacing_of(affine: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(step), 6) for step in nib.affines.voxel_sizes(affine))


def _read_picture(path: Path, mask: bool) -> Raw:
    with Picture.open(path) as picture:
        num_pages = getattr(picture, "n_frames", 1)
        if num_pages > 1:
            raise UserError(
                f"{path} has {num_pages} pages, but an image is a single picture: save each page as a file of its own, "
                "or a volume as NIfTI."
            )
        # A palette holds colours for people: in a mask its indices are the labels.
        colours = None if mask and picture.mode == "P" else COLOURS.get(picture.mode)
        return Raw(np.asarray(picture.convert(colours) if colours else picture), 2, (), None)


def _load_array(path: Path) -> tuple[np.ndarray, int]:
    """Return an image, channels last if there are any, and the number of its spatial axes.

    Files hold [H, W], [D, H, W] or [C, D, H, W]; a member of a MedMNIST archive (`file.npz/train_images/12`) may be a
    colour image [H, W, 3].
    """
    archive = next((parent for parent in path.parents if parent.suffix == ".npz"), None)
    if archive is not None:
        with _archive_lock:
            items = _load_items(archive, archive.stat().st_mtime_ns, path.parent.name)
        item: np.ndarray = items[int(path.name)]
        return item, 2 if item.ndim == 3 and item.shape[-1] == 3 else item.ndim
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        with array as members:
            if len(members.files) != 1:
                names = first_of(members.files)
                raise ValueError(f"it holds {len(members.files)} arrays ({names}), but an image is an archive of one")
            array = members[members.files[0]]
    if array.ndim not in (2, 3, 4):
        raise ValueError(f"it has {array.ndim} axes, not [H, W], [D, H, W] or [C, D, H, W]")
    return np.moveaxis(array, 0, -1) if array.ndim == 4 else array, min(array.ndim, 3)


@lru_cache(maxsize=3)
def _load_items(archive: Path, changed_ns: int, key: str) -> np.ndarray:
    """Return one array of an archive, kept in memory since it can only be unpacked whole."""
    with np.load(archive, allow_pickle=False) as content:
        array: np.ndarray = content[key]
    return array
