"""Images and masks on another grid of the same field of view.

Voxel edges are aligned (`align_corners=False` in torch): voxel i of n lies at (i + 0.5) / n of the field of view.
Shapes: C channels, S spatial axes. A `coarse` axis is resampled on its own by nearest neighbour, since between slices
far apart interpolation invents tissue (Isensee et al. 2021, nnU-Net).
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

Shape = tuple[int, ...]


def coarse_axis(old_mm: Sequence[float], new_mm: Sequence[float], limit: float) -> int | None:
    """Return the one axis whose spacing is largest, if largest / smallest exceeds `limit` in the old or new spacing.

    The old spacing is asked first, as in nnU-Net; where two axes are the coarsest there is none. A limit of 0 never is
    exceeded.
    """
    for spacing in (old_mm, new_mm):
        if limit and max(spacing) > limit * min(spacing):
            largest = [axis for axis, step in enumerate(spacing) if step == max(spacing)]
            return largest[0] if len(largest) == 1 else None
    return None


def resample(array: np.ndarray, shape: Sequence[int], how: str = "linear", coarse: int | None = None) -> np.ndarray:
    """Return float32 values [C, *S] resampled to the spatial `shape`; `how` is linear or spline (order 3).

    Linear resampling of pictures is anti-aliased when they shrink; a spline does not leave the range of its channel.
    """
    inner = list(shape)
    if coarse is not None:
        inner[coarse] = array.shape[1 + coarse]
    if tuple(inner) != array.shape[1:]:
        array = _spline(array, inner) if how == "spline" else _linear(array, inner)
    if coarse is not None:
        array = array.take(nearest(array.shape[1 + coarse], shape[coarse]), axis=1 + coarse)
    return array


def resample_mask(array: np.ndarray, shape: Sequence[int], how: str, coarse: int | None = None) -> np.ndarray:
    """Return label places [*S] uint8 resampled to `shape`, none invented; `how` is nearest or linear.

    Linear resamples one label after the other as an image of zeros and ones; the first of the largest wins.
    """
    if how == "nearest":
        return array[np.ix_(*(nearest(old, new) for old, new in zip(array.shape, shape, strict=True)))]
    winner = np.zeros(tuple(shape), dtype=np.uint8)
    most = np.full(tuple(shape), -1, dtype=np.float32)
    for label in np.flatnonzero(np.bincount(array.ravel())):
        share = resample((array == label)[None].astype(np.float32), shape, "linear", coarse)[0]
        better = share > most
        winner[better] = label
        np.maximum(most, share, out=most)
    return winner


def nearest(old: int, new: int) -> np.ndarray:
    """Return for each of `new` voxels along an axis the one of `old` voxels in which its centre lies."""
    places: np.ndarray = (2 * np.arange(new) + 1) * old // (2 * new)
    return places


def _linear(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    flat = len(shape) == 2
    mode = "bilinear" if flat else "trilinear"
    resized = F.interpolate(
        torch.from_numpy(np.ascontiguousarray(array))[None], tuple(shape), mode=mode, antialias=flat
    )
    return resized[0].numpy()


def _spline(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return each channel through a cubic spline, at the places of `_linear`."""
    steps = np.divide(array.shape[1:], shape)
    resized = np.empty((len(array), *shape), dtype=np.float32)
    for channel, out in zip(array, resized, strict=True):
        ndimage.affine_transform(channel, steps, steps / 2 - 0.5, tuple(shape), out, order=3, mode="nearest")
        np.clip(out, channel.min(), channel.max(), out=out)
    return resized
