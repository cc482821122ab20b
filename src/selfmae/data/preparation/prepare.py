"""From a file's voxels to what the store keeps: once per image, without random numbers and without labels.

Shapes: C channels, S spatial axes. Resampling is torch's, scipy's or that of MONAI's Spacing: either both grids cover
the same field of view, or they begin with the centre of the same voxel and `steps` says how many voxels of the old grid
lie between two of the new one, along each axis.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from selfmae.data.files.images import Image, with_channels
from selfmae.data.files.masks import Mask
from selfmae.errors import UserError
from selfmae.options import DataOptions

SAME_STEP = 1e-3  # a spacing that differs by less is the same one, as in MONAI


@dataclass(frozen=True)
class Box:
    """The part of a prepared grid that is kept: from `corner`, `shape` voxels of the `whole`."""

    corner: tuple[int, ...]
    shape: tuple[int, ...]
    whole: tuple[int, ...]
    file_steps: tuple[float, ...] = ()  # prepared voxels per voxel of the file where `data.align` is "origin"

    def cut(self, array: np.ndarray) -> np.ndarray:
        """Return this part of an array [..., *whole]."""
        return array[window(self.corner, self.shape)]


def window(corner: Sequence[int], shape: Sequence[int]) -> tuple[Any, ...]:
    """Return the index of the part of an array [..., *S] that begins at `corner`."""
    return (..., *(slice(start, start + extent) for start, extent in zip(corner, shape, strict=True)))


def prepared_shape(shape: Sequence[int], spacing_mm: Sequence[float], options: DataOptions) -> tuple[int, ...]:
    """Return the shape [*S] that an image of this shape and spacing has after preparation, before it is cropped."""
    for key, wanted in (("size", options.size), ("spacing_mm", options.spacing_mm), ("crop", options.crop)):
        if wanted and len(wanted) != len(shape):
            raise UserError(
                f"data.{key} {list(wanted)} is made for {len(wanted)} axes, but the image has {len(shape)} "
                f"({list(shape)}): give one value for each axis."
            )
    if options.size:
        return tuple(options.size)
    if not options.spacing_mm:
        return tuple(shape)
    if len(spacing_mm) != len(shape):
        raise UserError(
            "data.spacing_mm was given, but the image has no spacing in its file: leave data.spacing_mm empty."
        )
    triples = zip(shape, spacing_mm, options.spacing_mm, strict=True)
    if options.align == "origin":
        return tuple(round((extent - 1) * old / new + 1) for extent, old, new in triples)
    return tuple(max(1, round(extent * old / new)) for extent, old, new in triples)


def steps_from_origin(spacing_mm: Sequence[float], options: DataOptions) -> tuple[float, ...]:
    """Return voxels of the file per prepared voxel along each axis, where `data.align` is "origin"; () where not."""
    if options.align != "origin" or options.size or not options.spacing_mm:
        return ()
    return tuple(new / old for old, new in zip(spacing_mm, options.spacing_mm, strict=True))


def prepare_image(image: Image, options: DataOptions) -> np.ndarray:
    """Return the image [C, *S] equalised, resampled and normalised, float16; the rest is left to `finish`."""
    array = with_channels(image, len(options.channels)).array
    if options.equalise:
        array = np.stack([_equalise(channel) for channel in array])
    if grid := _resampling(array.shape[1:], image.spacing_mm, options):
        array = resample(array, grid[0], options.interpolation, *grid[1:])
    prepared = np.empty(array.shape, dtype=np.float16)
    for channel, out in zip(array, prepared, strict=True):
        out[:] = _normalise(channel, options)
    return prepared


def prepare_mask(
    mask: Mask, values: Sequence[int], options: DataOptions, spacing_mm: Sequence[float] = ()
) -> np.ndarray:
    """Return the mask [*S] on the prepared grid, uint8: 0 is background, k the k-th of the label `values`.

    Values that are no label become background; `values` may be sparse and large, but there are at most 255 of them.
    `spacing_mm` is the spacing of the image, since the header of a mask may give another one or none.
    """
    lowest = int(mask.array.min())
    if lowest < 0:
        raise UserError(f"The mask holds {lowest}, but its values must be 0 or above: correct the mask.")
    array = _class_indices(mask.array, values)
    grid = _resampling(array.shape, spacing_mm, options)
    return resample_mask(array, grid[0], options.mask_interpolation, *grid[1:]) if grid else array


def find_box(prepared: np.ndarray, options: DataOptions, spacing_mm: Sequence[float] = ()) -> Box:
    """Return what `data.crop_foreground` keeps of a prepared image [C, *S]: the whole where it is off or all is one.

    The box holds every voxel above the lowest value of its channel, in any channel; where zeros are the background by
    definition ("zscore_nonzero"), every voxel that is not zero. `spacing_mm` is that of the file.
    """
    whole = prepared.shape[1:]
    file_steps = tuple(1 / step for step in steps_from_origin(spacing_mm, options))
    everything = Box((0,) * len(whole), whole, whole, file_steps)
    if not options.crop_foreground:
        return everything
    shown = np.zeros(whole, dtype=bool)
    for channel in prepared:
        shown |= channel != (0 if options.intensity == "zscore_nonzero" else channel.min())
    if not shown.any():
        return everything
    (found,) = ndimage.find_objects(shown.view(np.uint8))
    return Box(tuple(part.start for part in found), tuple(part.stop - part.start for part in found), whole, file_steps)


def finish(array: np.ndarray, options: DataOptions) -> np.ndarray:
    """Return a crop in training, or a whole image in prediction, [C, *S] float32 as the model sees it."""
    array = array.astype(np.float32, copy=False)
    if options.normalise_crops:  # by the statistics of what is given
        array = np.stack([_zscore(channel, options.intensity) for channel in array])
    if options.mean or options.std != 1:
        array = (array - np.float32(options.mean)) / np.float32(options.std)
    return array


def _resampling(
    shape: Sequence[int], spacing_mm: Sequence[float], options: DataOptions
) -> tuple[tuple[int, ...], int | None, tuple[float, ...]] | None:
    """Return shape, coarse axis and steps for `resample` of an image of this shape; None where its grid is kept."""
    wanted, steps = prepared_shape(shape, spacing_mm, options), steps_from_origin(spacing_mm, options)
    if wanted == tuple(shape) and all(abs(step - 1) <= SAME_STEP for step in steps):
        return None
    # Images that only get another size have no coarse axis.
    by_spacing = options.spacing_mm and not options.size
    coarse = coarse_axis(spacing_mm, options.spacing_mm, options.anisotropy) if by_spacing else None
    return wanted, coarse, steps


def _class_indices(array: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Return which of the label `values` each voxel has, uint8: its index from 1, or 0 if it has none of them."""
    assert len(values) <= 255
    if array.dtype in (np.uint8, np.uint16):
        table = np.zeros(np.iinfo(array.dtype).max + 1, dtype=np.uint8)
        for index, value in enumerate(values, start=1):
            if value < len(table):
                table[value] = index
        return table[array]
    if not len(values):
        return np.zeros(array.shape, dtype=np.uint8)
    order = np.argsort(values)
    ordered = np.asarray(values)[order]
    found = np.minimum(np.searchsorted(ordered, array), len(values) - 1)
    return np.where(ordered[found] == array, order[found] + 1, 0).astype(np.uint8)


