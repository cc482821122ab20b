"""Patches: against loops written from the definitions, and as inverses of one another."""

from itertools import product
from math import cos, sin

import numpy as np
import pytest
import torch

from selfmae.errors import UserError
from selfmae.models.vit import draw_visible, grid_of, num_visible, patchify, sincos_positions, unpatchify
from selfmae.seeds import generator

CUTS = [((16, 16), (4, 4)), ((8, 12), (4, 2)), ((8, 8, 8), (4, 4, 4)), ((8, 12, 4), (4, 2, 1))]


@pytest.mark.parametrize(("size", "patch"), CUTS)
def test_unpatchify_is_the_inverse_of_patchify(size: tuple[int, ...], patch: tuple[int, ...]) -> None:
    images = torch.randn(2, 3, *size)
    assert torch.equal(unpatchify(patchify(images, patch), grid_of(size, patch), patch), images)


@pytest.mark.parametrize(("size", "patch"), CUTS)
def test_patchify_cuts_like_a_loop_over_the_grid(size: tuple[int, ...], patch: tuple[int, ...]) -> None:
    images = torch.randn(2, 3, *size)
    corners = product(*(range(0, extent, step) for extent, step in zip(size, patch, strict=True)))
    for number, corner in enumerate(corners):
        window = tuple(slice(start, start + step) for start, step in zip(corner, patch, strict=True))
        whole = slice(None)
        assert torch.equal(patchify(images, patch)[:, number], images[(whole, whole, *window)].flatten(1))


@pytest.mark.parametrize("grid", [(3, 4), (2, 3, 4)])
def test_positions_follow_the_formula_of_the_paper(grid: tuple[int, ...]) -> None:
    width = 24
    share = width // (2 * len(grid))
    # 2-D: [sin w, cos w, sin h, cos h] (He et al. 2021); 3-D: [sin h, cos h, sin w, cos w, sin d, cos d].
    axes = (1, 0) if len(grid) == 2 else (0, 1, 2)
    for row, place in zip(sincos_positions(grid, width), product(*map(range, grid)), strict=True):
        angles = [[place[axis] / 10000 ** (k / share) for k in range(share)] for axis in axes]
        truth = [wave(angle) for axis in angles for wave in (sin, cos) for angle in axis]
        np.testing.assert_allclose(row, truth, atol=1e-6)


def test_positions_of_a_width_that_the_axes_do_not_share_evenly_end_in_zeros() -> None:
    positions = sincos_positions((2, 2, 2), 64)
    assert positions.shape == (8, 64)
    assert not positions[:, 60:].any()
    assert positions[:, :60].any(dim=0).sum() == 60


@pytest.mark.parametrize(
    ("num_patches", "hidden"),
    [(216, (27, 54, 108, 162, 189)), (512, (64, 128, 256, 384, 448)), (196, (25, 49, 98, 147, 172))],
)
def test_as_many_patches_are_hidden_as_in_the_released_code(num_patches: int, hidden: tuple[int, ...]) -> None:
    ratios = (0.125, 0.25, 0.5, 0.75, 0.875)
    assert tuple(num_patches - num_visible(num_patches, ratio) for ratio in ratios) == hidden


def test_a_ratio_that_is_no_binary_number_is_not_rounded_away() -> None:
    assert num_visible(20, 0.9) == 2


@pytest.mark.parametrize("ratio", [0.001, 0.999])
def test_at_least_one_patch_is_visible_and_one_hidden(ratio: float) -> None:
    assert 1 <= num_visible(4, ratio) <= 3


def test_an_order_is_a_permutation_with_both_parts_sorted() -> None:
    order = draw_visible(27, 0.6, generator(1))
    count = num_visible(27, 0.6)
    assert sorted(order) == list(range(27))
    assert (np.diff(order[:count]) > 0).all()
    assert (np.diff(order[count:]) > 0).all()


def test_an_order_is_a_pure_function_of_its_seed() -> None:
    assert (draw_visible(27, 0.5, generator(1)) == draw_visible(27, 0.5, generator(1))).all()
    assert (draw_visible(27, 0.5, generator(1)) != draw_visible(27, 0.5, generator(2))).any()


def test_every_patch_is_visible_equally_often() -> None:
    seen = np.zeros(16)
    for seed in range(2000):
        seen[draw_visible(16, 0.75, generator(seed))[:4]] += 1
    # 500 expected; the deviation of a binomial count is 19.
    assert np.abs(seen - 500).max() < 80


@pytest.mark.parametrize(("size", "patch"), [((10, 8), (4, 4)), ((8, 8, 8), (4, 4))])
def test_a_crop_that_is_no_multiple_of_the_patch_is_named(size: tuple[int, ...], patch: tuple[int, ...]) -> None:
    with pytest.raises(UserError) as error:
        grid_of(size, patch)
    assert str(error.value) == (
        f"data.crop {list(size)} must be a multiple of model.patch {list(patch)} on every axis: change one of them."
    )
