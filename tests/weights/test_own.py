"""Weights that SelfMAE wrote for a U-Net: which tensors fine-tuning gets, and a sentence where they do not fit."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from selfmae.errors import UserError
from selfmae.methods.masked_unet import Options
from selfmae.models.planned_unet import MaskedUNet
from selfmae.networks import network_of
from selfmae.options import Recipe
from selfmae.recipe import as_content
from selfmae.weights.file import load_encoder
from selfmae.weights.own import fit_own_weights

MakeRecipe = Callable[..., Recipe]
OUTPUT = ("head.weight", "head.bias")


@pytest.fixture
def recipe(make_recipe: MakeRecipe) -> Recipe:
    return make_recipe((32, 32), (8, 8), network="dynunet", features=4)


def pretrained(recipe: Recipe) -> dict[str, Tensor]:
    """Return the tensors of a pre-trained model, each with random values."""
    model = MaskedUNet(network_of(recipe).build_encoder(recipe), len(recipe.data.channels))
    return {name: torch.randn_like(tensor) for name, tensor in model.state_dict().items()}


def metadata_of(recipe: Recipe) -> dict[str, Any]:
    return {"recipe": as_content(recipe), "channels": list(recipe.data.channels)}


def transferring(recipe: Recipe, transfer: Any) -> Recipe:
    return replace(recipe, methods={"masked_unet": Options(transfer=transfer)})


def error_of(weights: dict[str, Tensor], metadata: dict[str, Any], recipe: Recipe) -> str:
    with pytest.raises(UserError) as caught:
        fit_own_weights(weights, metadata, recipe, "mine")
    return str(caught.value)


@pytest.mark.parametrize("residual", [False, True])
def test_all_but_the_output_layers_come_from_pretraining(recipe: Recipe, residual: bool) -> None:
    recipe = replace(recipe, model=replace(recipe.model, residual=residual))
    weights = pretrained(recipe)
    found = fit_own_weights(weights, metadata_of(recipe), recipe, "mine")
    assert set(found.weights) == {name.removeprefix("encoder.") for name in weights if name not in OUTPUT}
    assert (found.layout, found.adapted, found.fresh) == ("SelfMAE dynunet", {}, {})
    assert set(found.unused) == set(OUTPUT)
    model: Any = network_of(recipe).build(recipe)
    new = load_encoder(model, found.weights)
    assert new
    assert all(name.startswith("heads.") for name in new)
    state = model.state_dict()
    assert all(torch.equal(state[f"encoder.{name}"], weights[f"encoder.{name}"]) for name in found.weights)
    assert set(state) == {f"encoder.{name}" for name in found.weights} | set(new)


def test_the_encoder_alone_leaves_the_upsampling_blocks_new(recipe: Recipe) -> None:
    recipe = transferring(recipe, "encoder")
    weights = pretrained(recipe)
    found = fit_own_weights(weights, metadata_of(recipe), recipe, "mine")
    names = [name.removeprefix("encoder.") for name in weights if name not in OUTPUT]
    decoder = {name for name in names if name.startswith("upsamples.")}
    assert decoder
    assert set(found.weights) == set(names) - decoder
    assert {name.split(".")[0] for name in found.weights} == {"input_block", "downsamples", "bottleneck"}
    assert found.fresh == dict.fromkeys(decoder, "masked_unet.transfer takes the encoder alone")
    assert set(found.unused) == decoder | set(OUTPUT)
    torch.manual_seed(1)
    model: Any = network_of(recipe).build(recipe)
    torch.manual_seed(1)
    untouched = network_of(recipe).build(recipe).state_dict()
    new = load_encoder(model, found.weights)
    assert {name for name in new if not name.startswith("heads.")} == {f"encoder.{name}" for name in decoder}
    assert all(torch.equal(model.state_dict()[name], untouched[name]) for name in new)


def test_a_finetuned_model_gives_its_encoder_too(recipe: Recipe) -> None:
    weights = network_of(recipe).build(recipe).state_dict()
    found = fit_own_weights(weights, metadata_of(recipe), recipe, "mine")
    assert set(found.unused) == {name for name in weights if name.startswith("heads.")}


def test_a_recipe_that_names_no_network_has_the_usual_one_of_its_target(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe((32, 32), (8, 8), features=4)
    assert recipe.model.network == ""
    assert fit_own_weights(pretrained(recipe), metadata_of(recipe), recipe, "mine").weights


def test_a_file_of_another_tool_is_refused(recipe: Recipe) -> None:
    assert error_of(pretrained(recipe), {}, recipe) == (
        "The weights of mine are of a file that SelfMAE did not write, but model.network dynunet takes only those that "
        "it did: give others."
    )


def test_weights_of_another_network_are_refused(recipe: Recipe) -> None:
    theirs = replace(recipe, model=replace(recipe.model, network="unetr"))
    assert error_of({}, metadata_of(theirs), recipe) == (
        "The weights of mine are of model.network unetr, but the recipe's is dynunet: set model.network=unetr, or give "
        "others."
    )


def test_weights_for_other_channels_are_refused(recipe: Recipe) -> None:
    theirs = replace(recipe, data=replace(recipe.data, channels=("t1", "t2")))
    assert error_of(pretrained(theirs), metadata_of(theirs), recipe) == (
        "The weights of mine are for the channels ['t1', 't2'], but data.channels is ['c0']: give images with the same "
        "channels, in this order."
    )


@pytest.mark.parametrize("change", [{"features": 8}, {"residual": True}, {"crop": (64, 64)}])
def test_weights_of_another_size_are_refused(recipe: Recipe, change: dict[str, Any]) -> None:
    ours = replace(recipe, data=replace(recipe.data, **change)) if "crop" in change else recipe
    ours = ours if "crop" in change else replace(recipe, model=replace(recipe.model, **change))
    text = error_of(pretrained(recipe), metadata_of(recipe), ours)
    assert text.startswith("The weights of mine do not fit model.network dynunet: ")
    assert " tensors are missing or of another shape (first: " in text
    assert text.endswith(
        "set data.crop, data.spacing_mm, model.features and model.residual as they were in its training."
    )


def test_a_decoder_of_another_shape_does_not_matter_where_it_is_not_taken(recipe: Recipe) -> None:
    weights = pretrained(recipe)
    cut = {name: tensor for name, tensor in weights.items() if "upsamples." not in name}
    recipe_alone = transferring(recipe, "encoder")
    assert fit_own_weights(cut, metadata_of(recipe), recipe_alone, "mine").weights
    assert "do not fit" in error_of(cut, metadata_of(recipe), recipe)
