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
from selfmae.data.dicom.series import read_grid
from selfmae.data.files import ARRAYS, ITK, NIFTI, PICTURES, VOLUMES, suffix_of, volumes
from selfmae.errors import UserError, first_of

COLOURS = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}

_archive_lock = threading.Lock()


@dataclass(frozen=True)
class Image:
    """An image in memory. Pictures and arrays have no spacing: `spacing_mm` is () and `affine` is None."""

    array: np.ndarray  # [C, *S] float32
    spacing_mm: tuple[float, ...] = ()
    affine: np.ndarray | None = None  # [4, 4] from voxels to mm, RAS


def read_image(paths: Sequence[Path]) -> Image:
    """Return the image of one study; several files are its channels, in order, and must have one grid."""
    first, *others = (read_raw(path) for path in paths)
    for path, part in zip(paths[1:], others, strict=True):
        size, other = list(first.array.shape[1:]), list(part.array.shape[1:])
        if size != other:
            raise UserError(
                f"The channels of one study must have one size, but {paths[0].name} has {size} and {path.name} "
                f"{other}: resample one onto the other."
            )
        _check_position(first, part, (paths[0], path))
    arrays = [part.array for part in (first, *others)]
    whole = np.concatenate(arrays, dtype=np.float32, casting="unsafe") if others else first.array
    return replace(first, array=np.ascontiguousarray(whole, dtype=np.float32))


def _check_position(one: Image, other: Image, paths: tuple[Path, Path]) -> None:
    """Raise where the same voxel of two channels has different positions; less than half a voxel is ignored."""
    if one.affine is None or other.affine is None:
        return
    apart = volumes.voxels_apart(one.affine, other.affine, one.array.shape[1:])
    if apart > volumes.HALF_VOXEL:
        raise UserError(
            f"The channels of one study must lie on one grid, but {paths[0].name} and {paths[1]} differ in "
            f"{' and '.join(volumes.differing_parts(one.affine, other.affine))} (voxels lie up to {apart:.3g} voxels "
            f"apart, {volumes.HALF_VOXEL:g} are allowed): correct the header that is wrong, or resample one onto the "
            "other.",
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


def read_raw(path: Path, mask: bool = False) -> Image:
    """Return the values [C, *S] as in the file, in canonical axis order; errors of readers become one sentence."""
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
        return _spacing_of(volumes.canonical_affine(load_volume(path)))


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


def _read_kind(path: Path, mask: bool) -> Image:
    suffix = suffix_of(path)
    if suffix in ARRAYS or any(parent.suffix == ".npz" for parent in path.parents):
        return Image(_load_array(path))
    if suffix in PICTURES:
        return _read_picture(path, mask)
    if suffix not in VOLUMES and not pixels.is_dicom(path):
        raise UserError(
            f"{path} is no image file that can be read: expected {', '.join((*VOLUMES, *PICTURES, *ARRAYS))} or "
            "DICOM; convert it."
        )
    if suffix not in VOLUMES and mask:
        return _as_canonical(nib.Nifti1Image(*pixels.load_mask(path)), mask, path)
    if suffix in VOLUMES or pixels.is_volume(path):
        return _as_canonical(load_volume(path), mask, path)
    array, spacing_mm = pixels.load_picture(path)
    return Image(_channels_first(array), spacing_mm)


def load_volume(path: Path) -> Any:
    """Return a volume whose values are still on disk; a NIfTI file stays open, so that slabs follow one another."""
    if suffix_of(path) in ITK:
        return volumes.load_itk(path)
    if suffix_of(path) in NIFTI:
        return nib.load(path, keep_file_open=True)
    grid = read_grid(path)
    return nib.Nifti1Image(pixels.Slices(grid), grid.affine)


def is_volume(path: Path) -> bool:
    return suffix_of(path) in VOLUMES or (pixels.is_dicom(path) and pixels.is_volume(path))


def _as_canonical(image: Any, mask: bool, path: Path) -> Image:
    try:
        array, affine = volumes.read_canonical(image, mask)
    except UserError as error:  # which does not know the file
        raise UserError(f"{path} could not be read: {error}", error.code) from error
    return Image(array, _spacing_of(affine), np.asarray(affine, dtype=float))


def _spacing_of(affine: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(step), 6) for step in nib.affines.voxel_sizes(affine))


def _read_picture(path: Path, mask: bool) -> Image:
    with Picture.open(path) as picture:
        num_pages = getattr(picture, "n_frames", 1)
        if num_pages > 1:
            raise UserError(
                f"{path} has {num_pages} pages, but an image is a single picture: save each page as a file of its own, "
                "or a volume as NIfTI."
            )
        # A palette holds colours for people: in a mask its indices are the labels.
        colours = None if mask and picture.mode == "P" else COLOURS.get(picture.mode)
        return Image(_channels_first(np.asarray(picture.convert(colours) if colours else picture)))


def _channels_first(picture: np.ndarray) -> np.ndarray:
    """Return a picture [H, W] or [H, W, C] as [C, H, W]."""
    return picture[None] if picture.ndim == 2 else np.moveaxis(picture, -1, 0)


def _load_array(path: Path) -> np.ndarray:
    """Return [C, *S] of [H, W], [D, H, W], [C, D, H, W] or, in an archive of MedMNIST, a colour image [H, W, 3]."""
    archive = next((parent for parent in path.parents if parent.suffix == ".npz"), None)
    if archive is not None:
        with _archive_lock:
            items = _load_items(archive, archive.stat().st_mtime_ns, path.parent.name)
        item = items[int(path.name)]
        return _channels_first(item) if item.ndim == 3 and item.shape[-1] == 3 else item[None]
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        with array as members:
            if len(members.files) != 1:
                names = first_of(members.files)
                raise ValueError(f"it holds {len(members.files)} arrays ({names}), but an image is an archive of one")
            array = members[members.files[0]]
    if array.ndim not in (2, 3, 4):
        raise ValueError(f"it has {array.ndim} axes, not [H, W], [D, H, W] or [C, D, H, W]")
    return array if array.ndim == 4 else array[None]


@lru_cache(maxsize=3)
def _load_items(archive: Path, changed_ns: int, key: str) -> np.ndarray:
    """Return one array of an archive, kept in memory since it can only be unpacked whole."""
    with np.load(archive, allow_pickle=False) as content:
        return content[key]
