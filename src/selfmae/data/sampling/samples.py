"""Samples of a prepared image or mask: plain crops, and what a view shows.

A view samples the stored image directly: only the voxels it shows are read. Beyond its border an image is zero as far
as the crop is larger than it (half on each side), then its border repeats.

Shapes: C channels, S spatial axes. Coordinates are voxel indices, not always whole.
"""

from collections.abc import Mapping, Sequence
from math import cos, sin
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfmae.augment import apply_all, section
from selfmae.augment.spatial import View, draw_corner, draw_view
from selfmae.data.case import Case
from selfmae.data.preparation.prepare import finish
from selfmae.data.preparation.store import Store

COLUMNS = 32  # coordinates along the third axis that are computed together; faster than fewer or all of 96
Axis = tuple[np.ndarray, np.ndarray]  # voxels on both sides of coordinates on an axis, and their weights
ROWS = 3072  # coordinates in the plane that are computed together, which stay in the processor's cache


class _Straight:
    """Sampling of a region along one axis after the other, for a view that is not turned."""

    def __init__(self, axes: Sequence[Axis]) -> None:
        self.lines = [_Line(voxels.reshape(2, -1), weights.reshape(2, -1)) for voxels, weights in axes]

    def fill(self, region: np.ndarray, out: np.ndarray) -> None:
        """Fill `out` [*crop] from the region [*S]."""
        for axis in reversed(range(region.ndim)):
            rows = np.ascontiguousarray(np.moveaxis(region, axis, -1))
            shown = np.empty((*rows.shape[:-1], out.shape[axis]), dtype=np.float32)
            self.lines[axis].fill(rows.reshape(-1, rows.shape[-1]), shown.reshape(-1, shown.shape[-1]))
            region = np.moveaxis(shown, -1, axis)
        out[:] = region


