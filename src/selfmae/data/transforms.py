"""From a file's voxels to what a model sees: preparation once per image, and random changes once per draw.

Shapes: C channels, S spatial axes. Every random change is a pure function of a NumPy generator, so that the same draw
gives the same sample on every machine and after every restart.
"""

from collections.abc import Sequence
from math import cos, exp, log, radians, sin

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfmae.data.images import Image, Mask
from selfmae.errors import UserError
from selfmae.options import AugmentOptions, DataOptions


def prepared_shape(shape: Sequence[int], spacing_mm: Sequence[float], options: DataOptions) -> tuple[int, ...]:
    """Return the spatial shape that an image of this shape [*S] and spacing has after preparation."""
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
    pairs = zip(shape, spacing_mm, options.spacing_mm, strict=True)
    return tuple(max(1, round(extent * old / new)) for extent, old, new in pairs)


def prepare_image(image: Image, options: DataOptions) -> np.ndarray:
    """Return the image [C, *S] equalised, resampled and normalised as the options say, float16."""
    array = image.array
    if options.equalise:
        array = np.stack([_equalise(channel) for channel in array])
    shape = prepared_shape(array.shape[1:], image.spacing_mm, options)
    if shape != array.shape[1:]:
        array = resample(torch.from_numpy(array), shape).numpy()
    return np.stack([_normalise(channel, options) for channel in array]).astype(np.float16)


def prepare_mask(mask: Mask, values: Sequence[int], options: DataOptions) -> np.ndarray:
    """Return the mask [*S] on the prepared grid, uint8: 0 is background, k the k-th of the label `values`.

    Values that are no label become background; `values` may be sparse and large, but there are at most 255 of them.
    """
    lowest = int(mask.array.min())
    if lowest < 0:
        raise UserError(f"The mask holds {lowest}, but its values must be 0 or above: correct the mask.")
    array = _label_places(mask.array, values)
    shape = prepared_shape(array.shape, mask.spacing_mm, options)
    if shape != array.shape:
        # Nearest voxel centre, so that no label value is invented.
        resized = F.interpolate(torch.from_numpy(array)[None, None].float(), shape, mode="nearest-exact")
        array = resized[0, 0].numpy().astype(np.uint8)
    return array


