"""Overlap (Dice) and surface distance (HD95) of masks: one wide row a case, and their summary with named conventions.

Letters: S spatial size (2 or 3 numbers), R overlapping regions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.ndimage import find_objects
from scipy.spatial import cKDTree

from selfmae.errors import UserError

Row = Mapping[str, Any]
Pair = tuple[np.ndarray, np.ndarray]  # truth and prediction of a label, bool

CONVENTIONS = {
    "dice_per_case": "Dice averaged over labels the case's truth has, then over cases (Zhou et al. 2023); a miss is 0.",
    "dice_per_label": "Dice averaged over the cases whose truth has a label, then over labels; a miss is 0.",
    "dice_pooled": "Dice of the voxels of all cases together for each label, then averaged over labels.",
    "dice_absent_counts": "As Dice per case, but a label the truth lacks counts: 1 if none of it is predicted, else 0.",
    "per_case": "95th percentile of surface distances in {unit}, larger of the two directions (as MONAI): averaged "
    "over labels the case's truth has, then over cases; a miss is the image's diagonal.",
    "per_label": "As HD95 per case, but averaged over the cases whose truth has a label, then over labels.",
    "found_only": "As HD95 per case, but misses are dropped (as Zhou et al. 2023 do for BTCV), which flatters.",
}

Box = tuple[slice, ...]
LARGEST_CODE = 255  # mask values up to this serve as codes as they are
VOXELS_AT_ONCE = 2**20


def score_masks(
    prediction: np.ndarray,
    truth: np.ndarray,
    labels: Mapping[str, tuple[int, ...]],
    spacing_mm: Sequence[float],
    reported: Sequence[str] = (),
    distances: bool = True,
) -> dict[str, float | int | None]:
    """Return the scores of one case: four columns a label, and the means over the `reported` labels its truth has.

    `prediction` is mask values [*S], or bool regions [R, *S] in the order of `labels`; `truth` is mask values [*S].
    `labels` gives the mask values of each name. With the spacing (), distances are in voxels and say so.
    Dice and HD95 are None where the truth lacks the label; a missed label has Dice 0 and the image's diagonal as HD95.
    Without `distances`, which take most of the time, HD95 is None throughout.
    """
    truth, prediction, code_sets = encode(truth, prediction, labels)
    counts = count(truth, prediction, code_sets)
    pairs: Iterable[Pair | None] = cut(truth, prediction, code_sets) if distances else [None] * len(labels)
    spacing = np.array(spacing_mm if len(spacing_mm) else [1.0] * truth.ndim)
    diagonal = float(np.linalg.norm(spacing * truth.shape))
    hd95 = "hd95_mm" if len(spacing_mm) else "hd95_voxels"
    row: dict[str, float | int | None] = {}
    for name, pair, (num_true, num_predicted, num_both) in zip(labels, pairs, counts, strict=True):
        distance = surface_distance(*pair, spacing) if pair and num_true and num_predicted else diagonal
        row[f"dice_{name}"] = 2 * num_both / (num_true + num_predicted) if num_true else None
        row[f"{hd95}_{name}"] = distance if distances and num_true else None
        row[f"voxels_true_{name}"] = num_true
        row[f"voxels_predicted_{name}"] = num_predicted
    return row | {m: _mean(row[f"{m}_{name}"] for name in reported or labels) for m in ("dice", hd95)}


def summarise_masks(rows: Sequence[Row], names: Sequence[str], reported: Sequence[str] = ()) -> dict[str, Any]:
    """Return the metrics of all cases under their several conventions, and the scores and counts of each label.

    Metrics are those of the `reported` labels, () is all.
    `rows` are those of `score_masks` with "id" and "patient"; a metric that nothing defines is None.
    """
    unit = _unit(rows)
    hd95 = f"hd95_{unit}"
    labels = {}
    for name in names:
        presence = [(row[f"voxels_true_{name}"] > 0, row[f"voxels_predicted_{name}"] > 0) for row in rows]
        labels[name] = {
            "dice": _mean(row[f"dice_{name}"] for row in rows),
            hd95: _mean(row[f"{hd95}_{name}"] for row in rows),
            "num_present": sum(true for true, _ in presence),
            "num_missed": presence.count((True, False)),
            "num_false": presence.count((False, True)),
        }
    names = reported or names
    metrics = {
        "dice_per_case": _mean(row["dice"] for row in rows),
        "dice_per_label": _mean(labels[name]["dice"] for name in names),
        "dice_pooled": _mean(_pooled_dice(rows, name) for name in names),
        "dice_absent_counts": _mean(_mean(_absence_dice(row, name) for name in names) for row in rows),
        f"{hd95}_per_case": _mean(row[hd95] for row in rows),
        f"{hd95}_per_label": _mean(labels[name][hd95] for name in names),
        f"{hd95}_found_only": _mean(
            _mean(row[f"{hd95}_{name}"] for name in names if row[f"voxels_predicted_{name}"]) for row in rows
        ),
    }
    return {
        "num_cases": len(rows),
        "num_patients": len({row["patient"] for row in rows}),
        "metrics": metrics,
        "labels": labels,
        "conventions": {name: CONVENTIONS[name.removeprefix(f"{hd95}_")].format(unit=unit) for name in metrics},
    }


def _unit(rows: Sequence[Row]) -> str:
    """Return the unit of the distances of all rows, "mm" or "voxels"."""
    in_voxels = [row["id"] for row in rows if "hd95_voxels" in row]
    if in_voxels and len(in_voxels) < len(rows):
        raise UserError(
            f"Distances must have one unit, but {len(in_voxels)} of {len(rows)} mask files (first: {in_voxels[0]!r}) "
            "hold no spacing and the others do: save all of them in a format with a spacing, or none."
        )
    return "voxels" if in_voxels else "mm"


def _pooled_dice(rows: Sequence[Row], name: str) -> float | None:
    """Return the Dice of all cases' voxels together, None where no case has the label."""
    sizes = [row[f"voxels_true_{name}"] + row[f"voxels_predicted_{name}"] for row in rows]
    both = sum((row[f"dice_{name}"] or 0) * size for row, size in zip(rows, sizes, strict=True))
    present = any(row[f"voxels_true_{name}"] for row in rows)
    return both / sum(sizes) if present else None


