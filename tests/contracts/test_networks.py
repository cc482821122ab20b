"""What every network of networks/ keeps to; a new file is tested without a test of its own."""

from collections.abc import Callable
from dataclasses import replace
from math import ceil
from pathlib import Path
from types import ModuleType

import pytest
import timm
import torch
from torch import Tensor, nn

from selfmae import plugins
from selfmae.models.vit import Encoder
from selfmae.networks import fit_crop, has_vit, network_problems, networks_for
from selfmae.options import PredictOptions, Recipe, TargetOptions
from selfmae.tasks.sliding_window import predict_rows
from selfmae.weights.file import load_whole, read_weights, save_weights

MakeRecipe = Callable[..., Recipe]
NETWORKS = plugins.load_all("networks")
TARGETS = {
    "mask": TargetOptions("mask", ("organ", "lesion"), (1, 2)),
    "multilabel": TargetOptions("multilabel", ("mass", "nodule")),
    "multiclass": TargetOptions("multiclass", ("well", "ill", "dead")),
}
USES = [(name, kind) for name, network in NETWORKS.items() for kind in network.TARGETS]
ONE_USE = [(name, network.TARGETS[0]) for name, network in NETWORKS.items()]
FEATURES = 4  # of the finest level, or the next number that a network can have


@pytest.fixture(autouse=True)
def same_random_state() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> ModuleType:
    return NETWORKS[request.param]


@pytest.fixture
def recipe_of(make_recipe: MakeRecipe) -> MakeRecipe:
    """Return a function that makes the recipe of a small network on the smallest crop it takes near 16 voxels."""

    def make(name: str, kind: str, num_axes: int, channels: int = 1) -> Recipe:
        step, crop = NETWORKS[name].FEATURE_STEP, fit_crop(name, (16,) * num_axes, ())
        features = step * ceil(FEATURES / step) if step else 0
        recipe = make_recipe(crop, (8,) * num_axes, channels, network=name, features=features)
        recipe = replace(recipe, target=TARGETS[kind], fit=replace(recipe.fit, batch=NETWORKS[name].MIN_SAMPLES))
        problems = list(network_problems(recipe))
        if num_axes == 2 and problems and not list(network_problems(make(name, kind, 3))):
            pytest.skip(f"{name} is for volumes")
        assert problems == []
        return recipe

    return make


def build(recipe: Recipe) -> nn.Module:
    model: nn.Module = NETWORKS[recipe.model.network].build(recipe)
    return model


def as_list(output: Tensor | list[Tensor]) -> list[Tensor]:
    return output if isinstance(output, list) else [output]


def test_a_network_says_what_it_is(network: ModuleType) -> None:
    assert network.__doc__
    assert network.__doc__.splitlines()[0].endswith(".")
    assert isinstance(network.TARGETS, tuple)
    assert set(network.TARGETS) <= set(TARGETS)
    assert network.TARGETS
    assert network.ENCODER in ("vit", "unet", "timm", "")
    assert isinstance(network.LIBRARY, str)
    assert all(isinstance(number, int) for number in (network.FEATURES, network.FEATURE_STEP, network.MIN_SAMPLES))
    assert network.MIN_SAMPLES >= 1
    assert (network.FEATURES > 0) == (network.FEATURE_STEP > 0)
    assert network.FEATURE_STEP == 0 or network.FEATURES % network.FEATURE_STEP == 0


def test_every_kind_of_target_has_a_network() -> None:
    assert all(networks_for(kind) for kind in TARGETS)


@pytest.mark.parametrize("crop", [(5, 7), (16, 16, 16), (37, 51, 36), (48, 48, 40)])
@pytest.mark.parametrize("spacing_mm", [(), (1.0, 1.0, 4.0)])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_fitting_crop_is_no_smaller_and_fits_itself(
    name: str, crop: tuple[int, ...], spacing_mm: tuple[float, ...]
) -> None:
    fitted = fit_crop(name, crop, spacing_mm)
    assert isinstance(fitted, tuple)
    assert all(new >= old for new, old in zip(fitted, crop, strict=True))
    assert fit_crop(name, fitted, spacing_mm) == fitted


@pytest.mark.parametrize("num_axes", [2, 3])
@pytest.mark.parametrize(("name", "kind"), USES)
def test_logits_have_the_shape_of_the_target_and_every_weight_takes_part(
    name: str, kind: str, num_axes: int, recipe_of: MakeRecipe
) -> None:
    recipe = recipe_of(name, kind, num_axes, channels=2)
    model, num_images = build(recipe), recipe.fit.batch
    outputs = as_list(model(torch.randn(num_images, 2, *recipe.data.crop), torch.ones(num_images, 2, 2)))
    size = recipe.data.crop if kind == "mask" else ()
    assert outputs[0].shape == (num_images, recipe.target.num_outputs, *size)
    sum(output.square().sum() for output in outputs).backward()  # type: ignore[union-attr]
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(("name", "kind"), ONE_USE)
def test_weights_come_back_from_a_file_as_they_were(
    name: str, kind: str, recipe_of: MakeRecipe, tmp_path: Path
) -> None:
    recipe = recipe_of(name, kind, 2)
    model, other = build(recipe).eval(), build(recipe).eval()
    save_weights(tmp_path / "model.safetensors", model.state_dict(), {})
    load_whole(other, read_weights(tmp_path / "model.safetensors")[0], tmp_path)
    images = torch.randn(2, 1, *recipe.data.crop)
    assert torch.equal(model(images), other(images))


@pytest.mark.parametrize("name", networks_for("mask"))
def test_windows_slide_over_an_image_larger_than_the_crop(name: str, recipe_of: MakeRecipe) -> None:
    recipe = recipe_of(name, "mask", 2)
    model = build(recipe).eval()
    image = torch.randn(1, recipe.data.crop[0] + 5, recipe.data.crop[1] + 9).numpy()
    with torch.no_grad():
        rows = torch.stack(list(predict_rows(model, image, recipe.data, PredictOptions(0.25), torch.device("cpu"))), 1)
    assert rows.shape == (3, *image.shape[1:])
    assert rows.isfinite().all()


@pytest.mark.parametrize(("name", "kind"), ONE_USE)
def test_weights_can_be_counted_without_memory(name: str, kind: str, recipe_of: MakeRecipe) -> None:
    recipe = recipe_of(name, kind, 3)
    with torch.device("meta"):
        counted = build(recipe)
    sizes = [sum(weight.numel() for weight in model.parameters()) for model in (counted, build(recipe))]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(("name", "kind"), ONE_USE)
def test_the_encoder_is_of_the_kind_that_the_file_says(name: str, kind: str, recipe_of: MakeRecipe) -> None:
    recipe, encoder = recipe_of(name, kind, 2), NETWORKS[name].ENCODER
    model = build(recipe)
    assert has_vit(recipe) == (encoder == "vit") == isinstance(getattr(model, "encoder", None), Encoder)
    if encoder == "timm":
        theirs = timm.create_model(name, pretrained=False, in_chans=1, num_classes=0).state_dict()
        ours = model.encoder.state_dict()  # type: ignore[union-attr]
        assert {key: tensor.shape for key, tensor in ours.items()} == {
            key: tensor.shape for key, tensor in theirs.items()
        }
        assert NETWORKS[name].IMAGENET.split(".")[0] == name
