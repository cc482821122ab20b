"""Self pre-training samples: a crop, an order of patches, and never a label."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from selfmae.augment import spatial
from selfmae.data.case import Case
from selfmae.data.sampling import Draw, collate
from selfmae.methods import mae
from selfmae.options import DataOptions, ModelOptions, OptimOptions, Recipe, TargetOptions
from selfmae.tasks.pretraining import Pretraining

RATIO = 0.75


@pytest.fixture
def recipe() -> Recipe:
    optim = OptimOptions(steps=1, batch=1, lr=1e-3)
    return Recipe(
        DataOptions("", channels=("x",), crop=(8, 8, 4), intensity="range"),
        TargetOptions("mask", ("a",), (1,)),
        ModelOptions(patch=(4, 4, 2), width=24, depth=2, heads=2),
        optim,
        optim,
        {"mae": mae.Options(RATIO, decoder_width=24, decoder_depth=1, decoder_heads=2)},
    )


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Return a case without a file at its target, whose voxels are all different."""
    np.save(tmp_path / "x.npy", np.arange(12 * 8 * 6, dtype=float).reshape(12, 8, 6))
    return Case("x", "p", (tmp_path / "x.npy",), tmp_path / "none.nii", "train")


def test_a_sample_is_a_crop_of_the_image_and_an_order_of_all_patches(recipe: Recipe, case: Case) -> None:
    task = Pretraining(recipe, "mae")
    sample = task.sample(Draw(case, 3))
    assert set(sample) == {"image", "order"}
    assert sorted(sample["order"].tolist()) == list(range(8))
    whole = np.asarray(task.store.image(case), dtype=np.float32)
    places = np.argwhere(whole[0] == float(sample["image"][0, 0, 0, 0]))
    crops = [whole[:, x : x + 8, y : y + 8, z : z + 4] for x, y, z in places]
    assert any(np.array_equal(crop, sample["image"].numpy()) for crop in crops)


def test_crops_reach_every_place(recipe: Recipe, case: Case) -> None:
    task = Pretraining(recipe, "mae")
    lows = {round(float(task.sample(Draw(case, seed))["image"].min()), 3) for seed in range(200)}
    assert len(lows) == 5 * 1 * 3


def test_crops_centred_on_tissue_show_no_empty_air(recipe: Recipe, tmp_path: Path) -> None:
    image = np.zeros((40, 30, 12))
    image[30:36, 20:26, 4:8] = 1 + np.random.default_rng(0).random((6, 6, 4))
    np.save(tmp_path / "air.npy", image)
    case = Case("x", "p", (tmp_path / "air.npy",), None, "train")
    for share in (0.0, 0.5, 1.0):
        changed = replace(
            recipe, pretrain=replace(recipe.pretrain, augment={"spatial": spatial.Options(foreground=share)})
        )
        shown = [bool(Pretraining(changed, "mae").sample(Draw(case, seed))["image"].any()) for seed in range(100)]
        assert np.mean(shown) == pytest.approx({0.0: 0.2, 0.5: 0.6, 1.0: 1.0}[share], abs=0.15)


def test_the_mask_does_not_depend_on_the_augmentation(recipe: Recipe, case: Case) -> None:
    flipped = replace(recipe, pretrain=replace(recipe.pretrain, augment={"spatial": spatial.Options((0,), flip=1.0)}))
    plain, other = Pretraining(recipe, "mae").sample(Draw(case, 1)), Pretraining(flipped, "mae").sample(Draw(case, 1))
    assert torch.equal(plain["order"], other["order"])
    assert torch.equal(plain["image"].flip(1), other["image"])


def test_the_augmentation_is_that_of_pretraining_not_of_fine_tuning(recipe: Recipe, case: Case) -> None:
    tuned = replace(recipe, fit=replace(recipe.fit, augment={"spatial": spatial.Options((0,), flip=1.0)}))
    assert torch.equal(
        Pretraining(recipe, "mae").sample(Draw(case, 1))["image"],
        Pretraining(tuned, "mae").sample(Draw(case, 1))["image"],
    )


def test_the_target_plays_no_part(recipe: Recipe, case: Case) -> None:
    task = Pretraining(recipe, "mae")
    ours = task.sample(Draw(case, 1))
    theirs = task.sample(Draw(replace(case, target=None), 1))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_loss_is_the_error_of_hidden_patches_which_the_model_does_not_see(recipe: Recipe, case: Case) -> None:
    torch.manual_seed(0)
    task = Pretraining(replace(recipe, methods={"mae": replace(recipe.methods["mae"], target="raw")}), "mae")
    model, batch = task.build(), collate([task.sample(Draw(case, 1))])
    changed = batch["image"].clone()
    x, y, z = np.unravel_index(int(batch["order"][0, -1]), (2, 2, 2))
    changed[:, :, 4 * x : 4 * x + 4, 4 * y : 4 * y + 4, 2 * z : 2 * z + 2] += 5
    with torch.no_grad():
        predicted, target = model(batch["image"], batch["order"])
        same, other = model(changed, batch["order"])
        loss = task.loss(model, batch)
    assert predicted.shape == (1, 8 * RATIO, 4 * 4 * 2)
    assert torch.equal(predicted, same)
    assert not torch.equal(target, other)
    assert float(loss) == pytest.approx(float(((predicted - target) ** 2).mean()), rel=1e-5)
