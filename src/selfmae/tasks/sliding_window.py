"""Sliding-window prediction row by row: never all classes at full size in memory.

Windows, padding and weights are those of MONAI's `sliding_window_inference`, and so are the labels that come out; but
the sums are kept only for the rows (positions on the first spatial axis) that open windows still touch.

Shapes: C channels, K outputs, S spatial axes of the prepared image, T those of the file.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, groupby, islice

import numpy as np
import torch
import torch.nn.functional as F
from monai.data.utils import compute_importance_map, dense_patch_slices
from torch import Tensor

from selfmae.data.preparation.prepare import Box, finish
from selfmae.data.sampling import pad_to
from selfmae.options import DataOptions, PredictOptions

GAUSSIAN_SIGMA = 0.125  # of the crop, as in MONAI and nnU-Net
ROW_MODES = {1: "linear", 2: "bilinear"}


def predict_rows(
    model: Callable[[Tensor], Tensor],
    prepared: np.ndarray,
    data: DataOptions,
    options: PredictOptions,
    device: torch.device,
) -> Iterator[Tensor]:
    """Yield the logits [K, *S[1:]] of a prepared image [C, *S], float32 on the CPU, one row after the other.

    `model` maps windows [1, C, *crop] to logits [1, K, *crop].
    """
    shape, crop = prepared.shape[1:], data.crop
    padded = finish(pad_to(prepared, crop), data)  # in this order, as a sample: `finish` may move what is zero
    weight = compute_importance_map(tuple(crop), options.blend, GAUSSIAN_SIGMA, device="cpu").float()
    # MONAI rounds the step between windows down, and takes no step where the crop covers the whole axis.
    steps = tuple(
        want if want == have else max(1, int(want * (1 - options.overlap)))
        for want, have in zip(crop, padded.shape[1:], strict=True)
    )
    windows = dense_patch_slices(padded.shape[1:], tuple(crop), steps)
    before = [(big - small) // 2 for big, small in zip(padded.shape[1:], shape, strict=True)]
    inner = [slice(None)] + [slice(gap, gap + extent) for gap, extent in zip(before[1:], shape[1:], strict=True)]
    rows = _sum_windows(model, padded, windows, weight, device)
    for row in islice(rows, before[0], before[0] + shape[0]):
        yield row[tuple(inner)]


def mirror_model(
    model: Callable[[Tensor], Tensor], axes: Sequence[int], lateral: int, swaps: Sequence[int]
) -> Callable[[Tensor], Tensor]:
    """Return a model whose logits are the mean over all ways to mirror the image on these spatial axes.

    Mirrored on the axis `lateral`, output k is taken from output `swaps[k]`, which is that of the other side.
    """
    ways = [way for count in range(len(axes) + 1) for way in combinations(axes, count)]

    def look(image: Tensor, way: Sequence[int]) -> Tensor:
        dims = [axis + 2 for axis in way]
        logits = model(image.flip(dims)).flip(dims)
        return logits[:, list(swaps)] if lateral in way else logits

    return lambda image: torch.stack([look(image, way) for way in ways]).mean(0)


def _sum_windows(
    model: Callable[[Tensor], Tensor],
    image: np.ndarray,
    windows: Sequence[tuple[slice, ...]],
    weight: Tensor,
    device: torch.device,
) -> Iterator[Tensor]:
    """Yield weighted mean logits of every row, as soon as no later window touches it."""
    levels = [(first, list(group)) for first, group in groupby(windows, key=lambda window: window[0].start)]
    ends = [first for first, _ in levels[1:]] + [image.shape[1]]
    height, across = weight.shape[0], image.shape[2:]
    total = torch.zeros(0)
    covered = torch.zeros(height, 1, *across)
    for (first, level), end in zip(levels, ends, strict=True):
        for window in level:
            view, region = (slice(None), *window), (slice(None), slice(None), *window[1:])
            logits = model(torch.from_numpy(image[view])[None].to(device))[0].float().cpu()
            if not total.numel():
                total = torch.zeros(height, len(logits), *across)
            total[region] += logits.transpose(0, 1) * weight[:, None]
            covered[region] += weight[:, None]
        done = end - first
        yield from (total[:done] / covered[:done]).unbind(0)
        for sums in (total, covered):
            sums[: height - done] = sums[done:].clone()
            sums[height - done :] = 0


def extend_rows(rows: Iterator[Tensor], box: Box) -> Iterator[Tensor]:
    """Yield rows [K, *whole[1:]] of the whole grid from those of a box in it: beyond the box its border repeats."""
    around: list[int] = []
    for low, extent, whole in zip(box.corner[:0:-1], box.shape[:0:-1], box.whole[:0:-1], strict=True):
        around += [low, whole - low - extent]
    row = torch.zeros(0)
    for index in range(box.whole[0]):
        if not index or box.corner[0] < index < box.corner[0] + box.shape[0]:
            row = F.pad(next(rows)[None], around, mode="replicate")[0]
        yield row


def clear_outside(prediction: np.ndarray, box: Box) -> None:
    """Set to background, in place, the voxels of a prediction [..., *T] whose centres lie outside the box."""
    first = prediction.ndim - len(box.whole)
    for axis, (low, extent, whole) in enumerate(zip(box.corner, box.shape, box.whole, strict=True)):
        size = prediction.shape[first + axis]
        centres = (np.arange(size) + 0.5) * whole / size
        if box.file_steps:
            centres = np.arange(size) * box.file_steps[axis] + 0.5
        outside = (centres < low) | (centres >= low + extent)
        prediction[(slice(None),) * (first + axis) + (outside,)] = 0


def resample_rows(
    rows: Iterator[Tensor], num_rows: int, shape: Sequence[int], steps: Sequence[float] = ()
) -> Iterator[Tensor]:
    """Yield `shape[0]` rows [K, *T[1:]], linearly resampled from rows [K, *S[1:]].

    Both grids cover the same field of view (`align_corners=False`); with `steps` (`Box.file_steps`) voxel i of an axis
    is at i * step, and beyond the border the border repeats.
    """
    held: dict[int, Tensor] = {}
    newest = -1
    for index in range(shape[0]):
        source = max(0.0, (index + 0.5) * num_rows / shape[0] - 0.5)
        if steps:
            source = min(index * steps[0], num_rows - 1)
        low = min(int(source), num_rows - 1)
        high = min(low + 1, num_rows - 1)
        while newest < high:
            newest += 1
            held[newest] = next(rows)
        held = {number: row for number, row in held.items() if number >= low}
        share = source - low
        row = held[low] if share == 0 else held[low] * (1 - share) + held[high] * share
        if steps:
            row = _at_steps(row, shape[1:], steps[1:])
        elif row.shape[1:] != tuple(shape[1:]):
            row = F.interpolate(row[None], tuple(shape[1:]), mode=ROW_MODES[len(shape) - 1])[0]
        yield row


def _at_steps(row: Tensor, shape: Sequence[int], steps: Sequence[float]) -> Tensor:
    """Return a row [K, *S[1:]] sampled linearly at i * step along each of its axes, [K, *shape]."""
    for axis, (extent, step) in enumerate(zip(shape, steps, strict=True), start=1):
        source = (torch.arange(extent, dtype=torch.float64) * step).clamp(max=row.shape[axis] - 1)
        low = source.long()
        high = (low + 1).clamp(max=row.shape[axis] - 1)
        share = (source - low).to(row.dtype).reshape(-1, *[1] * (row.ndim - 1 - axis))
        row = row.index_select(axis, low) * (1 - share) + row.index_select(axis, high) * share
    return row


def largest_output(rows: Iterator[Tensor]) -> np.ndarray:
    """Return the index [*T] of the largest of the K outputs, uint8; the first of equal ones."""
    winners = []
    for row in rows:
        best, winner = row[0].clone(), torch.zeros(row.shape[1:], dtype=torch.uint8)
        for index in range(1, len(row)):  # one output after the other: several times faster than `argmax`
            winner[row[index] > best] = index
            torch.maximum(best, row[index], out=best)
        winners.append(winner.numpy())
    return np.stack(winners)


def positive_outputs(rows: Iterator[Tensor]) -> np.ndarray:
    """Return which outputs are above zero (probability above one half), bool [K, *T]."""
    return np.stack([(row > 0).numpy() for row in rows], axis=1)
