"""A case is one study: its images, its patient, its target and the part of the split it belongs to."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from selfmae.data.doctor.findings import Finding
from selfmae.errors import UserError, first_of
from selfmae.seeds import generator

SPLITS = ("train", "val", "test", "unlabelled", "unused", "")

Present = Mapping[str, Collection[int]]  # case id -> the label values that its mask holds
NOTHING_KNOWN: Present = {}


@dataclass(frozen=True)
class Case:
    """One study.

    `images` holds one path per channel group (a file with several channels is one path).
    `target` is the path of a mask, one number per label name (findings 0 or 1, classes one-hot), or None.
    `split` is one of `SPLITS`; "" means that the source does not say, "unused" is left out of a run.
    """

    id: str
    patient: str
    images: tuple[Path, ...]
    target: Path | tuple[float, ...] | None
    split: str


@dataclass(frozen=True)
class Labels:
    """What is to be learned.

    `kind` is "mask" (segmentation), "multilabel" (several may be present) or "multiclass" (exactly one is).
    `names` leaves out the background; `values` are the numbers of these names in the mask files (masks only).
    """

    kind: str
    names: tuple[str, ...]
    values: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cases:
    """All cases of a source as a reader understood them; `notes` are sentences worth telling the user.

    `findings` are what the reader found wrong with single cases; the data doctor reports them with all others.
    """

    source: Path
    layout: str
    cases: tuple[Case, ...]
    labels: Labels
    channels: tuple[str, ...]
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def part(self, *splits: str) -> list[Case]:
        """Return the cases of these splits, in order."""
        return [case for case in self.cases if case.split in splits]


def patients_of(cases: Iterable[Case]) -> list[str]:
    """Return the distinct patients, sorted."""
    return sorted({case.patient for case in cases})


def check_disjoint(cases: Iterable[Case]) -> None:
    """Raise if a patient stands in two parts of the split: its images would leak."""
    parts: dict[str, set[str]] = {}
    for case in cases:
        if case.split in ("train", "val", "test"):
            parts.setdefault(case.patient, set()).add(case.split)
    shared = sorted(patient for patient, splits in parts.items() if len(splits) > 1)
    if shared:
        raise UserError(
            f"Patients must stand in one part of the split only, but {len(shared)} stand in several "
            f"({first_of(shared, 5)}): give each patient one split.",
            "same_patient_across_parts",
        )


def leave_out_copies(cases: Sequence[Case], hashes: Mapping[str, str]) -> list[Case]:
    """Return the cases, "unused" where an equal image stands in a part that must stay unseen (test, then val).

    `hashes` holds the content hash of each image by case id; cases without one stay as they are.
    """
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
    held_out = set(patients_of(case for case in cases if case.split in ("val", "test")))
    done = [
        case if case.target is not None or case.split == "unused" else replace(case, split="unlabelled")
        for case in cases
    ]
    done = [replace(case, split="train") if case.split == "" else case for case in done]
    check_disjoint(done)
    if done and all(case.target is None for case in done):
        return _leave_out_patients(done, held_out)
    num_patients = len(patients_of(case for case in done if case.split in ("train", "val", "test")))
    notes = []
    for part, fraction in (("test", test_fraction), ("val", val_fraction)):
        if any(case.split == part for case in done) or (part == "val" and not fraction):
            continue
        train = [case for case in done if case.split == "train"]
        chosen = _draw_patients(train, max(1, round(num_patients * fraction)), seed, part, present)
        done = [
            replace(case, split=part) if case.split == "train" and case.patient in chosen else case for case in done
        ]
        count = sum(case.split == part for case in done)
        notes.append(
            f"The source has no {part} part: {count} cases of {len(chosen)} patients were drawn from its "
            f"training patients (seed {seed})."
        )
    if not any(case.split == "train" for case in done):
        raise UserError("No training case is left: label at least 3 patients, one for each part.", "too_few_patients")
    return _leave_out_patients(done, held_out | set(patients_of(c for c in done if c.split in ("val", "test"))), notes)


def _leave_out_patients(
    cases: Sequence[Case], held_out: set[str], notes: Sequence[str] = ()
) -> tuple[list[Case], list[str]]:
    """Return the cases without the unlabelled ones of these patients, and the notes with a sentence on them."""
    known = {case.id for case in cases if case.split == "unlabelled" and case.patient in held_out}
    said = (
        [f"{len(known)} unlabelled cases belong to patients of the val or test part and are left out."] if known else []
    )
    return [replace(case, split="unused") if case.id in known else case for case in cases], [*notes, *said]


def _draw_patients(cases: Sequence[Case], count: int, seed: int, part: str, present: Present) -> set[str]:
    """Choose `count` patients, spread over the label patterns so that rare labels reach every part."""
    num_patients = len(patients_of(cases))
    if num_patients < 2:
        raise UserError(
            f"A {part} part must be drawn, but the training patients ({num_patients}) are too few: "
            "label at least 3 patients, one for each part.",
            "too_few_patients",
        )
    count = min(count, num_patients - 1)
    ranked = rank_patients(cases, generator(seed, "split", part), present)
    # Every (n / count)-th of them is a stratified draw.
    positions = (np.arange(count) * len(ranked) / count + len(ranked) / count / 2).astype(int)
    return {ranked[position] for position in positions}


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
