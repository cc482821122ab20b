import base64
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfmae.report.images import contour_picture, gray_picture, reconstructions
from selfmae.results.run_folder import RunFolder

Make = Callable[..., Path]


def pixels(uri: str) -> np.ndarray:
    head, _, data = uri.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return np.asarray(Image.open(BytesIO(base64.b64decode(data))))[..., :3].astype(float)


def coloured(uri: str) -> np.ndarray:
    """Return the places [n, 2] of bright colours, as shares of the picture's height and width."""
    found = pixels(uri)
    return np.argwhere(np.ptp(found, axis=-1) > 100) / found.shape[:2]


@pytest.mark.parametrize("size", [20, 100])
def test_a_gray_picture_keeps_its_pixels(size: int) -> None:
    shades = np.linspace(0, 255, size * size).reshape(size, size).round().astype(np.uint8)
    found = pixels(gray_picture(shades))
    assert found.shape == (size, size, 3)
    assert np.abs(found - shades[..., None]).max() <= (0 if size == 20 else 4)


def test_contours_are_drawn_where_the_labels_end() -> None:
    layers = np.zeros((1, 40, 40), dtype=np.uint8)
    layers[0, 10:30, 20:40] = 1
    places = coloured(contour_picture(np.zeros((40, 40), np.uint8), None, layers))
    assert places.min(axis=0) == pytest.approx([0.25, 0.5], abs=0.02)
    assert places.max(axis=0) == pytest.approx([0.75, 1.0], abs=0.02)


def test_truth_is_white_and_both_overlapping_layers_are_drawn() -> None:
    layers = np.zeros((2, 40, 40), dtype=np.uint8)
    layers[0, 15:25, 15:25], layers[1, 5:35, 5:35] = 1, 2
    truth = contour_picture(np.zeros((40, 40), np.uint8), layers, None)
    assert not len(coloured(truth))
    assert pixels(truth).max() > 200
    shown = pixels(contour_picture(np.zeros((40, 40), np.uint8), None, layers))
    orange, blue = (shown[..., 0] - shown[..., 2] > 100), (shown[..., 2] - shown[..., 0] > 100)
    assert orange.any(axis=1).sum() < blue.any(axis=1).sum()


def test_thick_slices_are_drawn_as_thick_as_they_are() -> None:
    found = pixels(contour_picture(np.zeros((10, 40), np.uint8), pixel_mm=(8, 1)))
    assert found.shape[:2] == (360, 180)


def test_an_empty_layer_has_no_contour() -> None:
    nothing, image = np.zeros((1, 8, 8), dtype=np.uint8), np.zeros((8, 8), np.uint8)
    assert contour_picture(image, nothing, nothing) == contour_picture(image)


def test_reconstructions_show_every_share_of_hidden_patches(make_run: Make) -> None:
    gallery = reconstructions(RunFolder.read(make_run()))
    assert gallery is not None
    assert gallery.ratio == 0.75
    titles = ["Original", "25 % hidden", "25 % filled in", "75 % hidden", "75 % filled in"]
    assert [title for title, _ in gallery.rows] == titles
    assert gallery.columns == ("case20", "case21", "case22")
    np.testing.assert_array_equal(pixels(gallery.rows[2][1][0]), pixels(gallery.rows[0][1][0])[::-1])
