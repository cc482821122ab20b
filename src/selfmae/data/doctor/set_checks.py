"""The data doctor on a set as a whole: copies, names that are nearly equal, findings that are too rare."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from selfmae.data.case import Case, Cases
from selfmae.data.doctor.case_checks import check_images, check_masks
from selfmae.data.doctor.duplicates import near_copies
from selfmae.data.doctor.findings import Facts, Finding, join_alike, make_finding
from selfmae.errors import first_of

PARTS = ("train", "val", "test")
MIN_CASES = 2  # positives and negatives of a finding in a part: AUC of a single case is a coin toss
COPY_MARK = re.compile(r"[ _-]*(\(\d+\)|[ _-]copy([ _-]?\(?\d+\)?)?)$", re.IGNORECASE)  # of file managers
MAX_ALIKE = 3  # names that differ in a copy's mark only; more are numbered that way
SEVERITIES = ("error", "warning", "note")


def check_copies(cases: Cases, facts: Sequence[Facts]) -> list[Finding]:
    """Report equal and nearly equal images, those in different parts of the split apart from those in one."""
    by_id = {case.id: case for case in cases.cases}
    hashes = {fact.id: fact.pixel_hash for fact in facts}
    copies: dict[str, list[list[Case]]] = defaultdict(list)
    for group in near_copies(facts):
        exact = len({hashes[name] for name in group}) == 1
        found = [by_id[name] for name in group]
        # One of them must stay unseen and another would be seen (`case.leave_out_copies`).
        parts = {case.split for case in found if case.split != "unused"}
        kind = "across_parts" if len(parts) > 1 and not parts.isdisjoint(("val", "test")) else "image"
        copies[f"{'' if exact else 'near_'}duplicate_{kind}"].append(found)
    return [
        make_finding(
            code,
            [case.id for group in found for case in group],
            f"these images are {'nearly ' if code.startswith('near') else ''}equal: "
            + first_of([" = ".join(f"{case.images[0]} ({case.split})" for case in group) for group in found]),
        )
        for code, found in sorted(copies.items())
    ]


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


def check_counts(cases: Cases) -> list[Finding]:
    """Report findings and classes that a part of the split has too few of to learn or score."""
    rare: list[str] = []
    for part in PARTS:
        targets = [case.target for case in cases.part(part) if isinstance(case.target, tuple)]
        for index, name in enumerate(cases.labels.names if targets else ()):
            positives = int(sum(target[index] for target in targets))
            if min(positives, len(targets) - positives) < MIN_CASES:
                rare.append(f"{name!r} has {positives} positives among {len(targets)} cases of the {part} part")
    return [make_finding("rare_finding", (), first_of(rare, len(rare)))] if rare else []


def patients_across_parts(cases: Cases) -> list[str]:
    """Return the ids of labelled cases whose patient stands in several parts of the split."""
    labelled = [case for case in cases.cases if case.split in PARTS]
    counts = Counter(patient for patient, _ in {(case.patient, case.split) for case in labelled})
    return [case.id for case in labelled if counts[case.patient] > 1]


def examine(cases: Cases, facts: Sequence[Facts], findings: Sequence[Finding]) -> list[Finding]:
    """Return all findings, those of the reader and the survey (`findings`) among them: errors first, notes last."""
    found = [
        *join_alike([*cases.findings, *findings]),
        *check_images(cases, facts),
        *check_masks(cases, facts),
        *check_copies(cases, facts),
        *check_ids(cases),
        *check_counts(cases),
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))
