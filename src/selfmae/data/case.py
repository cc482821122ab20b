"""A case is one study: its images, its patient, its target and the part of the split it belongs to."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from selfmae.data.doctor.findings import Finding
from selfmae.errors import UserError, first_of
from selfmae.seeds import generator

LABELLED = ("train", "val", "test")
SPLITS = (*LABELLED, "unlabelled", "unused", "")

Present = Mapping[str, Collection[int]]  # case id -> the label values that its mask holds
NOTHING_KNOWN: Present = {}


@dataclass(frozen=True)
class Case:
    """One study."""

    id: str
    patient: str
    images: tuple[Path, ...]  # one for each group of channels: a file with several is one path
    target: Path | tuple[float, ...] | None  # a mask, or a number per label name (findings 0 or 1, classes one-hot)
    split: str  # one of `SPLITS`: "" means that the source does not say, "unused" is left out of a run


@dataclass(frozen=True)
class Labels:
    """What is to be learned."""

    kind: str  # "mask" (segmentation), "multilabel" (several may be present) or "multiclass" (exactly one is)
    names: tuple[str, ...]  # without the background
    values: tuple[int, ...] = ()  # of these names in the mask files


@dataclass(frozen=True)
class Cases:
    """All cases of a source, and what its reader tells the user (`notes`) and found wrong with single cases."""

    source: Path
    layout: str
    cases: tuple[Case, ...]
    labels: Labels
    channels: tuple[str, ...]
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)  # by id, what data.unlabelled names: of its cases alone

    def part(self, *splits: str) -> list[Case]:
        """Return the cases of these splits, in order."""
        return [case for case in self.cases if case.split in splits]


def patients_of(cases: Iterable[Case]) -> list[str]:
    """Return the distinct patients, sorted."""
    return sorted({case.patient for case in cases})


def patient_finder(pattern: str) -> Callable[[str], str]:
    """Return what finds the patient in an id by data.patient_pattern: its first group, or all that matches, or ""."""
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise UserError(f"data.patient_pattern '{pattern}' is no regular expression ({error}): correct it.") from error

    def find(name: str) -> str:
        match = search(name)
        return (match[min(match.re.groups, 1)] or "") if match else ""

    return find


def check_disjoint(cases: Iterable[Case]) -> None:
    """Raise if a patient stands in two parts of the split: its images would leak."""
    parts: dict[str, set[str]] = {}
    for case in cases:
        if case.split in LABELLED:
            parts.setdefault(case.patient, set()).add(case.split)
    shared = sorted(patient for patient, splits in parts.items() if len(splits) > 1)
    if shared:
        raise UserError(
            f"Patients must stand in one part of the split only, but {len(shared)} stand in several "
            f"({first_of(shared, 5)}): give each patient one split.",
            "same_patient_across_parts",
        )


def leave_out_copies(cases: Sequence[Case], hashes: Mapping[str, str]) -> list[Case]:
    """Return the cases, "unused" where an image of the same hash (by id) is in a part kept unseen: test, then val."""
    ranks = {"test": 0, "val": 1, "train": 2, "unlabelled": 2}
    kept: dict[str, int] = {}  # content hash -> rank of the part that keeps the image
    for case in cases:
        if case.split in ranks and case.id in hashes:
            kept[hashes[case.id]] = min(kept.get(hashes[case.id], 2), ranks[case.split])
    return [
        replace(case, split="unused")
        if case.id in hashes and ranks.get(case.split, 0) > kept.get(hashes[case.id], 2)
        else case
        for case in cases
    ]


def complete_splits(
    cases: Sequence[Case],
    seed: int,
    test_fraction: float = 0.2,
    val_fraction: float = 0.15,
    present: Present = NOTHING_KNOWN,
) -> tuple[list[Case], list[str]]:
    """Draw by patient, from the training patients, each part (test, val) that the source does not have; 0: no val.

    Rare findings and classes reach every part in proportion, and labels of masks where `present` tells them: only folds
    know it, since the split of a source must be the same for pre-training, which opens no label file.

    Cases without a target become "unlabelled"; if they, or their patient, are in val or test, they become "unused",
    since even without its label an image would give its patient away. Without any target nothing is drawn. Returns the
    cases and one sentence for each such change.
    """
    done = [
        case if case.target is not None or case.split == "unused" else replace(case, split="unlabelled")
        for case in cases
    ]
    done = [replace(case, split="train") if case.split == "" else case for case in done]
    check_disjoint(done)
    notes: list[str] = []
    if not done or any(case.target is not None for case in done):
        for part, fraction in (("test", test_fraction), ("val", val_fraction)):
            if not any(case.split == part for case in done) and (fraction or part == "test"):
                done, note = _draw_part(done, part, fraction, seed, present)
                notes.append(note)
        if not any(case.split == "train" for case in done):
            text = "No training case is left: label at least 3 patients, one for each part."
            raise UserError(text, "too_few_patients")
    held_out = {case.patient for case in (*cases, *done) if case.split in ("val", "test")}
    known = {case.id for case in done if case.split == "unlabelled" and case.patient in held_out}
    if known:
        notes.append(f"{len(known)} unlabelled cases belong to patients of the val or test part and are left out.")
    return [replace(case, split="unused") if case.id in known else case for case in done], notes


def _draw_part(
    cases: Sequence[Case], part: str, fraction: float, seed: int, present: Present
) -> tuple[list[Case], str]:
    """Return the cases with a part of this share of the labelled patients, drawn from train, and a sentence on it."""
    num_patients = len(patients_of(case for case in cases if case.split in LABELLED))
    train = [case for case in cases if case.split == "train"]
    ranked = rank_patients(train, generator(seed, "split", part), present)
    if len(ranked) < 2:
        raise UserError(
            f"A {part} part must be drawn, but the training patients ({len(ranked)}) are too few: label at least 3 "
            "patients, one for each part.",
            "too_few_patients",
        )
    # Every (n / count)-th of them is a stratified draw: rare labels reach every part.
    count = min(max(1, round(num_patients * fraction)), len(ranked) - 1)
    positions = (np.arange(count) * len(ranked) / count + len(ranked) / count / 2).astype(int)
    chosen = {ranked[position] for position in positions}
    drawn = [replace(case, split=part) if case.split == "train" and case.patient in chosen else case for case in cases]
    return drawn, (
        f"The source has no {part} part: {sum(case.split == part for case in drawn)} cases of {len(chosen)} patients "
        f"were drawn from its training patients (seed {seed})."
    )


def rank_patients(cases: Sequence[Case], rng: np.random.Generator, present: Present) -> list[str]:
    """Return the patients, those with the rarest label first and those without any last, equal ones in random order."""
    counts: Counter[int] = Counter()
    found: dict[str, set[int]] = {case.patient: set() for case in cases}
    for case in cases:
        labels: Collection[int] = present.get(case.id, ())
        if isinstance(case.target, tuple):
            labels = {index for index, value in enumerate(case.target) if value > 0}
        found[case.patient].update(labels)
        counts.update(labels)
    rank = {label: index for index, (label, _) in enumerate(sorted(counts.items(), key=lambda item: item[::-1]))}
    rarity = {patient: min((rank[label] for label in labels), default=len(rank)) for patient, labels in found.items()}
    patients = patients_of(cases)
    return sorted((patients[index] for index in rng.permutation(len(patients))), key=lambda patient: rarity[patient])
