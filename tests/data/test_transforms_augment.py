import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from selfmae.data.images import Image
from selfmae.data.transforms import (
    augment,
    draw_corner,
    pad_to,
    resample,
    take_crop,
)
from selfmae.options import AugmentOptions, DataOptions


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


def test_padding_puts_half_of_the_zeros_on_each_side() -> None:
    padded = pad_to(np.ones((2, 3, 4)), (6, 4))
    assert padded.shape == (2, 6, 4)
    assert padded[0, :, 0].tolist() == [0, 1, 1, 1, 0, 0]
    array = np.ones((1, 8, 8))
    assert pad_to(array, (4, 4)) is array


def test_a_crop_is_the_slice_at_its_corner_padded_where_the_image_ends() -> None:
    array = noise(2, 6, 7, 3)
    crop = take_crop(array, (1, 2, 0), (4, 5, 5))
    assert np.array_equal(crop[..., 1:4], array[:, 1:5, 2:7])
    assert not crop[..., [0, 4]].any()
    assert np.array_equal(take_crop(array[0], (1, 2, 0), (4, 5, 5)), crop[0])


def test_corners_are_drawn_evenly_over_all_places() -> None:
    corners = [draw_corner((6, 4, 3), (4, 4, 5), np.random.default_rng(n), None, 0.0) for n in range(600)]
    assert {corner[1:] for corner in corners} == {(0, 0)}
    counts = np.bincount([corner[0] for corner in corners])
    assert len(counts) == 3
    assert counts.min() > 150


def test_the_foreground_share_of_crops_shows_a_label() -> None:
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[35, 3] = 1
    for share in (0.0, 0.4, 1.0):
        draws = [draw_corner(mask.shape, (5, 5), np.random.default_rng(n), mask, share) for n in range(400)]
        shown = np.mean([take_crop(mask, corner, (5, 5)).any() for corner in draws])
        assert shown == pytest.approx(share, abs=0.07 + 0.02)


def test_small_labels_are_centred_as_often_as_large_ones() -> None:
    mask = np.zeros((30, 30), dtype=np.uint8)
    mask[:20] = 1
    mask[25, 25] = 9
    corners = [draw_corner(mask.shape, (5, 5), np.random.default_rng(n), mask, 1.0) for n in range(400)]
    assert np.mean([corner == (23, 23) for corner in corners]) == pytest.approx(0.5, abs=0.08)


def test_a_mask_without_foreground_gives_an_even_crop() -> None:
    empty = np.zeros((9, 9), dtype=np.uint8)
    assert {draw_corner((9, 9), (8, 8), np.random.default_rng(n), empty, 1.0) for n in range(50)} == {
        (0, 0), (0, 1), (1, 0), (1, 1)
    }  # fmt: skip


# Augmentation

EVERYTHING = AugmentOptions(flip_axes=(0, 1), rotate_degrees=20, zoom=0.1, min_scale=0.6, intensity=0.2)


@pytest.mark.parametrize("shape", [(32, 32), (24, 28, 20)])
@pytest.mark.parametrize(
    "options",
    [AugmentOptions(flip_axes=(0, 1), flip=0.7), dataclasses.replace(EVERYTHING, intensity=0.0)],
)
def test_image_and_mask_are_changed_alike(shape: tuple[int, ...], options: AugmentOptions) -> None:
    image, mask = blobs(*shape)
    for seed in range(5):
        changed, labels = augment(image, mask, options, np.random.default_rng(seed))
        assert labels is not None
        assert labels.dtype == torch.uint8
        assert changed.shape[1:] == labels.shape == shape
        assert ((changed[0] > 0) == labels).float().mean() > 0.95