def _absence_dice(row: Row, name: str) -> float:
    """Return the Dice, or where the truth lacks the label 1 if the prediction lacks it too, else 0."""
    dice = row[f"dice_{name}"]
    return float(not row[f"voxels_predicted_{name}"]) if dice is None else dice


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is defined, None if nothing is."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def surface_distance(truth: np.ndarray, prediction: np.ndarray, spacing: np.ndarray) -> float:
    """Return the larger of the two directed 95th percentiles of distances between the surfaces of bool masks [*S].

    Equals MONAI's `compute_hausdorff_distance(percentile=95)`, in the unit of `spacing`; neither mask may be empty.
    """
    a, b = surface(truth), surface(prediction)
    return max(_directed(a, b, spacing), _directed(b, a, spacing))


def surface(mask: np.ndarray) -> np.ndarray:
    """Return the voxels [*S] of a bool mask that have a face neighbour outside it; outside the array counts so."""
    inner = mask.copy()  # scipy's binary_erosion gives the same and takes ten times as long
    for axis in range(mask.ndim):
        source, target = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        target[1:] &= source[:-1]
        target[:-1] &= source[1:]
        target[[0, -1]] = False
    return mask & ~inner


def _directed(start: np.ndarray, goal: np.ndarray, spacing: np.ndarray) -> float:
    """Return the 95th percentile of the distances from one surface to the other."""
    distances = np.zeros(np.count_nonzero(start))
    # Voxels on both surfaces are 0 apart: only the others are worth a query.
    apart = np.argwhere(start & ~goal) * spacing
    if len(apart):
        tree = cKDTree(np.argwhere(goal) * spacing, balanced_tree=False, compact_nodes=False)
        distances[: len(apart)] = tree.query(apart)[0]
    return float(np.percentile(distances, 95))


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
    codes = [np.ascontiguousarray(mask, np.uint8) if small else _class_indices(mask, values) for mask in masks]
    code_of = {value: value if small else index for index, value in enumerate(values, start=1)}
    code_sets = [sorted({code_of[value] for value in group}) for group in labels.values()]
    return codes[0], prediction if regions else codes[1], code_sets


def _class_indices(mask: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Return for each voxel the index of its value in the sorted `values`, counted from 1, or 0 for any other."""
    index = np.searchsorted(values, mask).clip(max=len(values) - 1)
    return np.where(np.asarray(values)[index] == mask, index + 1, 0).astype(np.uint16)


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
        axes = zip(*boxes, *_chosen(truth_boxes, codes), strict=True)
        around = tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in axes)
        box = around or (slice(0, 0),) * truth.ndim
        yield np.isin(truth[box], codes), prediction[index][box] if regions else np.isin(prediction[box], codes)


def _chosen(boxes: Sequence[Box | None], codes: Sequence[int]) -> list[Box]:
    """Return the boxes of those codes that occur; code 1 has the first box."""
    return [box for box in (boxes[code - 1] for code in codes if code <= len(boxes)) if box]
