"""The checks of the data doctor: images unlike the others, masks, copies, names nearly equal, findings too rare."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from selfmae.augment.laterality import left_right_pairs
from selfmae.data.case import LABELLED, Case, Cases, Labels
from selfmae.data.doctor.duplicates import near_copies
from selfmae.data.doctor.findings import Facts, Finding, join_alike, make_finding
from selfmae.data.files.images import Image
from selfmae.data.files.masks import Mask
from selfmae.data.files.volumes import HALF_VOXEL, SAME_POSITION, differing_parts, voxels_apart
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
MIN_CASES = 2  # positives and negatives of a finding in a part: AUC of a single case is a coin toss
COPY_MARK = re.compile(r"[ _-]*(\(\d+\)|[ _-]copy([ _-]?\(?\d+\)?)?)$", re.IGNORECASE)  # of file managers
MAX_ALIKE = 3  # names that differ in a copy's mark only; more are numbered that way
SEVERITIES = ("error", "warning", "note")


def check_images(cases: Cases, facts: Sequence[Facts]) -> list[Finding]:
    """Return what makes some images unlike the others, or unlike what is declared."""
    return [
        *_check_channels(cases, facts),
        *_check_swapped(cases, facts),
        *_check_outliers("spacing_outlier", "spacings", "mm", {fact.id: fact.spacing_mm for fact in facts}),
        *_check_outliers("size_outlier", "sizes", "voxels", {fact.id: fact.shape for fact in facts}),
        *_check_units(facts),
    ]


def _check_channels(cases: Cases, facts: Sequence[Facts]) -> Iterator[Finding]:
    numbers = {fact.num_channels for fact in facts}
    if len(numbers) == 1 and numbers != {len(cases.channels)}:
        declared = f"{len(cases.channels)} channels ({', '.join(cases.channels)})"
        cause = f"{declared} are declared, but images have {numbers.pop()}"
        yield make_finding("channels_undeclared", [fact.id for fact in facts], cause)


def _check_swapped(cases: Cases, facts: Sequence[Facts]) -> Iterator[Finding]:
    """Report images that equal a mask of the set, or look like one where the others do not."""
    masks = {fact.mask_hash for fact in facts if len(fact.mask_counts) > 1}
    alike = {fact.id for fact in facts if fact.looks_like_mask}
    if cases.labels.kind != "mask" and 2 * len(alike) > len(facts):
        alike = set()  # a set of shapes, as AdrenalMNIST3D
    odd = [fact.id for fact in facts if fact.pixel_hash in masks or fact.id in alike]
    if odd:
        files = {case.id: str(case.images[0]) for case in cases.cases}
        cause = f"the images {first_of([files[name] for name in odd])} hold few whole values, as masks do"
        yield make_finding("mask_as_image", odd, cause)


def _check_outliers(code: str, what: str, unit: str, values: Mapping[str, tuple[float, ...]]) -> Iterator[Finding]:
    """Report sizes or spacings that are far from the median along an axis."""
    if len(values) < MIN_IMAGES or len({len(value) for value in values.values()}) != 1 or not all(values.values()):
        return
    logs = np.log(np.array(list(values.values())))
    away = np.abs(logs - np.median(logs, axis=0))
    limit = np.maximum(np.log(MIN_FACTOR), FAR * 1.4826 * np.median(away, axis=0))
    odd = [name for name, far in zip(values, (away > limit + 1e-9).any(axis=1), strict=True) if far]
    if 0 < len(odd) <= max(1, MAX_ODD * len(values)):
        usual = _round(np.exp(np.median(logs, axis=0)))
        texts = [f"{name} with {_round(values[name])}" for name in odd]
        yield make_finding(code, odd, f"{what} are usually near {usual} {unit}, but there is {first_of(texts)}")


def _round(extents: Sequence[float] | np.ndarray) -> str:
    return "x".join(f"{extent:.3g}" for extent in extents)


def _check_units(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Report images, channel by channel, whose unit differs from the unit of most images."""
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
        yield make_finding("intensity_units_differ", odd, cause)


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
    held = {fact.id: {value for value, _ in fact.mask_counts} for fact in facts if fact.mask_counts}
    files = {case.id: str(case.target) for case in cases.cases}
    return [*(_check_values(cases.labels, held, files) if held else []), *_check_labels(cases.labels)]


def _check_values(labels: Labels, held: Mapping[str, set[int]], files: Mapping[str, str]) -> Iterator[Finding]:
    """Report values that are no label, masks with so many of them that they are images, and what no mask holds."""
    holders: dict[int, list[str]] = defaultdict(list)
    texts, odd = [], []
    for name, values in held.items():
        unknown = values - {0, *labels.values}
        odd += [name] if unknown else []
        if unknown and len(values) > MAX_VALUES:
            texts.append(f"{files[name]} holds {len(values)} different values, as an image does")
        else:
            for value in unknown:
                holders[value].append(files[name])
    texts += [f"the value {value} in {first_of(holders[value])} is no label" for value in sorted(holders)]
    if odd:
        yield make_finding("undeclared_label", odd, first_of(texts))
    named, somewhere = zip(labels.names, labels.values, strict=True), set().union(*held.values())
    absent = [f"the label {name!r} (value {value}) is in no mask" for name, value in named if value not in somewhere]
    if absent:
        yield make_finding("absent_label", (), first_of(absent, len(absent)))
    empty = [name for name, values in held.items() if values == {0}]
    if empty:
        yield make_finding("empty_mask", empty, f"the masks {first_of([files[name] for name in empty])} are empty")


