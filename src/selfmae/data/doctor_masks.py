"""The data doctor on labels: what the masks hold against what is declared."""

from collections import defaultdict
from collections.abc import Sequence

from selfmae.data.case import Cases, Labels
from selfmae.data.facts import Facts
from selfmae.data.findings import Finding, join, make_finding
from selfmae.data.sides import left_right_pairs


def check_masks(cases: Cases, facts: Sequence[Facts]) -> list[Finding]:
    """Compare the values in the masks that were read with the labels, and look at the labels' names."""
    if cases.labels.kind != "mask":
        return []
    masked = [fact for fact in facts if fact.mask_counts]
    found = [*_check_values(cases, masked), *_check_empty(cases, masked)] if masked else []
    return [*found, *_check_order(cases.labels), *_check_sides(cases.labels)]


def _check_values(cases: Cases, masked: Sequence[Facts]) -> list[Finding]:
    holders: dict[int, list[str]] = defaultdict(list)
    for fact in masked:
        for value, _ in fact.mask_counts:
            holders[value].append(fact.id)
    files = _files(cases)
    known = dict(zip(cases.labels.values, cases.labels.names, strict=True))
    found = [
        make_finding("undeclared_label", ids, f"the value {value} in {join([files[name] for name in ids])} is no label")
        for value, ids in sorted(holders.items())
        if value != 0 and value not in known
    ]
    return found + [
        make_finding("absent_label", (), f"the label {name!r} (value {value}) is in no mask")
        for value, name in known.items()
        if value not in holders
    ]


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
