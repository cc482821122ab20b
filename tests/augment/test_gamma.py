"""Gamma, against MONAI's and by its properties."""

from typing import Any

import numpy as np
import pytest
from monai.transforms import AdjustContrast  # deterministic: one power

from selfmae.augment.gamma import Options, apply, problems, raise_channel
from selfmae.options import DataOptions

IMAGE = np.random.default_rng(0).normal(1, 2, (2, 30, 25)).astype(np.float32)
DATA = DataOptions("")


@pytest.mark.parametrize("power", [0.7, 1.0, 1.5])
@pytest.mark.parametrize("is_inverted", [False, True])
def test_it_is_that_of_monai(power: float, is_inverted: bool) -> None:
    reference = AdjustContrast(power, invert_image=is_inverted, retain_stats=True)
    for channel in IMAGE:
        shown = channel.copy()
        raise_channel(shown, power, is_inverted)
        np.testing.assert_allclose(shown, np.asarray(reference(channel.copy())), atol=2e-5)


def test_each_channel_keeps_mean_and_deviation_and_the_order_of_its_values() -> None:
    for seed in range(20):
        shown = apply(IMAGE.copy(), Options(1.0, 1.0), DATA, np.random.default_rng(seed))
        for channel, before in zip(shown, IMAGE, strict=True):
            assert channel.mean() == pytest.approx(before.mean(), abs=1e-5)
            assert channel.std() == pytest.approx(before.std(), abs=1e-5)
            assert (np.diff(channel.ravel()[before.ravel().argsort()]) >= 0).all()


def test_a_power_above_1_makes_the_middle_darker_and_inverted_brighter() -> None:
    ramp = np.linspace(0, 1, 101, dtype=np.float32)
    for is_inverted in (False, True):
        shown = ramp.copy()
        raise_channel(shown, 1.5, is_inverted)
        assert (shown[50] < (shown[0] + shown[-1]) / 2) != is_inverted


def test_powers_lie_in_the_range_half_of_them_below_1(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    monkeypatch.setattr("selfmae.augment.gamma.raise_channel", lambda channel, power, is_inverted: drawn.append(power))
    rng = np.random.default_rng(0)
    for _ in range(1000):
        apply(IMAGE, Options(1.0, power=(0.7, 1.5)), DATA, rng)
    powers = np.array(drawn)
    assert len(powers) == 2000
    assert 0.7 <= powers.min() < 0.71
    assert 1.49 < powers.max() <= 1.5
    assert (powers < 1).mean() == pytest.approx(0.5, abs=0.04)
    assert abs(np.corrcoef(powers[::2], powers[1::2])[0, 1]) < 0.12  # another for each channel


def test_both_come_with_their_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    monkeypatch.setattr("selfmae.augment.gamma.raise_channel", lambda channel, power, inverted: calls.append(inverted))
    rng = np.random.default_rng(0)
    for _ in range(2000):
        apply(IMAGE[:1], Options(0.3, 0.1), DATA, rng)
    assert calls.count(False) / 2000 == pytest.approx(0.3, abs=0.04)
    assert calls.count(True) / 2000 == pytest.approx(0.1, abs=0.03)


def test_a_channel_of_one_value_stays_as_it_is() -> None:
    flat = np.full((1, 5, 5), 2, dtype=np.float32)
    np.testing.assert_array_equal(apply(flat.copy(), Options(1.0, 1.0), DATA, np.random.default_rng(0)), flat)


@pytest.mark.parametrize("power", [(1.2, 1.5), (0.5, 0.9), (1.5, 0.7)])
def test_powers_go_from_below_1_to_above(power: Any) -> None:
    told = list(problems("fit", Options(power=power), None))  # type: ignore[arg-type]
    assert told == [f"fit.augment.gamma.power {list(power)} must go from at most 1 to at least 1"]
