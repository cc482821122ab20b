"""Voxels for the centres of crops: every label has its own, air has none."""

import numpy as np
import pytest
from scipy import ndimage

from selfmae.augment.spatial import draw_voxel
from selfmae.data.preparation import store as store_module
from selfmae.data.preparation.store import label_coordinates, otsu, tissue_coordinates


def test_every_label_present_has_a_row_of_all_its_voxels() -> None:
    mask = np.random.default_rng(0).choice([0, 1, 4, 255], (9, 8, 7)).astype(np.uint8)
    table = label_coordinates(mask)
    for row, label in zip(table, (1, 4, 255), strict=True):
        assert sorted(row[1 : 1 + row[0]]) == np.flatnonzero(mask == label).tolist()


def test_many_voxels_are_drawn_evenly_and_always_alike() -> None:
    mask = np.ones((40, 40, 40), dtype=np.uint8)
    table = label_coordinates(mask)
    assert table.shape == (1, store_module.MAX_COORDINATES + 1)
    assert len(set(table[0, 1:].tolist())) == store_module.MAX_COORDINATES
    assert table[0, 1:].mean() == pytest.approx(mask.size / 2, rel=0.02)
    assert np.array_equal(table, label_coordinates(mask))


def test_a_mask_without_labels_has_no_coordinates() -> None:
    table = label_coordinates(np.zeros((4, 4), dtype=np.uint8))
    assert draw_voxel(table, np.random.default_rng(0)) is None


def test_labels_are_drawn_as_often_as_each_other() -> None:
    mask = np.zeros(1000, dtype=np.uint8)
    mask[:900], mask[950] = 1, 2
    drawn = [draw_voxel(label_coordinates(mask), np.random.default_rng(seed)) for seed in range(400)]
    assert np.mean([place == 950 for place in drawn]) == pytest.approx(0.5, abs=0.08)


def test_tissue_is_what_lies_above_the_air() -> None:
    rng = np.random.default_rng(0)
    body = np.zeros((30, 30, 30), dtype=bool)
    body[5:20, 8:25, 3:28] = True
    image = np.where(body, 0.6, 0.05) + rng.normal(0, 0.03, body.shape)
    table = tissue_coordinates(image[None].astype(np.float16))
    assert table.shape[0] == 1
    assert body.ravel()[table[0, 1:]].all()
    assert table[0, 0] > 0.9 * body.sum()


def test_tissue_in_any_channel_counts() -> None:
    image = np.zeros((2, 10, 10), dtype=np.float16)
    image[0, :5], image[1, 7:] = 1, 1
    rows = np.unravel_index(tissue_coordinates(image)[0, 1:], (10, 10))[0]
    assert set(rows.tolist()) == {0, 1, 2, 3, 4, 7, 8, 9}


@pytest.mark.parametrize("kind", ["noise", "constant"])
def test_an_image_without_air_is_all_tissue(kind: str) -> None:
    image = np.random.default_rng(0).normal(size=(1, 20, 20)) if kind == "noise" else np.ones((1, 20, 20))
    assert tissue_coordinates(image.astype(np.float16))[0, 0] == 400


def test_the_threshold_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 3000), rng.normal(6, 1, 2000)]).astype(np.float32)
    spread = [
        (share := (values <= edge).mean())
        * (1 - share)
        * (values[values <= edge].mean() - values[values > edge].mean()) ** 2
        for edge in np.linspace(-2, 8, 500)
    ]
    threshold = otsu(values)
    assert threshold is not None
    share = (values <= threshold).mean()
    found = share * (1 - share) * (values[values <= threshold].mean() - values[values > threshold].mean()) ** 2
    assert found == pytest.approx(max(spread), rel=0.005)


def test_smooth_tissue_without_a_gap_gives_no_threshold() -> None:
    assert otsu(ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(40, 40, 40)), 2)) is None
