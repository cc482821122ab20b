"""Brightness and contrast, against MONAI's."""

from typing import Any

import numpy as np
import pytest
from monai.transforms import ScaleIntensity, ScaleIntensityFixedMean  # deterministic: one factor

from selfmae.augment.brightness import Options, apply
from selfmae.options import DataOptions

IMAGE = np.random.default_rng(0).normal(1, 2, (2, 9, 8)).astype(np.float32)


class Scripted:
    """A generator whose `random` gives its numbers one after the other, and whose `uniform` the upper end."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)

    def uniform(self, low: float, high: float) -> float:
        return high


def changed(options: Options, rng: Any) -> np.ndarray:
    return apply(IMAGE.copy(), options, DataOptions(""), rng)


def test_brightness_and_contrast_are_those_of_monai() -> None:
    factor, options = 0.25, Options(0.5, 0.25)
    brighter = ScaleIntensity(minv=None, maxv=None, factor=factor)(IMAGE.copy())
    steeper = ScaleIntensityFixedMean(factor, preserve_range=True, fixed_mean=True, channel_wise=True)
    np.testing.assert_allclose(changed(options, Scripted(0, 1)), brighter, atol=1e-5)
    np.testing.assert_allclose(changed(options, Scripted(1, 0)), steeper(IMAGE.copy()), atol=1e-5)
    np.testing.assert_allclose(changed(options, Scripted(0, 0)), steeper(brighter), atol=1e-5)


def test_contrast_never_leaves_the_range_of_the_channel() -> None:
    image = np.array([[[-1.0, -1, 1, 1]], [[0, 4, 6, 10]]], dtype=np.float32)
    shown = apply(image.copy(), Options(0.5, 0.5), DataOptions(""), Scripted(1, 0))  # type: ignore[arg-type]
    np.testing.assert_array_equal(shown, [[[-1, -1, 1, 1]], [[0, 3.5, 6.5, 10]]])


def test_factors_are_drawn_evenly_for_each_channel() -> None:
    ones = np.ones((2, 2, 2), dtype=np.float32)  # contrast changes nothing
    factors = np.array(
        [apply(ones.copy(), Options(1.0, 0.2), DataOptions(""), np.random.default_rng(n))[:, 0, 0] for n in range(800)]
    )
    assert 0.8 <= factors.min() < 0.81
    assert 1.19 < factors.max() <= 1.2
    assert factors.mean() == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(factors.T)[0, 1]) < 0.15


def test_both_come_with_the_probability_each_on_its_own() -> None:
    drawn = [not np.array_equal(changed(Options(0.3), np.random.default_rng(seed)), IMAGE) for seed in range(2000)]
    assert np.mean(drawn) == pytest.approx(1 - 0.7**2, abs=0.04)
