"""Several comparisons: Holm's correction against its definition (what is made of it: test_decisions)."""

import numpy as np
import pytest

from selfmae.metrics.statistics import holm


def test_the_correction_is_that_of_its_definition() -> None:
    # Holm rejects the smallest p values as long as the k-th is below level / (m - k + 1).
    for seed in range(20):
        p_values = np.random.default_rng(seed).random(5) ** 4
        corrected = holm(p_values.tolist())
        for level in (0.01, 0.05, 0.2):
            rejected = set()
            for rank, place in enumerate(np.argsort(p_values)):
                if p_values[place] > level / (5 - rank):
                    break
                rejected.add(int(place))
            assert {place for place, p in enumerate(corrected) if p is not None and p <= level} == rejected


def test_known_values() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_one_p_value_stays_and_an_undefined_one_does_not_count() -> None:
    assert holm([0.03]) == [0.03]
    assert holm([None, 0.03, None, 0.01]) == [None, 0.03, None, 0.02]


def test_the_order_of_p_values_stays() -> None:
    p_values = np.random.default_rng(0).random(9) * 0.01
    corrected = np.array(holm(p_values.tolist()), dtype=float)[np.argsort(p_values)]
    assert (np.diff(corrected) >= 0).all()


def test_of_many_comparisons_without_a_difference_few_families_have_one_that_is_told() -> None:
    rng = np.random.default_rng(0)
    wrong = sum(min(p for p in holm(rng.random(6).tolist()) if p is not None) < 0.05 for _ in range(2000))
    assert wrong / 2000 == pytest.approx(0.05, abs=0.015)
