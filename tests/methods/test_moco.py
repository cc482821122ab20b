"""Samples for MoCo: two views of a picture, drawn apart, and never a label."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from selfmae.augment import intensity, spatial
from selfmae.data.case import Case
from selfmae.data.sampling import Draw
from selfmae.methods import moco
from selfmae.options import DataOptions, ModelOptions, OptimOptions, Recipe, TargetOptions
from selfmae.seeds import generator
from selfmae.tasks.pretraining import Pretraining

NO_DATA = DataOptions("")


@pytest.fixture
def recipe() -> Recipe:
    augment = {"spatial": spatial.Options((1,), min_scale=0.5), "intensity": intensity.Options(blur=0.5)}
    optim = OptimOptions(1, 2, 1e-3, accumulate=2, augment=augment)
    return Recipe(
        DataOptions("", channels=("x",), crop=(16, 16), intensity="range"),
        TargetOptions("multilabel", ("a",)),
        ModelOptions(patch=(8, 8), network="resnet50"),
        optim,
        optim,
        methods={"moco": moco.Options(queue=4, momentum=0.81)},
    )


@pytest.fixture
def case(tmp_path: Path) -> Case:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((16, 20)))
    return Case("x", "p", (tmp_path / "x.npy",), (1.0,), "train")


def test_a_sample_is_a_pure_function_of_its_draw(recipe: Recipe, case: Case) -> None:
    task = Pretraining(recipe, "moco")
    first = task.sample(Draw(case, 1))
    np.random.seed(3)  # a global state that must not matter
    torch.manual_seed(3)
    again, other = task.sample(Draw(case, 1)), task.sample(Draw(case, 2))
    assert set(first) == {"query", "key"}
    assert all(torch.equal(first[view], again[view]) for view in first)
    assert not any(torch.equal(first[view], other[view]) for view in first)


def test_the_two_views_are_drawn_apart(recipe: Recipe, case: Case) -> None:
    sample = Pretraining(recipe, "moco").sample(Draw(case, 1))
    assert sample["query"].shape == sample["key"].shape == (1, 16, 16)
    assert not torch.equal(sample["query"], sample["key"])


def test_the_target_plays_no_part(recipe: Recipe, case: Case) -> None:
    task = Pretraining(recipe, "moco")
    ours, theirs = task.sample(Draw(case, 1)), task.sample(Draw(replace(case, target=None), 1))
    assert all(torch.equal(ours[view], theirs[view]) for view in ours)


def test_the_copy_moves_once_a_step_however_many_passes_it_has(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    monkeypatch.setattr("selfmae.models.moco.MomentumContrast", lambda *values: given.append(values[-1]))
    Pretraining(recipe, "moco").build()
    assert given[0] ** recipe.pretrain.accumulate == pytest.approx(0.81)


def test_a_blur_keeps_the_mean_and_lessens_the_spread() -> None:
    image = np.random.default_rng(0).random((2, 224, 224)).astype(np.float32)
    blurred = intensity.apply(image.copy(), intensity.Options(blur=1.0), NO_DATA, generator(1))
    assert blurred.mean() == pytest.approx(image.mean(), rel=1e-3)
    assert blurred.std() < 0.9 * image.std()
    assert not np.allclose(blurred[0], blurred[1])  # channels are not mixed


def test_half_of_the_images_are_blurred() -> None:
    image = np.random.default_rng(0).random((1, 64, 64)).astype(np.float32)
    options = intensity.Options(blur=0.5)
    same = [
        np.array_equal(intensity.apply(image.copy(), options, NO_DATA, generator(seed)), image) for seed in range(100)
    ]
    assert np.mean(same) == pytest.approx(0.5, abs=0.15)
