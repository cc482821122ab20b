"""Volumes in the axis order nearest to RAS, read slab by slab, with little more memory than what is returned."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import orientations

from selfmae.errors import UserError

SLAB = 2**18  # values that are read at once, as large numbers as the file's scaling makes
SAME_POSITION = 1e-3  # voxels that two files may lie apart: rounding of affines saved as float32
HALF_VOXEL = 0.5  # beyond this a mask marks other voxels than its author saw


def read_canonical(image: Any, mask: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return a volume, channels last if there are any, and its affine; raise `UserError` where it is none.

    Images are float32, one channel after the other in memory. Masks keep whole numbers as they are.
    """
    values = image.dataobj
    single = values.ndim == 5 and values.shape[3] == 1  # NIfTI keeps the fourth axis for time
    shape = (*values.shape[:3], values.shape[4]) if single else values.shape
    if len(shape) not in (3, 4) or values.dtype.fields:
        raise UserError(
            f"expected a volume of 3 axes, with or without channels, but it has the shape {list(values.shape)} of "
            f"{values.dtype}: save a picture as PNG or TIFF, or with a third axis of 1."
        )
    order = orientations.io_orientation(image.affine)
    extents = [shape[int(np.flatnonzero(order[:, 0] == axis)[0])] for axis in range(3)]
    channels = shape[3] if len(shape) == 4 else 1
    whole = np.empty((channels, *extents), _number_type(values, mask))
    back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), order)
    for channel, part in enumerate(whole):
        trailing = (*((0,) if single else ()), *((channel,) if len(shape) == 4 else ()))
        _fill(orientations.apply_orientation(part, back), values, trailing)
    return np.moveaxis(whole, 0, -1) if len(shape) == 4 else whole[0], canonical_affine(image)


def canonical_affine(image: Any) -> np.ndarray:
    """Return the affine [4, 4] that a volume has in canonical order; reads no voxels."""
    order = orientations.io_orientation(image.affine)
    affine: np.ndarray = image.affine @ orientations.inv_ornt_aff(order, image.shape[:3])
    return affine


def save_volume(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write an image [C, *S] as float32 NIfTI, its channels on the fourth axis."""
    nib.save(nib.Nifti1Image(array[0] if len(array) == 1 else np.moveaxis(array, 0, -1), affine), path)


def _fill(part: np.ndarray, values: Any, trailing: tuple[int, ...]) -> None:
    """Copy one channel into `part`, a view in the order of the file."""
    step = max(1, SLAB // (part.shape[0] * part.shape[1]))
    for start in range(0, part.shape[2], step):
        slab = slice(start, min(start + step, part.shape[2]))
        index = (slice(None), slice(None), slab, *trailing)
        read = np.asanyarray(values[index])
        if part.dtype.kind in "iu" and part.dtype.itemsize < read.dtype.itemsize:
            limits = np.iinfo(part.dtype)
            if read.size and (int(read.min()) < limits.min or int(read.max()) > limits.max):
                raise UserError(
                    f"a mask holds whole numbers from {limits.min} to {limits.max}, but it has values from "
                    f"{read.min()} to {read.max()}: give its labels smaller numbers."
                )
        part[:, :, slab] = read


def _number_type(values: Any, mask: bool) -> np.dtype[Any]:
    """Return float32, or for a mask of unscaled whole numbers their own type; none needs 64 bits."""
    scaled = getattr(values, "slope", 1) not in (1, None) or getattr(values, "inter", 0) not in (0, None)
    if not mask or scaled or values.dtype.kind not in "iub":
        return np.dtype(np.float32)
    return np.dtype(np.int32) if values.dtype.itemsize > 4 else np.dtype(values.dtype.newbyteorder("="))


def voxels_apart(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Return how far, in voxels of the first, two affines put the same voxel apart; largest at a corner of [*S]."""
    corners = np.array([(*corner, 1) for corner in product(*((0, extent - 1) for extent in shape))])
    there = corners @ np.linalg.solve(one, other).T
    return float(np.linalg.norm((there - corners)[:, :3], axis=1).max())


def differing_parts(one: np.ndarray, other: np.ndarray) -> list[str]:
    """Name what differs between two affines by more than a thousandth of a voxel; "position" if only the sum does."""
    steps, others = (np.linalg.norm(affine[:3, :3], axis=0) for affine in (one, other))
    differs = {
        "spacing": np.abs(steps - others) / steps,
        "direction": np.abs(one[:3, :3] / steps - other[:3, :3] / others),
        "origin": np.abs(one[:3, 3] - other[:3, 3]) / steps.min(),
    }
    return [name for name, change in differs.items() if change.max() > SAME_POSITION] or ["position"]
