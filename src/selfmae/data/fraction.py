"""A share of the training patients, for label-efficiency curves: the labels of the others stay closed."""

from collections.abc import Sequence

import numpy as np

from selfmae.data.case import NOTHING_KNOWN, Case, rank_patients
from selfmae.seeds import generator

GOLDEN = (5**0.5 - 1) / 2


def labelled_part(cases: Sequence[Case], fraction: float, seed: int) -> list[Case]:
    """Return the training cases whose labels are used: those of `fraction` (0..1) of the patients, at least of one.

    A smaller share of the same seed is part of a larger one, and rare labels reach every share in proportion: patients
    are ranked by their rarest label, and multiples of the golden ratio, of which any first ones are spread evenly, say
    in which order they join. Labels of masks are not looked at, as in the draw of a split.
    """
    if fraction == 1 or not cases:
        return list(cases)
    rng = generator(seed, "fraction")
    ranked = rank_patients(cases, rng, NOTHING_KNOWN)
    order = np.argsort((np.arange(len(ranked)) * GOLDEN + rng.random()) % 1)
    joined = {ranked[place] for place in order[: max(1, round(len(ranked) * fraction))]}
    return [case for case in cases if case.patient in joined]
