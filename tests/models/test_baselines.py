"""Baselines from timm and MONAI: their sizes, their outputs against the libraries' own, their files, their starts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from monai.networks.nets import DynUNet
from torch import Tensor, nn

from selfmae.errors import UserError
from selfmae.models import conv_classifiers as classifiers
from selfmae.models import monai_segmenters as segmenters
from selfmae.models.planned_unet import PlannedUNet
from selfmae.networks.dynunet import plan_topology
from selfmae.networks.registry import CLASSIFIERS, SEGMENTERS, fit_crop
from selfmae.options import PredictOptions, Recipe, TargetOptions
from selfmae.tasks import build_network
from selfmae.tasks.sliding_window import predict_rows
from selfmae.weights.file import load_encoder, load_whole, read_weights, save_weights

MakeRecipe = Callable[..., Recipe]
SMALL = {"swinunetr": 12, "segresnet": 8}


@pytest.fixture
def recipe_of(make_recipe: MakeRecipe) -> MakeRecipe:
    """Return a function that makes the recipe of a small baseline on the smallest crop it takes."""

    def make(network: str, num_axes: int, channels: int = 1, crop: tuple[int, ...] = ()) -> Recipe:
        fitted = fit_crop(network, crop or (16,) * num_axes, ())
        features = 0 if network in CLASSIFIERS else SMALL.get(network, 4)
        recipe = make_recipe(fitted, (8,) * num_axes, channels, network=network, features=features)
        classes = TargetOptions("multiclass", ("well", "ill", "dead"))
        return replace(recipe, target=classes) if network in CLASSIFIERS else recipe

    return make


def as_list(output: Tensor | list[Tensor]) -> list[Tensor]:
    return output if isinstance(output, list) else [output]


@pytest.mark.parametrize("num_axes", [2, 3])
@pytest.mark.parametrize("network", [*SEGMENTERS, *CLASSIFIERS])
def test_logits_have_the_shape_of_the_task_and_every_weight_takes_part(
    network: str, num_axes: int, recipe_of: MakeRecipe
) -> None:
    recipe = recipe_of(network, num_axes, channels=2)
    model = build_network(recipe)
    num_images = 1 if network in SEGMENTERS else 2
    outputs = as_list(model(torch.randn(num_images, 2, *recipe.data.crop), torch.ones(num_images, 2, 2)))
    size = recipe.data.crop if network in SEGMENTERS else ()
    assert outputs[0].shape == (num_images, recipe.target.num_outputs, *size)
    sum(output.square().sum() for output in outputs).backward()  # type: ignore[union-attr]
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("network", [*SEGMENTERS, "resnet50"])
def test_weights_come_back_from_a_file_as_they_were(network: str, recipe_of: MakeRecipe, tmp_path: Path) -> None:
    recipe = recipe_of(network, 2)
    model, other = build_network(recipe).eval(), build_network(recipe).eval()
    save_weights(tmp_path / "model.safetensors", model.state_dict(), {})
    load_whole(other, read_weights(tmp_path / "model.safetensors")[0], tmp_path)
    images = torch.randn(2, 1, *recipe.data.crop)
    assert torch.equal(model(images), other(images))


@pytest.mark.parametrize("network", SEGMENTERS)
def test_windows_slide_over_an_image_larger_than_the_crop(network: str, recipe_of: MakeRecipe) -> None:
    recipe = recipe_of(network, 2)
    model = build_network(recipe).eval()
    image = torch.randn(1, recipe.data.crop[0] + 5, recipe.data.crop[1] + 9).numpy()
    with torch.no_grad():
        rows = torch.stack(list(predict_rows(model, image, recipe.data, PredictOptions(0.25), torch.device("cpu"))), 1)
    assert rows.shape == (2, *image.shape[1:])
    assert rows.isfinite().all()


@pytest.mark.parametrize("network", [*SEGMENTERS, *CLASSIFIERS])
def test_models_can_be_counted_without_memory(network: str, recipe_of: MakeRecipe) -> None:
    recipe = recipe_of(network, 3)
    with torch.device("meta"):
        counted = build_network(recipe)
    sizes = [sum(weight.numel() for weight in model.parameters()) for model in (counted, build_network(recipe))]
    assert sizes[0] == sizes[1]


def without_spares(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


@pytest.mark.parametrize(
    ("network", "crop", "millions"),
    [("swinunetr", (96, 96, 96), 62.2), ("dynunet", (128, 128, 128), 31.2), ("monai-unetr", (96, 96, 96), 92.8)],
)
def test_networks_are_as_large_as_in_their_papers(
    network: str, crop: tuple[int, ...], millions: float, make_recipe: MakeRecipe
) -> None:
    recipe = make_recipe(crop, (16, 16, 16), network=network, features=0, width=768, heads=12)
    recipe = replace(
        recipe, target=TargetOptions("mask", tuple(f"organ{number}" for number in range(13)), tuple(range(1, 14)))
    )
    with torch.device("meta"):
        assert without_spares(build_network(recipe)) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize(("name", "count"), [("resnet50", 25_557_032), ("densenet121", 7_978_856)])
def test_classifiers_have_the_parameters_of_their_papers(name: str, count: int, recipe_of: MakeRecipe) -> None:
    recipe = recipe_of(name, 2, channels=3)
    recipe = replace(recipe, target=TargetOptions("multiclass", tuple(map(str, range(1000)))))
    assert without_spares(build_network(recipe)) == count


@pytest.mark.parametrize("crop", [(16, 16, 16), (32, 32, 32), (64, 64)])
def test_dynunet_computes_what_monai_computes(crop: tuple[int, ...]) -> None:
    topology = plan_topology(crop, ())
    ours = PlannedUNet(topology, 1, 2, 4)
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
        build_network(replace(recipe, data=replace(recipe.data, spacing_mm=spacing))).strides[1]
        for spacing in ((), (1.0, 1.0, 4.0))
    ]
    assert strides == [(2, 2, 2), (2, 2, 1)]


@pytest.mark.parametrize("network", ["swinunetr", "monai-unetr"])
def test_a_missing_library_is_a_sentence(network: str, recipe_of: MakeRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmenters, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf'{network} needs einops: run `pip install "selfmae\[baselines\]"`'):
        build_network(recipe_of(network, 2))


@pytest.fixture(params=CLASSIFIERS)
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
    fitted = classifiers.fit_weights(model.state_dict(), recipe, "timm")
    ours = build_network(recipe).eval()
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
        classifiers.fit_weights(other, recipe_of("resnet50", 2), "my.pth")


def test_volumes_have_no_imagenet_weights(recipe_of: MakeRecipe) -> None:
    with pytest.raises(UserError, match=r"imagenet has weights of model\.network resnet50 for 2-D images only"):
        classifiers.imagenet_weights(recipe_of("resnet50", 3))


def test_imagenet_weights_are_those_of_timm_with_their_licence(
    trained: tuple[str, nn.Module], recipe_of: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, model = trained
    monkeypatch.setattr(classifiers, "timm_weights", lambda wanted: (model.state_dict(), "apache-2.0"))
    fitted, licence = classifiers.imagenet_weights(recipe_of(name, 2))
    assert fitted.layout == f"timm {name}"
    assert licence == f"apache-2.0 ({classifiers.IMAGENET[name]})"
    assert timm.models.is_model_pretrained(classifiers.IMAGENET[name])
