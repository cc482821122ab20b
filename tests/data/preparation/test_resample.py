"""Resampling against torch, scipy, MONAI and the rules of nnU-Net."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.transforms import Resize, Spacing, SpatialResample
from scipy import ndimage

from selfmae.data.files.images import Image
from selfmae.data.files.masks import Mask
from selfmae.data.preparation.prepare import (
    coarse_axis,
    find_box,
    nearest,
    prepare_image,
    prepare_mask,
    prepared_shape,
    resample,
    resample_mask,
)
from selfmae.options import DataOptions


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def smooth(*shape: int) -> np.ndarray:
    return ndimage.gaussian_filter(noise(*shape), 2.0)[None]


@pytest.mark.parametrize("shape", [(5, 7), (4, 5, 6)])
@pytest.mark.parametrize("how", ["linear", "spline"])
def test_resampling_to_the_same_shape_changes_nothing(shape: tuple[int, ...], how: str) -> None:
    array = noise(2, *shape)
    assert np.array_equal(resample(array, shape, how, coarse=1), array)


@pytest.mark.parametrize("shape", [(9, 12, 20), (5, 20, 10)])
def test_linear_resampling_is_that_of_monai_resize(shape: tuple[int, ...]) -> None:
    array = noise(2, 7, 10, 13)
    expected = Resize(shape, mode="trilinear", anti_aliasing=False)(array)
    np.testing.assert_allclose(resample(array, shape), expected, atol=1e-5)


@pytest.mark.parametrize("how", ["linear", "spline"])
def test_resampling_keeps_a_ramp_where_it_is(how: str) -> None:
    """Voxel centres at (i + 0.5) / n of the field of view: a ramp stays straight in mm, away from the border."""
    ramp = np.broadcast_to((np.arange(16, dtype=np.float32) + 0.5) / 16, (1, 16, 16, 16))
    finer = resample(ramp, (16, 16, 32), how)[0, 0, 0]
    np.testing.assert_allclose(finer[8:-8], ((np.arange(32) + 0.5) / 32)[8:-8], atol=1e-4)


@pytest.mark.parametrize(("how", "mode"), [("linear", "bilinear"), ("spline", 3)])
def test_a_volume_is_that_of_monai_on_the_same_grid(how: str, mode: str | int) -> None:
    array, shape = smooth(24, 20, 16), (48, 25, 11)
    steps = np.divide(array.shape[1:], shape)
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = steps / 2 - 0.5  # the field of view is kept
    move = SpatialResample(mode=mode, padding_mode="border", align_corners=False)
    theirs = np.asarray(move(MetaTensor(array, affine=torch.eye(4)), torch.from_numpy(affine), shape))
    ours = resample(array, shape, how)
    inner = (0, *(slice(extent // 4, -(extent // 4)) for extent in shape))
    assert np.abs(ours[inner] - theirs[inner]).max() < 0.01 * array.std()


def test_a_spline_is_that_of_scipy_and_stays_in_the_range_of_its_channel() -> None:
    array = noise(2, 12, 10)
    array[1] = (array[1] > 0) * 100
    ours = resample(array, (24, 20), "spline")
    expected = ndimage.zoom(array[0], 2, order=3, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(ours[0], expected.clip(array[0].min(), array[0].max()), atol=1e-5)
    assert ours[1].min() == 0
    assert ours[1].max() == 100


def test_shrinking_a_picture_averages() -> None:
    checks = (np.indices((32, 32)).sum(axis=0) % 2).astype(np.float32)[None]
    assert resample(checks, (8, 8))[0, 1:-1, 1:-1] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("old", "new"), [(7, 12), (12, 7), (5, 5), (3, 9), (100, 33)])
def test_nearest_voxels_are_those_whose_cell_holds_the_centre(old: int, new: int) -> None:
    centres = (np.arange(new) + 0.5) / new
    assert np.array_equal(nearest(old, new), np.floor(centres * old + 1e-9))
    expected = F.interpolate(torch.arange(old).float()[None, None], new, mode="nearest-exact")[0, 0]
    assert np.array_equal(nearest(old, new), expected)


@pytest.mark.parametrize(
    ("old", "new", "axis"),
    [
        ((0.7, 0.7, 5.0), (1.5, 1.5, 2.0), 2),
        ((1.0, 1.0, 1.0), (4.0, 1.0, 1.0), 0),
        ((0.7, 0.7, 2.0), (1.0, 1.0, 1.0), None),
        ((1.0, 1.0, 3.0), (1.0, 1.0, 1.0), None),
        ((0.3, 1.25, 1.25), (1.0, 1.0, 1.0), None),
    ],
)
def test_the_coarse_axis_follows_the_rule_of_nnunet(
    old: tuple[float, ...], new: tuple[float, ...], axis: int | None
) -> None:
    assert coarse_axis(old, new, 3.0) == axis
    assert coarse_axis(old, new, 0.0) is None


@pytest.mark.parametrize("how", ["linear", "spline"])
def test_a_coarse_axis_repeats_whole_slices_resampled_in_their_plane(how: str) -> None:
    array = noise(1, 10, 8, 3)
    array[0, :2, 0] = [[9], [-9]]  # the range to which a spline is cut
    ours = resample(array, (15, 8, 7), how, coarse=2)
    for place, source in enumerate(nearest(3, 7)):
        plane = resample(array[..., source : source + 1], (15, 8, 1), how)
        np.testing.assert_allclose(ours[..., place], plane[..., 0], atol=2e-6)


def test_a_linear_mask_is_the_largest_of_its_resampled_labels() -> None:
    mask = np.random.default_rng(0).integers(0, 5, (9, 8, 7)).astype(np.uint8)
    mask[mask == 3] = 200
    values = [0, 1, 2, 4, 200]
    shares = np.stack([resample((mask == value)[None].astype(np.float32), (13, 6, 11))[0] for value in values])
    ours = resample_mask(mask, (13, 6, 11), "linear")
    assert ours.dtype == np.uint8
    assert np.array_equal(ours, np.array(values)[shares.argmax(0)])


def test_a_linear_mask_is_smoother_than_a_nearest_one_and_as_large() -> None:
    ball = (np.sum((np.indices((20, 20, 20)) - 9.5) ** 2, axis=0) < 64).astype(np.uint8)
    true = np.sum(((np.indices((50, 50, 50)) + 0.5) / 2.5 - 10) ** 2, axis=0) < 64
    wrong = {how: (resample_mask(ball, (50, 50, 50), how) != true).sum() for how in ("nearest", "linear")}
    assert wrong["linear"] < 0.8 * wrong["nearest"]
    assert resample_mask(ball, (50, 50, 50), "linear").sum() == pytest.approx(true.sum(), rel=0.03)


def test_a_nearest_mask_is_that_of_torch() -> None:
    mask = np.random.default_rng(0).integers(0, 9, (9, 8, 7)).astype(np.uint8)
    expected = F.interpolate(torch.from_numpy(mask)[None, None].float(), (13, 6, 21), mode="nearest-exact")[0, 0]
    assert np.array_equal(resample_mask(mask, (13, 6, 21), "nearest"), expected)


def volume_at_random(seed: int, flat: bool = False) -> tuple[np.ndarray, np.ndarray, tuple[float, ...], DataOptions]:
    """Return an image [1, *S] in 0..1, a mask [*S] of three labels, a spacing, and options with another."""
    rng = np.random.default_rng(seed)
    num_axes = 2 if flat else 3
    shape = tuple(rng.integers(5, 30, num_axes).tolist())
    old, new = (tuple(np.round(rng.uniform(0.5, 3, num_axes), 3).tolist()) for _ in range(2))
    array = rng.random((1, *shape), dtype=np.float32)
    array.flat[:2] = 0, 1
    options = DataOptions("x", ("x",), spacing_mm=new, anisotropy=0.0, intensity="window", window=(0.0, 1.0))
    return array, rng.integers(0, 4, shape).astype(np.uint8), old, replace(options, align="origin")


def spacing_of_monai(array: np.ndarray, old: Sequence[float], new: Sequence[float], mode: str) -> np.ndarray:
    move = Spacing(new, mode=mode, padding_mode="border", align_corners=False)
    return np.asarray(move(MetaTensor(torch.from_numpy(array), affine=torch.diag(torch.tensor([*old, 1.0])))))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_aligned_at_the_origin_an_image_and_its_mask_are_those_of_monai_spacing(seed: int, flat: bool) -> None:
    array, labels, old, options = volume_at_random(seed, flat)
    image = prepare_image(Image(array, old, np.eye(4)), options)
    expected = spacing_of_monai(array, old, options.spacing_mm, "bilinear")
    assert image.shape == expected.shape
    np.testing.assert_allclose(image, expected, atol=5e-4)  # float16
    steps = np.divide(options.spacing_mm, old).tolist()
    np.testing.assert_allclose(resample(array, image.shape[1:], steps=steps), expected, atol=1e-4)
    mask = prepare_mask(Mask(labels, old, np.eye(4)), (1, 2, 3), options, old)
    np.testing.assert_array_equal(
        mask[None], spacing_of_monai(labels[None].astype(np.float32), old, options.spacing_mm, "nearest")
    )


def test_a_grid_of_the_same_shape_but_another_spacing_is_resampled_at_the_origin() -> None:
    array, options = noise(1, 6, 6, 6), volume_at_random(0)[3]
    options = replace(options, spacing_mm=(1.05, 1.05, 1.05))
    image = Image(array, (1.0, 1.0, 1.0), np.eye(4))
    assert prepared_shape((6, 6, 6), (1.0, 1.0, 1.0), options) == (6, 6, 6)
    assert not np.array_equal(prepare_image(image, options), prepare_image(image, replace(options, align="edges")))
    nearly = replace(options, spacing_mm=(1.0005, 1.0, 1.0))
    assert np.array_equal(prepare_image(image, nearly), prepare_image(image, replace(nearly, spacing_mm=())))


def test_at_the_origin_a_coarse_axis_is_resampled_by_nearest_neighbours() -> None:
    array = noise(1, 8, 8, 5)
    resampled = resample(array, (15, 15, 13), coarse=2, steps=(0.5, 0.5, 1 / 3))
    in_plane = resample(array, (15, 15, 5), steps=(0.5, 0.5, 1.0))
    assert np.array_equal(resampled, in_plane[..., [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4]])
    assert np.array_equal(
        resample(array, (15, 15, 5), "spline", steps=(0.5, 0.5, 1.0))[..., ::2, ::2, :].round(4), array.round(4)
    )


@pytest.mark.parametrize("foreground", [False, True])
def test_the_box_knows_the_way_back_to_the_file(foreground: bool) -> None:
    options = replace(volume_at_random(0)[3], spacing_mm=(2.0, 1.0, 0.5), crop_foreground=foreground)
    assert find_box(noise(1, 4, 5, 6), options, (1.0, 1.0, 1.0)).file_steps == (0.5, 1.0, 2.0)
    assert find_box(noise(1, 4, 5, 6), replace(options, align="edges"), (1.0, 1.0, 1.0)).file_steps == ()
