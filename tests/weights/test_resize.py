"""Resized weights against timm's resampling, and what must stay the same when a kernel is folded or inflated."""

import pytest
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed, resample_patch_embed

from selfmae.models.vit import sincos_positions
from selfmae.weights.adaptation import factorise, fold_channels, inflate, resize_kernel, resize_positions


@pytest.mark.parametrize(("old", "new"), [((4, 4), (7, 7)), ((14, 14), (6, 9)), ((3, 5), (5, 3))])
def test_positions_of_images_are_resampled_as_timm_does(old: tuple[int, int], new: tuple[int, int]) -> None:
    positions = torch.randn(1, old[0] * old[1], 8)
    theirs = resample_abs_pos_embed(positions, list(new), list(old), num_prefix_tokens=0)
    torch.testing.assert_close(resize_positions(positions, old, new), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("patch", [(8, 8), (32, 32), (8, 24)])
def test_patch_kernels_of_images_are_resampled_as_timm_does(patch: tuple[int, int]) -> None:
    weight = torch.randn(5, 2, 16, 16)
    theirs = resample_patch_embed(weight, list(patch))
    torch.testing.assert_close(resize_kernel(weight, patch), theirs, rtol=1e-3, atol=1e-4)


def test_each_axis_of_a_volume_is_resampled_on_its_own() -> None:
    plane, line = torch.randn(1, 6, 4), torch.randn(5, 1)
    volume = (plane[0][:, None] + line[None]).reshape(1, 30, 4)
    wider = resize_positions(volume, (2, 3, 5), (4, 6, 5)).reshape(24, 5, 4)
    expected = resize_positions(plane, (2, 3), (4, 6))[0]
    torch.testing.assert_close(wider - line, expected[:, None].expand(-1, 5, -1), rtol=1e-4, atol=1e-5)


def test_the_same_size_changes_nothing() -> None:
    positions, weight = torch.randn(1, 12, 6), torch.randn(3, 2, 4, 4, 2)
    assert torch.equal(resize_positions(positions, (2, 2, 3), (2, 2, 3)), positions)
    assert torch.equal(resize_kernel(weight, (4, 4, 2)), weight)


def test_an_image_enlarged_with_its_patch_keeps_its_tokens() -> None:
    weight, image = torch.randn(6, 1, 4, 4), torch.randn(1, 1, 4, 4)
    larger = F.interpolate(image, (8, 8), mode="bicubic", antialias=True)
    token = F.conv2d(larger, resize_kernel(weight, (8, 8)))
    torch.testing.assert_close(token, F.conv2d(image, weight), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_a_grey_image_gives_the_same_tokens_with_any_number_of_channels(channels: int) -> None:
    weight, grey = torch.randn(6, 3, 4, 4), torch.randn(1, 1, 4, 4)
    folded = F.conv2d(grey.expand(-1, channels, -1, -1), fold_channels(weight, channels))
    torch.testing.assert_close(folded, F.conv2d(grey.expand(-1, 3, -1, -1), weight), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("how", ["mean", "centre"])
def test_a_volume_of_equal_slices_gives_the_tokens_of_one(how: str) -> None:
    weight, slice_ = torch.randn(6, 2, 4, 4), torch.randn(1, 2, 4, 4)
    volume = slice_[..., None].expand(-1, -1, -1, -1, 8)
    token = F.conv3d(volume, inflate(weight, 8, how))[..., 0]
    torch.testing.assert_close(token, F.conv2d(slice_, weight), rtol=1e-4, atol=1e-4)


def test_the_centre_sees_the_middle_slice_only() -> None:
    kernel = inflate(torch.ones(1, 1, 2, 2), 4, "centre")
    assert kernel.sum(dim=(0, 1, 2, 3)).tolist() == [0, 0, 4, 0]


def test_factorised_positions_keep_the_plane_and_tell_slices_apart() -> None:
    plane = torch.randn(1, 6, 12)
    volume = factorise(plane, (2, 3), (2, 3, 4)).reshape(6, 4, 12)
    torch.testing.assert_close(volume.mean(dim=1), plane[0], rtol=1e-4, atol=1e-5)
    axial = volume[0] - volume[0].mean(dim=0)
    torch.testing.assert_close(axial.std(), plane.std(), rtol=0.05, atol=0)
    sines = sincos_positions((4,), 12)
    assert torch.corrcoef(torch.stack([axial.flatten(), (sines - sines.mean(0)).flatten()]))[0, 1] > 0.999


def test_factorised_positions_of_one_slice_are_those_of_the_plane() -> None:
    plane = torch.randn(1, 6, 12)
    torch.testing.assert_close(factorise(plane, (2, 3), (2, 3, 1)), plane)