def _check_labels(labels: Labels) -> Iterator[Finding]:
    """Report values that are not 1, 2, 3..., as the model numbers its outputs, and labels that mirroring swaps."""
    names, count = labels.names, len(labels.values)
    if labels.values != tuple(range(1, count + 1)):
        outputs = f"1 to {count}" if count > 1 else "1"
        cause = f"the label values {first_of(labels.values, 8)} are learned as {outputs}"
        yield make_finding("label_values_mapped", (), cause)
    pairs = [f"{names[first]!r} and {names[second]!r}" for first, second in left_right_pairs(names)]
    if pairs:
        yield make_finding("left_right_labels", (), f"the labels {first_of(pairs)} are left and right of one structure")


def check_pair(case: str, shape: Sequence[int], affine: np.ndarray | None, mask: Mask, file: str) -> list[Finding]:
    """Compare the grids of an image and its mask; of files without an affine, only the sizes."""
    if tuple(shape) != mask.array.shape:
        ours, theirs = ("x".join(map(str, extents)) for extents in (shape, mask.array.shape))
        sizes = f"({ours} against {theirs}, {file})"
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
    """Return the values of a mask at the nearest voxels of an image, 0 outside; without affines both cover the same."""
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


def _check_copies(cases: Cases, facts: Sequence[Facts]) -> Iterator[Finding]:
    """Report equal and nearly equal images, those in different parts of the split apart from those in one."""
    by_id = {case.id: case for case in cases.cases}
    hashes = {fact.id: fact.pixel_hash for fact in facts}
    copies: dict[str, list[list[Case]]] = defaultdict(list)
    for group in near_copies(facts):
        nearly = "" if len({hashes[name] for name in group}) == 1 else "near_"
        found = [by_id[name] for name in group]
        # One of them must stay unseen and another would be seen (`case.leave_out_copies`).
        parts = {case.split for case in found if case.split != "unused"}
        kind = "across_parts" if len(parts) > 1 and not parts.isdisjoint(("val", "test")) else "image"
        copies[f"{nearly}duplicate_{kind}"].append(found)
    for code, groups in sorted(copies.items()):
        equal = "nearly equal" if code.startswith("near") else "equal"
        texts = [" = ".join(f"{case.images[0]} ({case.split})" for case in group) for group in groups]
        ids = [case.id for group in groups for case in group]
        yield make_finding(code, ids, f"these images are {equal}: {first_of(texts)}")


def check_ids(cases: Cases) -> list[Finding]:
    """Report ids that differ only in case, separators, leading zeros or a copy's mark."""
    groups: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for case in cases.cases:
        groups[_plain(case.id)].add(case.id)
    for name in [case.id for case in cases.cases if COPY_MARK.search(case.id)]:
        original = _plain(COPY_MARK.sub("", name))
        if original in groups:
            groups[original].add(name)
    alike = [sorted(names) for names in groups.values() if 1 < len(names) <= MAX_ALIKE]
    if not alike:
        return []
    cause = f"these names are nearly equal: {first_of([' and '.join(names) for names in alike])}"
    return [make_finding("near_duplicate_ids", [name for names in alike for name in names], cause)]


def _plain(name: str) -> tuple[str, ...]:
    """Return the words and numbers of a name; case1, Case_1 and case01 have the same."""
    return tuple(word.lstrip("0") or "0" for word in re.findall(r"[^\W\d_]+|\d+", name.casefold()))


def _check_counts(cases: Cases) -> Iterator[Finding]:
    """Report findings and classes that a part of the split has too few of to learn or score."""
    rare: list[str] = []
    for part in LABELLED:
        targets = [case.target for case in cases.part(part) if isinstance(case.target, tuple)]
        for index, name in enumerate(cases.labels.names if targets else ()):
            positives = int(sum(target[index] for target in targets))
            if min(positives, len(targets) - positives) < MIN_CASES:
                rare.append(f"{name!r} has {positives} positives among {len(targets)} cases of the {part} part")
    if rare:
        yield make_finding("rare_finding", (), first_of(rare, len(rare)))


def patients_across_parts(cases: Cases) -> list[str]:
    """Return the ids of labelled cases whose patient stands in several parts of the split."""
    labelled = [case for case in cases.cases if case.split in LABELLED]
    counts = Counter(patient for patient, _ in {(case.patient, case.split) for case in labelled})
    return [case.id for case in labelled if counts[case.patient] > 1]


def examine(cases: Cases, facts: Sequence[Facts], findings: Sequence[Finding]) -> list[Finding]:
    """Return all findings, those of the reader and the survey (`findings`) among them: errors first, notes last."""
    found = [
        *join_alike([*cases.findings, *findings]),
        *check_images(cases, facts),
        *check_masks(cases, facts),
        *_check_copies(cases, facts),
        *check_ids(cases),
        *_check_counts(cases),
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))
