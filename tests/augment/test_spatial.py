"""Random views: where a crop lies, and how often it is mirrored, turned and scaled."""

from collections.abc import Callable
from math import radians
from typing import Any

import numpy as np
import pytest
from scipy import stats

from selfmae.augment.spatial import Options, View, draw_corner, draw_view, middle_corner, problems
from selfmae.data.preparation.store import label_coordinates
from selfmae.data.sampling import take_crop, take_image, take_mask
from selfmae.options import Recipe


def whole_view(shape: tuple[int, ...], options: Options, rng: Any) -> View:
    """Draw a view of the whole image."""
    return draw_view(shape, shape, (0,) * len(shape), options, rng)


def test_corners_are_drawn_evenly_over_all_places() -> None:
    corners = [draw_corner((6, 4, 3), (4, 4, 5), np.random.default_rng(n), None, 0.0) for n in range(600)]
    assert {corner[1:] for corner in corners} == {(0, 0)}
    counts = np.bincount([corner[0] for corner in corners])
    assert len(counts) == 3
    assert counts.min() > 150


def test_the_middle_crop_has_as_much_on_either_side() -> None:
    assert middle_corner((10, 7, 3), (4, 4, 4)) == (3, 1, 0)


def test_the_foreground_share_of_crops_shows_a_label() -> None:
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[35, 3] = 1
    places = label_coordinates(mask)
    for share in (0.0, 0.4, 1.0):
        draws = [draw_corner(mask.shape, (5, 5), np.random.default_rng(n), places, share) for n in range(400)]
        shown = np.mean([take_crop(mask, corner, (5, 5)).any() for corner in draws])
        assert shown == pytest.approx(share, abs=0.07 + 0.02)


def test_small_labels_are_centred_as_often_as_large_ones() -> None:
    mask = np.zeros((30, 30), dtype=np.uint8)
    mask[:20] = 1
    mask[25, 25] = 9
    places = label_coordinates(mask)
    corners = [draw_corner(mask.shape, (5, 5), np.random.default_rng(n), places, 1.0) for n in range(400)]
    assert np.mean([corner == (23, 23) for corner in corners]) == pytest.approx(0.5, abs=0.08)


def test_a_mask_without_foreground_gives_an_even_crop() -> None:
    places = label_coordinates(np.zeros((9, 9), dtype=np.uint8))
    assert {draw_corner((9, 9), (8, 8), np.random.default_rng(n), places, 1.0) for n in range(50)} == {
        (0, 0), (0, 1), (1, 0), (1, 1)
    }  # fmt: skip


