"""Folds: every labelled patient is tested by a model that never saw it, once or in several repeats."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from selfmae.data.case import LABELLED, NOTHING_KNOWN, Case, Present, complete_splits, patients_of, rank_patients
from selfmae.errors import UserError
from selfmae.seeds import generator

MIN_PATIENTS = 3  # one to train on, one to choose the checkpoint on, one to test

# Up to this many patients each is tested alone: a fifth of them would be one or two patients more to learn from, and
# ten trainings cost no more than the repeats below.
MAX_LEFT_OUT = 10
# Up to this many, repeats average out the chance of how patients were dealt (repeated against single cross-validation:
# Kim 2009, Comput. Stat. Data Anal. 53:3735). Above it they cost three times the trainings for little.
MAX_REPEATED = 50
NUM_PARTS, NUM_REPEATS = 5, 3

GOLDEN = (5**0.5 - 1) / 2
MONAI_PARTS, SEED = 5, 12345  # of the released code, which tests on part 0


@dataclass(frozen=True)
class Folding:
    """How the labelled patients are dealt out, anew in each repeat."""

    num_parts: int = 1  # test parts; a single one keeps the split that the source has
    num_repeats: int = 1
    reason: str = ""  # a sentence, "" where the user asked for it

    @property
    def num_folds(self) -> int:
        """Number of trainings of one initialization and seed."""
        return self.num_parts * self.num_repeats


def choose_folding(cases: Sequence[Case], asked: int | None) -> Folding:
    """Return the folding asked for, or for None the one that suits the number of labelled patients."""
    num_patients = len(patients_of(case for case in cases if case.split in LABELLED))
    if asked is not None:
        fewest = {1: 0, 2: 4}.get(asked, asked)  # half of three patients would not leave two, for train and val
        if num_patients < fewest:
            raise UserError(
                f"--folds {asked} needs at least {fewest} labelled patients, but there are {num_patients}: "
                "give fewer folds, or --folds auto."
            )
        return Folding(asked)
    if num_patients < MIN_PATIENTS:
        raise UserError(
            f"--folds auto needs at least {MIN_PATIENTS} labelled patients, but there are {num_patients}: "
            "one to train on, one to choose the checkpoint on and one to test; label more."
        )
    if num_patients <= MAX_LEFT_OUT:
        reason = (
            f"Folds: each of the {num_patients} labelled patients is tested alone (leave-one-out), since with at most "
            f"{MAX_LEFT_OUT} patients training needs all the others."
        )
        return Folding(num_patients, 1, reason)
    if num_patients <= MAX_REPEATED:
        reason = (
            f"Folds: {NUM_PARTS} folds are dealt {NUM_REPEATS} times from the {num_patients} labelled patients, since "
            f"with at most {MAX_REPEATED} patients the result depends on how they are dealt, which repeats average out."
        )
        return Folding(NUM_PARTS, NUM_REPEATS, reason)
    reason = (
        f"Folds: {NUM_PARTS} folds are dealt once from the {num_patients} labelled patients; with more than "
        f"{MAX_REPEATED} patients repeats cost more than they add."
    )
    return Folding(NUM_PARTS, 1, reason)


def make_fold(
    cases: Sequence[Case],
    fold: int,
    folding: Folding,
    seed: int,
    val_fraction: float = 0.15,
    present: Present = NOTHING_KNOWN,
) -> list[Case]:
    """Return the cases with one fold's patients as test part and a val part drawn anew.

    Fold f is part f % num_parts of repeat f // num_parts. The given split is set aside: each labelled patient is tested
    exactly once in a repeat, and those with rare labels are dealt out evenly; `present` tells the labels of masks.
    Unlabelled images of val and test patients become "unused".
    """
    repeat, part = divmod(fold, folding.num_parts)
    labelled = [case for case in cases if case.split in LABELLED]
    ranked = rank_patients(labelled, generator(seed, "folds", folding.num_parts, repeat), present)
    tested = set(ranked[part :: folding.num_parts])
    drawn = [
        replace(case, split="test" if case.patient in tested else "train") if case.split in LABELLED else case
        for case in cases
    ]
    return complete_splits(drawn, seed, val_fraction=val_fraction, present=present)[0]


def labelled_part(cases: Sequence[Case], fraction: float, seed: int, labels: int = 0) -> list[Case]:
    """Return the training cases whose labels are used: of `labels` patients, or where that is 0, of a share of them.

    `fraction` (0..1) of the patients are at least one. A smaller draw of the same seed is part of a larger one, however
    each was asked for, and rare labels reach every draw in proportion: patients are ranked by their rarest label, and
    multiples of the golden ratio, of which any first ones are spread evenly, say in which order they join. Labels in
    masks play no part, as in the draw of a split. Raises `UserError` where there are fewer than `labels` patients.
    """
    num_patients = len(patients_of(cases))
    if labels > num_patients:
        raise UserError(
            f"data.labels asks for {labels} labelled training patients, but there are {num_patients}: give at most "
            f"{num_patients}, or 0 for all of them."
        )
    if not cases or labels == num_patients or (not labels and fraction == 1):
        return list(cases)
    rng = generator(seed, "fraction")
    ranked = rank_patients(cases, rng, NOTHING_KNOWN)
    order = np.argsort((np.arange(num_patients) * GOLDEN + rng.random()) % 1)
    joined = {ranked[index] for index in order[: labels or max(1, round(num_patients * fraction))]}
    return [case for case in cases if case.patient in joined]


def split_like_monai(cases: Sequence[Case]) -> list[Case]:
    """Return the cases with the labelled ones in train and test as `CrossValidation(nfolds=5, seed=12345)` deals them.

    The order of the source's list decides. Cases are dealt, not patients: for sources with one case per patient.
    """
    labelled = [index for index, case in enumerate(cases) if case.target is not None]
    divided = next((case.split for case in cases if case.split in LABELLED), "")
    if divided:
        raise UserError(
            f"data.split monai draws train and test itself, but the source has a {divided} part already: set "
            "data.split=patients."
        )
    if len(labelled) < MONAI_PARTS:
        raise UserError(
            f"data.split monai needs at least {MONAI_PARTS} labelled cases, but there are {len(labelled)}: set "
            "data.split=patients."
        )
    np.random.RandomState(SEED).shuffle(labelled)
    tested, done = set(labelled[::MONAI_PARTS]), list(cases)
    for index in labelled:
        done[index] = replace(cases[index], split="test" if index in tested else "")
    return done
