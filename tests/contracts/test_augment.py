"""What every augmentation of augment/ keeps to; a new file is tested without a test of its own."""

import random
from collections.abc import Callable
from dataclasses import fields
from math import isfinite
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from selfmae import plugins
from selfmae.augment import apply_all, augment_problems, section
from selfmae.options import DataOptions, Recipe

MakeRecipe = Callable[..., Recipe]
AUGMENT = plugins.load_all("augment")
CHANGING = [name for name, module in AUGMENT.items() if hasattr(module, "apply")]
CALLED_BY_SAMPLES = {"spatial", "laterality"}  # they act on image and mask together
SHAPES = [(1, 24, 20), (3, 24, 24), (1, 12, 12, 8), (2, 12, 10, 8)]
DATA = DataOptions("", mean=0.3, std=0.5)


def draw_image(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(np.float32)


def strong(module: ModuleType) -> Any:
    """Return options near the upper ends of their ranges, or one above the default where they have none; pairs of
    limits stay as they are."""
    values = {}
    for item in fields(module.Options):
        if (limits := item.metadata.get("range")) and not isinstance(item.default, tuple):
            high = min(limits.at_most, limits.below)
            values[item.name] = 0.9 * high if isfinite(high) else item.default + 1
    return module.Options(**values)


@pytest.fixture(params=CHANGING)
def changing(request: pytest.FixtureRequest) -> ModuleType:
    return AUGMENT[request.param]


def test_every_augmentation_is_called_and_says_when() -> None:
    assert set(AUGMENT) - set(CHANGING) == CALLED_BY_SAMPLES
    assert {AUGMENT[name].WHEN for name in CHANGING} <= {"prepared", "normalised"}


def test_they_act_in_the_order_of_their_numbers_then_of_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    for name in CHANGING:

        def note(image: np.ndarray, options: Any, data: DataOptions, rng: Any, name: str = name) -> np.ndarray:
            called.append(name)
            return image

        monkeypatch.setattr(AUGMENT[name], "apply", note)
    for when in ("prepared", "normalised"):
        called.clear()
        apply_all(when, draw_image(SHAPES[0]), {}, DATA, np.random.default_rng(0))
        assert sorted(called) == [name for name in CHANGING if when == AUGMENT[name].WHEN]
        assert [(AUGMENT[name].ORDER, name) for name in called] == sorted(
            (AUGMENT[name].ORDER, name) for name in called
        )
    assert called == ["intensity", "noise", "blur", "brightness", "low_resolution", "gamma"]  # the last five: nnU-Net's


@pytest.mark.parametrize("name", AUGMENT)
def test_the_defaults_fit_every_recipe(name: str, make_recipe: MakeRecipe) -> None:
    module = AUGMENT[name]
    for crop in ((16, 24), (16, 24, 8)):
        recipe = make_recipe(crop, (8,) * len(crop))
        assert [list(module.problems(stage, module.Options(), recipe)) for stage in ("pretrain", "fit")] == [[], []]
        assert list(augment_problems(recipe)) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_the_defaults_change_nothing_and_draw_nothing(changing: ModuleType, shape: tuple[int, ...]) -> None:
    rng, image = np.random.default_rng(3), draw_image(shape)
    before = rng.bit_generator.state
    np.testing.assert_array_equal(changing.apply(image.copy(), changing.Options(), DATA, rng), image)
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("when", ["prepared", "normalised"])
def test_without_any_section_nothing_is_changed(when: str) -> None:
    rng, image = np.random.default_rng(3), draw_image(SHAPES[0])
    before = rng.bit_generator.state
    np.testing.assert_array_equal(apply_all(when, image.copy(), {}, DATA, rng), image)
    assert rng.bit_generator.state == before
    assert all(section({}, name) == module.Options() for name, module in AUGMENT.items())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_change_follows_from_the_generator_alone(
    changing: ModuleType, shape: tuple[int, ...], make_recipe: MakeRecipe
) -> None:
    image, options = draw_image(shape), strong(changing)
    recipe = make_recipe(shape[1:], (4,) * len(shape[1:]))
    if list(changing.problems("fit", options, recipe)) and len(shape) == 4:
        pytest.skip("it is not for volumes")
    found = []
    for number in range(2):
        random.seed(number)  # global states that must not matter
        np.random.seed(number)
        torch.manual_seed(number)
        found.append([changing.apply(image.copy(), options, DATA, np.random.default_rng(seed)) for seed in range(8)])
    for one, same in zip(*found, strict=True):
        np.testing.assert_array_equal(one, same)
        assert (one.shape, one.dtype) == (image.shape, np.float32)
        assert np.isfinite(one).all()
    assert any(not np.allclose(one, image) for one in found[0])
    assert any(not np.array_equal(one, found[0][0]) for one in found[0][1:])
