"""Noise, by its statistics."""

import numpy as np
import pytest
from scipy import stats

from selfmae.augment.noise import Options, apply
from selfmae.options import DataOptions

DATA = DataOptions("")


def draw_image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(3, 2, shape).astype(np.float32)


def added(image: np.ndarray, options: Options, seed: int) -> np.ndarray:
    return apply(image.copy(), options, DATA, np.random.default_rng(seed)) - image


def test_it_is_gaussian_and_another_for_each_channel_but_of_one_strength() -> None:
    image = draw_image(2, 60, 50)
    first, second = added(image, Options(1.0, 0.5), 1)
    for noise in (first, second):
        assert stats.kstest(noise.ravel() / noise.std(), "norm").pvalue > 0.001
    assert first.std() == pytest.approx(second.std(), rel=0.05)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.06
    assert abs(np.corrcoef(first[1:].ravel(), first[:-1].ravel())[0, 1]) < 0.06  # white


def test_its_deviation_is_drawn_evenly_up_to_the_largest_in_deviations_of_the_channel() -> None:
    image = draw_image(1, 40, 40)
    shares = [added(image, Options(1.0, 0.3), seed).std() / image.std() for seed in range(600)]
    assert stats.kstest(shares, stats.uniform(0, 0.3).cdf).pvalue > 0.001


def test_each_channel_has_it_in_its_own_unit() -> None:
    image = np.repeat(draw_image(1, 60, 50), 2, axis=0)
    image[1] = 10 * image[1] + 5
    first, second = added(image, Options(1.0, 0.3), 3)
    assert second.std() == pytest.approx(10 * first.std(), rel=0.05)


def test_it_comes_with_its_probability() -> None:
    image = draw_image(1, 4, 4)
    assert np.mean([added(image, Options(0.3), seed).any() for seed in range(2000)]) == pytest.approx(0.3, abs=0.04)


def test_a_channel_of_one_value_stays_as_it_is() -> None:
    assert not added(np.ones((1, 5, 5), dtype=np.float32), Options(1.0), 0).any()
