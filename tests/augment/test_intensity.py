"""Random changes of intensity, against MONAI's and by their definition."""

from typing import Any

import numpy as np
import pytest
from monai.transforms import ScaleIntensity, ShiftIntensity  # deterministic: one factor, one offset

from selfmae.augment.intensity import Options, apply
from selfmae.options import DataOptions

IMAGE = np.random.default_rng(0).normal(1, 2, (2, 6, 5)).astype(np.float32)


class Scripted:
    """A generator whose `uniform` gives a share of its range and whose `random` gives another number."""

    def __init__(self, uniform: float, random: float = 0.0) -> None:
        self.place, self.value = uniform, random

    def random(self) -> float:
        return self.value

    def uniform(self, low: float, high: float, size: int | None = None) -> Any:
        value = low + self.place * (high - low)
        return value if size is None else np.full(size, value)


def shaded(options: Options, rng: Any) -> np.ndarray:
    return apply(IMAGE.copy(), options, DataOptions(""), rng)


def test_intensity_changes_contrast_about_the_mean_and_shifts_by_the_deviation() -> None:
    expected = (IMAGE - IMAGE.mean()) * 1.2 + IMAGE.mean() + 0.2 * IMAGE.std()
    np.testing.assert_allclose(shaded(Options(contrast=0.2), Scripted(1.0)), expected, atol=1e-4)


def test_gain_and_offset_are_those_of_monai() -> None:
    """RandScaleIntensity(factors=0.1) then RandShiftIntensity(offsets=0.1), both at their largest."""
    expected = ShiftIntensity(0.1)(ScaleIntensity(minv=None, maxv=None, factor=0.1)(IMAGE.copy()))
    options = Options(gain=0.1, offset=0.1, probability=0.1)
    np.testing.assert_allclose(shaded(options, Scripted(1.0)), np.asarray(expected), atol=1e-6)


def test_gain_and_offset_come_with_their_probability() -> None:
    options = Options(gain=0.1, offset=0.1, probability=0.3)
    np.testing.assert_array_equal(shaded(options, Scripted(1.0, random=0.3)), IMAGE)
    changed = [not np.array_equal(shaded(options, np.random.default_rng(seed)), IMAGE) for seed in range(2000)]
    assert np.mean(changed) == pytest.approx(1 - 0.7**2, abs=0.04)
