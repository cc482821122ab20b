"""Copies of an image that are not equal voxel by voxel: saved again with losses, or with other brightness or size.

An image is identified by a thumbnail of block means. Found by trying: copies of chest radiographs as JPEG of quality 75
to 95 correlate with the original by more than 0.9999, and no two different ones of 813 by more than 0.975.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfmae.data.case import Cases
from selfmae.data.doctor.findings import Facts
from selfmae.errors import UserError

SIDES = {2: 16, 3: 10}  # blocks along an axis, by the number of axes
SAME = 0.9995  # correlation of the thumbnails of copies
NUM_AXES = 24  # of the space in which neighbours are searched: the directions in which thumbnails differ most
NUM_NEIGHBOURS = 8  # nearest ones that are compared, so that many copies of one image cost no more than few
MAX_FITTED = 20_000  # thumbnails that the directions are taken from


@dataclass(frozen=True)
class Fingerprint:
    """Medians and ranges over the images of the training part; shapes in voxels, spacings in mm."""

    num_train: int
    num_channels: int
    median_shape: tuple[int, ...]
    min_shape: tuple[int, ...]
    max_shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]  # median; () where the files have none
    spacing_varies: bool  # by more than 1 %
    looks_like_ct: bool  # one channel that reaches from air far below 0 to bone: Hounsfield units


def thumbnail(array: np.ndarray) -> bytes:
    """Return the block means of an image [C, *S], all channels together, from 0 to 255; b"" where that says little."""
    side = SIDES.get(array.ndim - 1)
    if side is None or min(array.shape[1:]) < side:
        return b""
    means = sum(_block_means(channel, side) for channel in array)
    low, high = np.min(means), np.max(means)
    if not np.isfinite(high - low) or high == low:
        return b""
    return np.round((means - low) / (high - low) * 255).astype(np.uint8).tobytes()


def near_copies(facts: Sequence[Facts]) -> list[list[str]]:
    """Return the ids of cases whose images are copies of each other, equal or nearly so, in order; groups of two up."""
    same: dict[str, str] = {}
    of_hash: dict[str, str] = {}
    equal = [(of_hash.setdefault(fact.pixel_hash, fact.id), fact.id) for fact in facts]
    for left, right in [*equal, *_near_pairs(facts)]:
        first, second = sorted((_root(same, left), _root(same, right)))
        if first != second:
            same[second] = first
    groups: dict[str, list[str]] = defaultdict(list)
    for fact in facts:
        groups[_root(same, fact.id)].append(fact.id)
    return [group for group in groups.values() if len(group) > 1]


def copy_keys(facts: Sequence[Facts]) -> dict[str, str]:
    """Return a key for each case by id: equal for copies, else the hash of the image."""
    keys = {fact.id: fact.pixel_hash for fact in facts}
    for group in near_copies(facts):
        keys |= dict.fromkeys(group, keys[group[0]])
    return keys


def _block_means(channel: np.ndarray, side: int) -> np.ndarray:
    """Return the means [side, ...] of the blocks of a channel [*S]."""
    if channel.ndim == 3:  # plane by plane, so that no copy of the whole is made
        channel = np.stack([_block_means(plane, side) for plane in channel])
        return _means_along(channel, 0, side)
    return _means_along(_means_along(channel, 1, side), 0, side)


def _means_along(array: np.ndarray, axis: int, side: int) -> np.ndarray:
    extent = array.shape[axis]
    edges = np.arange(side) * extent // side
    sizes = np.diff([*edges, extent]).reshape([-1 if other == axis else 1 for other in range(array.ndim)])
    means: np.ndarray = np.add.reduceat(array, edges, axis=axis, dtype=np.float64) / sizes
    return means


def _near_pairs(facts: Sequence[Facts]) -> list[tuple[str, str]]:
    """Return pairs of cases whose thumbnails correlate; those of images and volumes differ in length."""
    pairs = []
    for length in sorted({len(fact.thumbnail) for fact in facts if fact.thumbnail}):
        some = [fact for fact in facts if len(fact.thumbnail) == length]
        points = np.array([np.frombuffer(fact.thumbnail, np.uint8) for fact in some], dtype=np.float32)
        points -= points.mean(axis=1, keepdims=True)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        pairs += [(some[left].id, some[right].id) for left, right in _close(points)]
    return pairs


def _close(points: np.ndarray) -> list[tuple[int, int]]:
    """Return indices of rows (unit vectors) whose product is at least `SAME`: searched in few dimensions first."""
    from scipy.spatial import cKDTree  # half a second that other commands need not wait for

    if len(points) < 2:
        return []
    directions = np.linalg.eigh(np.cov(points[:: max(1, len(points) // MAX_FITTED)].T))[1][:, -NUM_AXES:]
    # A projection brings points closer, never further apart, so no pair is lost.
    tree = cKDTree(points @ directions.astype(np.float32))
    furthest = float(np.sqrt(2 - 2 * SAME))
    _, nearest = tree.query(tree.data, min(NUM_NEIGHBOURS, len(points)), distance_upper_bound=furthest, workers=-1)
    pairs = {(min(row, other), max(row, other)) for row, others in enumerate(nearest.tolist()) for other in others}
    return sorted(
        (row, other)
        for row, other in pairs
        if row != other and other < len(points) and points[row] @ points[other] >= SAME
    )


def _root(same: dict[str, str], name: str) -> str:
    while name in same:
        name = same[name]
    return name


def take_fingerprint(cases: Cases, facts: Sequence[Facts]) -> Fingerprint:
    """Return the fingerprint of the train part; val and test images have no say in the plan."""
    train = {case.id for case in cases.part("train")}
    facts = [fact for fact in facts if fact.id in train]
    if not facts and {case.split for case in cases.cases} <= {"unlabelled", "unused"}:
        raise UserError(
            f"{cases.source} has no labelled case, but a plan needs some: add masks or labels; the notes of `selfmae "
            "inspect` say what was taken for one, and what was not."
        )
    if not facts:
        raise UserError(
            "There is no training case to plan from: all are copies of val or test images, or left out; see what "
            "`selfmae inspect SOURCE` says of duplicates."
        )
    shapes = np.array([fact.shape for fact in facts])
    spacings = np.array([fact.spacing_mm for fact in facts])
    lows = np.array([fact.percentiles[0][0] for fact in facts])
    return Fingerprint(
        num_train=len(facts),
        num_channels=len(cases.channels),
        median_shape=tuple(int(extent) for extent in np.median(shapes, axis=0)),
        min_shape=tuple(int(extent) for extent in shapes.min(axis=0)),
        max_shape=tuple(int(extent) for extent in shapes.max(axis=0)),
        spacing_mm=tuple(round(float(step), 4) for step in np.median(spacings, axis=0)),
        spacing_varies=bool(spacings.size and (np.ptp(spacings, axis=0) > 0.01 * spacings.mean(axis=0)).any()),
        looks_like_ct=len(cases.channels) == 1 and float(np.median(lows)) < -500,
    )
