"""Resampling of images and masks to another grid, as torch, scipy or MONAI's Spacing do it.

Shapes: C channels, S spatial axes. Either both grids cover the same field of view, or they begin with the centre of the
same voxel and `steps` says how many voxels of the old grid lie between two of the new one, along each axis.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage


def coarse_axis(old_mm: Sequence[float], new_mm: Sequence[float], limit: float) -> int | None:
    """Return the one axis whose spacing is largest, if largest / smallest exceeds `limit` in the old or new spacing.

    The old spacing comes first, as in nnU-Net; where two axes are the coarsest there is none. A limit of 0 is never
    exceeded.
    """
    for spacing in (old_mm, new_mm):
        if limit and max(spacing) > limit * min(spacing):
            largest = [axis for axis, step in enumerate(spacing) if step == max(spacing)]
            return largest[0] if len(largest) == 1 else None
    return None


def resample(
    array: np.ndarray,
    shape: Sequence[int],
    how: str = "linear",
    coarse: int | None = None,
    steps: Sequence[float] = (),
) -> np.ndarray:
    """Return float32 values [C, *S] resampled to the spatial `shape`; `how` is linear or spline (order 3).

    With `steps`, voxel i of an axis is sampled at i * step, beyond the border the border repeats; without, both grids
    cover the same field of view, and linear resampling of pictures is anti-aliased when they shrink. A spline does not
    leave the range of its channel. The axis `coarse` is resampled alone and last, by nearest neighbour.
    """
    inner, inner_steps = list(shape), list(steps)
    if coarse is not None:
        inner[coarse] = array.shape[1 + coarse]
        if steps:
            inner_steps[coarse] = 1.0
    if how == "spline" and (tuple(inner) != array.shape[1:] or steps):
        array = _sample(array, inner, inner_steps, 3)
    elif steps:
        array = _sample(array, inner, inner_steps, 1)
    elif tuple(inner) != array.shape[1:]:
        flat = len(inner) == 2
        given = torch.from_numpy(np.ascontiguousarray(array))[None]
        mode = "bilinear" if flat else "trilinear"
        array = F.interpolate(given, tuple(inner), mode=mode, antialias=flat)[0].numpy()
    if coarse is not None:
        step = steps[coarse] if steps else None
        array = array.take(nearest(array.shape[1 + coarse], shape[coarse], step), axis=1 + coarse)
    return array


def resample_mask(
    array: np.ndarray, shape: Sequence[int], how: str, coarse: int | None = None, steps: Sequence[float] = ()
) -> np.ndarray:
    """Return class indices [*S] uint8 resampled to `shape`, without new ones; `how` is nearest or linear.

    Linear resamples one label after the other as an image of zeros and ones; the first of the largest wins. `coarse`
    and `steps` as in `resample`; nearest neighbours are the same with and without a coarse axis.
    """
    if how == "nearest":
        each: Sequence[float | None] = steps or [None] * array.ndim
        triples = zip(array.shape, shape, each, strict=True)
        return array[np.ix_(*(nearest(old, new, step) for old, new, step in triples))]
    winner = np.zeros(tuple(shape), dtype=np.uint8)
    most = np.full(tuple(shape), -1, dtype=np.float32)
    for label in np.flatnonzero(np.bincount(array.ravel())):
        share = resample((array == label)[None].astype(np.float32), shape, "linear", coarse, steps)[0]
        better = share > most
        winner[better] = label
        np.maximum(most, share, out=most)
    return winner


def nearest(old: int, new: int, step: float | None = None) -> np.ndarray:
    """Return for each of `new` voxels along an axis which of `old` voxels is nearest, with `step` as in `resample`."""
    indices: np.ndarray = (2 * np.arange(new) + 1) * old // (2 * new)
    if step is not None:
        indices = np.rint(np.arange(new) * step).astype(int).clip(0, old - 1)
    return indices


def _sample(array: np.ndarray, shape: Sequence[int], steps: Sequence[float], order: int) -> np.ndarray:
    """Return each channel through a spline of this order; `steps` as in `resample`."""
    moves = np.array(steps) if steps else np.divide(array.shape[1:], shape)
    start = np.zeros(len(shape)) if steps else moves / 2 - 0.5
    resized = np.empty((len(array), *shape), dtype=np.float32)
    for channel, out in zip(array, resized, strict=True):
        ndimage.affine_transform(channel, moves, start, tuple(shape), out, order=order, mode="nearest")
        np.clip(out, channel.min(), channel.max(), out=out)
    return resized
