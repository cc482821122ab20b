"""What labels and an initialization are worth: scores over the number of labelled patients, and the headroom left.

The scores of several random draws of labelled patients are averaged. Draws are keyed like training seeds: draw d has
the same labelled patients for all initializations, and nested ones over their number.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import chi2
from sklearn.isotonic import isotonic_regression

from selfmae.errors import UserError
from selfmae.metrics.rows import Runs, Scorer, compare_runs
from selfmae.metrics.scores import Score
from selfmae.metrics.statistics import (
    LABEL_RESAMPLES,
    LEVEL,
    MIN_ALIKE,
    ROUNDING,
    VERDICT_RESAMPLES,
    WEIGHTS_AT_ONCE,
    patient_weights,
)
from selfmae.seeds import generator

SCRATCH = "scratch"


class Point(NamedTuple):
    """What was trained: a network from an initialization on a number of labelled patients."""

    network: str
    init: str
    labels: int


def label_curve(
    points: Mapping[Point, Runs], scorer: Scorer, num_resamples: int = VERDICT_RESAMPLES
) -> list[dict[str, Any]]:
    """Return a row for each point: "mean" over draws, "ci95" over patients and draws (`compare_paired`), "num_draws".

    The mean is None where the test cases define no score. Raises `UserError` if the points' test cases differ.
    """
    _check_cases(points)
    rows = []
    for point, runs in sorted(points.items()):
        result = compare_runs(runs, runs, scorer, num_resamples)
        found = {"mean": result.mean_a, "ci95": result.ci95_a, "num_draws": result.num_seeds}
        rows.append(point._asdict() | found)
    return rows


def worth_in_labels(
    points: Mapping[Point, Runs], scorer: Scorer, reference: str = SCRATCH, num_resamples: int = LABEL_RESAMPLES
) -> list[dict[str, Any]]:
    """Return with how many labelled patients the reference does as well as each other initialization of its network.

    The reference's curve is made non-decreasing (isotonic regression; Barlow et al. 1972, Statistical Inference under
    Order Restrictions; points weigh as many draws as they have) and is linear in log(labels) between its points.
    "equals" is where it reaches the mean of the other initialization: a number of patients, not rounded. If the curve
    is level there, it is the number on the level that is nearest to the initialization's own. None is beyond the curve:
    above its last point or below its first.

    "ci95" [low, high] are percentiles of the same calculation on resampled means (`_resample_means`), where low None is
    below the first point and high None above the last. A whole interval above the curve has the last point as low, one
    below the curve the first as high: [40, None] is "at least 40". As the curve never falls, the interval holds those
    numbers of labels with which the reference cannot be told from the initialization; so it is as reliable as an
    interval of a paired difference, also where the curve is level or ends. It is None where the test cases define none.

    Networks without the reference have no rows. Raises `UserError` if the points' test cases differ.
    """
    means = _resample_means(points, scorer, num_resamples)
    rows = []
    for network in sorted({point.network for point in points}):
        known = sorted(point for point in points if (point.network, point.init) == (network, reference))
        others = sorted(point for point in points if point.network == network and point.init != reference)
        if not known or not others:
            continue
        num_draws = np.array([len(points[point].repeats) for point in known], dtype=float)
        curve = _rising(np.stack([means[point] for point in known], axis=1), num_draws)
        counts = np.array([point.labels for point in known], dtype=float)
        for point in others:
            equal = _labels_of(means[point], curve, counts, point.labels)
            equals = float(equal[0]) if 0 < equal[0] < np.inf else None
            rows.append(point._asdict() | {"equals": equals, "ci95": _labels_interval(equal[1:], counts)})
    return rows


def headroom(
    points: Mapping[Point, Runs],
    scorer: Scorer,
    network: str,
    init: str = SCRATCH,
    num_resamples: int = VERDICT_RESAMPLES,
) -> dict[str, Any] | None:
    """Return what the other half of the labels brings: "mean" and "ci95" of the score with all minus that with half.

    The difference is paired by test patient and by draw; a draw that one of the two lacks counts in its mean all the
    same. "from" is the largest number of labelled patients that is at most half of the largest, "to"; None if there is
    none. Raises `UserError` if their test cases differ.
    """
    counts = sorted(point.labels for point in points if (point.network, point.init) == (network, init))
    halves = [count for count in counts if 2 * count <= counts[-1]]
    if not halves:
        return None
    half, every = Point(network, init, halves[-1]), Point(network, init, counts[-1])
    means = _resample_means({point: points[point] for point in (half, every)}, scorer, num_resamples)
    gains = (means[every] - means[half]).clip(-1, 1)
    mean = None if np.isnan(gains[0]) else float(gains[0])
    return {"mean": mean, "ci95": _central(gains[1:]), "from": half.labels, "to": every.labels}


def _check_cases(points: Mapping[Point, Runs]) -> None:
    """Raise `UserError` unless all points were tested on the same cases."""
    (first, runs), *others = sorted(points.items())
    for point, found in others:
        if found.ids != runs.ids:
            raise UserError(
                f"{_name(first)} and {_name(point)} were not evaluated on the same test cases: give runs with one and "
                "the same split."
            )


def _name(point: Point) -> str:
    return f"{point.network} from {point.init} with {point.labels} labelled patients"


def _resample_means(points: Mapping[Point, Runs], scorer: Scorer, num_resamples: int) -> dict[Point, np.ndarray]:
    """Return the mean over draws of each point [1 + R]: as tested, then R values that it may plausibly have.

    The chance is that of `compare_paired`, for all points at once: each resample has the same test patients at all
    points, and the same draws of labelled patients. Draws are few: intervals from plainly resampled ones held the true
    number of labels in 91 % (5 draws, 60 patients) and 87 % (3, 20) of experiments simulated as in
    `benchmarks/label_curves.py`, these 97 %. Draw d gets one normal weight for all points, by which it pulls their
    means away from the other draws' (multiplier bootstrap; van der Vaart & Wellner 1996, Weak Convergence, 2.9): the
    same covariances as resampled draws, without their coarse steps. Deviations of n patients and of D draws are widened
    by sqrt(n / chi2[n - 1]) (Hesterberg 2015, The American Statistician 69): any linear combination of means is moved
    by Student's t of D - 1 standard errors, as a single mean is in `compare_paired`. A point of one draw is taken as it
    is. Values are nan where only one patient decides the score, or a few (`MIN_ALIKE`) without any spread. They are not
    clipped at 0 and 1, which would tie them.
    """
    _check_cases(points)
    scores = {point: runs.scores(scorer) for point, runs in points.items()}
    patients = next(iter(points.values())).patients
    rng = generator(0, "label curves")
    tested, resampled = _score_patients(scores, patients, num_resamples, rng)
    deciding = np.all([score.deciding for found in scores.values() for score in found.values()], axis=0)
    num_patients = len(set(np.asarray(patients)[deciding]))
    levels = (np.arange(num_resamples) + 0.5) / num_resamples  # evenly spread, as in `compare_paired`
    factor = _widening(rng.permutation(levels), num_patients)  # shuffled: independent of the draws'
    draws = sorted({draw for found in scores.values() for draw in found})
    pulls = dict(zip(draws, rng.standard_normal((len(draws), num_resamples)), strict=True))
    means = {}
    for point, by_draw in tested.items():
        values = np.array(list(by_draw.values()))
        mean = values.mean()
        moved = mean + (resampled[point] - mean) * factor
        if num_patients < MIN_ALIKE and _is_constant(resampled[point]):
            moved[:] = np.nan
        if len(values) > 1:
            pull = np.stack([pulls[draw] for draw in by_draw])
            moved += (values - mean) @ pull / len(values) * _widening(levels, len(values))
        means[point] = np.concatenate([[mean], moved])
    return means


def _score_patients(
    scores: Mapping[Point, Mapping[int, Score]], patients: Sequence[str], num_resamples: int, rng: np.random.Generator
) -> tuple[dict[Point, dict[int, float]], dict[Point, np.ndarray]]:
    """Return each point's scores by draw on the cases as they are, and their mean [R] over draws on resampled ones."""
    ones = np.ones((1, len(patients)))
    tested = {point: {draw: float(score(ones)[0]) for draw, score in found.items()} for point, found in scores.items()}
    resampled = {point: np.empty(num_resamples) for point in scores}
    step = max(1, WEIGHTS_AT_ONCE // len(patients))
    for start in range(0, num_resamples, step):
        weights = patient_weights(patients, min(step, num_resamples - start), rng)
        for point, found in scores.items():
            resampled[point][start : start + step] = np.mean([score(weights) for score in found.values()], axis=0)
    return tested, resampled


def _widening(levels: np.ndarray, number: int) -> np.ndarray:
    """Return the factors [R] that make a deviation of `number` resampled items Student's t; nan for a single item."""
    if number < 2:
        return np.full(len(levels), np.nan)
    factors: np.ndarray = np.sqrt(number / chi2.ppf(levels, number - 1))
    return factors


def _is_constant(values: np.ndarray) -> bool:
    defined = values[np.isfinite(values)]
    return len(defined) > 0 and bool(np.ptp(defined) < ROUNDING)


def _rising(curves: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the nearest non-decreasing curves [Q, K] to these by weights [K]; one with nan stays as it is."""
    rising = curves.copy()
    falls = (np.diff(curves, axis=1) < 0).any(axis=1) & ~np.isnan(curves).any(axis=1)
    for index in np.flatnonzero(falls):
        rising[index] = isotonic_regression(curves[index], sample_weight=weights)
    return rising


def _labels_of(scores: np.ndarray, curves: np.ndarray, counts: np.ndarray, own: int) -> np.ndarray:
    """Return with how many labels [Q] the non-decreasing curves [Q, K] over `counts` [K] reach the scores [Q].

    0 is below the first point, inf above the last, nan not defined. On a level it is the number nearest to `own`.
    """
    rows, last, places = np.arange(len(scores)), len(counts) - 1, np.log(counts)
    below = (curves < scores[:, None] - ROUNDING).sum(axis=1)  # points, all at the start of the curve
    reached = (curves <= scores[:, None] + ROUNDING).sum(axis=1)
    left, right = (below - 1).clip(0), below.clip(max=last)
    rise, step = curves[rows, right] - curves[rows, left], scores - curves[rows, left]
    share = np.divide(step, rise, out=np.zeros(len(scores)), where=rise > 0)
    between = np.exp(places[left] + share * (places[right] - places[left]))
    level = np.clip(float(own), counts[right], counts[(reached - 1).clip(0)])
    found = np.where(below < reached, level, between)
    found[below > last], found[reached == 0] = np.inf, 0
    found[np.isnan(scores) | np.isnan(curves).any(axis=1)] = np.nan
    return found


def _labels_interval(equal: np.ndarray, counts: np.ndarray) -> tuple[float | None, float | None] | None:
    """Return the central 95 % of numbers of labels [R], with None for an end that the curve does not reach."""
    ends = _central(equal)
    if ends is None:
        return None
    low, high = ends
    return None if low == 0 else min(low, float(counts[-1])), None if high == np.inf else max(high, float(counts[0]))


def _central(values: np.ndarray) -> tuple[float, float] | None:
    """Return the ends of the central 95 % of the values [R] that are defined, which may be infinite; None for none."""
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return None
    beyond = int(LEVEL / 2 * len(known))
    return float(known[beyond]), float(known[-1 - beyond])
