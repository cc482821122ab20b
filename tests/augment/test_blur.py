"""Blur of a few voxels, against its kernel."""

import numpy as np
import pytest

from selfmae.augment.blur import Options, apply, problems
from selfmae.options import DataOptions

DATA = DataOptions("")


def blurred(image: np.ndarray, options: Options, seed: int) -> np.ndarray:
    return apply(image.copy(), options, DATA, np.random.default_rng(seed))


def one_changed(image: np.ndarray, options: Options) -> np.ndarray:
    """Return the first change that meets a channel."""
    return next(shown for seed in range(50) if not np.array_equal(shown := blurred(image, options, seed), image))


@pytest.mark.parametrize("shape", [(1, 21, 19), (1, 15, 13, 11)])
def test_a_point_becomes_the_gaussian_of_the_deviation(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, dtype=np.float32)
    middle = tuple(side // 2 for side in shape)
    image[middle] = 1
    shown = one_changed(image, Options(1.0, (0.8, 0.8)))[0]
    steps = np.meshgrid(*(np.arange(side) - at for side, at in zip(shape[1:], middle[1:], strict=True)), indexing="ij")
    expected = np.exp(-sum(step**2 for step in steps) / (2 * 0.8**2))
    expected[np.max(np.abs(steps), axis=0) > 2] = 0  # 2.4 voxels are three deviations
    np.testing.assert_allclose(shown, expected / expected.sum(), atol=1e-6)


def test_deviations_are_drawn_for_each_channel_and_axis_within_the_range() -> None:
    image = np.zeros((2, 25, 25), dtype=np.float32)
    image[:, 12, 12] = 1
    squares, rng, found = (np.arange(25) - 12) ** 2, np.random.default_rng(0), []
    for _ in range(400):
        for channel in apply(image.copy(), Options(1.0, (0.9, 1.0)), DATA, rng):
            found.append([(channel.sum(1) * squares).sum() ** 0.5, (channel.sum(0) * squares).sum() ** 0.5])
    changed = np.array(found).reshape(400, 2, 2)
    met = changed.any(2)
    assert met.mean() == pytest.approx(0.5, abs=0.06)  # half of the channels, each on its own
    assert np.mean(met[:, 0] & met[:, 1]) == pytest.approx(0.25, abs=0.08)
    spread = changed[met]
    assert spread.min() > 0.9 * 0.97  # the kernel ends after three deviations
    assert spread.max() < 1.0
    assert abs(np.corrcoef(spread.T)[0, 1]) < 0.2
    both = changed[met.all(1)][:, :, 0]
    assert abs(np.corrcoef(both.T)[0, 1]) < 0.3


def test_it_keeps_a_constant_image_and_comes_with_its_probability() -> None:
    flat = np.full((1, 9, 7), 3, dtype=np.float32)
    for seed in range(8):  # up to the border, which is mirrored
        np.testing.assert_allclose(blurred(flat, Options(1.0), seed), flat, rtol=1e-6)
    image = np.random.default_rng(0).normal(size=(1, 8, 8)).astype(np.float32)
    changed = [not np.array_equal(blurred(image, Options(0.4), seed), image) for seed in range(2000)]
    assert np.mean(changed) == pytest.approx(0.4 / 2, abs=0.03)


def test_deviations_must_rise() -> None:
    told = list(problems("fit", Options(deviation=(1.0, 0.5)), None))  # type: ignore[arg-type]
    assert told == ["fit.augment.blur.deviation [1.0, 0.5] must be two numbers, the smaller one first"]