def test_a_change_is_a_pure_function_of_the_generator() -> None:
    image, mask = blobs(20, 20)
    one, two, other = (augment(image, mask, EVERYTHING, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(one[0], two[0])
    assert one[1] is not None
    assert two[1] is not None
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[0], other[0])


def test_a_mask_does_not_change_what_happens_to_the_image() -> None:
    image, mask = blobs(20, 20)
    with_mask, _ = augment(image, mask, EVERYTHING, np.random.default_rng(1))
    alone, nothing = augment(image, None, EVERYTHING, np.random.default_rng(1))
    assert torch.equal(with_mask, alone)
    assert nothing is None


def test_without_options_nothing_changes() -> None:
    image, mask = blobs(12, 12)
    changed, labels = augment(image, mask, AugmentOptions(), np.random.default_rng(0))
    assert changed is image
    assert labels is mask


def test_flips_mirror_the_axes_named_with_their_probability() -> None:
    image = torch.from_numpy(noise(1, 3, 4, 5))
    always, _ = augment(image, None, AugmentOptions(flip_axes=(1,), flip=1.0), np.random.default_rng(0))
    assert torch.equal(always, torch.from_numpy(image.numpy()[:, :, ::-1].copy()))
    options = AugmentOptions(flip_axes=(0,), flip=0.25)
    flipped = [not torch.equal(augment(image, None, options, np.random.default_rng(n))[0], image) for n in range(400)]
    assert np.mean(flipped) == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 5)])
def test_a_quarter_turn_is_that_of_numpy_in_the_first_two_axes(shape: tuple[int, ...]) -> None:
    image, mask = torch.from_numpy(noise(2, *shape)), torch.from_numpy(np.random.default_rng(0).integers(0, 5, shape))
    turned, labels = augment(image, mask, AugmentOptions(rotate_degrees=90), Scripted(1.0))  # type: ignore[arg-type]
    back, _ = augment(turned, None, AugmentOptions(rotate_degrees=90), Scripted(0.0))  # type: ignore[arg-type]
    assert labels is not None
    found = [k for k in (1, -1) if np.allclose(turned, np.rot90(image, k, axes=(1, 2)), atol=1e-5)]
    assert len(found) == 1
    assert np.array_equal(labels, np.rot90(mask, found[0], axes=(0, 1)))
    assert torch.allclose(back, image, atol=1e-5)


def test_a_turn_of_a_long_image_does_not_shear_it() -> None:
    image, _ = blobs(24, 48)
    turned, _ = augment(image, None, AugmentOptions(rotate_degrees=30), Scripted(1.0))  # type: ignore[arg-type]
    reference = [ndimage.rotate(image[0].numpy(), angle, reshape=False, order=1, mode="nearest") for angle in (30, -30)]
    assert min(np.abs(turned[0].numpy() - expected).max() for expected in reference) < 1e-3


@pytest.mark.parametrize("shape", [(32, 32), (20, 20, 20)])
def test_a_zoom_shows_the_middle(shape: tuple[int, ...]) -> None:
    image, _ = blobs(*shape)
    larger, _ = augment(image, None, AugmentOptions(zoom=0.5), Scripted(0.0))  # type: ignore[arg-type]
    middle = tuple(slice(extent // 4, extent - extent // 4) for extent in shape)
    expected = resample(image[(slice(None), *middle)], shape)
    inner = (0, *(slice(2, -2) for _ in shape))
    assert torch.allclose(larger[inner], expected[inner], atol=1e-3)


def test_a_resized_crop_shows_at_least_the_share_asked_for_and_never_leaves_the_image() -> None:
    rows = torch.linspace(-1, 1, 64)[:, None].expand(64, 64)
    places = torch.stack([rows, rows.T])
    for seed in range(60):
        shown, _ = augment(places, None, AugmentOptions(min_scale=0.3), np.random.default_rng(seed))
        height, width = (float(axis.amax() - axis.amin()) / 2 for axis in shown)
        assert 0.3 * 0.85 < height * width <= 1.001
        assert 0.7 < height / width < 1 / 0.7
        assert abs(float(shown[0, 0].mean())) <= 1.001


def test_intensity_changes_contrast_about_the_mean_and_shifts_by_the_deviation() -> None:
    image, mask = blobs(16, 16)
    changed, labels = augment(image, mask, AugmentOptions(intensity=0.2), Scripted(1.0))  # type: ignore[arg-type]
    assert float(changed.mean()) == pytest.approx(float(image.mean() + 0.2 * image.std()), abs=1e-5)
    assert float(changed.std()) == pytest.approx(1.2 * float(image.std()), rel=1e-4)
    assert labels is mask


def test_no_label_is_invented_by_a_warp() -> None:
    mask = torch.from_numpy(np.random.default_rng(0).choice([0, 3, 7], (20, 20)).astype(np.uint8))
    _, labels = augment(torch.zeros(1, 20, 20), mask, EVERYTHING, np.random.default_rng(0))
    assert labels is not None
    assert set(labels.unique().tolist()) <= {0, 3, 7}
