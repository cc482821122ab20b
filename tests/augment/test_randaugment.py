"""RandAugment against timm's own: the same changes, the same arguments, the same pixels."""

import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from timm.data.auto_augment import LEVEL_TO_ARG, NAME_TO_OP, rand_augment_choices, rand_augment_transform

from selfmae.augment.randaugment import CHANGES, RESAMPLING, Change, Options, apply, change_picture, draw_changes
from selfmae.options import DataOptions

GREY = np.random.default_rng(0).integers(0, 256, (1, 24, 20)).astype(np.float32) / 255
COLOUR = np.random.default_rng(1).integers(0, 256, (3, 24, 20)).astype(np.float32) / 255
DATA = DataOptions("", mean=0.5)


def test_the_changes_are_those_of_timm() -> None:
    assert list(CHANGES) == rand_augment_choices("", increasing=True)


@pytest.mark.parametrize("name", CHANGES)
def test_arguments_are_those_of_timm(name: str) -> None:
    """timm draws a sign from the global random state for some of them: both are met in forty calls."""
    theirs, ours = LEVEL_TO_ARG[name], CHANGES[name]
    assert (theirs is None) == (ours is None)
    for level in (0.0, 3.3, 9.0, 10.0) if theirs and ours else ():
        drawn = {theirs(level, {})[0] for _ in range(40)}
        assert sorted({ours(level / 10), ours(-level / 10)}) == pytest.approx(sorted(drawn))


@pytest.mark.parametrize("name", CHANGES)
def test_pixels_are_those_of_timm(name: str) -> None:
    argument = CHANGES[name]
    arguments = (argument(-0.7),) if argument else ()
    for image, colour in ((GREY, 128), (COLOUR, (128, 128, 128))):
        picture = Image.fromarray(np.moveaxis((image * 255).round().astype(np.uint8), 0, -1).squeeze())
        expected = np.asarray(NAME_TO_OP[name](picture, *arguments, fillcolor=colour, resample=RESAMPLING[1])) / 255
        changed = change_picture(image, [Change(name, arguments, RESAMPLING[1])], 0.5)
        np.testing.assert_allclose(np.moveaxis(changed, 0, -1).squeeze(), expected, atol=1e-6)


def test_as_many_changes_come_as_from_timm() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_changes(9.0, rng) for _ in range(4000)]
    shares = [sum(len(changes) == number for changes in drawn) / len(drawn) for number in range(3)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    names = Counter(change.name for changes in drawn for change in changes)
    assert max(names.values()) < 1.4 * min(names.values())


def test_strengths_are_spread_as_in_timm() -> None:
    rng = np.random.default_rng(0)
    degrees = [c.arguments[0] for _ in range(6000) for c in draw_changes(9.0, rng) if c.name == "Rotate"]
    random.seed(0)
    np.random.seed(0)
    (rotate,) = [op for op in rand_augment_transform("rand-m9-mstd0.5-inc1", {}).ops if op.name == "Rotate"]
    seen: list[float] = []
    rotate.prob, rotate.aug_fn = 1.0, lambda picture, angle, **_: seen.append(angle)
    for _ in range(4000):
        rotate(None)
    assert np.mean(np.abs(degrees)) == pytest.approx(np.mean(np.abs(seen)), rel=0.02)
    assert np.std(np.abs(degrees)) == pytest.approx(np.std(np.abs(seen)), rel=0.2)
    assert abs(np.mean(np.sign(degrees))) < 0.1


def test_equal_draws_give_equal_pictures_and_the_global_state_plays_no_part() -> None:
    before = random.getstate()
    first, second = (apply(COLOUR, Options(9.0), DATA, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert random.getstate() == before
    others = [apply(COLOUR, Options(9.0), DATA, np.random.default_rng(seed)) for seed in range(8)]
    assert sum(not np.array_equal(other, first) for other in others) >= 4


def test_without_a_change_a_picture_keeps_its_pixels() -> None:
    np.testing.assert_allclose(change_picture(GREY, [], 0.5), GREY, atol=1e-7)


def test_other_numbers_of_channels_are_changed_one_by_one() -> None:
    two = np.concatenate([GREY, 1 - GREY])
    changes = [Change("Rotate", (20.0,), RESAMPLING[0])]
    alone = [change_picture(channel[None], changes, 0.0)[0] for channel in two]
    np.testing.assert_array_equal(change_picture(two, changes, 0.0), np.stack(alone))
