"""Images in memory, read from one file or from one for each channel."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from selfmae.data.files.affines import HALF_VOXEL, differing_parts, voxels_apart
from selfmae.data.files.raw import Raw, read_raw
from selfmae.errors import UserError


@dataclass(frozen=True)
class Image:
    """An image in memory. Pictures and arrays have no spacing: `spacing_mm` is () and `affine` is None."""

    array: np.ndarray  # [C, *S] float32
    spacing_mm: tuple[float, ...]
    affine: np.ndarray | None  # [4, 4] from voxels to mm, RAS


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
        _check_place(parts[0], part, (paths[0], path))
    whole = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    return Image(np.ascontiguousarray(whole, dtype=np.float32), parts[0].spacing_mm, parts[0].affine)


def _check_place(one: Raw, other: Raw, paths: tuple[Path, Path]) -> None:
    """Raise where the same voxel of two channels lies in different places; below half a voxel they are joined."""
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
