"""A case is one study: its images, its patient, its target and the part of the split it belongs to."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from selfmae.errors import UserError
from selfmae.seeds import generator

SPLITS = ("train", "val", "test", "unlabelled", "unused", "")


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

    `kind` is "mask" (segmentation), "findings" (several may be present) or "classes" (exactly one is).
    `names` leaves out the background; `values` are the numbers of these names in the mask files (masks only).
    """

    kind: str
    names: tuple[str, ...]
    values: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cases:
    """All cases of a source as a reader understood them; `notes` are sentences worth telling the user."""

    source: Path
    layout: str
    cases: tuple[Case, ...]
    labels: Labels
    channels: tuple[str, ...]
    notes: tuple[str, ...] = ()

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
            f"({', '.join(shared[:5])}): give each patient one split."
        )


def complete_splits(
    cases: Sequence[Case], seed: int, test_fraction: float = 0.2, val_fraction: float = 0.15
) -> tuple[list[Case], list[str]]:
    """Draw by patient, from the training patients, each part (test, val) that the source does not have.

    Cases without a target become "unlabelled". Returns the cases and one sentence for each part drawn.
    """
    done = [replace(case, split="unlabelled") if case.target is None else case for case in cases]
    done = [replace(case, split="train") if case.split == "" else case for case in done]
    check_disjoint(done)
    num_patients = len(patients_of(case for case in done if case.split in ("train", "val", "test")))
    notes = []
    for part, fraction in (("test", test_fraction), ("val", val_fraction)):
        if any(case.split == part for case in done):
            continue
        train = [case for case in done if case.split == "train"]
        chosen = _draw_patients(train, max(1, round(num_patients * fraction)), seed, part)
        done = [
            replace(case, split=part) if case.split == "train" and case.patient in chosen else case for case in done
        ]
        count = sum(case.split == part for case in done)
        notes.append(
            f"The source has no {part} part: {count} cases of {len(chosen)} patients were drawn from its "
            f"training patients (seed {seed})."
        )
    if not any(case.split == "train" for case in done):
        raise UserError("No training case is left: at least 3 labelled patients are needed, one for each part.")
    return done, notes


def make_fold(cases: Sequence[Case], fold: int, num_folds: int, seed: int) -> list[Case]:
    """Return the cases with patient-wise fold `fold` of `num_folds` as test part and a val part drawn anew.

    The given split is set aside: all labelled cases take part, each patient is tested exactly once.
    """
    labelled = [case for case in cases if case.split in ("train", "val", "test")]
    patients = patients_of(labelled)
    if num_folds > len(patients):
        raise UserError(
            f"--folds {num_folds} needs at least {num_folds} labelled patients, but there are {len(patients)}."
        )
    order = generator(seed, "folds", num_folds).permutation(len(patients))
    tested = {patients[index] for index in order[fold::num_folds]}
    drawn = [
        replace(case, split="test" if case.patient in tested else "train") if case in labelled else case
        for case in cases
    ]
    return complete_splits(drawn, seed)[0]


def _draw_patients(cases: Sequence[Case], count: int, seed: int, part: str) -> set[str]:
    """Choose `count` patients, spread over the label patterns so that rare findings reach every part."""
    patients = patients_of(cases)
    if len(patients) < 2:
        raise UserError(
            f"A {part} part must be drawn, but only {len(patients)} training patient is there: "
            "at least 3 labelled patients are needed, one for each part."
        )
    count = min(count, len(patients) - 1)
    rarity = _rarest_label(cases)
    order = generator(seed, "split", part).permutation(len(patients))
    # Sorted by rarest finding and then at random, every (n / count)-th patient is a stratified draw.
    ranked = sorted((patients[index] for index in order), key=lambda patient: rarity[patient])
    positions = (np.arange(count) * len(ranked) / count + len(ranked) / count / 2).astype(int)
    return {ranked[position] for position in positions}


def _rarest_label(cases: Sequence[Case]) -> dict[str, int]:
    """Return for each patient the rank of its rarest positive label (0 is the rarest; masks: all equal)."""
    counts: Counter[int] = Counter()
    present: dict[str, set[int]] = {case.patient: set() for case in cases}
    for case in cases:
        if isinstance(case.target, tuple):
            found = {index for index, value in enumerate(case.target) if value > 0}
            present[case.patient] |= found
            counts.update(found)
    rank = {label: place for place, (label, _) in enumerate(sorted(counts.items(), key=lambda item: item[1]))}
    return {patient: min((rank[label] for label in labels), default=len(rank)) for patient, labels in present.items()}
