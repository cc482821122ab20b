"""Masked image modelling of U-Nets: which blocks are hidden, and that it learns to fill them in."""

from dataclasses import replace
from math import ceil, prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from selfmae import plugins
from selfmae.augment import spatial
from selfmae.data.case import Case
from selfmae.data.sampling import Draw, collate, draw_at
from selfmae.methods import why_not
from selfmae.methods.masked_unet import (
    Options,
    block_of,
    can_pretrain,
    count_blocks,
    describe,
    draw_hidden,
    problems,
    trivial_loss,
    usual_block,
)
from selfmae.options import DataOptions, ModelOptions, OptimOptions, Recipe, TargetOptions
from selfmae.tasks.pretraining import Pretraining

CROP = (32, 32)


@pytest.fixture
def recipe() -> Recipe:
    optim = OptimOptions(1, 2, 1e-3, augment={"spatial": spatial.Options((0, 1))})
    return Recipe(
        DataOptions("", channels=("x",), crop=CROP, intensity="zscore"),
        TargetOptions("mask", ("organ",), (1,)),
        ModelOptions(patch=(8, 8), network="dynunet", features=4),
        optim,
        optim,
        methods={"masked_unet": Options(ratio=0.5, block=(8, 8))},
    )


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Return an image of bars, which the visible parts of it tell: filling in is possible."""
    rows = np.sin(np.arange(40) / 3.0)[:, None] * np.ones((1, 48))
    np.save(tmp_path / "x.npy", rows + 0.05 * np.random.default_rng(0).random((40, 48)))
    return Case("x", "p", (tmp_path / "x.npy",), None, "train")


def blocks_of(crop: tuple[int, ...], block: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """Return the blocks of a crop as slices, those cut by its border included, found voxel by voxel."""
    corners = [index for index in np.ndindex(*crop) if all(i % size == 0 for i, size in zip(index, block, strict=True))]
    return [tuple(slice(i, i + size) for i, size in zip(corner, block, strict=True)) for corner in corners]


@pytest.mark.parametrize(
    ("crop", "block"),
    [((32, 48), (8, 16)), ((20, 27), (8, 8)), ((12, 20, 9), (8, 8, 4)), ((32, 32, 1), (8, 8, 1)), ((10, 30), (10, 8))],
)
@pytest.mark.parametrize("ratio", [0.25, 0.6, 0.75])
def test_whole_blocks_are_hidden_in_the_share_asked_for(
    crop: tuple[int, ...], block: tuple[int, ...], ratio: float
) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        hidden = draw_hidden(crop, block, ratio, rng)
        assert hidden.shape == (1, *crop)
        assert hidden.dtype == bool
        parts = [hidden[0][part] for part in blocks_of(crop, block)]
        assert len(parts) == count_blocks(crop, block)
        assert all(part.all() or not part.any() for part in parts)
        assert sum(bool(part.all()) for part in parts) == round(ratio * len(parts))


@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("crop", [(16, 8), (24, 24), (9, 8)])
def test_at_least_one_block_is_hidden_and_one_is_not(crop: tuple[int, ...], ratio: float) -> None:
    for seed in range(5):
        hidden = draw_hidden(crop, (8, 8), ratio, np.random.default_rng(seed))
        assert hidden.any()
        assert not hidden.all()


def test_every_block_is_hidden_as_often_as_another() -> None:
    rng = np.random.default_rng(0)
    often = sum(draw_hidden((16, 24), (8, 8), 0.5, rng).astype(int) for _ in range(600))[0, ::8, ::8]  # type: ignore[index]
    assert np.abs(often / 600 - 0.5).max() < 0.1


@pytest.mark.parametrize(
    ("crop", "block"),
    [
        ((256, 256), (16, 16)),
        ((40, 56, 40), (8, 8, 8)),
        ((64, 63), (16, 8)),
        ((128, 128, 10), (16, 16, 10)),
        ((256, 224, 1), (16, 16, 1)),
        ((16, 15), (8, 15)),
    ],
)
def test_usual_blocks(crop: tuple[int, ...], block: tuple[int, ...], recipe: Recipe) -> None:
    assert usual_block(crop) == block
    data = replace(recipe.data, crop=crop)
    assert block_of(replace(recipe, data=data, methods={})) == block
    assert block_of(replace(recipe, data=data)) == (8, 8)


def test_blocks_that_do_not_fit_are_a_clause(recipe: Recipe) -> None:
    def told(**options: Any) -> list[str]:
        return list(problems(replace(recipe, methods={"masked_unet": Options(**options)})))

    assert told() == told(block=(16, 16)) == told(block=(32, 31)) == []
    assert told(block=(8, 8, 8)) == [
        "masked_unet.block [8, 8, 8] must have one value for each of the 2 axes of data.crop"
    ]
    assert told(block=(32, 40)) == [
        "masked_unet.block [32, 40] leaves one block in data.crop [32, 32]: make it smaller"
    ]
    too_large = replace(recipe, methods={"masked_unet": Options(block=(64, 64))})
    assert "make it smaller" in why_not(too_large, "masked_unet")


def test_it_is_for_unets_alone(recipe: Recipe) -> None:
    reasons = {name: can_pretrain(network, 2) for name, network in plugins.load_all("networks").items()}
    assert [name for name, reason in reasons.items() if not reason] == ["dynunet"]
    assert reasons["unetr"] == "pre-trains a U-Net (dynunet)"
    probed = replace(recipe, probe=replace(recipe.probe, every=5))
    assert why_not(probed, "masked_unet") == "cannot be probed, but probe.every is 5: set probe.every=0"


def test_a_sample_is_a_pure_function_of_its_draw(recipe: Recipe, case: Case) -> None:
    task = Pretraining(recipe, "masked_unet")
    first = task.sample(Draw(case, 1))
    np.random.seed(3)  # a global state that must not matter
    torch.manual_seed(3)
    again, other = task.sample(Draw(case, 1)), task.sample(Draw(case, 2))
    assert set(first) == {"image", "hidden"}
    assert first["image"].shape == first["hidden"].shape == (1, *CROP)
    assert first["hidden"].dtype == torch.bool
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)
    assert int(first["hidden"].sum()) == 0.5 * prod(CROP)


def test_the_target_plays_no_part(recipe: Recipe, case: Case) -> None:
    task = Pretraining(recipe, "masked_unet")
    ours, theirs = (task.sample(Draw(item, 1)) for item in (case, replace(case, target=Path("none.nii"))))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_loss_reads_hidden_voxels_of_the_targets_only(recipe: Recipe, case: Case) -> None:
    task = Pretraining(recipe, "masked_unet")
    model = task.build().eval()
    batch = collate([task.sample(Draw(case, 1))])
    fixed = SimpleNamespace(filled=model(batch["image"], batch["hidden"]).detach())
    targets = batch["image"].clone().requires_grad_()
    loss = task.objective.loss(lambda image, hidden: fixed.filled, {"image": targets, "hidden": batch["hidden"]})
    assert loss.item() == pytest.approx(float(task.loss(model, batch)), rel=1e-5)
    loss.backward()
    assert targets.grad is not None
    assert torch.equal(targets.grad != 0, batch["hidden"])


def test_it_learns_to_fill_in_better_than_the_trivial_guess(recipe: Recipe, case: Case) -> None:
    torch.manual_seed(0)
    task = Pretraining(recipe, "masked_unet")
    model = task.build().train()
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(60):
        batch = collate([task.sample(draw_at([case], 0, 2 * step + index)) for index in range(2)])
        optimiser.zero_grad()
        task.loss(model, batch).backward()
        optimiser.step()
    held_out = collate([task.sample(draw_at([case], 1, index)) for index in range(4)])
    with torch.no_grad():
        learned, guess = (
            float(task.objective.loss(item, held_out)) for item in (model.eval(), lambda image, _: 0 * image)
        )
    trivial = trivial_loss({"data.intensity": "zscore"})
    assert trivial == 1.0
    assert guess == pytest.approx(trivial, rel=0.3)  # the mean of crops of one image
    assert learned < 0.5 * guess


def test_the_trivial_guess_is_known_for_zscored_images_alone() -> None:
    assert trivial_loss({"data.intensity": "percentile"}) is None
    assert trivial_loss({}) is None


def test_what_it_does_is_said_with_its_share() -> None:
    assert describe({"masked_unet.ratio": 0.6}).endswith("set to zero, with 60 % of the blocks hidden")
    assert describe({}).endswith("set to zero,")


def test_blocks_are_counted_with_those_that_the_border_cuts() -> None:
    assert count_blocks((20, 27), (8, 8)) == ceil(20 / 8) * ceil(27 / 8) == 12
