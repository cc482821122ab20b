"""Is init B better than init A on the same test cases? A paired bootstrap over patients and training seeds.

And how wide its interval would be with other numbers of patients and seeds. `decisions` makes answers of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.stats import chi2, t

from selfmae.metrics.scores import Score
from selfmae.seeds import generator

WEIGHTS_AT_ONCE = 2**22  # 32 MB
ROUNDING = 1e-9  # smaller differences of scores are none
VERDICT_RESAMPLES, LABEL_RESAMPLES = 2000, 1000
MIN_ALIKE = 6  # patients that all differ by the same amount and tell: 5 would all agree by chance with p 2 / 2**5
LEVEL = 0.05  # of all comparisons together
NUM_QUANTILES = 400

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Comparison:
    """Scores of A and B averaged over training seeds, and their difference B - A with 95 % intervals.

    None is what the test cases do not define: a score without both outcomes, an interval from one patient, or
    from few without any spread. `effective_n` patients have cases that limit how well the score is known (`Score`).
    With `num_seeds` 1 the intervals hold for these two trained models, not for the two ways to train.
    """

    mean_a: float | None
    mean_b: float | None
    ci95_a: Interval
    ci95_b: Interval
    difference: float | None
    ci95: Interval
    p: float | None
    num_cases: int
    num_patients: int
    effective_n: int
    num_seeds: int
    patient_error: float = 0.0  # standard errors of the difference: of the patients tested,
    seed_error: float = 0.0  # and of the seeds trained (0 for one)


def patient_weights(patients: Sequence[str], num_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each case counts [R, n]: as many patients are drawn as there are, each with all its cases."""
    names, indices = np.unique(np.asarray(patients), return_inverse=True)
    drawn = rng.integers(len(names), size=(num_resamples, len(names)))
    drawn += np.arange(num_resamples)[:, None] * len(names)
    counts = np.bincount(drawn.ravel(), minlength=num_resamples * len(names)).reshape(num_resamples, len(names))
    return counts[:, indices].astype(float)


def compare_paired(
    a: Sequence[Score],
    b: Sequence[Score],
    patients: Sequence[str],
    seed: int,
    num_resamples: int = VERDICT_RESAMPLES,
    limits: tuple[float, float] = (-np.inf, np.inf),
    level: float = LEVEL,
) -> Comparison:
    """Compare B with A, where a[s] and b[s] score training seed s on the same cases; `patients` has one name a case.

    Two sources of chance are drawn together: the patients tested, by a bootstrap that is the same for A, B and all
    seeds, and the training seeds. Plain percentiles are too narrow for few draws, so both are widened to Student's t:
    deviations over n patients are multiplied by sqrt(n / chi2[n - 1]) (as the narrowness correction of Hesterberg 2015,
    The American Statistician 69), and instead of resampling S seeds, of which 3 give 10 different means at most, the
    mean over seeds is moved by t[S - 1] standard errors (posterior of a normal mean, Gelman et al. 2013, BDA3, 3.2).
    Here n are the patients that decide: 2 positive cases among 30 are no better known than 2 alone, and 30 for n would
    call one AUC in seven better that is not. `limits` are those of a score: they bound all intervals. A stricter
    `level` is for one of several looks (`decisions.look_level`): with it, intervals are repeated ones that hold
    together with 95 %; more are resampled if that many are not enough for it.
    """
    assert len(a) == len(b) > 0, "A and B need one score for each training seed, the same seeds for both"
    rng, num_resamples = generator(seed, "bootstrap"), max(num_resamples, ceil(2 / level))
    deciding = np.all([score.deciding for score in (*a, *b)], axis=0)
    effective_n = len(set(np.asarray(patients)[deciding]))
    points_a, points_b, resampled_a, resampled_b = _score_resamples(a, b, patients, num_resamples, rng)
    chances = _draw_chances(effective_n, len(a), num_resamples, rng)
    low, high = limits
    changes = resampled_b - resampled_a
    differences = _draws(points_b - points_a, changes, *chances).clip(low - high, high - low)
    if _is_chance(changes, effective_n):
        differences[:] = np.nan
    return Comparison(
        mean_a=_defined(points_a.mean()),
        mean_b=_defined(points_b.mean()),
        ci95_a=_interval(_draws(points_a, resampled_a, *chances).clip(*limits), level),
        ci95_b=_interval(_draws(points_b, resampled_b, *chances).clip(*limits), level),
        difference=_defined((points_b - points_a).mean()),
        ci95=_interval(differences, level),
        p=_p_value(differences),
        num_cases=len(patients),
        num_patients=len(set(patients)),
        effective_n=effective_n,
        num_seeds=len(a),
        patient_error=_patient_error(changes, effective_n),
        seed_error=_seed_error(points_b - points_a),
    )


