"""Lower resolution, against MONAI's and by its properties."""

from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import RandSimulateLowResolution

from selfmae.augment.low_resolution import LINEAR, Options, apply, coarse_axes
from selfmae.options import DataOptions

DATA = DataOptions("")


class Scripted:
    """A generator whose `uniform` gives a share of its range, and whose `random` another number."""

    def __init__(self, uniform: float, random: float = 0.0) -> None:
        self.place, self.value = uniform, random

    def random(self) -> float:
        return self.value

    def uniform(self, low: float, high: float) -> float:
        return low + self.place * (high - low)


def lowered(image: np.ndarray, options: Options, rng: Any, data: DataOptions = DATA) -> np.ndarray:
    return apply(image.copy(), options, data, rng)


def draw_image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(2, 21, 18), (1, 13, 12, 9)])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.9])
def test_it_is_that_of_monai(shape: tuple[int, ...], place: float) -> None:
    image = draw_image(*shape)
    reference = RandSimulateLowResolution(1.0, "nearest-exact", LINEAR[len(shape) - 1])
    reference._do_transform, reference.zoom_factor = True, 0.5 + place / 2
    expected = reference(torch.from_numpy(image), randomize=False)
    np.testing.assert_allclose(lowered(image, Options(1.0), Scripted(place)), expected, atol=1e-6)


@pytest.mark.parametrize("num_axes", [2, 3])
def test_a_ramp_is_nearly_unchanged(num_axes: int) -> None:
    ramp = np.arange(40, dtype=np.float32).reshape(1, 40, *[1] * (num_axes - 1))
    image = np.ascontiguousarray(np.broadcast_to(ramp, (1, 40, *[8] * (num_axes - 1))))
    for place in (0.0, 0.25, 0.5, 0.75):
        shown = lowered(image, Options(1.0), Scripted(place))
        assert np.abs(shown - image)[:, 2:-2].max() <= 1.01  # the nearest voxel is within one
        assert not np.array_equal(shown, image)


def test_fine_detail_is_lost_and_the_mean_is_not() -> None:
    image = draw_image(1, 64, 64) + 2
    shown = lowered(image, Options(1.0), Scripted(0.0))
    assert shown.std() < 0.75 * image.std()
    assert shown.mean() == pytest.approx(image.mean(), abs=0.05)


def test_coarse_axes_keep_their_voxels() -> None:
    rows = draw_image(1, 8, 1, 1)
    image = np.ascontiguousarray(np.broadcast_to(rows, (1, 8, 10, 10)))  # differs along the first axis only
    for spacing_mm, is_kept in (((4.0, 1.0, 1.0), True), ((2.9, 1.0, 1.0), False), ((), False)):
        data = DataOptions("", spacing_mm=spacing_mm)
        shown = lowered(image, Options(1.0), Scripted(0.0), data)
        assert np.allclose(shown, image, atol=1e-6) == is_kept
    assert coarse_axes(DataOptions("", spacing_mm=(1.0, 6.0, 1.5))) == {1}
    assert coarse_axes(DataOptions("", spacing_mm=(1.0, 6.0, 1.5), anisotropy=0.0)) == set()


def test_it_comes_with_its_probability_for_half_of_the_channels() -> None:
    image = draw_image(2, 9, 8)
    changed = np.array(
        [(lowered(image, Options(0.5), np.random.default_rng(n)) != image).any((1, 2)) for n in range(2000)]
    )
    assert changed.mean() == pytest.approx(0.25, abs=0.03)
    assert changed.all(1).mean() == pytest.approx(0.5 * 0.25, abs=0.03)


def test_a_single_voxel_stays() -> None:
    image = draw_image(1, 1, 6)
    assert lowered(image, Options(1.0, smallest=0.1), Scripted(0.0)).shape == (1, 1, 6)
