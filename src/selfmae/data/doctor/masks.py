"""The data doctor on labels: what the masks hold against what is declared."""

from collections import defaultdict
from collections.abc import Sequence

from selfmae.data.case import Cases, Labels
from selfmae.data.doctor.facts import Facts
from selfmae.data.doctor.findings import Finding, join, make_finding
from selfmae.data.sampling.sides import left_right_pairs

MOST_VALUES = 256  # of a mask with 255 labels and background


def check_masks(cases: Cases, facts: Sequence[Facts]) -> list[Finding]:
    """Compare the values in the masks that were read with the labels, and look at the labels' names."""
    if cases.labels.kind != "mask":
        return []
    masked = [fact for fact in facts if fact.mask_counts]
    checks = (_check_undeclared(cases, masked), _check_absent(cases.labels, masked), _check_empty(cases, masked))
    found = [finding for check in checks for finding in check] if masked else []
    return [*found, *_check_order(cases.labels), *_check_sides(cases.labels)]


def _check_undeclared(cases: Cases, masked: Sequence[Facts]) -> list[Finding]:
    """Report values that are no label, and masks with so many of them that they are images."""
    files, known = _files(cases), {0, *cases.labels.values}
    holders: dict[int, list[str]] = defaultdict(list)
    texts, odd = [], []
    for fact in masked:
        values = {value for value, _ in fact.mask_counts} - known
        odd += [fact.id] if values else []
        if values and len(fact.mask_counts) > MOST_VALUES:
            texts.append(f"{files[fact.id]} holds {len(fact.mask_counts)} different values, as an image does")
        else:
            for value in values:
                holders[value].append(files[fact.id])
    texts += [f"the value {value} in {join(holders[value])} is no label" for value in sorted(holders)]
    return [make_finding("undeclared_label", odd, join(texts))] if odd else []


def _check_absent(labels: Labels, masked: Sequence[Facts]) -> list[Finding]:
    held = {value for fact in masked for value, _ in fact.mask_counts}
    named = zip(labels.names, labels.values, strict=True)
    absent = [f"the label {name!r} (value {value}) is in no mask" for name, value in named if value not in held]
    return [make_finding("absent_label", (), join(absent, len(absent)))] if absent else []


def _check_empty(cases: Cases, masked: Sequence[Facts]) -> list[Finding]:
    files = _files(cases)
    empty = [fact.id for fact in masked if all(value == 0 for value, _ in fact.mask_counts)]
    if not empty:
        return []
    return [make_finding("empty_mask", empty, f"the masks {join([files[name] for name in empty])} are empty")]


def _files(cases: Cases) -> dict[str, str]:
    return {case.id: str(case.target) for case in cases.cases}


def _check_order(labels: Labels) -> list[Finding]:
    """Say so where the values are not 1, 2, 3...: the model counts its outputs."""
    if labels.values == tuple(range(1, len(labels.values) + 1)):
        return []
    values = join([str(value) for value in labels.values], 8)
    places = f"1 to {len(labels.values)}" if len(labels.values) > 1 else "1"
    return [make_finding("label_values_mapped", (), f"the label values {values} are learned as {places}")]


def _check_sides(labels: Labels) -> list[Finding]:
    """Say which labels a mirrored image swaps."""
    names = labels.names
    pairs = [f"{names[first]!r} and {names[second]!r}" for first, second in left_right_pairs(names)]
    if not pairs:
        return []
    return [make_finding("left_right_labels", (), f"the labels {join(pairs)} are left and right of one structure")]
