from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from selfmae.data.images import Image, Mask
from selfmae.data.transforms import (
    prepare_image,
    prepare_mask,
    prepared_shape,
    resample,
)
from selfmae.errors import UserError
from selfmae.options import DataOptions


def options_with(**change: Any) -> DataOptions:
    return DataOptions(source="x", **({"intensity": "zscore"} | change))


def image_of(array: np.ndarray, spacing_mm: tuple[float, ...] = ()) -> Image:
    return Image(array.astype(np.float32), spacing_mm, None)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def blobs(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a smooth image [1, *S] and the mask [*S] of where it is above zero."""
    image = torch.from_numpy(ndimage.gaussian_filter(noise(*shape), 3))
    return image[None], (image > 0).to(torch.uint8)


class Scripted:
    """A generator whose `uniform` and `random` give one number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value

    def uniform(self, low: float, high: float, size: int | None = None) -> Any:
        value = low + self.value * (high - low)
        return value if size is None else np.full(size, value)


@pytest.mark.parametrize(
    ("change", "spacing", "expected"),
    [
        ({}, (1.0, 1.0, 3.0), (10, 20, 30)),
        ({"size": (4, 5, 6)}, (), (4, 5, 6)),
        ({"spacing_mm": (2.0, 1.0, 1.0)}, (1.0, 1.0, 3.0), (5, 20, 90)),
        ({"spacing_mm": (100.0, 1.0, 1.0)}, (1.0, 1.0, 1.0), (1, 20, 30)),
    ],
)
def test_the_prepared_shape_keeps_the_field_of_view(
    change: dict[str, Any], spacing: tuple[float, ...], expected: tuple[int, ...]
) -> None:
    assert prepared_shape((10, 20, 30), spacing, options_with(**change)) == expected
    if change.get("spacing_mm") and expected[0] > 1:
        assert np.multiply(expected, change["spacing_mm"]) == pytest.approx(np.multiply((10, 20, 30), spacing))


@pytest.mark.parametrize("key", ["size", "spacing_mm", "crop"])
def test_options_for_another_number_of_axes_are_a_sentence(key: str) -> None:
    with pytest.raises(
        UserError, match=rf"data\.{key} \[4, 4\] is made for 2 axes, but the image has 3 \(\[8, 8, 8\]\)"
    ):
        prepare_image(image_of(noise(1, 8, 8, 8), (1.0, 1.0, 1.0)), options_with(**{key: (4, 4)}))


def test_a_spacing_for_images_without_one_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"data\.spacing_mm was given, but the image has no spacing .*leave"):
        prepared_shape((8, 8), (), options_with(spacing_mm=(1.0, 1.0)))


def test_zscore_gives_each_channel_mean_0_and_deviation_1() -> None:
    array = noise(2, 9, 9, 9) * np.array([3, 500]).reshape(2, 1, 1, 1) + np.array([7, -40]).reshape(2, 1, 1, 1)
    prepared = prepare_image(image_of(array), options_with()).astype(float)
    assert prepared.mean(axis=(1, 2, 3)) == pytest.approx([0, 0], abs=1e-3)
    assert prepared.std(axis=(1, 2, 3)) == pytest.approx([1, 1], abs=1e-3)


def test_a_window_maps_its_ends_to_0_and_1_and_clips() -> None:
    array = np.array([[[-1000.0, -175.0, 37.5, 250.0, 3000.0]]])
    prepared = prepare_image(image_of(array), options_with(intensity="window", window=(-175.0, 250.0)))
    assert prepared.ravel().tolist() == [0, 0, 0.5, 1, 1]


def test_percentiles_and_range_map_to_0_and_1() -> None:
    array = np.arange(1001.0).reshape(1, 7, 143)
    percentile = prepare_image(image_of(array), options_with(intensity="percentile")).astype(float).ravel()
    assert (percentile == 0).sum() == (percentile == 1).sum() == 6
    assert percentile[500] == pytest.approx(0.5, abs=1e-3)
    ranged = prepare_image(image_of(array), options_with(intensity="range")).astype(float).ravel()
    assert ranged == pytest.approx(np.linspace(0, 1, 1001), abs=5e-4)


@pytest.mark.parametrize("intensity", ["zscore", "percentile", "range"])
def test_an_image_of_one_value_becomes_zeros(intensity: str) -> None:
    assert not prepare_image(image_of(np.full((1, 4, 4), 7.0)), options_with(intensity=intensity)).any()


