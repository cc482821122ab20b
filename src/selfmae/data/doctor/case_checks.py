"""The data doctor on cases: images that differ from the others in channels, size, spacing or intensity, and masks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from selfmae.augment.laterality import left_right_pairs
from selfmae.data.case import Cases, Labels
from selfmae.data.doctor.findings import Facts, Finding, make_finding
from selfmae.data.files.images import Image
from selfmae.data.files.masks import Mask
from selfmae.data.files.nifti import HALF_VOXEL, SAME_POSITION, differing_parts, voxels_apart
from selfmae.errors import first_of

MIN_IMAGES = 5  # fewer show no usual size
FAR = 6.0  # deviations (of the median absolute deviation, on a log scale) from the median
MIN_FACTOR = 2.0  # a size or spacing that differs by less is ordinary variation
MAX_ODD = 0.1  # part of the images: more are a second kind, not outliers

# Units are recognised by the 0.5 and 99.5 % percentiles. Found by trying; MR scans have no unit.
LOWEST_HU = -500.0  # below this, air: no other unit goes there
UNIT_INTERVAL = 1.0001
MIN_BYTES = 20.0  # an image of 0 to 255 reaches this
MIN_16_BIT = 1000.0
SHIFT_HU = 1024.0  # of CT that is stored without a sign
NEAR_SHIFT = 400.0  # HU that the usual intensity of two CT may lie apart

MAX_VALUES = 256  # of a mask with 255 labels and background


def check_images(cases: Cases, facts: Sequence[Facts]) -> list[Finding]:
    """Return what makes some images unlike the others, or unlike what is declared."""
    found = []
    numbers = {fact.num_channels for fact in facts}
    if len(numbers) == 1 and numbers != {len(cases.channels)}:
        declared = f"{len(cases.channels)} channels ({', '.join(cases.channels)})"
        cause = f"{declared} are declared, but images have {numbers.pop()}"
        found.append(make_finding("channels_undeclared", [fact.id for fact in facts], cause))
    return [
        *found,
        *_check_swapped(cases, facts),
        *_check_outliers("spacing_outlier", "spacings", "mm", {fact.id: fact.spacing_mm for fact in facts}),
        *_check_outliers("size_outlier", "sizes", "voxels", {fact.id: fact.shape for fact in facts}),
        *_check_units(facts),
    ]


def _check_swapped(cases: Cases, facts: Sequence[Facts]) -> list[Finding]:
    """Report images that equal a mask of the set, or look like one where the others do not."""
    masks = {fact.mask_hash for fact in facts if len(fact.mask_counts) > 1}
    alike = {fact.id for fact in facts if fact.looks_like_mask}
    if cases.labels.kind != "mask" and 2 * len(alike) > len(facts):
        alike = set()  # a set of shapes, as AdrenalMNIST3D
    odd = [fact.id for fact in facts if fact.pixel_hash in masks or fact.id in alike]
    if not odd:
        return []
    files = {case.id: str(case.images[0]) for case in cases.cases}
    cause = f"the images {first_of([files[name] for name in odd])} hold few whole values, as masks do"
    return [make_finding("mask_as_image", odd, cause)]


def _check_outliers(code: str, what: str, unit: str, values: Mapping[str, tuple[float, ...]]) -> list[Finding]:
    """Report sizes or spacings that are far from the median along an axis."""
    if len(values) < MIN_IMAGES or len({len(value) for value in values.values()}) != 1 or not all(values.values()):
        return []
    logs = np.log(np.array(list(values.values())))
    away = np.abs(logs - np.median(logs, axis=0))
    limit = np.maximum(np.log(MIN_FACTOR), FAR * 1.4826 * np.median(away, axis=0))
    odd = [name for name, far in zip(values, (away > limit + 1e-9).any(axis=1), strict=True) if far]
    if not odd or len(odd) > max(1, MAX_ODD * len(values)):
        return []
    usual = _round(np.exp(np.median(logs, axis=0)))
    texts = [f"{name} with {_round(values[name])}" for name in odd]
    return [make_finding(code, odd, f"{what} are usually near {usual} {unit}, but there is {first_of(texts)}")]


def _round(extents: Sequence[float] | np.ndarray) -> str:
    return "x".join(f"{extent:.3g}" for extent in extents)


def _check_units(facts: Sequence[Facts]) -> list[Finding]:
    """Report images, channel by channel, whose unit differs from the unit of most images."""
    found = []
    for channel in range(min((fact.num_channels for fact in facts), default=0)):
        units = {fact.id: _unit(fact, channel) for fact in facts}
        known = [unit for unit in units.values() if unit]
        usual = max(sorted(set(known)), key=known.count, default="")
        odd = [name for name, unit in units.items() if unit not in ("", usual)]
        # Other units may go together: MR scans reach from 100 to a million in one set.
        if not odd or {"HU", "from 0 to 1"}.isdisjoint({usual, *(units[name] for name in odd)}):
            continue
        shifted = [fact for fact in facts if fact.id in odd and _is_shifted(fact, facts, channel)]
        said = f", {len(shifted)} of them as HU shifted by {SHIFT_HU:.0f}" if shifted else ""
        texts = [f"{name} ({units[name]})" for name in odd]
        cause = f"the intensities of most images are {usual}, but those of {first_of(texts)} are not{said}"
        found.append(make_finding("intensity_units_differ", odd, cause))
    return found


def _unit(fact: Facts, channel: int) -> str:
    """Return the likely unit of an image, "" where its intensities do not show it."""
    low, _, high = fact.percentiles[channel] if channel < len(fact.percentiles) else (0.0, 0.0, 0.0)
    if low < LOWEST_HU:
        return "HU"
    if low < 0 or high <= 0:
        return ""
    if high <= UNIT_INTERVAL:
        return "from 0 to 1"
    if MIN_BYTES <= high <= 255:
        return "from 0 to 255"
    return "above 1000" if high >= MIN_16_BIT else ""


def _is_shifted(fact: Facts, facts: Sequence[Facts], channel: int) -> bool:
    levels = [other.percentiles[channel] for other in facts if _unit(other, channel) == "HU"]
    if not levels or _unit(fact, channel) != "above 1000":
        return False
    high = float(np.median(levels, axis=0)[2]) + SHIFT_HU
    return abs(fact.percentiles[channel][2] - high) < 2 * NEAR_SHIFT


def check_masks(cases: Cases, facts: Sequence[Facts]) -> list[Finding]:
    """Compare the values in the masks that were read with the labels, and check the names of the labels."""
    if cases.labels.kind != "mask":
        return []
    masked = [fact for fact in facts if fact.mask_counts]
    files = {case.id: str(case.target) for case in cases.cases}
    return [*(_check_values(cases.labels, masked, files) if masked else []), *_check_labels(cases.labels)]


def _check_values(labels: Labels, masked: Sequence[Facts], files: Mapping[str, str]) -> list[Finding]:
    """Report values that are no label, masks with so many of them that they are images, and what no mask holds."""
    found, known = [], {0, *labels.values}
    holders: dict[int, list[str]] = defaultdict(list)
    texts, odd = [], []
    for fact in masked:
        values = {value for value, _ in fact.mask_counts} - known
        odd += [fact.id] if values else []
        if values and len(fact.mask_counts) > MAX_VALUES:
            texts.append(f"{files[fact.id]} holds {len(fact.mask_counts)} different values, as an image does")
        else:
            for value in values:
                holders[value].append(files[fact.id])
    texts += [f"the value {value} in {first_of(holders[value])} is no label" for value in sorted(holders)]
    if odd:
        found.append(make_finding("undeclared_label", odd, first_of(texts)))
    held = {value for fact in masked for value, _ in fact.mask_counts}
    named = zip(labels.names, labels.values, strict=True)
    absent = [f"the label {name!r} (value {value}) is in no mask" for name, value in named if value not in held]
    if absent:
        found.append(make_finding("absent_label", (), first_of(absent, len(absent))))
    empty = [fact.id for fact in masked if all(value == 0 for value, _ in fact.mask_counts)]
    if empty:
        cause = f"the masks {first_of([files[name] for name in empty])} are empty"
        found.append(make_finding("empty_mask", empty, cause))
    return found


def _check_labels(labels: Labels) -> list[Finding]:
    """Report values that are not 1, 2, 3..., as the model numbers its outputs, and labels that mirroring swaps."""
    found, names = [], labels.names
    if labels.values != tuple(range(1, len(labels.values) + 1)):
        outputs = f"1 to {len(labels.values)}" if len(labels.values) > 1 else "1"
        cause = f"the label values {first_of(labels.values, 8)} are learned as {outputs}"
        found.append(make_finding("label_values_mapped", (), cause))
    pairs = [f"{names[first]!r} and {names[second]!r}" for first, second in left_right_pairs(names)]
    if pairs:
        cause = f"the labels {first_of(pairs)} are left and right of one structure"
        found.append(make_finding("left_right_labels", (), cause))
    return found


def check_pair(case: str, shape: Sequence[int], affine: np.ndarray | None, mask: Mask, file: str) -> list[Finding]:
    """Compare the grids of an image and its mask; of files without an affine, only the sizes."""
    if tuple(shape) != mask.array.shape:
        sizes = f"({times(shape)} against {times(mask.array.shape)}, {file})"
        return [make_finding("size_differs", [case], f"image and mask of {case} differ in size {sizes}")]
    if affine is None or mask.affine is None:
        return []
    apart = voxels_apart(affine, mask.affine, shape)
    if apart <= SAME_POSITION:
        return []
    code = "place_differs" if apart > HALF_VOXEL else "place_shifted"
    parts = " and ".join(differing_parts(affine, mask.affine))
    allowed = f"voxels lie up to {apart:.3g} voxels apart, {SAME_POSITION:g} are allowed"
    return [make_finding(code, [case], f"image and mask of {case} differ in {parts} ({allowed}, {file})")]


def resample_onto(image: Image, mask: Mask) -> np.ndarray:
    """Return the values of a mask at the voxels of an image, by nearest neighbour, 0 outside the mask.

    Affines say where voxels lie; without them, the mask covers what the image covers.
    """
    from scipy import ndimage  # a third of a second that `inspect` need not wait for

    shape = image.array.shape[1:]
    if image.affine is not None and mask.affine is not None:
        to_mask = np.linalg.solve(mask.affine, image.affine)
        matrix, offset = to_mask[:3, :3], to_mask[:3, 3]
    else:
        steps = np.array(mask.array.shape) / np.array(shape)
        matrix, offset = np.diag(steps), steps / 2 - 0.5
    values: np.ndarray = ndimage.affine_transform(mask.array, matrix, offset, shape, order=0, mode="grid-constant")
    return values


def times(shape: Sequence[int]) -> str:
    """Return "35x50x35"."""
    return "x".join(str(extent) for extent in shape)
