"""The data doctor on images: channels, sizes, spacings and intensities that are unlike those of the other images."""

from collections.abc import Sequence

import numpy as np

from selfmae.data.case import Cases
from selfmae.data.doctor.facts import Facts
from selfmae.data.doctor.findings import Finding, join, make_finding

FEWEST_IMAGES = 5  # fewer show no usual size
FAR = 6.0  # deviations (of the median absolute deviation, on a log scale) from the median
LEAST_FACTOR = 2.0  # a size or spacing that differs by less is ordinary variation
MOST_ODD = 0.1  # part of the images: more are a second kind, not outliers

# Units that intensities tell, by their 0.5 and 99.5 % percentiles. Found by looking: scans of MR have none.
LOWEST_HU = -500.0  # below this, air: no other unit goes there
UNIT_INTERVAL = 1.0001
LEAST_BYTES = 20.0  # an image of 0 to 255 reaches this
LEAST_16_BIT = 1000.0
SHIFT_HU = 1024.0  # of CT that is stored without a sign
NEAR_SHIFT = 400.0  # HU that the usual intensity of two CT may lie apart


def check_images(cases: Cases, facts: Sequence[Facts]) -> list[Finding]:
    """Return what makes some images unlike the others, or unlike what is declared."""
    return [
        *_check_channels(cases, facts),
        *_check_swapped(cases, facts),
        *_check_outliers("spacing_outlier", facts),
        *_check_outliers("size_outlier", facts),
        *_check_units(facts),
    ]


def _check_channels(cases: Cases, facts: Sequence[Facts]) -> list[Finding]:
    """Compare the files with the declared channels, where the files agree among themselves."""
    numbers = {fact.num_channels for fact in facts}
    if len(numbers) != 1 or numbers == {len(cases.channels)}:
        return []
    declared = f"{len(cases.channels)} channels ({', '.join(cases.channels)}) are declared"
    cause = f"{declared}, but images have {numbers.pop()}"
    return [make_finding("channels_undeclared", [fact.id for fact in facts], cause)]


def _check_swapped(cases: Cases, facts: Sequence[Facts]) -> list[Finding]:
    """Report images that equal a mask of the set, or look like one where the others do not."""
    masks = {fact.mask_hash for fact in facts if len(fact.mask_counts) > 1}
    alike = [fact.id for fact in facts if fact.looks_like_mask]
    if cases.labels.kind != "mask" and 2 * len(alike) > len(facts):
        alike = []  # a set of shapes, as AdrenalMNIST3D
    odd = [fact.id for fact in facts if fact.pixel_hash in masks or fact.id in set(alike)]
    if not odd:
        return []
    files = {case.id: str(case.images[0]) for case in cases.cases}
    cause = f"the images {join([files[name] for name in odd])} hold few whole values, as masks do"
    return [make_finding("mask_as_image", odd, cause)]


def _check_outliers(code: str, facts: Sequence[Facts]) -> list[Finding]:
    """Report sizes or spacings that are far from the median along an axis."""
    spacing = code == "spacing_outlier"
    values = {fact.id: fact.spacing_mm if spacing else fact.shape for fact in facts}
    if len(values) < FEWEST_IMAGES or len({len(value) for value in values.values()}) != 1 or not all(values.values()):
        return []
    logs = np.log(np.array(list(values.values())))
    away = np.abs(logs - np.median(logs, axis=0))
    limit = np.maximum(np.log(LEAST_FACTOR), FAR * 1.4826 * np.median(away, axis=0))
    odd = [name for name, far in zip(values, (away > limit + 1e-9).any(axis=1), strict=True) if far]
    if not odd or len(odd) > max(1, MOST_ODD * len(values)):
        return []
    usual = _round(np.exp(np.median(logs, axis=0)))
    unit = "mm" if spacing else "voxels"
    texts = [f"{name} with {_round(values[name])}" for name in odd]
    what = "spacings" if spacing else "sizes"
    return [make_finding(code, odd, f"{what} are usually near {usual} {unit}, but there is {join(texts)}")]


def _round(extents: Sequence[float] | np.ndarray) -> str:
    return "x".join(f"{extent:.3g}" for extent in extents)


def _check_units(facts: Sequence[Facts]) -> list[Finding]:
    """Report images, channel by channel, whose unit is another one than that of most."""
    found = []
    for channel in range(min((fact.num_channels for fact in facts), default=0)):
        units = {fact.id: _unit(fact, channel) for fact in facts}
        told = [unit for unit in units.values() if unit]
        usual = max(sorted(set(told)), key=told.count, default="")
        odd = [name for name, unit in units.items() if unit not in ("", usual)]
        if not odd or not _contradict(usual, {units[name] for name in odd}):
            continue
        shifted = [fact for fact in facts if fact.id in odd and _is_shifted(fact, facts, channel)]
        said = f", {len(shifted)} of them as HU shifted by {SHIFT_HU:.0f}" if shifted else ""
        texts = [f"{name} ({units[name]})" for name in odd]
        cause = f"the intensities of most images are {usual}, but those of {join(texts)} are not{said}"
        found.append(make_finding("intensity_units_differ", odd, cause))
    return found


def _unit(fact: Facts, channel: int) -> str:
    """Return in which unit an image seems to be, "" where its intensities do not tell."""
    low, _, high = fact.percentiles[channel] if channel < len(fact.percentiles) else (0.0, 0.0, 0.0)
    if low < LOWEST_HU:
        return "HU"
    if low < 0 or high <= 0:
        return ""
    if high <= UNIT_INTERVAL:
        return "from 0 to 1"
    if LEAST_BYTES <= high <= 255:
        return "from 0 to 255"
    return "above 1000" if high >= LEAST_16_BIT else ""


def _contradict(usual: str, others: set[str]) -> bool:
    """Return whether these units do not go together; MR scans reach from 100 to a million in one set."""
    units = {usual, *others}
    return "HU" in units or "from 0 to 1" in units


def _is_shifted(fact: Facts, facts: Sequence[Facts], channel: int) -> bool:
    levels = [other.percentiles[channel] for other in facts if _unit(other, channel) == "HU"]
    if not levels or _unit(fact, channel) != "above 1000":
        return False
    shifted = np.median(levels, axis=0) + SHIFT_HU
    return abs(fact.percentiles[channel][2] - float(shifted[2])) < 2 * NEAR_SHIFT
