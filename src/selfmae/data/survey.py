"""The survey: one look at every image of a source, and at every mask if asked, for what a plan and a doctor need."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from selfmae.data.case import Case
from selfmae.data.images import Image, Mask, read_image, read_mask
from selfmae.errors import UserError

NUM_THREADS = 4
MOST_VOXELS = 1_000_000  # of one channel that percentiles are taken from; evenly spread over larger images
PERCENTILES = (0.5, 50, 99.5)
SAME_PLACE = 1e-3  # voxels that image and mask may lie apart: rounding of affines saved as float32
HALF_VOXEL = 0.5  # beyond this a mask marks other voxels than its author saw


@dataclass(frozen=True)
class Facts:
    """What one image holds."""

    id: str
    shape: tuple[int, ...]  # spatial
    num_channels: int
    spacing_mm: tuple[float, ...]  # () where the file has none
    percentiles: tuple[tuple[float, float, float], ...]  # of each channel: 0.5, 50 and 99.5 %
    pixel_hash: str  # equal for equal voxels in whatever file
    mask_counts: tuple[tuple[int, int], ...]  # value and number of its voxels; () where no mask was read


@dataclass(frozen=True)
class Problem:
    """What is wrong with one case; `doctor.REMEDIES` says how bad each code is and what mends it."""

    code: str
    case: str
    text: str


def survey(
    cases: Sequence[Case], masks: bool, progress: Callable[[int, int], None] | None = None
) -> tuple[list[Facts], list[Problem]]:
    """Read every image (and every mask, if `masks`) and return facts and problems in the order of the cases.

    A case whose image cannot be read has a problem but no facts. `progress` is told how many of how many are done.
    """
    facts: list[Facts] = []
    problems: list[Problem] = []
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        for done, (fact, found) in enumerate(pool.map(lambda case: _look(case, masks), cases), start=1):
            facts += [fact] if fact else []
            problems += found
            if progress:
                progress(done, len(cases))
    return facts, problems + _odd_ones(facts)


def hash_voxels(array: np.ndarray) -> str:
    """Return 16 bytes (hex) that tell whether two images [C, *S] have the same shape and float32 voxels."""
    digest = hashlib.blake2b(repr(tuple(array.shape)).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(array, dtype="<f4").data)
    return digest.hexdigest()


def _look(case: Case, masks: bool) -> tuple[Facts | None, list[Problem]]:
    try:
        image = read_image(case.images)
    except UserError as error:
        return None, [Problem("unreadable_image", case.id, str(error))]
    problems = _check_voxels(case, image.array)
    counts: tuple[tuple[int, int], ...] = ()
    if masks and isinstance(case.target, Path):
        try:
            mask = read_mask(case.target)
            counts = _count_values(mask.array)
            problems += _check_pair(case, image, mask)
        except UserError as error:
            problems.append(Problem("unreadable_mask", case.id, str(error)))
    array = image.array
    percentiles = tuple(_percentiles(channel) for channel in array)
    facts = Facts(case.id, array.shape[1:], array.shape[0], image.spacing_mm, percentiles, hash_voxels(array), counts)
    return facts, problems


def _check_voxels(case: Case, array: np.ndarray) -> list[Problem]:
    finite = np.isfinite(array)
    if not finite.all():
        num_bad = int(finite.size - finite.sum())
        text = f"the image {case.images[0]} has {num_bad} voxels that are not finite (NaN or infinite)"
        return [Problem("not_finite", case.id, text)]
    if any(channel.min() == channel.max() for channel in array):
        text = f"the image {case.images[0]} has the same value everywhere in a channel"
        return [Problem("constant_image", case.id, text)]
    return []


def _check_pair(case: Case, image: Image, mask: Mask) -> list[Problem]:
    """Compare the grids of image and mask; files without an affine are compared by size alone."""
    shape = image.array.shape[1:]
    if shape != mask.array.shape:
        sizes = f"({_times(shape)} against {_times(mask.array.shape)}, {case.target})"
        return [Problem("size_differs", case.id, f"image and mask of {case.id} differ in size {sizes}")]
    if image.affine is None or mask.affine is None:
        return []
    apart = _voxels_apart(image.affine, mask.affine, shape)
    if apart <= SAME_PLACE:
        return []
    code = "place_differs" if apart > HALF_VOXEL else "place_shifted"
    parts = " and ".join(_differing_parts(image.affine, mask.affine))
    text = f"image and mask of {case.id} differ in {parts} (voxels lie up to {apart:.3g} voxels apart, {case.target})"
    return [Problem(code, case.id, text)]


def _voxels_apart(image: np.ndarray, mask: np.ndarray, shape: Sequence[int]) -> float:
    """Return how far, in voxels of the image, the two affines put the same voxel apart; largest at a corner."""
    corners = np.array([(*corner, 1) for corner in product(*((0, extent - 1) for extent in shape))])
    there = corners @ np.linalg.solve(image, mask).T
    return float(np.linalg.norm((there - corners)[:, :3], axis=1).max())


def _differing_parts(image: np.ndarray, mask: np.ndarray) -> list[str]:
    """Name what differs between two affines, by more than a thousandth of a voxel; "place" if only their sum does."""
    steps, other = (np.linalg.norm(affine[:3, :3], axis=0) for affine in (image, mask))
    differs = {
        "spacing": np.abs(steps - other) / steps,
        "direction": np.abs(image[:3, :3] / steps - mask[:3, :3] / other),
        "origin": np.abs(image[:3, 3] - mask[:3, 3]) / steps.min(),
    }
    return [name for name, change in differs.items() if change.max() > SAME_PLACE] or ["place"]


def _count_values(array: np.ndarray) -> tuple[tuple[int, int], ...]:
    values, counts = np.unique(array, return_counts=True)
    return tuple(zip(values.tolist(), counts.tolist(), strict=True))


def _percentiles(channel: np.ndarray) -> tuple[float, float, float]:
    values = channel.ravel()
    values = values[:: max(1, values.size // MOST_VOXELS)]
    values = values[np.isfinite(values)]
    low, middle, high = np.percentile(values, PERCENTILES) if values.size else (0.0, 0.0, 0.0)
    return float(low), float(middle), float(high)


def _odd_ones(facts: Sequence[Facts]) -> list[Problem]:
    """Return a problem for each image that is of another kind than most: a run needs one kind."""
    kinds: dict[str, Callable[[Facts], str]] = {
        "channels_differ": lambda fact: f"{fact.num_channels} channels",
        "axes_differ": lambda fact: f"{len(fact.shape)} axes",
        "spacing_lacks": lambda fact: "a spacing" if fact.spacing_mm else "no spacing",
    }
    problems = []
    for code, kind in kinds.items():
        usual = Counter(kind(fact) for fact in facts).most_common(1)
        problems += [
            Problem(code, fact.id, f"the image of {fact.id} has {kind(fact)}, most have {usual[0][0]}")
            for fact in facts
            if kind(fact) != usual[0][0]
        ]
    return problems


def _times(shape: Sequence[int]) -> str:
    return "x".join(str(extent) for extent in shape)
