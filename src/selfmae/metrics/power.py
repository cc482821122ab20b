"""What it would take to tell: how many more seeds or test patients make an interval leave out 0."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

MAX_SEEDS = 100  # more in all is no advice
MAX_PATIENTS = 100_000
NUM_QUANTILES = 400


@dataclass(frozen=True)
class StandardErrors:
    """Standard errors of a difference: of the patients tested and of the seeds trained, with the numbers of both.

    `seeds` is 0 where one seed was trained: its part is not known then.
    """

    patients: float
    seeds: float
    num_patients: int
    num_seeds: int

    def of(self, num_patients: int, num_seeds: int) -> "StandardErrors":
        """Return the errors to expect with other numbers."""
        patients = self.patients * (self.num_patients / num_patients) ** 0.5
        seeds = self.seeds * (self.num_seeds / num_seeds) ** 0.5
        return StandardErrors(patients, seeds, num_patients, num_seeds)


def half_width(errors: StandardErrors, level: float = 0.05) -> float:
    """Return about half the interval that `compare_paired` gives: of a sum of two Student's t, each of its freedom."""
    quantiles = (np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES
    draws = errors.patients * t.ppf(quantiles, max(1, errors.num_patients - 1))
    if errors.num_seeds > 1:
        draws = (draws[:, None] + errors.seeds * t.ppf(quantiles, errors.num_seeds - 1)).ravel()
    return float(np.quantile(draws, 1 - level / 2))


def what_it_takes(difference: float, errors: StandardErrors, level: float = 0.05) -> tuple[int | None, int | None]:
    """Return how many more seeds, or how many more test patients, would tell if the difference and the spreads stay.

    None where that alone would not do, or takes more than `MAX_SEEDS` or `MAX_PATIENTS`; for seeds also where one
    was trained, since how they differ is not known then. The other number stays as it is.
    """

    def tells(num_patients: int, num_seeds: int) -> bool:
        return half_width(errors.of(num_patients, num_seeds), level) < abs(difference)

    seeds = None
    if errors.num_seeds > 1:
        seeds = _fewest(lambda number: tells(errors.num_patients, number), errors.num_seeds, MAX_SEEDS)
    patients = _fewest(lambda number: tells(number, errors.num_seeds), errors.num_patients, MAX_PATIENTS)
    return (
        None if seeds is None else seeds - errors.num_seeds,
        None if patients is None else patients - errors.num_patients,
    )


def _fewest(suffices: Callable[[int], bool], now: int, most: int) -> int | None:
    """Return the smallest number above `now` that suffices, by bisection: what suffices does so for more, too."""
    if most <= now or not suffices(most):
        return None
    low, high = now, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
