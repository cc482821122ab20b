"""The split of MONAI's `CrossValidation`, by which the released code of Zhou et al. 2023 divides BraTS."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from selfmae.data.case import Case
from selfmae.errors import UserError

NUM_PARTS, SEED = 5, 12345  # of the released code, which tests on part 0


def split_like_monai(cases: Sequence[Case]) -> list[Case]:
    """Return the cases with the labelled ones in train and test as `CrossValidation(nfolds=5, seed=12345)` deals them.

    Their order decides, which is that of the source's list. It deals cases, not patients: for sources with one case of
    each patient.
    """
    labelled = [place for place, case in enumerate(cases) if case.target is not None]
    divided = next((case.split for case in cases if case.split in ("train", "val", "test")), "")
    if divided:
        raise UserError(
            f"data.split monai draws train and test itself, but the source has a {divided} part already: set "
            "data.split=patients."
        )
    if len(labelled) < NUM_PARTS:
        raise UserError(
            f"data.split monai needs at least {NUM_PARTS} labelled cases, but there are {len(labelled)}: set "
            "data.split=patients."
        )
    np.random.RandomState(SEED).shuffle(labelled)
    tested, done = set(labelled[::NUM_PARTS]), list(cases)
    for place in labelled:
        done[place] = replace(cases[place], split="test" if place in tested else "")
    return done