def _label_places(array: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Return which of the label `values` each voxel has, uint8: its place from 1, or 0 if it has none of them."""
    assert len(values) <= 255
    if not len(values):
        return np.zeros(array.shape, dtype=np.uint8)
    order = np.argsort(values)
    ordered = np.asarray(values)[order]
    nearest = np.minimum(np.searchsorted(ordered, array), len(values) - 1)
    return np.where(ordered[nearest] == array, order[nearest] + 1, 0).astype(np.uint8)


def resample(array: Tensor, shape: Sequence[int]) -> Tensor:
    """Return values [C, *S] linearly resampled to the spatial `shape`; images are anti-aliased when they shrink (2-D).

    Voxel edges are aligned (`align_corners=False`), the convention of medical images whose field of view is kept.
    """
    if len(shape) == 2:
        resized = F.interpolate(array[None].float(), tuple(shape), mode="bilinear", antialias=True)
    else:
        resized = F.interpolate(array[None].float(), tuple(shape), mode="trilinear")
    return resized[0]


def _equalise(channel: np.ndarray) -> np.ndarray:
    """Return the channel with a flat histogram (256 bins), values 0 to 1; the darkest value becomes 0, as padding."""
    counts, edges = np.histogram(channel, bins=256)
    cumulated = np.concatenate([[0], counts.cumsum() / counts.sum()])
    return np.interp(channel.ravel(), edges, cumulated).reshape(channel.shape).astype(np.float32)


def _normalise(channel: np.ndarray, options: DataOptions) -> np.ndarray:
    """Return one channel with intensities as `options.intensity` says (see `DataOptions`).

    "zscore" takes mean and deviation over the whole image, background included: it needs no guess at what is
    background, and the zeros of padding are the image's mean.
    """
    if options.intensity == "zscore":
        return (channel - channel.mean()) / max(float(channel.std()), 1e-6)
    if options.intensity == "window":
        low, high = options.window
    elif options.intensity == "percentile":
        low, high = np.percentile(channel, (0.5, 99.5))
    else:
        low, high = channel.min(), channel.max()
    return np.clip((channel - low) / max(float(high - low), 1e-6), 0, 1)


def pad_to(array: np.ndarray, crop: Sequence[int]) -> np.ndarray:
    """Return `array` [..., *S] with zeros around it (half on each side) where an axis is shorter than `crop`."""
    num_axes = len(crop)
    missing = [max(0, want - have) for want, have in zip(crop, array.shape[-num_axes:], strict=True)]
    if not any(missing):
        return array
    around = [(0, 0)] * (array.ndim - num_axes) + [(gap // 2, gap - gap // 2) for gap in missing]
    return np.pad(array, around)


def draw_corner(
    shape: Sequence[int], crop: Sequence[int], rng: np.random.Generator, target: np.ndarray | None, foreground: float
) -> tuple[int, ...]:
    """Return the lower corner of a random crop in a volume of `shape` [*S], drawn evenly over all places.

    With probability `foreground` the crop is centred, as far as the border allows, on a labelled voxel of `target`:
    first a label among those present, then one of its voxels, so that small organs are seen as often as large ones.
    """
    room = [max(0, have - want) for have, want in zip(shape, crop, strict=True)]
    even = [int(rng.integers(extent + 1)) for extent in room]
    if target is None or rng.random() >= foreground:
        return tuple(even)
    present = np.flatnonzero(np.bincount(target.ravel()))
    present = present[present > 0]
    if not len(present):
        return tuple(even)
    places = np.flatnonzero(target.ravel() == rng.choice(present))
    centre = np.unravel_index(int(rng.choice(places)), target.shape)
    return tuple(
        min(max(0, int(place) - want // 2), extent) for place, want, extent in zip(centre, crop, room, strict=True)
    )


def take_crop(array: np.ndarray, corner: Sequence[int], crop: Sequence[int]) -> np.ndarray:
    """Return the part of `array` [..., *S] that starts at `corner`, padded with zeros to the size `crop`."""
    whole = [slice(None)] * (array.ndim - len(crop))
    window = [slice(start, start + extent) for start, extent in zip(corner, crop, strict=True)]
    return pad_to(array[tuple(whole + window)], crop)


def augment(
    image: Tensor, mask: Tensor | None, options: AugmentOptions, rng: np.random.Generator
) -> tuple[Tensor, Tensor | None]:
    """Return image [C, *S] and mask [*S] with the random changes of the options; the same change for both."""
    for axis in options.flip_axes:
        if rng.random() < options.flip:
            image = image.flip(axis + 1)
            mask = None if mask is None else mask.flip(axis)
    matrix = _draw_warp(image.ndim - 1, options, rng)
    if matrix is not None:
        image, mask = _warp(image, mask, matrix)
    if options.intensity:
        gain, shift = rng.uniform(-options.intensity, options.intensity, 2)
        centre, spread = image.mean(), image.std()
        image = (image - centre) * (1 + float(gain)) + centre + float(shift) * spread
    return image, mask


def _draw_warp(num_axes: int, options: AugmentOptions, rng: np.random.Generator) -> np.ndarray | None:
    """Draw an affine map [n, n + 1] from output to input places, in units of half the image, x axis first."""
    if not (options.min_scale < 1 or options.rotate_degrees or options.zoom):
        return None
    scale, shift = np.ones(num_axes), np.zeros(num_axes)
    if options.min_scale < 1:
        # Random resized crop: area and aspect ratio as in torchvision, the place even over where it fits.
        side = rng.uniform(options.min_scale, 1) ** (1 / num_axes)
        aspect = exp(rng.uniform(log(3 / 4), log(4 / 3)) / 2)
        scale = np.minimum(side * np.array([aspect, 1 / aspect] + [1.0] * (num_axes - 2)), 1)
        shift = rng.uniform(-1, 1, num_axes) * (1 - scale)
    if options.zoom:
        scale = scale * (1 + rng.uniform(-options.zoom, options.zoom))
    angle = radians(rng.uniform(-options.rotate_degrees, options.rotate_degrees)) if options.rotate_degrees else 0.0
    turn = np.eye(num_axes)
    turn[-2:, -2:] = [[cos(angle), -sin(angle)], [sin(angle), cos(angle)]]
    return np.concatenate([turn * scale, shift[:, None]], axis=1)


def _warp(image: Tensor, mask: Tensor | None, matrix: np.ndarray) -> tuple[Tensor, Tensor | None]:
    """Sample image (linear) and mask (nearest) through the map; places outside repeat the border for both."""
    # Rotation must not shear images whose axes differ in length: turn lengths, not shares of the image.
    half = np.array(image.shape[:0:-1], dtype=float)
    matrix = np.concatenate([matrix[:, :-1] * half / half[:, None], matrix[:, -1:]], axis=1)
    theta = torch.from_numpy(matrix)[None].float()
    grid = F.affine_grid(theta, [1, 1, *image.shape[1:]], align_corners=False)
    image = F.grid_sample(image[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    if mask is not None:
        values = F.grid_sample(
            mask[None, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False
        )
        mask = values[0, 0].to(mask.dtype)
    return image, mask
