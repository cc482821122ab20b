"""Samples: plain crops, and image and mask turned, scaled and mirrored alike."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from selfmae.augment.spatial import Options, View, draw_corner, draw_view
from selfmae.data.preparation.prepare import resample
from selfmae.data.sampling import pad_to, take_crop, take_image, take_mask

EVERYTHING = Options(flip_axes=(0, 1), rotate_degrees=20, zoom=0.1, min_scale=0.6)
WARP = Options(flip_axes=(0, 1), rotate_degrees=20, zoom=0.15)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def blobs(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth image [1, *S] and the mask [*S] of where it is above zero."""
    image = ndimage.gaussian_filter(noise(*shape), 3)
    return image[None], (image > 0).astype(np.uint8)


class Scripted:
    """A generator whose `uniform` and `random` give one number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value

    def uniform(self, low: float, high: float, size: int | None = None) -> Any:
        value = low + self.value * (high - low)
        return value if size is None else np.full(size, value)


def whole_view(shape: tuple[int, ...], options: Options, rng: Any) -> View:
    """Draw a view of the whole image."""
    return draw_view(shape, shape, (0,) * len(shape), options, rng)


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


@pytest.mark.parametrize("shape", [(32, 32), (24, 28, 20)])
@pytest.mark.parametrize("options", [Options(flip_axes=(0, 1), flip=0.7), EVERYTHING])
def test_image_and_mask_are_changed_alike(shape: tuple[int, ...], options: Options) -> None:
    image, mask = blobs(*shape)
    for seed in range(5):
        view = whole_view(shape, options, np.random.default_rng(seed))
        changed, labels = take_image(image, view), take_mask(mask, view)
        assert (changed.dtype, labels.dtype) == (np.float32, np.uint8)
        assert changed.shape[1:] == labels.shape == shape
        assert ((changed[0] > 0) == labels).mean() > 0.95


def test_without_options_the_view_is_the_crop() -> None:
    image, mask = blobs(12, 12)
    view = draw_view((12, 12), (5, 6), (2, 3), Options(), np.random.default_rng(0))
    assert np.array_equal(take_image(image, view), image[:, 2:7, 3:9])
    assert np.array_equal(take_mask(mask, view), mask[2:7, 3:9])


def test_a_stored_image_is_only_read() -> None:
    image, mask = blobs(12, 12)
    for array in (image, mask):
        array.flags.writeable = False
    for options in (Options(), WARP):
        view = whole_view((12, 12), options, np.random.default_rng(0))
        assert not np.shares_memory(take_image(image, view), image)
        assert not np.shares_memory(take_mask(mask, view), mask)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 5)])
def test_a_quarter_turn_is_that_of_numpy_in_the_first_two_axes(shape: tuple[int, ...]) -> None:
    image, mask = noise(2, *shape), np.random.default_rng(0).integers(0, 5, shape)
    view = whole_view(shape, Options(rotate_degrees=90), Scripted(1.0))
    turned, labels = take_image(image, view), take_mask(mask, view)
    back = take_image(turned, whole_view(shape, Options(rotate_degrees=90), Scripted(0.0)))
    found = [k for k in (1, -1) if np.allclose(turned, np.rot90(image, k, axes=(1, 2)), atol=1e-5)]
    assert len(found) == 1
    assert np.array_equal(labels, np.rot90(mask, found[0], axes=(0, 1)))
    assert np.allclose(back, image, atol=1e-5)


def test_a_turn_of_a_long_image_does_not_shear_it() -> None:
    image, _ = blobs(24, 48)
    turned = take_image(image, whole_view((24, 48), Options(rotate_degrees=30), Scripted(1.0)))
    reference = [ndimage.rotate(image[0], angle, reshape=False, order=1, mode="nearest") for angle in (30, -30)]
    assert min(np.abs(turned[0] - expected).max() for expected in reference) < 1e-3


@pytest.mark.parametrize("shape", [(30, 26), (30, 26, 21)])
@pytest.mark.parametrize("crop", [(12, 14, 10), (40, 20, 24), (64, 60, 6)])  # the last has more than `ROWS` places
@pytest.mark.parametrize("degrees", [0.0, 30.0])
def test_views_are_those_of_torch_grid_sample(shape: tuple[int, ...], crop: tuple[int, ...], degrees: float) -> None:
    """The places of the view, sampled by torch in the padded image."""
    num_axes = len(shape)
    crop = crop[:num_axes]
    image, mask = noise(2, *shape), np.random.default_rng(0).integers(1, 6, shape).astype(np.uint8)
    padded, marked = (torch.from_numpy(pad_to(array, crop))[None].float() for array in (image, mask[None]))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        options = dataclasses.replace(WARP, rotate_degrees=degrees)
        view = draw_view(shape, crop, draw_corner(shape, crop, rng, None, 0.0), options, rng)
        assert bool(view.angle) == bool(degrees)
        steps = np.meshgrid(*(np.arange(extent) - (extent - 1) / 2 for extent in crop), indexing="ij")
        first, second, *rest = (
            step * scale * (1 - 2 * flip) for step, scale, flip in zip(steps, view.scale, view.flips, strict=True)
        )
        turn = np.array([[np.cos(view.angle), -np.sin(view.angle)], [np.sin(view.angle), np.cos(view.angle)]])
        places = [*np.einsum("ij,j...->i...", turn, np.stack([first, second])), *rest]
        grid = [
            (2 * (place + centre) + 1) / extent - 1
            for place, centre, extent in zip(places, view.centre, padded.shape[2:], strict=True)
        ]
        grid_xyz = torch.from_numpy(np.stack(grid[::-1], -1))[None].float()
        how = {"padding_mode": "border", "align_corners": False}
        linear, near = F.grid_sample(padded, grid_xyz, **how), F.grid_sample(marked, grid_xyz, mode="nearest", **how)
        np.testing.assert_allclose(take_image(image, view), linear[0], atol=1e-4)
        assert (take_mask(mask, view) == near[0, 0].numpy()).mean() > 0.999  # halves are rounded differently


def test_a_turned_crop_shows_what_lies_beside_it() -> None:
    image, _ = blobs(40, 40)
    view = draw_view((40, 40), (10, 10), (15, 15), Options(rotate_degrees=45), Scripted(1.0))
    expected = ndimage.rotate(image[0], 45, reshape=False, order=1)[15:25, 15:25]
    other = ndimage.rotate(image[0], -45, reshape=False, order=1)[15:25, 15:25]
    assert min(np.abs(take_image(image, view)[0] - turned).max() for turned in (expected, other)) < 1e-3


@pytest.mark.parametrize("shape", [(32, 32), (20, 20, 20)])
def test_a_zoom_shows_the_middle(shape: tuple[int, ...]) -> None:
    image, _ = blobs(*shape)
    larger = take_image(image, whole_view(shape, Options(zoom=0.5), Scripted(0.0)))
    middle = tuple(slice(extent // 4, extent - extent // 4) for extent in shape)
    expected = resample(image[(slice(None), *middle)[:]], shape)
    inner = (0, *(slice(2, -2) for _ in shape))
    assert np.allclose(larger[inner], expected[inner], atol=1e-3)


@pytest.mark.parametrize("shape", [(12, 12), (12, 12, 5)])
@pytest.mark.parametrize("options", [Options(flip_axes=(0, 1)), WARP])
def test_quarter_turns_come_after_all_else_in_the_first_two_axes(shape: tuple[int, ...], options: Options) -> None:
    image, mask = blobs(*shape)
    turned = dataclasses.replace(options, quarter_turns=1.0)
    for seed in range(8):
        plain = whole_view(shape, options, np.random.default_rng(seed))
        view = whole_view(shape, turned, np.random.default_rng(seed))
        assert view.turns in (1, 2, 3)
        expected = [np.rot90(array, view.turns) for array in (take_image(image, plain)[0], take_mask(mask, plain))]
        np.testing.assert_array_equal(take_image(image, view)[0], expected[0])
        np.testing.assert_array_equal(take_mask(mask, view), expected[1])


def test_no_label_is_invented_by_a_view_and_beyond_the_image_is_background() -> None:
    mask = np.random.default_rng(0).choice([3, 7], (20, 20)).astype(np.uint8)
    for options in (WARP, Options(zoom=0.15)):
        view = draw_view((20, 20), (30, 16), (0, 2), options, np.random.default_rng(0))
        labels = take_mask(mask, view)
        assert set(np.unique(labels).tolist()) == {0, 3, 7}
    assert not labels[[0, -1]].any()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("corner", [3, -4])
def test_a_third_axis_that_is_not_scaled_shows_what_one_scaled_by_a_hair_does(flip: bool, corner: int) -> None:
    image, mask = blobs(20, 18, 16)
    crop = (10, 10, 12)
    view = View(crop, (4, 3, corner), (False, True, flip), (9.0, 8.0, corner + 5.5), (1.0, 1.0, 1.0), 0.3)
    hair = dataclasses.replace(view, scale=(1.0, 1.0, 1 + 1e-9))
    shown, labels = take_image(image, view), take_mask(mask, view)
    np.testing.assert_allclose(shown, take_image(image, hair), atol=1e-5)
    np.testing.assert_array_equal(labels, take_mask(mask, hair))
    assert shown.flags.c_contiguous
    assert labels.flags.c_contiguous


def test_a_ball_stays_a_ball_when_it_is_turned_between_thick_slices() -> None:
    spacing, shape = (4.0, 1.0, 1.0), (16, 64, 64)
    axes = [(np.arange(extent) - (extent - 1) / 2) * step for extent, step in zip(shape, spacing, strict=True)]
    ball = (sum(place**2 for place in np.meshgrid(*axes, indexing="ij")) < 24**2).astype(np.uint8)
    view = draw_view(shape, shape, (0, 0, 0), Options(rotate_degrees=30), Scripted(1.0), spacing)
    assert (take_mask(ball, view) == ball).mean() > 0.98  # 0.987; turned in voxels it is 0.83


@pytest.mark.parametrize(
    "options",
    [Options(zoom=0.2), Options(rotate_degrees=20), Options(zoom=0.2, rotate_degrees=20)],
)
def test_a_view_has_the_same_bits_beside_a_model_that_computes_in_bf16(options: Options) -> None:
    image = noise(1, 20, 20, 20)
    view = draw_view((20, 20, 20), (16, 16, 16), (2, 2, 2), options, np.random.default_rng(0))
    before = take_image(image, view)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(take_image(image, view), before)
