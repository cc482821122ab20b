"""What every loss of losses/ keeps to; a new file is tested without a test of its own."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from selfmae import plugins
from selfmae.losses import USUAL, loss_of, loss_problems, target_of
from selfmae.options import Recipe, TargetOptions

MakeRecipe = Callable[..., Recipe]
LOSSES = plugins.load_all("losses")
TARGETS = {
    "mask": TargetOptions("mask", ("organ", "lesion"), (1, 2)),
    "regions": TargetOptions("mask", ("organ", "lesion"), (1, 2), {"whole": (1, 2), "core": (2,)}),
    "multilabel": TargetOptions("multilabel", ("mass", "nodule")),
    "multiclass": TargetOptions("multiclass", ("well", "ill", "dead")),
}
USES = [(name, kind) for name, loss in LOSSES.items() for kind in loss.TARGETS]
SURE = 20.0  # logit of what is predicted with certainty


def draw_truth(kind: str) -> tuple[Tensor, Tensor]:
    """Return a batch of two targets as a loss gets them, and logits that predict them."""
    rng = torch.Generator().manual_seed(0)
    if kind == "mask":
        indices = torch.randint(0, 3, (2, 1, 4, 4, 4), generator=rng)
        return indices, SURE * torch.nn.functional.one_hot(indices[:, 0], 3).movedim(-1, 1).float()
    if kind == "multiclass":
        targets = torch.eye(3)[torch.tensor([0, 2])]
        return targets, SURE * targets
    shape = (2, 2, 4, 4, 4) if kind == "regions" else (2, 2)
    targets = torch.randint(0, 2, shape, generator=rng).float()
    targets[:, 1] = 1 - targets[:, 0]  # both values are there
    return targets, SURE * (2 * targets - 1)


@pytest.fixture
def recipe_of(make_recipe: MakeRecipe) -> MakeRecipe:
    def make(name: str, kind: str) -> Recipe:
        num_axes = 3 if kind in ("mask", "regions") else 2
        recipe = make_recipe((4,) * num_axes, (4,) * num_axes)
        recipe = replace(recipe, target=TARGETS[kind], fit=replace(recipe.fit, loss=name))
        assert target_of(recipe) == kind
        return recipe

    return make


def test_every_kind_of_target_has_a_usual_loss_that_is_for_it() -> None:
    assert set(USUAL) == set(TARGETS)
    assert all(kind in LOSSES[name].TARGETS for kind, name in USUAL.items())


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_says_what_it_is_for_and_is_refused_for_all_else(name: str, recipe_of: MakeRecipe) -> None:
    assert isinstance(LOSSES[name].TARGETS, tuple)
    assert LOSSES[name].TARGETS
    assert set(LOSSES[name].TARGETS) <= set(TARGETS)
    for kind in TARGETS:
        problems = list(loss_problems(recipe_of(name, kind)))
        if kind in LOSSES[name].TARGETS:
            assert problems == []
            assert loss_of(recipe_of(name, kind)) is LOSSES[name]
            assert loss_of(recipe_of("", kind)) is LOSSES[USUAL[kind]]
        else:
            named = " and ".join(LOSSES[name].TARGETS)
            assert problems == [f"fit.loss {name} is for {named}, but the target is {kind}"]


@pytest.mark.parametrize(("name", "kind"), USES)
def test_a_loss_is_a_finite_number_with_a_gradient_that_is_smallest_for_the_truth(
    name: str, kind: str, recipe_of: MakeRecipe
) -> None:
    loss = LOSSES[name].make(recipe_of(name, kind))
    targets, right = draw_truth(kind)
    unsure = (0.1 * torch.randn(right.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
    value = loss(unsure, targets)
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.isfinite()
    value.backward()
    assert unsure.grad is not None
    assert unsure.grad.isfinite().all()
    assert unsure.grad.abs().sum() > 0
    assert float(loss(right, targets)) < float(value.detach()) < float(loss(-right, targets))
    moved = unsure.detach() - unsure.grad / unsure.grad.norm()
    assert float(loss(moved, targets)) < float(value.detach())


@pytest.mark.parametrize(("name", "kind"), [use for use in USES if use[1] != "multiclass"])
def test_a_loss_stays_a_number_where_nothing_of_a_label_is_there(name: str, kind: str, recipe_of: MakeRecipe) -> None:
    targets, right = draw_truth(kind)
    value = LOSSES[name].make(recipe_of(name, kind))(right.requires_grad_(), torch.zeros_like(targets))
    value.backward()
    assert value.isfinite()
    assert right.grad is not None
    assert right.grad.isfinite().all()


def test_a_loss_that_is_none_is_a_sentence(recipe_of: MakeRecipe) -> None:
    found = list(loss_problems(recipe_of("dise", "mask")))
    assert found == [f"fit.loss is 'dise', but must be one of {', '.join(plugins.names('losses'))}"]
    recipe = recipe_of("", "mask")
    (text,) = loss_problems(replace(recipe, pretrain=replace(recipe.pretrain, loss="dice_ce")))
    assert text == "pretrain.loss is 'dice_ce', but pre-training has the loss of its method: leave it out"
