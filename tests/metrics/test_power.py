"""What it would take to tell: the interval that is foreseen against the one that is computed, and its limits."""

import numpy as np
import pytest

from selfmae.metrics.decisions import judge, what_it_takes
from selfmae.metrics.scores import mean_score
from selfmae.metrics.statistics import Comparison, StandardErrors, compare_paired, half_width

SMALL = 1e-6  # a margin within which no interval lies


def draw(num_patients: int, num_seeds: int, difference: float, seed: int = 0) -> Comparison:
    """Compare inits whose scores differ by `difference` with a spread of 0.1 over patients and 0.02 over seeds."""
    rng = np.random.default_rng(seed)
    own = rng.normal(difference, 0.1, num_patients)
    changes = [own + shift for shift in rng.normal(0, 0.02, num_seeds)]
    a = [mean_score(np.zeros(num_patients))] * num_seeds
    return compare_paired(a, [mean_score(x) for x in changes], [f"p{i}" for i in range(num_patients)], seed=0)


def errors_of(found: Comparison) -> StandardErrors:
    return StandardErrors(found.patient_error, found.seed_error, found.num_patients, found.num_seeds)


def answer(found: Comparison) -> str:
    return judge(found.ci95, found.p, 1, SMALL)


def test_the_errors_are_those_of_patients_and_of_seeds() -> None:
    found = draw(400, 30, 0.0)
    assert found.patient_error == pytest.approx(0.1 / 400**0.5, rel=0.15)
    assert found.seed_error == pytest.approx(0.02 / 30**0.5, rel=0.3)
    assert draw(400, 1, 0.0).seed_error == 0


@pytest.mark.parametrize(("num_patients", "num_seeds"), [(10, 1), (30, 3), (30, 2), (100, 5)])
def test_the_foreseen_interval_is_as_wide_as_the_computed_one(num_patients: int, num_seeds: int) -> None:
    found = draw(num_patients, num_seeds, 0.02)
    assert found.ci95 is not None
    assert 2 * half_width(errors_of(found)) == pytest.approx(found.ci95[1] - found.ci95[0], rel=0.08)


def test_what_the_advice_says_happens() -> None:
    found = next(found for seed in range(50) if answer(found := draw(15, 10, 0.05, seed)) == "cannot tell")
    assert found.difference is not None
    _, patients = what_it_takes(found.difference, errors_of(found), SMALL)
    assert patients is not None
    # Three times as many as advised, since the next draw has another difference: most tell.
    more = 15 + 3 * patients
    assert sum(answer(draw(more, 10, found.difference, seed)) == "helps" for seed in range(20)) >= 11
