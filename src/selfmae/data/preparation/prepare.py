"""From a file's voxels to what the store keeps: once per image, without random numbers and without labels.

Shapes: C channels, S spatial axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfmae.data.files.images import Image, with_channels
from selfmae.data.files.masks import Mask
from selfmae.data.preparation.resample import coarse_axis, resample, resample_mask
from selfmae.errors import UserError
from selfmae.options import DataOptions

SAME_STEP = 1e-3  # a spacing that differs by less is the same one


@dataclass(frozen=True)
class Box:
    """The part of a prepared grid that is kept: from `corner`, `shape` voxels of the `whole`.

    `file_steps` are prepared voxels per voxel of the file along each axis, where both grids begin with the centre of
    the same voxel (`data.align` "origin"); () where they cover the same field of view.
    """

    corner: tuple[int, ...]
    shape: tuple[int, ...]
    whole: tuple[int, ...]
    file_steps: tuple[float, ...] = ()

    def cut(self, array: np.ndarray) -> np.ndarray:
        """Return this part of an array [..., *whole]."""
        part = [slice(None)] * (array.ndim - len(self.whole))
        part += [slice(start, start + extent) for start, extent in zip(self.corner, self.shape, strict=True)]
        return array[tuple(part)]


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
    """Return the image [C, *S] equalised, resampled and normalised as the options say, float16.

    What `finish` does is not done yet: it may need the crop.
    """
    array = with_channels(image, len(options.channels)).array
    if options.equalise:
        array = np.stack([_equalise(channel) for channel in array])
    shape = prepared_shape(array.shape[1:], image.spacing_mm, options)
    steps = steps_from_origin(image.spacing_mm, options)
    if shape != array.shape[1:] or _are_other(steps):
        array = resample(array, shape, options.interpolation, _coarse(image.spacing_mm, options), steps)
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
    shape, steps = prepared_shape(array.shape, spacing_mm, options), steps_from_origin(spacing_mm, options)
    if shape != array.shape or _are_other(steps):
        array = resample_mask(array, shape, options.mask_interpolation, _coarse(spacing_mm, options), steps)
    return array


def find_box(prepared: np.ndarray, options: DataOptions, spacing_mm: Sequence[float] = ()) -> Box:
    """Return what `data.crop_foreground` keeps of a prepared image [C, *S]: the whole where it is off or all is one.

    The box holds every voxel above the lowest value of its channel, in any channel; where zeros are the background by
    definition ("zscore_nonzero"), every voxel that is not zero. `spacing_mm` is the spacing of the file, which tells
    `Box.file_steps`.
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
    axes = range(len(whole))
    filled = [np.flatnonzero(shown.any(axis=tuple(other for other in axes if other != axis))) for axis in axes]
    corner = tuple(int(indices[0]) for indices in filled)
    shape = tuple(int(indices[-1]) + 1 - low for indices, low in zip(filled, corner, strict=True))
    return Box(corner, shape, whole, file_steps)


def finish(array: np.ndarray, options: DataOptions) -> np.ndarray:
    """Return a crop in training, or a whole image in prediction, [C, *S] float32 as the model sees it.

    `data.normalise_crops` takes the statistics of what is given; then `data.mean` and `data.std` follow.
    """
    array = array.astype(np.float32, copy=False)
    if options.normalise_crops:
        array = np.stack([_zscore(channel, options.intensity) for channel in array])
    if options.mean or options.std != 1:
        array = (array - np.float32(options.mean)) / np.float32(options.std)
    return array


def _coarse(spacing_mm: Sequence[float], options: DataOptions) -> int | None:
    """Return the axis to be resampled on its own; images that only get another size have none."""
    wanted = options.spacing_mm
    return coarse_axis(spacing_mm, wanted, options.anisotropy) if wanted and not options.size else None


def _are_other(steps: Sequence[float]) -> bool:
    """Return whether these steps from voxel to voxel are others than those of the file; MONAI allows 1e-3 too."""
    return any(abs(step - 1) > SAME_STEP for step in steps)


def _class_indices(array: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Return which of the label `values` each voxel has, uint8: its index from 1, or 0 if it has none of them."""
    assert len(values) <= 255
    if not len(values):
        return np.zeros(array.shape, dtype=np.uint8)
    if array.dtype in (np.uint8, np.uint16):
        table = np.zeros(np.iinfo(array.dtype).max + 1, dtype=np.uint8)
        for index, value in enumerate(values, start=1):
            if value < len(table):
                table[value] = index
        return table[array]
    order = np.argsort(values)
    ordered = np.asarray(values)[order]
    nearest = np.minimum(np.searchsorted(ordered, array), len(values) - 1)
    return np.where(ordered[nearest] == array, order[nearest] + 1, 0).astype(np.uint8)


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

    All voxels, background included, need no guess at what is background, and the zeros of padding are their mean;
    with "zscore_nonzero" zeros stay zero.
    """
    if intensity == "zscore":
        return (channel - channel.mean()) / max(float(channel.std()), 1e-6)
    inside = channel != 0
    values = channel[inside]
    scaled = np.zeros_like(channel)
    if values.size:
        scaled[inside] = (values - values.mean()) / max(float(values.std()), 1e-6)
    return scaled
