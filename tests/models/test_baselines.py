"""Baselines from timm and MONAI: their sizes, and their outputs against the libraries' own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from selfmae.errors import UserError
from selfmae.networks import network_of
from selfmae.options import Recipe, TargetOptions

MakeRecipe = Callable[..., Recipe]


def build(recipe: Recipe) -> nn.Module:
    model: nn.Module = network_of(recipe).build(recipe)
    return model


def without_spares(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


@pytest.mark.parametrize(
    ("network", "crop", "millions"),
    [("swinunetr", (96, 96, 96), 62.2), ("dynunet", (128, 128, 128), 31.2), ("monai_unetr", (96, 96, 96), 92.8)],
)
def test_networks_are_as_large_as_in_their_papers(
    network: str, crop: tuple[int, ...], millions: float, make_recipe: MakeRecipe
) -> None:
    recipe = make_recipe(crop, (16, 16, 16), network=network, features=0, width=768, heads=12)
    recipe = replace(
        recipe, target=TargetOptions("mask", tuple(f"organ{number}" for number in range(13)), tuple(range(1, 14)))
    )
    with torch.device("meta"):
        assert without_spares(build(recipe)) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize(("name", "count"), [("resnet50", 25_557_032), ("densenet121", 7_978_856)])
def test_classifiers_have_the_parameters_of_their_papers(name: str, count: int, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe((32, 32), (8, 8), channels=3, network=name)
    recipe = replace(recipe, target=TargetOptions("multiclass", tuple(map(str, range(1000)))))
    assert without_spares(build(recipe)) == count


def test_dynunet_halves_what_the_spacing_says(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe((32, 32, 16), (8, 8, 8), network="dynunet", features=4)
    networks: list[Any] = [
        build(replace(recipe, data=replace(recipe.data, spacing_mm=spacing))) for spacing in ((), (1.0, 1.0, 4.0))
    ]
    images = torch.zeros(1, 1, *recipe.data.crop)
    shapes = [network.encoder(images)[1].shape[2:] for network in networks]  # of the features that were halved once
    assert shapes == [(16, 16, 8), (16, 16, 16)]


@pytest.mark.parametrize("network", ["swinunetr", "monai_unetr"])
def test_a_missing_library_is_a_sentence(
    network: str, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfmae.networks.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf'{network} needs einops: run `pip install "selfmae\[baselines\]"`'):
        build(make_recipe((64, 32), (8, 8), network=network))
