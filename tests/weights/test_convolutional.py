"""Weights for timm's convolutional networks: of timm itself, of other tools and of SelfMAE."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

from selfmae import plugins
from selfmae.errors import UserError
from selfmae.networks import network_of
from selfmae.options import Recipe, TargetOptions
from selfmae.weights import imagenet
from selfmae.weights.file import load_encoder

MakeRecipe = Callable[..., Recipe]
NETWORKS = [name for name, network in plugins.load_all("networks").items() if network.ENCODER == "timm"]


@pytest.fixture
def recipe_of(make_recipe: MakeRecipe) -> MakeRecipe:
    """Return a function that makes the recipe of a classifier."""

    def make(network: str, num_axes: int) -> Recipe:
        recipe = make_recipe((32,) * num_axes, (8,) * num_axes, network=network)
        return replace(recipe, target=TargetOptions("multiclass", ("well", "ill", "dead")))

    return make


@pytest.fixture(params=NETWORKS)
def trained(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    """Return a classifier of timm for RGB images, as from ImageNet, its statistics no longer those of a new one."""
    model = timm.create_model(request.param, pretrained=False, in_chans=3, num_classes=7).train()
    with torch.no_grad():
        model(torch.randn(4, 3, 64, 64) * 2 + 1)
    return request.param, model.eval()


def test_rgb_weights_see_a_grey_image_as_its_three_equal_channels(
    trained: tuple[str, nn.Module], recipe_of: MakeRecipe
) -> None:
    name, model = trained
    recipe = recipe_of(name, 2)
    fitted = imagenet.fit_weights(model.state_dict(), recipe, "timm")
    ours = network_of(recipe).build(recipe).eval()
    new = load_encoder(ours, fitted.weights)
    assert new == ("head.weight", "head.bias")
    assert list(fitted.adapted.values()) == ["3 to 1 channels by their sum"]
    assert len(fitted.unused) == 2
    grey = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        features = model.forward_head(model.forward_features(grey.expand(-1, 3, -1, -1)), pre_logits=True)  # type: ignore[operator]
        torch.testing.assert_close(ours.encoder(grey), features, atol=1e-4, rtol=1e-4)  # type: ignore[operator]


def test_weights_of_another_network_are_refused_with_what_lacks(recipe_of: MakeRecipe) -> None:
    other = timm.create_model("resnet18", pretrained=False).state_dict()
    with pytest.raises(
        UserError, match=r"my\.pth do not fit model.network resnet50: \d+ of its 318 tensors are missing"
    ):
        imagenet.fit_weights(other, recipe_of("resnet50", 2), "my.pth")


def test_volumes_have_no_imagenet_weights(recipe_of: MakeRecipe) -> None:
    with pytest.raises(UserError, match=r"imagenet has weights of model\.network resnet50 for 2-D images only"):
        imagenet.imagenet_weights(recipe_of("resnet50", 3))


def test_imagenet_weights_are_those_of_timm_with_their_licence(
    trained: tuple[str, nn.Module], recipe_of: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, model = trained
    monkeypatch.setattr(imagenet, "timm_weights", lambda wanted: (model.state_dict(), "apache-2.0"))
    fitted, licence = imagenet.imagenet_weights(recipe_of(name, 2))
    assert fitted.layout == f"timm {name}"
    assert licence == f"apache-2.0 ({plugins.load('networks', name).IMAGENET})"
    assert timm.models.is_model_pretrained(plugins.load("networks", name).IMAGENET)
