"""Answers about an initialization: does it help, does it hurt, is there no difference, or can none of them be told?

Also what "cannot tell" lacks, and how strict each look is when training goes on seed by seed until there is an answer.
"""

from collections.abc import Callable

from selfmae.errors import UserError
from selfmae.metrics.statistics import LEVEL, Interval, StandardErrors, half_width

MARGIN = 0.01  # of Dice or AUC: a smaller difference does not matter
FIRST_LOOK = 3  # seeds: the spread of two has 1 degree of freedom, and intervals 3 times as wide
MAX_SEEDS = 100  # of `what_it_takes`: more in all is no advice
MAX_PATIENTS = 100_000


def check_margin(margin: float) -> float:
    """Return a margin that lies above 0 and below 1, otherwise raise `UserError`."""
    if not 0 < margin < 1:
        raise UserError(
            f"The margin is the smallest difference that matters, above 0 and below 1, not {margin}: "
            f"give one such as {MARGIN}."
        )
    return margin


def judge(
    interval: Interval, p_holm: float | None, num_pairs: int, margin: float = MARGIN, level: float = LEVEL
) -> str:
    """Return "helps", "hurts", "no difference" or "cannot tell" from the interval of a difference, and its p value.

    It is "no difference" where the whole interval lies within `margin` of 0, in units of the metric: two one-sided
    tests (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657). This comes first, since a smaller difference than what
    matters is none even if it is not 0. It is "helps" or "hurts" where the interval leaves out 0 and, of several
    pairs, `p_holm` (`statistics.holm`) is below `level` too. `level` is that of the interval: 0.05 for 95 %.

    Raises `UserError` for a margin that is not above 0 and below 1.
    """
    check_margin(margin)
    if interval is None:
        return "cannot tell"
    low, high = interval
    if -margin <= low and high <= margin:
        return "no difference"
    if low <= 0 <= high or (num_pairs > 1 and (p_holm is None or p_holm >= level)):
        return "cannot tell"
    return "helps" if low > 0 else "hurts"


def look_level(look: int, num_looks: int) -> float:
    """Return the error level of the interval that decides at this of all looks (from 1), if seeds come one by one.

    The first look is after `FIRST_LOOK` seeds, and each adds one seed (or one draw of labelled patients) on the same
    test patients; `num_looks` is the most that there can be, known in advance, and it may end earlier for any reason.
    With these levels, A against A is told "helps" or "hurts" at any of the looks in at most 5 % of all comparisons, and
    a difference as large as the margin is told "no difference" in at most 2.5 %. So the intervals of all looks together
    cover the difference in 95 %: they are 95 % repeated confidence intervals (Jennison & Turnbull 1989, J. R. Stat.
    Soc. B 51:305; of equivalence: 1993, Biometrics 49:31), the t statistics those of 1991, Biometrika 78:133.

    Levels in proportion to the look spend little where few seeds make wide intervals anyway (as Kim & DeMets 1987,
    Biometrika 74:149). The exponent was found by simulation (`benchmarks/decisions.py`) of the worst case, no spread
    over patients: errors of all looks are at most 5.0 % for a single pair, 4.9 % for Holm's three pairs of three
    initializations, 5.1 % for the six of four. Patients that stay the same tie the looks together, which makes fewer.
    """
    assert 1 <= look <= num_looks, "looks count from 1 to the number planned"
    return LEVEL * look / float(num_looks) ** 1.45


def what_it_takes(
    difference: float,
    errors: StandardErrors,
    margin: float = MARGIN,
    num_pairs: int = 1,
    level: float = LEVEL,
) -> tuple[int | None, int | None]:
    """Return how many more seeds, or test patients, would give one of three answers if difference and spreads stay.

    The interval then lies within the margin, or leaves out 0 even at `level` / `num_pairs`, the strictest of Holm's
    steps. None where that alone would not do, or takes more than `MAX_SEEDS` or `MAX_PATIENTS`; for seeds also where
    one was trained, since how they differ is not known then. The other number stays as it is.
    """

    def answers(num_patients: int, num_seeds: int) -> bool:
        expected = errors.of(num_patients, num_seeds)
        if abs(difference) <= margin and abs(difference) + half_width(expected, level) <= margin:
            return True
        return half_width(expected, level / num_pairs) < abs(difference)

    seeds = None
    if errors.num_seeds > 1:
        seeds = _fewest_more(lambda number: answers(errors.num_patients, number), errors.num_seeds, MAX_SEEDS)
    patients = _fewest_more(lambda number: answers(number, errors.num_seeds), errors.num_patients, MAX_PATIENTS)
    return seeds, patients


def _fewest_more(suffices: Callable[[int], bool], now: int, most: int) -> int | None:
    """Return how many more than `now` suffice at least, by bisection: what suffices does so for more, too."""
    if most <= now or not suffices(most):
        return None
    low, high = now, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high - now
