"""A look at one case: reads its image, and its mask if asked, and writes down facts and problems.

What it needs beside the image stays small: the image is let go before the mask is read, and both are counted plane by
plane.
"""

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from selfmae.data.case import Case
from selfmae.data.dicom.checks import REMEDIES, check_series
from selfmae.data.dicom.pixels import is_dicom
from selfmae.data.doctor.duplicates import thumbnail
from selfmae.data.doctor.facts import Facts, Problem, split_sentence
from selfmae.data.doctor.pairs import check_pair
from selfmae.data.files.images import has_equal_channels, read_image
from selfmae.data.files.masks import read_mask
from selfmae.errors import UserError

MOST_VOXELS = 1_000_000  # of one channel that percentiles are taken from; evenly spread over larger images
PERCENTILES = (0.5, 50, 99.5)
MOST_LABELS = 20  # different values that an image of which one thinks that it is a mask may have
LEAST_BACKGROUND = 0.5  # part of such an image that is 0


def look(case: Case, masks: bool) -> tuple[Facts | None, list[Problem]]:
    """Return facts, None where the image cannot be read, and problems; the mask is looked at with `masks` only."""
    problems: list[Problem] = []
    try:
        problems += _check_dicom(case)
        if any(REMEDIES[problem.code][0] == "error" for problem in problems):
            return None, problems
        facts, affine, found = _look_at_image(case)
    except UserError as error:
        return None, [*problems, Problem(error.code or "unreadable_image", case.id, *split_sentence(str(error)))]
    problems += found
    counts: tuple[tuple[int, int], ...] = ()
    mask_hash = ""
    if masks and isinstance(case.target, Path):
        try:
            mask = read_mask(case.target)
            counts, mask_hash = count_values(mask.array), hash_voxels(mask.array[None])
            problems += check_pair(case.id, facts.shape, affine, mask, str(case.target))
        except UserError as error:
            problems.append(Problem(error.code or "unreadable_mask", case.id, *split_sentence(str(error))))
    return replace(facts, mask_counts=counts, mask_hash=mask_hash), problems


def hash_voxels(array: np.ndarray) -> str:
    """Return 16 bytes (hex) that tell whether two images [C, *S] have the same shape and float32 voxels."""
    digest = hashlib.blake2b(repr(tuple(array.shape)).encode(), digest_size=16)
    for channel in array:
        for plane in channel:  # so that no copy of the whole is made
            digest.update(np.ascontiguousarray(plane, dtype="<f4").data)
    return digest.hexdigest()


def _look_at_image(case: Case) -> tuple[Facts, np.ndarray | None, list[Problem]]:
    image = read_image(case.images)
    array = image.array
    percentiles = tuple(_percentiles(channel) for channel in array)
    is_gray = has_equal_channels(image)
    facts = Facts(
        case.id,
        array.shape[1:],
        array.shape[0],
        image.spacing_mm,
        percentiles,
        hash_voxels(array[:1] if is_gray else array),
        (),
        looks_like_mask=_looks_like_mask(array[:1] if is_gray else array),
        is_gray=is_gray,
        thumbnail=thumbnail(array),
    )
    return facts, image.affine, _check_voxels(case, array)


def _check_dicom(case: Case) -> list[Problem]:
    series = [path for path in case.images if is_dicom(path)]
    return [Problem(code, case.id, cause) for path in series for code, cause in check_series(path)]


def _check_voxels(case: Case, array: np.ndarray) -> list[Problem]:
    lows, highs = (np.array([edge(channel) for channel in array]) for edge in (np.min, np.max))
    if not np.isfinite([lows, highs]).all():
        num_bad = sum(int(plane.size - np.isfinite(plane).sum()) for channel in array for plane in channel)
        text = f"the image {case.images[0]} has {num_bad} voxels that are not finite (NaN or infinite)"
        return [Problem("not_finite", case.id, text)]
    if (lows == highs).any():
        text = f"the image {case.images[0]} has the same value everywhere in a channel"
        return [Problem("constant_image", case.id, text)]
    return []


def count_values(array: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return each value of a mask, in order, with the number of its voxels."""
    counts: Counter[int] = Counter()
    for plane in array:
        if plane.dtype == np.uint8:  # as most masks are; without sorting
            numbers = np.bincount(plane.ravel())
            counts.update({value: int(numbers[value]) for value in np.flatnonzero(numbers).tolist()})
        else:
            values, numbers = np.unique(plane, return_counts=True)
            counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    return tuple(sorted(counts.items()))


def _spread(channel: np.ndarray) -> np.ndarray:
    """Return up to about a million voxels of a channel, evenly spread."""
    values = channel.ravel()
    spread: np.ndarray = values[:: max(1, values.size // MOST_VOXELS)]
    return spread


def _percentiles(channel: np.ndarray) -> tuple[float, float, float]:
    values = _spread(channel)
    values = values[np.isfinite(values)]
    low, middle, high = np.percentile(values, PERCENTILES) if values.size else (0.0, 0.0, 0.0)
    return float(low), float(middle), float(high)


def _looks_like_mask(array: np.ndarray) -> bool:
    """Return whether an image of one channel has few whole values and is mostly 0, as masks are and images are not."""
    if len(array) != 1:
        return False
    values = _spread(array[0])
    if np.count_nonzero(values == 0) < LEAST_BACKGROUND * values.size:
        return False
    different = np.unique(values)
    return 2 <= different.size <= MOST_LABELS and bool((different == np.round(different)).all())
