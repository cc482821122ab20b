from typing import Any

import numpy as np
import pytest
from monai.transforms import CropForeground, NormalizeIntensity, ScaleIntensityRange
from scipy import ndimage

from selfmae.data.files.images import Image
from selfmae.data.files.masks import Mask
from selfmae.data.preparation.prepare import (
    Box,
    find_box,
    finish,
    prepare_image,
    prepare_mask,
    prepared_shape,
    resample,
    resample_mask,
)
from selfmae.errors import UserError
from selfmae.options import DataOptions


def options_with(**change: Any) -> DataOptions:
    return DataOptions(source="x", **({"intensity": "zscore"} | change))


def image_of(array: np.ndarray, spacing_mm: tuple[float, ...] = ()) -> Image:
    return Image(array.astype(np.float32), spacing_mm, None)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def blobs(*shape: int) -> np.ndarray:
    """Return the mask [*S] of where a smooth image is above zero."""
    return (ndimage.gaussian_filter(noise(*shape), 3) > 0).astype(np.uint8)


def scan(*shape: int) -> np.ndarray:
    """Return a body [1, *S] of positive values off the middle of zeros."""
    array = np.zeros((1, *shape), dtype=np.float32)
    array[0, 3:-5, 2:-4] = 50 + 10 * noise(*shape)[3:-5, 2:-4]
    return array


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
    mask = blobs(24, 24, 24)
    spacing, options = (1.0, 1.0, 1.0), options_with(spacing_mm=(0.5, 1.0, 0.75), intensity="range")
    array = np.where(mask == 1, 1.0, 0.0)
    prepared = prepare_image(image_of(array[None], spacing), options)
    labels = prepare_mask(Mask(mask, spacing, None), (1,), options, spacing)
    assert prepared.shape[1:] == labels.shape == (48, 24, 32)
    assert ((prepared[0] >= 0.5) == labels).mean() > 0.99


def test_the_interpolations_are_those_that_the_options_name() -> None:
    spacing, array, mask = (1.0, 1.0), noise(1, 12, 12), blobs(12, 12)
    change = {"intensity": "window", "window": (-9.0, 9.0), "spacing_mm": (0.5, 0.5)}
    for how in ("linear", "spline"):
        prepared = prepare_image(image_of(array, spacing), options_with(**change, interpolation=how))
        np.testing.assert_allclose(prepared * 18.0 - 9, resample(array, (24, 24), how), atol=0.02)
    for how in ("nearest", "linear"):
        labels = prepare_mask(Mask(mask, spacing, None), (1,), options_with(**change, mask_interpolation=how), spacing)
        assert np.array_equal(labels, resample_mask(mask, (24, 24), how))


def test_thick_slices_are_repeated_unless_the_anisotropy_is_off() -> None:
    change = {"intensity": "window", "window": (-9.0, 9.0), "spacing_mm": (1.0, 1.0, 2.0)}
    image = image_of(noise(1, 6, 6, 4), (1.0, 1.0, 4.0))
    thick = prepare_image(image, options_with(**change))
    assert thick.shape == (1, 6, 6, 8)
    assert np.array_equal(thick[..., ::2], thick[..., 1::2])
    for limit in (0.0, 5.0):
        smooth = prepare_image(image, options_with(**change, anisotropy=limit))
        assert not np.array_equal(smooth[..., ::2], smooth[..., 1::2])


def test_zscore_of_nonzero_voxels_is_that_of_monai_and_zeros_stay_zero() -> None:
    array = np.concatenate([scan(12, 14, 6), 3 * scan(12, 14, 6)])
    expected = NormalizeIntensity(nonzero=True, channel_wise=True)(array.copy())
    prepared = prepare_image(image_of(array), options_with(intensity="zscore_nonzero"))
    np.testing.assert_allclose(prepared, expected, atol=2e-3)
    assert not prepared[array == 0].any()
    assert not prepare_image(image_of(0 * array), options_with(intensity="zscore_nonzero")).any()


def test_crops_are_normalised_by_their_own_statistics_and_whole_images_by_theirs() -> None:
    array = 1e6 * scan(16, 16, 8)  # beyond the range of float16
    options = options_with(intensity="zscore_nonzero", normalise_crops=True)
    prepared = prepare_image(image_of(array), options)
    for part in (slice(None), slice(2, 9)):
        expected = NormalizeIntensity(nonzero=True, channel_wise=True)(array[:, part].copy())
        np.testing.assert_allclose(finish(prepared[:, part], options), expected, atol=0.02)
    whole = options_with(intensity="zscore", normalise_crops=True)
    expected = NormalizeIntensity(channel_wise=True)(array[:, 2:9].copy())
    np.testing.assert_allclose(finish(prepare_image(image_of(array), whole)[:, 2:9], whole), expected, atol=0.02)


def test_mean_and_deviation_of_the_recipe_come_after_the_intensity_step() -> None:
    prepared = prepare_image(image_of(noise(1, 8, 8)), options_with(intensity="range"))
    finished = finish(prepared, options_with(intensity="range", mean=0.5, std=0.225))
    np.testing.assert_allclose(finished, (prepared.astype(np.float32) - 0.5) / 0.225, rtol=1e-6)
    assert finished.dtype == np.float32
    assert finish(finished, options_with()) is finished


def test_a_window_is_that_of_monai() -> None:
    array = 400 * noise(1, 9, 8, 7)
    expected = ScaleIntensityRange(-175, 250, 0, 1, clip=True)(array)
    prepared = prepare_image(image_of(array), options_with(intensity="window", window=(-175.0, 250.0)))
    np.testing.assert_allclose(prepared, expected, atol=5e-4)


@pytest.mark.parametrize("num_channels", [1, 3])
def test_the_foreground_box_is_that_of_monai_after_the_window(num_channels: int) -> None:
    array = np.concatenate([np.roll(scan(20, 18, 9), number, axis=2) for number in range(num_channels)])
    options = options_with(intensity="window", window=(20.0, 80.0), crop_foreground=True)
    prepared = prepare_image(image_of(array), options)
    box = find_box(prepared, options)
    expected = CropForeground(allow_smaller=True)(prepared.astype(np.float32))
    assert np.array_equal(box.cut(prepared), expected)
    assert box.shape == expected.shape[1:]
    assert box.whole == (20, 18, 9)


def test_the_foreground_of_nonzero_scores_is_what_is_not_zero() -> None:
    array = scan(20, 18, 9)
    options = options_with(intensity="zscore_nonzero", crop_foreground=True)
    assert find_box(prepare_image(image_of(array), options), options) == Box((3, 2, 0), (12, 12, 9), (20, 18, 9))


def test_an_image_of_one_value_and_one_that_is_not_to_be_cropped_stay_whole() -> None:
    options = options_with(intensity="range", crop_foreground=True)
    assert find_box(np.zeros((1, 5, 6)), options) == Box((0, 0), (5, 6), (5, 6))
    assert find_box(scan(9, 9), options_with()) == Box((0, 0), (9, 9), (9, 9))
