"""The data doctor: what is wrong with a set of cases, how bad it is, and what mends it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selfmae.data.case import Case, Cases
from selfmae.data.survey import Facts, Problem
from selfmae.errors import UserError

PARTS = ("train", "val", "test")
FEWEST = 2  # positives and negatives of a finding in a part: AUC of a single case is a coin toss

# code: severity, what mends it
REMEDIES = {
    "unreadable_image": ("error", "replace the file or remove the case"),
    "unreadable_mask": ("error", "replace the file or remove the case"),
    "not_finite": ("error", "replace these values, for example by 0"),
    "constant_image": ("warning", "look at the file; it may be empty"),
    "size_differs": ("error", "resample the mask onto the image, or draw it anew"),
    "place_differs": ("error", "resample the mask onto the image, or correct the header that is wrong"),
    "place_shifted": ("warning", "copy the header of the image to the mask if they were drawn on the same grid"),
    "channels_differ": ("error", "convert the image or remove the case"),
    "axes_differ": ("error", "convert the image or remove the case"),
    "spacing_lacks": ("error", "give all images in one file format"),
    "channels_undeclared": ("error", "correct the names of the channels (modality in dataset.json)"),
    "undeclared_label": ("error", "declare the value as a label, or set it to 0 in the mask"),
    "absent_label": ("warning", "remove the label, or check the value it has in the masks"),
    "empty_mask": ("warning", "check that nothing is there to mark"),
    "duplicate_across_parts": ("warning", "nothing: the copy that training or model choice would see is left out"),
    "duplicate_image": ("warning", "remove one of them"),
    "rare_finding": ("warning", "its score will be undefined or mean little: collect more, or leave it out"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that a user should know: `severity` is "error", "warning" or "note"; `cases` holds all ids."""

    code: str
    severity: str
    cases: tuple[str, ...]
    cause: str
    fix: str


def examine(cases: Cases, facts: Sequence[Facts], problems: Sequence[Problem]) -> list[Finding]:
    """Return all findings, errors first; problems of one code are one finding."""
    found = [
        *_group(problems),
        *_check_channels(cases, facts),
        *_check_masks(cases, facts),
        *_check_duplicates(cases, facts),
        *_check_counts(cases),
    ]
    return sorted(found, key=lambda finding: finding.severity != "error")


def raise_on_errors(findings: Iterable[Finding]) -> None:
    """Raise one `UserError` with every error finding: cause and what mends it."""
    errors = [f"{finding.cause}: {finding.fix}" for finding in findings if finding.severity == "error"]
    if errors:
        raise UserError(f"The data cannot be used as it is: {'; '.join(errors)}.")


def _finding(code: str, cases: Iterable[str], cause: str) -> Finding:
    severity, fix = REMEDIES[code]
    return Finding(code, severity, tuple(cases), cause, fix)


def _group(problems: Sequence[Problem]) -> list[Finding]:
    """Return one finding for each code: the first texts speak for the others, `cases` lists all."""
    groups: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        groups[problem.code].append(problem)
    return [
        _finding(code, [problem.case for problem in group], _join([problem.text.rstrip(".") for problem in group]))
        for code, group in groups.items()
    ]


def _join(texts: Sequence[str], count: int = 3) -> str:
    """Return the first few texts and how many more there are."""
    rest = f" and {len(texts) - count} more" if len(texts) > count else ""
    return ", ".join(texts[:count]) + rest


def _check_channels(cases: Cases, facts: Sequence[Facts]) -> list[Finding]:
    """Compare the files with the declared channels, where the files agree among themselves."""
    numbers = {fact.num_channels for fact in facts}
    if len(numbers) != 1 or numbers == {len(cases.channels)}:
        return []
    declared = f"{len(cases.channels)} channels ({', '.join(cases.channels)}) are declared"
    return [
        _finding("channels_undeclared", [fact.id for fact in facts], f"{declared}, but images have {numbers.pop()}")
    ]


def _check_masks(cases: Cases, facts: Sequence[Facts]) -> list[Finding]:
    """Compare the values in the masks that were read with the labels."""
    masked = [fact for fact in facts if fact.mask_counts]
    if not masked or cases.labels.kind != "mask":
        return []
    holders: dict[int, list[str]] = defaultdict(list)
    for fact in masked:
        for value, _ in fact.mask_counts:
            holders[value].append(fact.id)
    files = {case.id: str(case.target) for case in cases.cases}
    known = dict(zip(cases.labels.values, cases.labels.names, strict=True))
    found = [
        _finding("undeclared_label", ids, f"the value {value} in {_join([files[name] for name in ids])} is no label")
        for value, ids in sorted(holders.items())
        if value != 0 and value not in known
    ]
    found += [
        _finding("absent_label", (), f"the label {name!r} (value {value}) is in no mask")
        for value, name in known.items()
        if value not in holders
    ]
    empty = [fact.id for fact in masked if all(value == 0 for value, _ in fact.mask_counts)]
    if empty:
        found.append(_finding("empty_mask", empty, f"the masks {_join([files[name] for name in empty])} are empty"))
    return found


def _check_duplicates(cases: Cases, facts: Sequence[Facts]) -> list[Finding]:
    """Report equal images, in one finding if they stand in different parts of the split, in one if not."""
    by_id = {case.id: case for case in cases.cases}
    groups: dict[str, list[Case]] = defaultdict(list)
    for fact in facts:
        groups[fact.pixel_hash].append(by_id[fact.id])
    copies: dict[str, list[list[Case]]] = defaultdict(list)
    for group in groups.values():
        if len(group) > 1:
            code = "duplicate_across_parts" if _leaks(group) else "duplicate_image"
            copies[code].append(group)
    return [
        _finding(
            code,
            [case.id for group in found for case in group],
            "these images are equal: "
            + _join([" = ".join(f"{case.images[0]} ({case.split})" for case in group) for group in found]),
        )
        for code, found in copies.items()
    ]


def _leaks(group: Sequence[Case]) -> bool:
    """Return whether one of the equal images must stay unseen and another would be seen (`case.leave_out_copies`)."""
    parts = {case.split for case in group if case.split != "unused"}
    return len(parts) > 1 and not parts.isdisjoint(("val", "test"))


def _check_counts(cases: Cases) -> list[Finding]:
    """Report findings and classes that a part of the split has too few of to learn or score."""
    rare: list[str] = []
    for part in PARTS:
        targets = [case.target for case in cases.part(part) if isinstance(case.target, tuple)]
        for place, name in enumerate(cases.labels.names if targets else ()):
            positives = int(sum(target[place] for target in targets))
            if min(positives, len(targets) - positives) < FEWEST:
                rare.append(f"{name!r} has {positives} positives among {len(targets)} cases of the {part} part")
    return [_finding("rare_finding", (), _join(rare, len(rare)))] if rare else []
