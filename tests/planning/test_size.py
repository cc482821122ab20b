"""The size of a U-Net's samples: whole images where they fit, coarser with little time, slices if these are thick."""

from math import prod

import numpy as np
import pytest

from selfmae.networks import fit_crop
from selfmae.planning.size import (
    BATCH,
    COVER,
    FEATURES,
    MIN_SIDE,
    MIN_STEPS,
    Size,
    choose_size,
    list_sizes,
    takes_slices,
)

CPU, GPU = (48**3, 256), (96**3, 512)  # voxels of a crop and pixels of a side
FOREVER = 1e9


def sizes_of(
    shape: tuple[int, ...], spacing_mm: tuple[float, ...] = (), machine: tuple[int, int] = CPU, by_slices: bool = False
) -> list[Size]:
    return list(list_sizes(shape, spacing_mm, *machine, by_slices))


def work(size: Size) -> float:
    """Return seconds of a step as they grow with voxels and features."""
    return 1e-8 * size.batch * prod(size.crop) * size.features**2


def test_a_whole_radiograph_of_256_pixels_is_planned_where_there_is_time() -> None:
    sizes = sizes_of((256, 256))
    size, pace = choose_size(sizes, work, FOREVER)
    assert size.factor == 1.0
    assert size.shape == size.crop == (256, 256)
    assert (size.features, size.batch) == (32, 8)
    assert pace == work(size)
    assert not size.is_slices
    assert (80, 96) not in [size.crop for size in sizes]


def test_with_little_time_the_whole_radiograph_is_seen_at_a_coarser_resolution() -> None:
    sizes = sizes_of((256, 200), (0.5, 0.5))
    cheapest, _ = choose_size(sizes, work, 0.0)
    assert cheapest == sizes[0]
    assert cheapest.factor == 2.5  # not 3: the longer side keeps 96 pixels
    assert cheapest.shape == (102, 80)
    assert cheapest.spacing_mm == (1.25, 1.25)
    assert cheapest.features == 8
    found = [choose_size(sizes, work, seconds)[0] for seconds in np.geomspace(1, 1e5, 60).tolist()]
    positions = [sizes.index(size) for size in found]
    assert positions == sorted(positions)  # more time never plans less
    assert set(positions) == set(range(len(sizes)))
    for size in sizes:
        assert all(crop >= extent for crop, extent in zip(size.crop, size.shape, strict=True))


@pytest.mark.parametrize("by_slices", [False, True])
def test_features_grow_only_at_the_finest_resolution(by_slices: bool) -> None:
    for shape in ((256, 256), (100, 140), (512, 512)) if not by_slices else ((256, 216, 10), (100, 100, 20)):
        sizes = sizes_of(shape, by_slices=by_slices)
        factors = [size.factor for size in sizes]
        assert factors == sorted(factors, reverse=True)
        assert all(size.features == FEATURES[0] or size.factor == min(factors) for size in sizes)
        assert [size.features for size in sizes if size.factor == min(factors)] == list(FEATURES)


def test_sizes_rise_in_cost() -> None:
    for shape, by_slices in (((256, 256), False), ((300, 180), False), ((256, 216, 10), True), ((40, 56, 40), False)):
        costs = [work(size) for size in sizes_of(shape, by_slices=by_slices)]
        assert costs == sorted(costs)


def test_a_training_has_at_least_a_thousand_steps_where_it_may_choose() -> None:
    sizes = sizes_of((256, 256))
    for size in sizes:
        chosen, pace = choose_size(sizes, work, MIN_STEPS * work(size))
        assert (chosen, pace) == (size, work(size))


def test_no_size_is_timed_beyond_the_first_that_takes_too_long() -> None:
    sizes, timed = sizes_of((256, 256)), list[Size]()

    def time(size: Size) -> float:
        timed.append(size)
        return work(size)

    choose_size(sizes, time, MIN_STEPS * work(sizes[1]))
    assert timed == sizes[:3]
    timed.clear()
    choose_size(sizes, time, 0.0)
    assert timed == sizes[:1]


