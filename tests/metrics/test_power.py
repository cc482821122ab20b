"""What it would take to tell: the interval that is foreseen against the one that is computed, and its limits."""

import numpy as np
import pytest

from selfmae.metrics.scores import mean_score
from selfmae.metrics.statistics import (
    MAX_PATIENTS,
    Comparison,
    StandardErrors,
    compare_paired,
    half_width,
    what_it_takes,
)


def draw(num_patients: int, num_seeds: int, difference: float, seed: int = 0) -> Comparison:
    """Compare inits whose scores differ by `difference` with a spread of 0.1 over patients and 0.02 over seeds."""
    rng = np.random.default_rng(seed)
    own = rng.normal(difference, 0.1, num_patients)
    changes = [own + shift for shift in rng.normal(0, 0.02, num_seeds)]
    a = [mean_score(np.zeros(num_patients))] * num_seeds
    return compare_paired(a, [mean_score(x) for x in changes], [f"p{i}" for i in range(num_patients)], seed=0)


def errors_of(found: Comparison) -> StandardErrors:
    return StandardErrors(found.patient_error, found.seed_error, found.num_patients, found.num_seeds)


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


def test_with_as_many_more_it_can_be_told_and_with_one_less_not() -> None:
    errors = StandardErrors(patients=0.01, seeds=0.004, num_patients=25, num_seeds=3)
    seeds, patients = what_it_takes(0.024, errors)
    assert seeds is not None
    assert patients is not None
    assert half_width(errors.of(25, 3 + seeds)) < 0.024 <= half_width(errors.of(25, 2 + seeds))
    assert half_width(errors.of(25 + patients, 3)) < 0.024 <= half_width(errors.of(24 + patients, 3))


def test_what_the_advice_says_happens() -> None:
    found = next(found for seed in range(50) if (found := draw(15, 10, 0.05, seed)).verdict == "cannot tell")
    assert found.difference is not None
    _, patients = what_it_takes(found.difference, errors_of(found))
    assert patients is not None
    # Three times as many as advised, since the next draw has another difference: most tell.
    more = 15 + 3 * patients
    assert sum(draw(more, 10, found.difference, seed).verdict == "helps" for seed in range(20)) >= 11


def test_more_of_one_kind_cannot_mend_the_noise_of_the_other() -> None:
    assert what_it_takes(0.01, StandardErrors(patients=0.02, seeds=0.001, num_patients=25, num_seeds=3))[0] is None
    assert what_it_takes(0.01, StandardErrors(patients=0.001, seeds=0.02, num_patients=25, num_seeds=3))[1] is None


def test_of_one_seed_nothing_is_known_about_more_seeds() -> None:
    seeds, patients = what_it_takes(0.01, StandardErrors(patients=0.01, seeds=0.0, num_patients=25, num_seeds=1))
    assert seeds is None
    assert patients == pytest.approx(25 * 3, abs=5)  # twice as narrow: four times as many in all


def test_no_number_tells_of_no_difference() -> None:
    assert what_it_takes(0.0, StandardErrors(0.01, 0.01, 25, 3)) == (None, None)
    assert what_it_takes(1e-6, StandardErrors(0.01, 0.01, 25, 3)) == (None, None)
    assert MAX_PATIENTS > 25


def test_a_stricter_level_takes_more() -> None:
    errors = StandardErrors(patients=0.01, seeds=0.001, num_patients=25, num_seeds=3)
    loose, strict = what_it_takes(0.015, errors)[1], what_it_takes(0.015, errors, 0.05 / 3)[1]
    assert loose is not None
    assert strict is not None
    assert loose < strict
