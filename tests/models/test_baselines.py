"""Baselines from timm and MONAI: their sizes, and their outputs against the libraries' own."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from monai.networks.nets import DynUNet
from torch import Tensor, nn

from selfmae.errors import UserError
from selfmae.models.planned_unet import PlannedUNet
from selfmae.networks import network_of
from selfmae.networks.dynunet import plan_topology
from selfmae.options import Recipe, TargetOptions

MakeRecipe = Callable[..., Recipe]


def build(recipe: Recipe) -> nn.Module:
    model: nn.Module = network_of(recipe).build(recipe)
    return model


def as_list(output: Tensor | list[Tensor]) -> list[Tensor]:
    return output if isinstance(output, list) else [output]


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


@pytest.mark.parametrize("crop", [(16, 16, 16), (32, 32, 32), (64, 64)])
def test_dynunet_computes_what_monai_computes(crop: tuple[int, ...]) -> None:
    topology = plan_topology(crop, ())
    ours = PlannedUNet(topology.strides, topology.kernels, 1, 2, 4)
    num_levels = len(topology.strides)
    theirs = DynUNet(
        len(crop),
        1,
        2,
        topology.kernels,
        topology.strides,
        topology.strides[1:],
        filters=[4 * 2**level for level in range(num_levels)],
        deep_supervision=num_levels > 3,
        deep_supr_num=max(1, num_levels - 3),
        trans_bias=True,
    )
    left = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert left.unexpected_keys == []
    assert all(name.startswith("skip_layers.") for name in left.missing_keys)
    images = torch.randn(1, 1, *crop)
    assert torch.equal(ours.eval()(images), theirs.eval()(images))
    outputs, stacked = as_list(ours.train()(images)), theirs.train()(images)
    assert len(outputs) == max(1, num_levels - 2)
    if num_levels > 3:
        for output, other in zip(outputs, stacked.unbind(1), strict=True):
            assert torch.equal(nn.functional.interpolate(output, crop), other)


def test_dynunet_halves_what_the_spacing_says(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe((32, 32, 16), (8, 8, 8), network="dynunet", features=4)
    strides = [
        build(replace(recipe, data=replace(recipe.data, spacing_mm=spacing))).strides[1]
        for spacing in ((), (1.0, 1.0, 4.0))
    ]
    assert strides == [(2, 2, 2), (2, 2, 1)]


@pytest.mark.parametrize("network", ["swinunetr", "monai_unetr"])
def test_a_missing_library_is_a_sentence(
    network: str, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfmae.networks.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf'{network} needs einops: run `pip install "selfmae\[baselines\]"`'):
        build(make_recipe((64, 32), (8, 8), network=network))
