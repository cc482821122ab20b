"""Samples of a prepared image or mask: plain crops, and what a view shows.

A view samples the stored image directly: only the voxels it shows are read. Beyond its border an image is zero as far
as the crop is larger than it (half on each side), then its border repeats.

Shapes: C channels, S spatial axes. Places are voxel indices.
"""

from collections.abc import Sequence
from math import cos, sin

import numpy as np
import torch
import torch.nn.functional as F

from selfmae.data.views import View

COLUMNS = 32  # places along the third axis that are computed together; faster than fewer or all of 96
ROWS = 3072  # places in the plane that are computed together, which stay in the processor's cache


def pad_to(array: np.ndarray, crop: Sequence[int]) -> np.ndarray:
    """Return `array` [..., *S] with zeros around it (half on each side) where an axis is shorter than `crop`."""
    num_axes = len(crop)
    missing = [max(0, want - have) for want, have in zip(crop, array.shape[-num_axes:], strict=True)]
    if not any(missing):
        return array
    around = [(0, 0)] * (array.ndim - num_axes) + [(gap // 2, gap - gap // 2) for gap in missing]
    return np.pad(array, around)


def take_crop(array: np.ndarray, corner: Sequence[int], crop: Sequence[int]) -> np.ndarray:
    """Return the part of `array` [..., *S] that starts at `corner`, padded with zeros to the size `crop`."""
    window = [slice(None)] * (array.ndim - len(crop))
    window += [slice(start, start + extent) for start, extent in zip(corner, crop, strict=True)]
    return pad_to(array[tuple(window)], crop)


def take_image(image: np.ndarray, view: View) -> np.ndarray:
    """Return what the view shows of an image [C, *S], [C, *crop] float32, linear between voxels."""
    return _turn(_show_image(image, view), view.turns, 1)


def take_mask(mask: np.ndarray, view: View) -> np.ndarray:
    """Return what the view shows of a mask [*S], [*crop], the nearest voxel of each place."""
    return _turn(_show_mask(mask, view), view.turns, 0)


def _show_image(image: np.ndarray, view: View) -> np.ndarray:
    if not view.scale:
        return _as_float(_slice(image, view))
    pairs = zip(_places(image.shape[1:], view), image.shape[1:], strict=True)
    axes = [_neighbours(places, extent) for places, extent in pairs]
    (rows, row_weights), (columns, column_weights) = axes[:2]
    window = tuple(slice(int(index.min()), int(index.max()) + 1) for index, _ in axes)
    # Four voxels around each place of the plane, each with all that lies behind it on the third axis.
    bags = (rows[:, None] - window[0].start) * (window[1].stop - window[1].start) + columns[None] - window[1].start
    weights = row_weights[:, None] * column_weights[None]
    bags, weights = (np.ascontiguousarray(item.reshape(4, -1).T) for item in (bags, weights))
    out = np.empty((len(image), bags.shape[0], *view.crop[2:]), dtype=np.float32)
    behind = _Line(axes[2][0] - window[2].start, axes[2][1]) if len(axes) == 3 else None
    for channel, shown in zip(image, out, strict=True):
        region = _as_float(channel[window])
        table = region.reshape(region.shape[0] * region.shape[1], -1)
        for start in range(0, len(bags), ROWS):
            part = slice(start, start + ROWS)
            plane = _weighted_rows(table, bags[part], weights[part])
            if behind:
                behind.fill(plane, shown[part])
            else:
                shown[part] = plane[:, 0]
    return out.reshape(len(image), *view.crop)


def _show_mask(mask: np.ndarray, view: View) -> np.ndarray:
    if not view.scale:
        return np.array(_slice(mask, view), order="C")
    nearest = [np.floor(places + 0.5).astype(np.int64) for places in _places(mask.shape, view)]
    inside = [(index >= 0) & (index < extent) for index, extent in zip(nearest, mask.shape, strict=True)]
    nearest = [index.clip(0, extent - 1) for index, extent in zip(nearest, mask.shape, strict=True)]
    region = np.array(mask[tuple(slice(int(index.min()), int(index.max()) + 1) for index in nearest)], order="C")
    rows, columns = (index - index.min() for index in nearest[:2])
    flat = region.reshape(region.shape[0] * region.shape[1], -1)
    values = flat.take((rows * region.shape[1] + columns).ravel(), axis=0)
    if mask.ndim == 3:
        direction = _direction(nearest[2])
        if direction:
            values = np.ascontiguousarray(values[:, ::direction])
        else:
            values = values.take(nearest[2] - nearest[2].min(), axis=1)
    shown: np.ndarray = values.reshape(view.crop)
    if not all(axis.all() for axis in inside):
        shown[~(inside[0] & inside[1])] = 0
        if mask.ndim == 3:
            shown[:, :, ~inside[2]] = 0
    return shown


def _turn(array: np.ndarray, turns: int, first: int) -> np.ndarray:
    """Return the array turned by quarters in the plane of the axes `first` and the next."""
    return np.ascontiguousarray(np.rot90(array, turns, (first, first + 1))) if turns else array


def _as_float(array: np.ndarray) -> np.ndarray:
    """Return a contiguous float32 copy; torch converts from float16 ten times faster than NumPy."""
    return torch.from_numpy(np.array(array, order="C")).float().numpy()


def _slice(array: np.ndarray, view: View) -> np.ndarray:
    """Return the plain crop of [..., *S], padded and mirrored."""
    crop = take_crop(array, view.corner, view.crop)
    return np.flip(crop, tuple(axis - len(view.flips) for axis, flip in enumerate(view.flips) if flip))


def _places(shape: Sequence[int], view: View) -> list[np.ndarray]:
    """Return the places in an image [*S] that a view shows: [X, Y] of the first two axes, [Z] of the third."""
    steps = [
        (np.arange(extent) - (extent - 1) / 2) * (-scale if flip else scale)
        for extent, scale, flip in zip(view.crop, view.scale, view.flips, strict=True)
    ]
    first, second, turn = steps[0][:, None], steps[1][None], (cos(view.angle), sin(view.angle))
    moved = [turn[0] * first - turn[1] * second, turn[1] * first + turn[0] * second, *steps[2:]]
    padded = np.maximum(shape, view.crop)
    return [
        np.clip(place + centre, 0, length - 1) - (length - extent) // 2
        for place, centre, length, extent in zip(moved, view.centre, padded, shape, strict=True)
    ]


def _direction(voxels: np.ndarray) -> int:
    """Return 1 where each voxel is followed by the next, -1 where by the one before, 0 for anything else."""
    steps = np.diff(voxels)
    return next((way for way in (1, -1) if (steps == way).all()), 0)


def _neighbours(places: np.ndarray, extent: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels [2, ...] on both sides of places on an axis, and their weights, 0 outside the image."""
    low = np.floor(places)
    voxels = np.stack([low, np.ceil(places)])  # the same voxel twice where a place is one
    weights = np.stack([low + 1 - places, places - low]) * ((voxels >= 0) & (voxels < extent))
    return voxels.clip(0, extent - 1).astype(np.int64), weights.astype(np.float32)


def _weighted_rows(rows: np.ndarray, bags: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return sums [P, Q] of the rows [R, Q] that `bags` [P, 4] name, times `weights` [P, 4].

    This is what torch calls an embedding bag: ten times faster here than `grid_sample` on as many channels.
    """
    table, indices, factors = map(torch.from_numpy, (rows, bags, weights))
    return F.embedding_bag(indices, table, mode="sum", per_sample_weights=factors).numpy()


class _Line:
    """Linear sampling along an axis between its `voxels` [2, Z], with `weights` [2, Z]."""

    def __init__(self, voxels: np.ndarray, weights: np.ndarray) -> None:
        self.voxels, length = voxels, voxels.shape[1]
        self.matrix = np.zeros((int(voxels.max()) + 1, length), dtype=np.float32)
        for voxel, weight in zip(voxels, weights, strict=True):
            self.matrix[voxel, np.arange(length)] += weight
        self.direction = _direction(voxels[0]) if (weights[0] == 1).all() else 0

    def fill(self, plane: np.ndarray, out: np.ndarray) -> None:
        """Fill rows [P, Z] from rows [P, Q]: a product with few columns at a time.

        Through torch, since NumPy's product takes all cores, however many loaders run beside it.
        """
        if self.direction:
            out[:] = plane[:, :: self.direction]
            return
        for start in range(0, self.voxels.shape[1], COLUMNS):
            part = slice(start, start + COLUMNS)
            low, high = int(self.voxels[:, part].min()), int(self.voxels[:, part].max()) + 1
            rows, matrix = torch.from_numpy(plane[:, low:high]), torch.from_numpy(self.matrix[low:high, part])
            out[:, part] = (rows @ matrix).numpy()
