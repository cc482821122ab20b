"""The abdomens: every organ is there, organs depend on each other, and no threshold finds one."""

from functools import cache

import numpy as np
import pytest
from scipy import stats

from selfmae.data.generated.volumes import LIFELIKE, ORGANS, PLAIN, Build, Style, draw_volume
from selfmae.seeds import generator

LIVER, SPLEEN, RIGHT_KIDNEY, LEFT_KIDNEY, AORTA, PANCREAS = range(1, 7)


@cache
def bodies(num_cases: int = 30, extent: int = 24) -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw_volume(generator(7, index), (extent,) * 3, 1) for index in range(num_cases)]


def volume(label: int) -> np.ndarray:
    """Return the size of one organ in each body."""
    return np.array([(mask == label).sum() for _, mask in bodies()])


def centre(label: int, axis: int) -> np.ndarray:
    """Return the mean place of one organ along an axis in each body."""
    return np.array([np.nonzero(mask == label)[axis].mean() for _, mask in bodies()])


def brightness(label: int) -> np.ndarray:
    """Return the mean intensity of one organ in each body."""
    return np.array([image[..., 0][mask == label].mean() for image, mask in bodies()])


@pytest.mark.parametrize(("size", "num_cases"), [((16, 16, 16), 150), ((24, 16, 40), 30), ((32, 48, 16), 30)])
def test_every_organ_is_in_every_body(size: tuple[int, int, int], num_cases: int) -> None:
    for index in range(num_cases):
        image, mask = draw_volume(generator(0, index), size, 1)
        assert image.shape == (*size, 1)
        assert set(np.unique(mask)) == set(range(len(ORGANS) + 1))


def test_thin_organs_stay_in_the_smallest_volume_of_a_slim_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Build, "draw", lambda rng: Build(-1.2, 0, 0, 0, 0, 0, 0, 0))
    for index in range(60):
        mask = draw_volume(generator(index), (16, 16, 16), 1)[1]
        assert (mask == AORTA).sum() >= 10
        assert (mask == PANCREAS).sum() >= 8


def test_sides_are_those_of_the_patient() -> None:
    assert np.all(centre(RIGHT_KIDNEY, 0) > centre(LEFT_KIDNEY, 0))
    assert np.all(centre(LIVER, 0) > centre(SPLEEN, 0))
    assert np.all(centre(LIVER, 2) > centre(RIGHT_KIDNEY, 2))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (volume(LIVER), volume(SPLEEN)),
        (volume(RIGHT_KIDNEY), volume(LEFT_KIDNEY)),
        (centre(LIVER, 2), centre(SPLEEN, 2)),
        (centre(RIGHT_KIDNEY, 2), centre(PANCREAS, 2)),
        (brightness(LIVER), brightness(SPLEEN)),
        (brightness(AORTA), brightness(LEFT_KIDNEY)),
    ],
    ids=["large together", "kidneys alike", "breathe together", "pushed together", "ill together", "contrast agent"],
)
def test_what_has_one_cause_goes_together(one: np.ndarray, other: np.ndarray) -> None:
    assert stats.spearmanr(one, other).statistic > 0.4


def test_a_large_liver_pushes_the_right_kidney_down() -> None:
    below = centre(RIGHT_KIDNEY, 2) - centre(LIVER, 2)
    assert stats.spearmanr(volume(LIVER), below).statistic < -0.3


def test_organs_are_not_copies_of_each_other() -> None:
    assert stats.spearmanr(volume(LIVER), volume(SPLEEN)).statistic < 0.97
    assert stats.spearmanr(brightness(LIVER), brightness(SPLEEN)).statistic < 0.97


def test_no_threshold_tells_liver_from_spleen() -> None:
    image = np.stack([image[..., 0] for image, _ in bodies()])
    mask = np.stack([mask for _, mask in bodies()])
    liver, spleen = image[mask == LIVER], image[mask == SPLEEN]
    share = stats.mannwhitneyu(liver, spleen).statistic / (len(liver) * len(spleen))
    assert 0.35 < share < 0.65


def purity(label: int, style: Style) -> float:
    """Return the share of one organ among the voxels as bright as the middle half of it, both kidneys as one."""
    bodies = [draw_volume(generator(3, index), (32, 32, 24), 1, style) for index in range(5)]
    hits = whole = 0
    for image, mask in bodies:
        organ = np.isin(mask, (RIGHT_KIDNEY, LEFT_KIDNEY) if label in (RIGHT_KIDNEY, LEFT_KIDNEY) else label)
        low, high = np.percentile(image[organ], (25, 75))
        like = (image[..., 0] >= low) & (image[..., 0] <= high)
        hits, whole = hits + (like & organ).sum(), whole + like.sum()
    return float(hits / whole)


@pytest.mark.parametrize("label", range(1, len(ORGANS) + 1), ids=ORGANS)
def test_a_plain_organ_has_a_brightness_that_little_else_has(label: int) -> None:
    assert purity(label, PLAIN) > purity(label, LIFELIKE) + 0.05


def test_plain_bodies_have_every_organ_larger() -> None:
    for index in range(10):
        counts = [
            np.bincount(draw_volume(generator(5, index), (32, 32, 24), 1, style)[1].ravel(), minlength=7)
            for style in (LIFELIKE, PLAIN)
        ]
        assert len(counts[1]) == len(ORGANS) + 1
        assert np.all(counts[1][1:] > counts[0][1:])


def test_organ_like_tissue_lies_outside_the_mask() -> None:
    image, mask = bodies()[0]
    like = (image[..., 0] > 20) & (image[..., 0] < 110)
    assert (like & (mask == 0)).sum() > 0.5 * (like & (mask > 0)).sum()


def test_intensities_are_like_hounsfield_units() -> None:
    for image, mask in bodies()[:10]:
        assert image.dtype == np.int16
        assert np.median(image[0]) == pytest.approx(-1000, abs=15)
        for label in range(1, len(ORGANS) + 1):
            assert 5 < np.median(image[..., 0][mask == label]) < 125


def test_further_channels_show_the_same_anatomy_in_another_order() -> None:
    image, mask = draw_volume(generator(0), (32, 32, 32), 3)
    air, bone = image[..., 0] < -900, image[..., 0] > 200
    tissue = mask > 0
    means = np.array([[image[where, channel].mean() for where in (air, tissue, bone)] for channel in range(3)])
    assert np.all(np.diff(means[[0, 2]]) > 0)
    assert means[1, 1] > means[1, 2] > means[1, 0]
