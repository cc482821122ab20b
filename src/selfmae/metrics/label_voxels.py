"""Voxels of each label in a true and a predicted mask: how many, and the box that holds them.

Letters: S spatial size (2 or 3 numbers), K mask codes.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy.ndimage import find_objects

Box = tuple[slice, ...]
LARGEST_CODE = 255  # mask values up to this serve as codes as they are
VOXELS_AT_ONCE = 2**20


def encode(
    truth: np.ndarray, prediction: np.ndarray, labels: Mapping[str, tuple[int, ...]]
) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    """Return both masks as small codes (bool regions stay) and the codes of each label."""
    regions = prediction.dtype == np.bool_
    assert truth.shape == (prediction.shape[1:] if regions else prediction.shape), "the masks differ in size"
    assert not regions or len(prediction) == len(labels), "one predicted region a label is needed"
    masks = [truth] if regions else [truth, prediction]
    values = sorted({value for group in labels.values() for value in group})
    small = values[0] > 0 and all(mask.min(initial=0) >= 0 and mask.max(initial=0) <= LARGEST_CODE for mask in masks)
    codes = [np.ascontiguousarray(mask, np.uint8) if small else _places(mask, values) for mask in masks]
    code_of = {value: value if small else place for place, value in enumerate(values, start=1)}
    code_sets = [sorted({code_of[value] for value in group}) for group in labels.values()]
    return codes[0], prediction if regions else codes[1], code_sets


def _places(mask: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Return for each voxel the place of its value in the sorted `values`, counted from 1, or 0 for any other."""
    place = np.searchsorted(values, mask).clip(max=len(values) - 1)
    return np.where(np.asarray(values)[place] == mask, place + 1, 0).astype(np.uint16)


def count(truth: np.ndarray, prediction: np.ndarray, code_sets: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """Return the voxels of each label in the truth, in the prediction and in both."""
    if prediction.dtype == np.bool_:
        tables = [_joint(truth, region.view(np.uint8), code_sets) for region in prediction]
        predicted_sets: Sequence[Sequence[int]] = [[1]] * len(tables)
    else:
        tables = [_joint(truth, prediction, code_sets)] * len(code_sets)
        predicted_sets = code_sets
    counts = []
    for table, true, predicted in zip(tables, code_sets, predicted_sets, strict=True):
        sums = table[true].sum(), table[:, predicted].sum(), table[np.ix_(true, predicted)].sum()
        counts.append((int(sums[0]), int(sums[1]), int(sums[2])))
    return counts


def _joint(truth: np.ndarray, prediction: np.ndarray, code_sets: Sequence[Sequence[int]]) -> np.ndarray:
    """Return the number of voxels [K, K] with each pair of truth and predicted code."""
    largest = (int(truth.max(initial=1)), int(prediction.max(initial=1)), *(max(codes) for codes in code_sets))
    num_codes = 1 + max(largest)
    truth, prediction = truth.reshape(-1), prediction.reshape(-1)
    table = np.zeros(num_codes**2, dtype=np.int64)
    for start in range(0, truth.size, VOXELS_AT_ONCE):
        pairs = truth[start : start + VOXELS_AT_ONCE].astype(np.intp)
        pairs *= num_codes
        pairs += prediction[start : start + VOXELS_AT_ONCE]
        table += np.bincount(pairs, minlength=table.size)
    return table.reshape(num_codes, num_codes)


def cut(
    truth: np.ndarray, prediction: np.ndarray, code_sets: Sequence[Sequence[int]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield truth and prediction of each label as bool masks, cut to the box that holds both; empty if nothing is."""
    regions = prediction.dtype == np.bool_
    truth_boxes, predicted_boxes = find_objects(truth), [] if regions else find_objects(prediction)
    for index, codes in enumerate(code_sets):
        boxes = find_objects(prediction[index].view(np.uint8)) if regions else _chosen(predicted_boxes, codes)
        box = _union([*boxes, *_chosen(truth_boxes, codes)], truth.ndim)
        yield np.isin(truth[box], codes), prediction[index][box] if regions else np.isin(prediction[box], codes)


def _chosen(boxes: Sequence[Box | None], codes: Sequence[int]) -> list[Box]:
    """Return the boxes of those codes that occur; code 1 has the first box."""
    return [box for box in (boxes[code - 1] for code in codes if code <= len(boxes)) if box]


def _union(boxes: Sequence[Box], num_axes: int) -> Box:
    """Return the smallest box around all boxes, an empty one around none."""
    if not boxes:
        return (slice(0, 0),) * num_axes
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))