def test_a_change_is_a_pure_function_of_the_generator() -> None:
    image = np.random.default_rng(0).normal(size=(1, 20, 20)).astype(np.float32)
    options = Options(flip_axes=(0, 1), rotate_degrees=20, zoom=0.1, min_scale=0.6)
    views = [whole_view((20, 20), options, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    one, two, other = (take_image(image, view) for view in views)
    assert views[0] == views[1]
    assert np.array_equal(one, two)
    assert np.array_equal(take_mask(image[0] > 0, views[0]), take_mask(image[0] > 0, views[1]))
    assert not np.array_equal(one, other)


def test_without_options_a_view_is_the_plain_crop_and_draws_nothing() -> None:
    rng = np.random.default_rng(3)
    before = rng.bit_generator.state
    view = draw_view((9, 8, 7), (4, 4, 4), (1, 2, 3), Options(), rng)
    assert view == View((4, 4, 4), (1, 2, 3), (False, False, False))
    assert rng.bit_generator.state == before


def test_flips_mirror_the_axes_named_with_their_probability() -> None:
    image = np.random.default_rng(0).normal(size=(1, 3, 4, 5)).astype(np.float32)
    always = whole_view((3, 4, 5), Options(flip_axes=(1,), flip=1.0), np.random.default_rng(0))
    assert np.array_equal(take_image(image, always), image[:, :, ::-1])
    assert np.array_equal(take_mask(image[0], always), image[0, :, ::-1])
    options = Options(flip_axes=(0,), flip=0.25)
    flipped = [whole_view((3, 4, 5), options, np.random.default_rng(n)).flips for n in range(400)]
    assert {flips[1:] for flips in flipped} == {(False, False)}
    assert np.mean([flips[0] for flips in flipped]) == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize("size", [64, 80])
def test_a_resized_crop_shows_at_least_the_share_asked_for_and_never_leaves_the_image(size: int) -> None:
    rows = np.broadcast_to(np.linspace(-1, 1, size, dtype=np.float32)[:, None], (size, size))
    places = np.stack([rows, rows.T])
    for seed in range(60):
        rng = np.random.default_rng(seed)
        shown = take_image(places, draw_view((size, size), (64, 64), (0, 0), Options(min_scale=0.3), rng))
        assert shown.shape == (2, 64, 64)
        height, width = (float(axis.max() - axis.min()) / 2 for axis in shown)
        assert 0.3 * 0.85 < height * width <= 1.001
        assert 0.7 < height / width < 1 / 0.7
        assert abs(float(shown[0, 0].mean())) <= 1.001


def test_quarter_turns_come_with_their_probability_and_are_equally_likely() -> None:
    rng, options = np.random.default_rng(0), Options(quarter_turns=0.6)
    counts = np.bincount([whole_view((4, 4), options, rng).turns for _ in range(3000)], minlength=4) / 3000
    assert counts == pytest.approx([0.4, 0.2, 0.2, 0.2], abs=0.03)


def test_rotation_and_zoom_come_with_their_probabilities_else_the_view_is_a_plain_slice() -> None:
    options = Options(rotate_degrees=30, rotate_probability=0.3, zoom=0.2, zoom_probability=0.4)
    rng = np.random.default_rng(0)
    views = [whole_view((8, 8, 8), options, rng) for _ in range(3000)]
    rotates = np.array([view.angle != 0 for view in views])
    zooms = np.array([bool(view.scale) and view.scale != (1, 1, 1) for view in views])
    assert rotates.mean() == pytest.approx(0.3, abs=0.03)
    assert zooms.mean() == pytest.approx(0.4, abs=0.03)
    assert (rotates & zooms).mean() == pytest.approx(0.12, abs=0.02)
    assert [bool(view.scale) for view in views] == (rotates | zooms).tolist()
    never = Options(rotate_degrees=30, rotate_probability=0, zoom_range=(0.5, 2.0), zoom_probability=0)
    before = rng.bit_generator.state
    assert whole_view((8, 8), never, rng) == View((8, 8), (0, 0), (False, False))
    assert rng.bit_generator.state == before


def test_a_zoom_range_is_drawn_evenly_and_alike_on_all_axes() -> None:
    rng = np.random.default_rng(0)
    scales = np.array([whole_view((8, 8, 8), Options(zoom_range=(0.7, 1.4)), rng).scale for _ in range(2000)])
    assert (scales == scales[:, :1]).all()
    assert stats.kstest(scales[:, 0], stats.uniform(0.7, 0.7).cdf).pvalue > 0.001


def test_a_larger_zoom_shows_more_of_the_image() -> None:
    image = np.broadcast_to(np.arange(40, dtype=np.float32), (1, 40, 40))
    for factor in (0.7, 1.4):
        options = Options(zoom_range=(factor, factor))
        shown = take_image(image, draw_view((40, 40), (10, 10), (15, 15), options, np.random.default_rng(0)))
        assert np.diff(shown[0], axis=1) == pytest.approx(np.full((10, 9), factor), abs=1e-4)


@pytest.mark.parametrize("probability", [{}, {"rotate_probability": 1.0, "zoom_probability": 1.0}])
def test_the_draws_of_rotation_and_zoom_are_those_of_recipes_without_probabilities(
    probability: dict[str, float],
) -> None:
    """Flips, then zoom, then angle: results of older recipes keep their bits."""
    options = Options(flip_axes=(0, 1), rotate_degrees=20, zoom=0.1, **probability)
    for seed in range(20):
        view, rng = whole_view((9, 8, 7), options, np.random.default_rng(seed)), np.random.default_rng(seed)
        assert view.flips == (bool(rng.random() < 0.5), bool(rng.random() < 0.5), False)
        assert view.scale == (1 + rng.uniform(-0.1, 0.1),) * 3
        assert view.angle == radians(rng.uniform(-20, 20))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(zoom_range=(1.4, 0.7)), "zoom_range [1.4, 0.7] must be two numbers, the smaller one first"),
        (Options(zoom_range=(1.4,)), "zoom_range [1.4] must be two numbers, the smaller one first"),
        (
            Options(zoom_range=(0.7, 1.4), zoom=0.1),
            "zoom_range means nothing with fit.augment.spatial.zoom above 0: set one of them only",
        ),
    ],
)
def test_a_zoom_range_is_two_rising_numbers_instead_of_a_zoom(
    options: Options, expected: str, make_recipe: Callable[..., Recipe]
) -> None:
    told = list(problems("fit", options, make_recipe((8, 8), (4, 4))))
    assert told == [f"fit.augment.spatial.{expected}"]
