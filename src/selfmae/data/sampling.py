"""Samples: the stream of training batches, made ahead of time, and random views of prepared images and masks.

A view samples the stored image directly: only the voxels it shows are read. Beyond its border an image is zero as far
as the crop is larger than it (half on each side), then its border repeats.

Shapes: B samples, C channels, S spatial axes. Coordinates are voxel indices, not always whole.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from math import cos, sin
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfmae.augment import apply_all, section
from selfmae.augment.spatial import View, draw_corner, draw_view
from selfmae.data.case import Case
from selfmae.data.memory import image_threads
from selfmae.data.preparation.prepare import finish, window
from selfmae.data.preparation.store import Store
from selfmae.seeds import derive, generator

Sample = dict[str, Tensor]
AHEAD = 3  # batches prepared before they are asked for
COLUMNS = 32  # coordinates along the third axis that are computed together; faster than fewer or all of 96
Axis = tuple[np.ndarray, np.ndarray]  # voxels on both sides of coordinates on an axis, and their weights
ROWS = 3072  # coordinates in the plane that are computed together, which stay in the processor's cache


@dataclass(frozen=True)
class Draw:
    """One sample of one case: `seed` decides crop, augmentation, mask and DropPath."""

    case: Case
    seed: int


def draw_at(cases: Sequence[Case], seed: int, position: int, crops_per_case: int = 1) -> Draw:
    """Return the draw at this position: every epoch shows every case, `crops_per_case` times, in a new order."""
    epoch, index = divmod(position // crops_per_case, len(cases))
    return Draw(cases[int(_order(len(cases), seed, epoch)[index])], derive(seed, "draw", position))


@lru_cache(maxsize=4)
def _order(num_cases: int, seed: int, epoch: int) -> np.ndarray:
    return generator(seed, "order", epoch).permutation(num_cases)


def collate(samples: Sequence[Sample]) -> Sample:
    """Stack samples to a batch: every value [*] becomes [B, *]."""
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def stream(
    make: Callable[[Draw], Sample], batches: Iterable[Sequence[Draw]], num_threads: int
) -> Generator[Sample, None, None]:
    """Yield the samples of each batch of draws, collated, made ahead of time by `num_threads` threads.

    The batches are the same for any number of threads. An error in a thread is raised here, instead of its batch.
    """

    def gather(samples: Sequence[Future[Sample]]) -> Sample:
        return collate([sample.result() for sample in samples])

    ready: deque[Future[Sample]] = deque()
    with image_threads(num_threads) as pool:
        for draws in batches:
            # Queued behind its samples, so that no thread waits here for a sample that none has begun.
            ready.append(pool.submit(gather, [pool.submit(make, draw) for draw in draws]))
            if len(ready) > AHEAD:
                yield ready.popleft().result()
        while ready:
            yield ready.popleft().result()


def _fill_straight(axes: Sequence[Axis], regions: Iterable[np.ndarray], out: np.ndarray) -> None:
    """Fill `out` [C, *crop] from C regions [*S], along one axis after the other."""
    lines = [_Line(voxels.reshape(2, -1), weights.reshape(2, -1)) for voxels, weights in axes]
    for region, filled in zip(regions, out, strict=True):
        for axis in reversed(range(filled.ndim)):
            rows = np.ascontiguousarray(np.moveaxis(region, axis, -1))
            shown = np.empty((*rows.shape[:-1], filled.shape[axis]), dtype=np.float32)
            lines[axis].fill(rows.reshape(-1, rows.shape[-1]), shown.reshape(-1, shown.shape[-1]))
            region = np.moveaxis(shown, -1, axis)
        filled[:] = region


def _fill_turned(axes: Sequence[Axis], regions: Iterable[np.ndarray], out: np.ndarray) -> None:
    """Fill `out` [C, *crop] from C regions [*S], between four voxels of the plane, then along the third axis."""
    (rows, row_weights), (columns, column_weights) = axes[:2]
    width = int(columns.max()) + 1
    # The four voxels around each point, each with all that lies behind it on the third axis.
    four = rows[:, None] * width + columns[None], row_weights[:, None] * column_weights[None]
    bags, weights = (torch.from_numpy(np.ascontiguousarray(item.reshape(4, -1).T)) for item in four)
    behind = _Line(*axes[2]) if len(axes) == 3 else None
    for region, filled in zip(regions, out, strict=True):
        table, shown = torch.from_numpy(region.reshape(len(region) * width, -1)), filled.reshape(len(bags), -1)
        for start in range(0, len(bags), ROWS):
            part = slice(start, start + ROWS)
            # Weighted sums [P, Q] of four rows each, ten times faster than `grid_sample` on as many channels.
            plane = F.embedding_bag(bags[part], table, mode="sum", per_sample_weights=weights[part]).numpy()
            if behind:
                behind.fill(plane, shown[part])
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
    missing = [max(0, want - have) for want, have in zip(crop, array.shape[-len(crop) :], strict=True)]
    if not any(missing):
        return array
    around = [(0, 0)] * (array.ndim - len(crop)) + [(gap // 2, gap - gap // 2) for gap in missing]
    return np.pad(array, around)


def take_crop(array: np.ndarray, corner: Sequence[int], crop: Sequence[int]) -> np.ndarray:
    """Return the part of `array` [..., *S] that starts at `corner`, padded with zeros to the size `crop`."""
    return pad_to(array[window(corner, crop)], crop)


def take_image(image: np.ndarray, view: View) -> np.ndarray:
    """Return what the view shows of an image [C, *S], [C, *crop] float32, linear between voxels."""
    if not view.scale:
        return _turn(_as_float(_slice(image, view)), view.turns, 1)
    pairs = zip(_coordinates(image.shape[1:], view), image.shape[1:], strict=True)
    axes = [_neighbours(coordinates, extent) for coordinates, extent in pairs]
    corner = [int(voxels.min()) for voxels, _ in axes]
    shape = [int(voxels.max()) + 1 - start for (voxels, _), start in zip(axes, corner, strict=True)]
    axes = [(voxels - start, weights) for (voxels, weights), start in zip(axes, corner, strict=True)]
    out = np.empty((len(image), *view.crop), dtype=np.float32)
    regions = (_as_float(channel[window(corner, shape)]) for channel in image)
    (_fill_turned if view.angle else _fill_straight)(axes, regions, out)
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
    """Return the coordinates in an image [*S] that a view shows: two [X, Y] (unturned [X, 1], [1, Y]), then [Z]."""
    first, second, *others = (
        (np.arange(extent) - (extent - 1) / 2) * (-scale if flip else scale)
        for extent, scale, flip in zip(view.crop, view.scale, view.flips, strict=True)
    )
    moved = [first[:, None], second[None], *others]
    if view.angle:
        cosine, sine = cos(view.angle), sin(view.angle)
        turned = cosine * moved[0] - sine * moved[1] / view.aspect, sine * moved[0] * view.aspect + cosine * moved[1]
        moved[:2] = turned
    padded = np.maximum(shape, view.crop)
    return [
        np.clip(coordinate + centre, 0, length - 1) - (length - extent) // 2
        for coordinate, centre, length, extent in zip(moved, view.centre, padded, shape, strict=True)
    ]


def _direction(voxels: np.ndarray) -> int:
    """Return 1 where each voxel is followed by the next, -1 where by the one before, 0 for anything else."""
    steps = np.diff(voxels)
    return next((way for way in (1, -1) if (steps == way).all()), 0)


def _neighbours(coordinates: np.ndarray, extent: int) -> Axis:
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