def _score_resamples(
    a: Sequence[Score], b: Sequence[Score], patients: Sequence[str], num_resamples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the scores of A and of B of each seed [S] on the cases as they are, and their seed means [R] resampled."""
    ones = np.ones((1, len(patients)))
    points_a, points_b = (np.array([score(ones)[0] for score in scores]) for scores in (a, b))
    step = max(1, WEIGHTS_AT_ONCE // len(patients))
    resampled = []
    for start in range(0, num_resamples, step):
        weights = patient_weights(patients, min(step, num_resamples - start), rng)
        resampled.append([np.mean([score(weights) for score in scores], axis=0) for scores in (a, b)])
    resampled_a, resampled_b = np.concatenate(resampled, axis=1)
    return points_a, points_b, resampled_a, resampled_b


def _draw_chances(
    num_patients: int, num_seeds: int, num_resamples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor of each resample's deviation and the standard errors that the seed mean is off, both [R].

    The factor is nan for one patient: one says nothing about others. One seed is taken as it is.
    """
    # Evenly spread quantiles, shuffled: the long tails of few degrees of freedom would make free draws noisy.
    levels = (np.arange(num_resamples) + 0.5) / num_resamples
    factor, seed_errors = np.full(num_resamples, np.nan), np.zeros(num_resamples)
    if num_patients > 1:
        factor = np.sqrt(num_patients / chi2.ppf(rng.permutation(levels), num_patients - 1))
    if num_seeds > 1:
        seed_errors = t.ppf(rng.permutation(levels), num_seeds - 1)
    return factor, seed_errors


def _draws(points: np.ndarray, resampled: np.ndarray, factor: np.ndarray, seed_errors: np.ndarray) -> np.ndarray:
    """Return plausible values [R] of what `points` [S] are a sample of; nan where a resample defines none."""
    centre = points.mean()
    draws: np.ndarray = centre + (resampled - centre) * factor + _seed_error(points) * seed_errors
    return draws


def _seed_error(points: np.ndarray) -> float:
    """Return the standard error of the mean over seeds, 0 for one seed."""
    return float(points.std(ddof=1) / np.sqrt(len(points))) if len(points) > 1 else 0.0


def _patient_error(resampled: np.ndarray, num_patients: int) -> float:
    """Return the standard error of a difference that comes from the patients tested, 0 where it is not defined."""
    finite = resampled[np.isfinite(resampled)]
    if num_patients < 2 or len(finite) < 2:
        return 0.0
    return float(finite.std(ddof=1) * np.sqrt(num_patients / (num_patients - 1)))


def _is_chance(changes: np.ndarray, num_patients: int) -> bool:
    """Return whether all resamples differ by the same amount, which is no spread to go by if patients are few."""
    finite = changes[np.isfinite(changes)]
    return num_patients < MIN_ALIKE and len(finite) > 0 and bool(np.ptp(finite) < ROUNDING)


def _interval(draws: np.ndarray, level: float = LEVEL) -> Interval:
    """Return the draws but for a share `level` of the outermost (the central 95 %), None if none is defined.

    Its ends are the outermost draws that leave 0 out exactly where the p value of 0 is below the level.
    """
    finite = np.sort(draws[np.isfinite(draws)])
    if not len(finite):
        return None
    beyond = max(0, ceil(level / 2 * (len(finite) + 1)) - 2)
    return float(finite[beyond]), float(finite[-1 - beyond])


def _p_value(draws: np.ndarray) -> float | None:
    """Return the two-sided p value of 0, at least 2 / (R + 1): no draw in R beyond 0 does not make it impossible."""
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return None
    beyond = min((finite <= 0).sum(), (finite >= 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (len(finite) + 1)))


def _defined(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p values corrected for their number (Holm 1979, Scand. J. Statist. 6:65); None stays None.

    The chance that any comparison without a difference falls below a level is at most that level, however the
    comparisons depend on each other: initializations that are all compared with scratch share its trainings.
    """
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        corrected[index] = largest
    return corrected


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


def half_width(errors: StandardErrors, level: float = LEVEL) -> float:
    """Return about half the interval that `compare_paired` gives: of a sum of two Student's t, each of its freedom."""
    quantiles = (np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES
    draws = errors.patients * t.ppf(quantiles, max(1, errors.num_patients - 1))
    if errors.num_seeds > 1:
        draws = (draws[:, None] + errors.seeds * t.ppf(quantiles, errors.num_seeds - 1)).ravel()
    return float(np.quantile(draws, 1 - level / 2))