def _equalise(channel: np.ndarray) -> np.ndarray:
    """Return the channel with a flat histogram (256 bins), values 0 to 1; the darkest value becomes 0, as padding."""
    counts, edges = np.histogram(channel, bins=256)
    cumulated = np.concatenate([[0], counts.cumsum() / counts.sum()])
    return np.interp(channel.ravel(), edges, cumulated).reshape(channel.shape).astype(np.float32)


def _normalise(channel: np.ndarray, options: DataOptions) -> np.ndarray:
    """Return one channel with intensities as `options.intensity` says (see `DataOptions`)."""
    if options.intensity == "zscore_nonzero" and options.normalise_crops:
        # Only scaled, into the range of float16: what is zero must stay known for the crops.
        return channel / max(float(np.abs(channel).mean()), 1e-6)
    if options.intensity in ("zscore", "zscore_nonzero"):
        return _zscore(channel, options.intensity)
    if options.intensity == "window":
        low, high = options.window
    elif options.intensity == "percentile":
        low, high = np.percentile(channel, (0.5, 99.5))
    else:
        low, high = channel.min(), channel.max()
    scaled = (channel - np.float32(low)) / np.float32(max(float(high - low), 1e-6))
    return np.clip(scaled, 0, 1, out=scaled)


def _zscore(channel: np.ndarray, intensity: str) -> np.ndarray:
    """Return the channel with mean 0 and deviation 1 over all its voxels, or over those that are not zero.

    All voxels need no guess at what is background, and the zeros of padding are their mean; with "zscore_nonzero" zeros
    stay zero.
    """
    if intensity == "zscore":
        return (channel - channel.mean()) / max(float(channel.std()), 1e-6)
    inside = channel != 0
    values = channel[inside]
    scaled = np.zeros_like(channel)
    if values.size:
        scaled[inside] = (values - values.mean()) / max(float(values.std()), 1e-6)
    return scaled


def coarse_axis(old_mm: Sequence[float], new_mm: Sequence[float], limit: float) -> int | None:
    """Return the one axis whose spacing is largest, if largest / smallest exceeds a limit other than 0, else None.

    The old spacing is judged first, then the new one, as in nnU-Net; where two axes are the coarsest there is none.
    """
    for spacing in (old_mm, new_mm):
        if limit and max(spacing) > limit * min(spacing):
            largest = [axis for axis, step in enumerate(spacing) if step == max(spacing)]
            return largest[0] if len(largest) == 1 else None
    return None


def resample(
    array: np.ndarray, shape: Sequence[int], how: str = "linear", coarse: int | None = None, steps: Sequence[float] = ()
) -> np.ndarray:
    """Return float32 values [C, *S] resampled to the spatial `shape`; `how` is linear or spline (order 3).

    With `steps`, voxel i of an axis is sampled at i * step, beyond the border the border repeats; without, linear
    resampling of pictures is anti-aliased when they shrink. A spline does not leave the range of its channel. The axis
    `coarse` is resampled alone and last, by nearest neighbour.
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

    Linear resamples one label after the other as an image of zeros and ones; the first of the largest wins. Nearest
    neighbours are the same with and without a coarse axis.
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
    if step is None:
        return (2 * np.arange(new) + 1) * old // (2 * new)
    return np.rint(np.arange(new) * step).astype(int).clip(0, old - 1)


def _sample(array: np.ndarray, shape: Sequence[int], steps: Sequence[float], order: int) -> np.ndarray:
    """Return each channel through a spline of this order; `steps` as in `resample`."""
    moves = np.array(steps) if steps else np.divide(array.shape[1:], shape)
    start = np.zeros(len(shape)) if steps else moves / 2 - 0.5
    resized = np.empty((len(array), *shape), dtype=np.float32)
    for channel, out in zip(array, resized, strict=True):
        ndimage.affine_transform(channel, moves, start, tuple(shape), out, order=order, mode="nearest")
        np.clip(out, channel.min(), channel.max(), out=out)
    return resized