def test_a_small_image_is_never_made_coarser() -> None:
    assert {size.factor for size in sizes_of((MIN_SIDE, 40))} == {1.0}
    assert {size.factor for size in sizes_of((33, 40))} == {1.0}


def test_a_large_image_is_made_coarser_until_its_side_fits() -> None:
    sizes = sizes_of((1000, 800))
    assert max(sizes[-1].shape) == 250  # a factor of 4: 3 would be 333 pixels
    assert max(sizes_of((1000, 800), machine=GPU)[-1].shape) == 500


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "expected"),
    [
        ((256, 216, 10), (1.5, 1.5, 10.0), True),  # ACDC
        ((256, 216, 10), (), True),
        ((40, 56, 40), (1.0, 1.0, 1.0), False),
        ((40, 56, 40), (), False),
        ((512, 512, 100), (1.0, 1.0, 3.0), True),  # exactly three times
        ((512, 512, 100), (0.7, 0.7, 2.0), False),
        ((256, 256), (1.0, 1.0), False),
        ((300, 300, 101), (), False),
    ],
)
def test_slices_are_taken_of_volumes_whose_slices_are_thick(
    shape: tuple[int, ...], spacing_mm: tuple[float, ...], expected: bool
) -> None:
    assert takes_slices(shape, spacing_mm) is expected


def test_a_slice_is_whole_in_its_plane_and_keeps_its_thickness() -> None:
    sizes = sizes_of((256, 216, 10), (1.5, 1.5, 10.0), by_slices=True)
    for size in sizes:
        assert size.is_slices
        assert size.crop[2] == 1
        assert size.shape[2] == 10
        assert size.spacing_mm == (round(1.5 * size.factor, 4), round(1.5 * size.factor, 4), 10.0)
        assert all(crop >= extent for crop, extent in zip(size.crop[:2], size.shape[:2], strict=True))
        assert size.batch == BATCH[2]
    assert sizes[-1].shape[:2] == (256, 216)


def test_small_volumes_are_seen_whole() -> None:
    for size in sizes_of((40, 56, 40), (1.0, 1.0, 1.0)):
        assert size.crop == (40, 56, 40)
        assert (size.factor, size.batch) == (1.0, BATCH[3])
    assert [size.features for size in sizes_of((40, 56, 40))] == list(FEATURES)


@pytest.mark.parametrize("shape", [(512, 512, 100), (320, 320, 320), (128, 128, 128), (240, 240, 155), (576, 576, 88)])
@pytest.mark.parametrize("machine", [CPU, GPU])
def test_a_crop_shows_a_quarter_of_a_volume_at_least(shape: tuple[int, ...], machine: tuple[int, int]) -> None:
    for size in sizes_of(shape, (1.0, 1.0, 1.0), machine):
        shown = prod(min(crop, extent) for crop, extent in zip(size.crop, size.shape, strict=True))
        assert shown >= 0.97 * COVER * prod(size.shape)  # extents are whole numbers
        if size.factor > 1:
            assert shown <= 1.6 * COVER * prod(size.shape)  # no coarser than it takes
        assert prod(size.crop) <= 1.7 * machine[0]  # enlarged to what the network must have


@pytest.mark.parametrize("seed", range(20))
def test_every_crop_is_one_that_the_network_takes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_axes = int(rng.integers(2, 4))
    shape = tuple(int(extent) for extent in rng.integers(9, 500, num_axes))
    spacing_mm = tuple(float(step) for step in rng.uniform(0.4, 4, num_axes)) if rng.random() < 0.7 else ()
    by_slices = num_axes == 3 and rng.random() < 0.5
    for size in sizes_of(shape, spacing_mm, by_slices=by_slices):
        assert fit_crop("dynunet", size.crop, size.spacing_mm) == size.crop
        assert len(size.crop) == len(size.shape) == num_axes
        assert len(size.spacing_mm) == len(spacing_mm)