class _Turned:
    """Sampling of a region [*S] between the four voxels around each point of the plane, then along the third axis."""

    def __init__(self, axes: Sequence[Axis], shape: Sequence[int]) -> None:
        (rows, row_weights), (columns, column_weights) = axes[:2]
        # The four voxels, each with all that lies behind it on the third axis.
        bags, weights = rows[:, None] * shape[1] + columns[None], row_weights[:, None] * column_weights[None]
        self.bags, self.weights = (np.ascontiguousarray(item.reshape(4, -1).T) for item in (bags, weights))
        self.behind = _Line(*axes[2]) if len(axes) == 3 else None

    def fill(self, region: np.ndarray, out: np.ndarray) -> None:
        """Fill `out` [*crop] from the region."""
        table, shown = region.reshape(region.shape[0] * region.shape[1], -1), out.reshape(len(self.bags), -1)
        for start in range(0, len(self.bags), ROWS):
            part = slice(start, start + ROWS)
            # Weighted sums [P, Q] of four rows each, ten times faster than `grid_sample` on as many channels.
            rows, bags, weights = map(torch.from_numpy, (table, self.bags[part], self.weights[part]))
            plane = F.embedding_bag(bags, rows, mode="sum", per_sample_weights=weights).numpy()
            if self.behind:
                self.behind.fill(plane, shown[part])
            else:
                shown[part] = plane


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

        Through torch, since NumPy's product takes all cores, however many loaders run, and into a given array, since
        autocast would round any other product to bf16.
        """
        if self.direction:
            out[:] = plane[:, :: self.direction]
            return
        for start in range(0, self.voxels.shape[1], COLUMNS):
            part = slice(start, start + COLUMNS)
            low, high = int(self.voxels[:, part].min()), int(self.voxels[:, part].max()) + 1
            rows, matrix = torch.from_numpy(plane[:, low:high]), torch.from_numpy(self.matrix[low:high, part])
            torch.mm(rows, matrix, out=torch.from_numpy(out[:, part]))


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
    if not view.scale:
        return _turn(_as_float(_slice(image, view)), view.turns, 1)
    pairs = zip(_coordinates(image.shape[1:], view), image.shape[1:], strict=True)
    axes = [_neighbours(coordinates, extent) for coordinates, extent in pairs]
    window = tuple(slice(int(voxels.min()), int(voxels.max()) + 1) for voxels, _ in axes)
    shape = [part.stop - part.start for part in window]
    axes = [(voxels - part.start, weights) for (voxels, weights), part in zip(axes, window, strict=True)]
    sampling = _Turned(axes, shape) if view.angle else _Straight(axes)
    out = np.empty((len(image), *view.crop), dtype=np.float32)
    for channel, shown in zip(image, out, strict=True):
        sampling.fill(_as_float(channel[window]), shown)
    return _turn(out, view.turns, 1)


def take_mask(mask: np.ndarray, view: View) -> np.ndarray:
    """Return what the view shows of a mask [*S], [*crop], the nearest voxels."""
    if not view.scale:
        return _turn(np.array(_slice(mask, view), order="C"), view.turns, 0)
    nearest = [np.floor(coordinates + 0.5).astype(np.int64) for coordinates in _coordinates(mask.shape, view)]
    inside = [(index >= 0) & (index < extent) for index, extent in zip(nearest, mask.shape, strict=True)]
    nearest = [index.clip(0, extent - 1) for index, extent in zip(nearest, mask.shape, strict=True)]
    region = np.array(mask[tuple(slice(int(index.min()), int(index.max()) + 1) for index in nearest)], order="C")
    rows, columns = (index - index.min() for index in nearest[:2])
    flat = region.reshape(region.shape[0] * region.shape[1], -1)
    values = flat.take((rows * region.shape[1] + columns).ravel(), axis=0)
    if mask.ndim == 3:
        if direction := _direction(nearest[2]):
            values = np.ascontiguousarray(values[:, ::direction])
        else:
            values = values.take(nearest[2] - nearest[2].min(), axis=1)
    shown: np.ndarray = values.reshape(view.crop)
    if not all(axis.all() for axis in inside):
        shown[~(inside[0] & inside[1])] = 0
        if mask.ndim == 3:
            shown[:, :, ~inside[2]] = 0
    return _turn(shown, view.turns, 0)


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


def _coordinates(shape: Sequence[int], view: View) -> list[np.ndarray]:
    """Return the coordinates in an image [*S] that a view shows: on the first two axes [X, Y], on the third [Z].

    On those of the first two [X, 1] and [1, Y] where the view is not turned.
    """
    steps = [
        (np.arange(extent) - (extent - 1) / 2) * (-scale if flip else scale)
        for extent, scale, flip in zip(view.crop, view.scale, view.flips, strict=True)
    ]
    first, second = steps[0][:, None], steps[1][None]
    if view.angle:
        cosine, sine = cos(view.angle), sin(view.angle)
        turned = cosine * first - sine * second / view.aspect, sine * first * view.aspect + cosine * second
        first, second = turned
    moved = [first, second, *steps[2:]]
    padded = np.maximum(shape, view.crop)
    return [
        np.clip(coordinate + centre, 0, length - 1) - (length - extent) // 2
        for coordinate, centre, length, extent in zip(moved, view.centre, padded, shape, strict=True)
    ]


def _direction(voxels: np.ndarray) -> int:
    """Return 1 where each voxel is followed by the next, -1 where by the one before, 0 for anything else."""
    steps = np.diff(voxels)
    return next((way for way in (1, -1) if (steps == way).all()), 0)


def _neighbours(coordinates: np.ndarray, extent: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels [2, ...] on both sides of coordinates on an axis, and their weights, 0 outside the image."""
    low = np.floor(coordinates)
    voxels = np.stack([low, np.ceil(coordinates)])  # the same voxel twice where a coordinate is whole
    weights = np.stack([low + 1 - coordinates, coordinates - low]) * ((voxels >= 0) & (voxels < extent))
    return voxels.clip(0, extent - 1).astype(np.int64), weights.astype(np.float32)


def draw_sample(
    store: Store,
    case: Case,
    augment: Mapping[str, Any],
    rng: np.random.Generator,
    coordinates: np.ndarray | None = None,
) -> tuple[np.ndarray, View]:
    """Return what a model sees of a case, [C, *crop] float32, and the view that it shows; a pure function of `rng`.

    Crops are centred on voxels of the table `coordinates` as often as `spatial.foreground` says.
    """
    data, prepared = store.options, store.image(case)
    spatial, shape = section(augment, "spatial"), prepared.shape[1:]
    corner = draw_corner(shape, data.crop, rng, coordinates, spatial.foreground if coordinates is not None else 0.0)
    view = draw_view(shape, data.crop, corner, spatial, rng, data.spacing_mm)
    image = apply_all("prepared", take_image(prepared, view), augment, data, rng)
    return apply_all("normalised", finish(image, data), augment, data, rng), view


def draw_unlabelled(store: Store, case: Case, augment: Mapping[str, Any], rng: np.random.Generator) -> Tensor:
    """Return a sample [C, *crop] for self pre-training; its crops are centred on tissue, and no label is read."""
    coordinates = store.tissue_coordinates(case) if section(augment, "spatial").foreground else None
    return torch.from_numpy(draw_sample(store, case, augment, rng, coordinates)[0])