def test_float16_loses_less_than_one_part_in_two_thousand() -> None:
    array = noise(1, 40, 40, 40)
    array[0, 0, 0, 0] = 1000  # an outlier far out
    exact = (array - array.mean()) / array.std()
    stored = prepare_image(image_of(array), options_with()).astype(float)
    assert np.isfinite(stored).all()
    assert (np.abs(stored - exact) <= np.abs(exact) * 2**-11 + 1e-6).all()


def test_float16_loses_less_than_the_noise_of_a_ct_scanner() -> None:
    hounsfield = np.arange(-175.0, 251.0)
    stored = prepare_image(image_of(hounsfield[None, None]), options_with(intensity="window", window=(-175.0, 250.0)))
    assert np.abs(stored.astype(float).ravel() * 425 - 175 - hounsfield).max() < 0.11


def test_equalising_gives_a_flat_histogram_and_keeps_the_order() -> None:
    array = np.exp(noise(1, 128, 128))
    prepared = prepare_image(image_of(array), options_with(equalise=True, intensity="range")).astype(float).ravel()
    shares = np.histogram(prepared, bins=8, range=(0, 1))[0] / prepared.size
    assert shares == pytest.approx([1 / 8] * 8, abs=0.04)
    assert (np.diff(prepared[np.argsort(array.ravel())]) >= 0).all()


def test_equalising_turns_the_background_black() -> None:
    array = np.maximum(noise(1, 32, 32), 0)
    prepared = prepare_image(image_of(array), options_with(equalise=True, intensity="window", window=(0.0, 1.0)))
    assert prepared[array == 0].max() == 0
    assert np.percentile(prepared[array > 0].astype(float), 10) > 0.5


def test_mask_values_become_places_of_the_labels() -> None:
    array = np.array([[0, 255], [255, 7]])
    assert prepare_mask(Mask(array, (), None), (255,), options_with()).tolist() == [[0, 1], [1, 0]]
    assert prepare_mask(Mask(array, (), None), (7, 255), options_with()).tolist() == [[0, 2], [2, 1]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64])
def test_sparse_and_unsorted_labels_find_their_places(dtype: type) -> None:
    values = (117, 3, 40)
    array = np.random.default_rng(0).choice([0, 3, 40, 117, 5, 120], size=(6, 7, 8)).astype(dtype)
    expected = sum((array == value) * place for place, value in enumerate(values, start=1))
    assert np.array_equal(prepare_mask(Mask(array, (), None), values, options_with()), expected)


def test_huge_label_numbers_take_no_huge_table() -> None:
    array = np.array([[2**40, 0]])
    assert prepare_mask(Mask(array, (), None), (2**40,), options_with()).tolist() == [[1, 0]]


def test_a_mask_without_labels_is_background() -> None:
    assert not prepare_mask(Mask(np.ones((3, 3), int), (), None), (), options_with()).any()


def test_a_negative_mask_value_is_a_sentence() -> None:
    with pytest.raises(UserError, match="The mask holds -3, but its values must be 0 or above: correct the mask"):
        prepare_mask(Mask(np.array([[0, -3]]), (), None), (1,), options_with())


def test_image_and_mask_are_resampled_onto_one_grid() -> None:
    _, mask = blobs(24, 24, 24)
    spacing, options = (1.0, 1.0, 1.0), options_with(spacing_mm=(0.5, 1.0, 0.75), intensity="range")
    array = np.where(mask == 1, 1.0, 0.0)
    prepared = prepare_image(image_of(array[None], spacing), options)
    labels = prepare_mask(Mask(mask.numpy(), spacing, None), (1,), options)
    assert prepared.shape[1:] == labels.shape == (48, 24, 32)
    assert ((prepared[0] >= 0.5) == labels).mean() > 0.99


def test_resampling_to_the_same_shape_changes_nothing() -> None:
    for shape in ((5, 7), (4, 5, 6)):
        array = torch.from_numpy(noise(2, *shape))
        assert torch.allclose(resample(array, shape), array, atol=1e-6)


def test_resampling_keeps_a_ramp_where_it_is() -> None:
    """Voxel centres at (i + 0.5) / n of the field of view: a linear ramp stays linear in mm (away from the border)."""
    ramp = torch.arange(16.0).add(0.5).div(16).expand(1, 16, 16, 16)
    finer = resample(ramp, (16, 16, 32))[0, 0, 0]
    assert finer[1:-1].tolist() == pytest.approx(((torch.arange(32.0) + 0.5) / 32)[1:-1].tolist(), abs=1e-6)


def test_shrinking_a_picture_averages() -> None:
    checks = torch.from_numpy(np.indices((32, 32)).sum(axis=0) % 2).float()[None]
    assert resample(checks, (8, 8))[0, 1:-1, 1:-1].numpy() == pytest.approx(0.5, abs=0.05)
