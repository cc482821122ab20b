"""Networks other than the ViT: nnU-Net's published plans, crops that fit, and the sentence where one does not."""

from types import ModuleType

import pytest

from selfmae import plugins
from selfmae.errors import UserError
from selfmae.networks import crop_steps, fit_crop, network_name
from selfmae.networks.dynunet import plan_topology
from selfmae.options import Recipe
from selfmae.recipe import make_recipe, overlay, parse_sets

OPTIM = {"steps": 10, "batch": 4, "lr": 1e-3}
MASKS = {
    "data": {"source": "scans", "channels": ["ct"], "crop": [32, 32, 16], "intensity": "zscore"},
    "target": {"kind": "mask", "names": ["liver"], "values": [6]},
    "model": {"patch": [8, 8, 4], "width": 48, "depth": 2, "heads": 3},
    "mae": {"decoder_width": 24, "decoder_depth": 1, "decoder_heads": 3},
    "pretrain": OPTIM,
    "fit": OPTIM,
}
CLASSES = MASKS | {"target": {"kind": "multiclass", "names": ["well", "ill"]}}


def recipe_with(*settings: str, below: dict[str, object] = MASKS) -> Recipe:
    return make_recipe(overlay(below, parse_sets(settings)), "my.yaml")


def error_of(*settings: str, below: dict[str, object] = MASKS) -> str:
    with pytest.raises(UserError) as caught:
        recipe_with(*settings, below=below)
    return str(caught.value)


def load(network: str) -> ModuleType:
    return plugins.load("networks", network)


IN_PLANE, ALL = (1, 2, 2), (2, 2, 2)


@pytest.mark.parametrize(
    ("crop", "spacing", "strides", "num_flat_kernels"),
    [
        ((128, 128, 128), (1.0, 0.77, 0.77), [ALL] * 5, 0),  # Task03_Liver
        ((40, 56, 40), (1.0, 1.0, 1.0), [ALL] * 3, 0),  # Task04_Hippocampus
        ((20, 320, 256), (3.6, 0.62, 0.62), [IN_PLANE] * 2 + [ALL] * 2 + [IN_PLANE] * 2, 2),  # Task05_Prostate
        ((20, 256, 224), (5.0, 1.56, 1.56), [IN_PLANE, ALL, ALL, IN_PLANE, IN_PLANE], 1),  # ACDC
    ],
)
def test_topologies_are_those_of_published_plans_of_nnunet(
    crop: tuple[int, ...], spacing: tuple[float, ...], strides: list[tuple[int, ...]], num_flat_kernels: int
) -> None:
    topology = plan_topology(crop, spacing)
    assert topology.strides == ((1, 1, 1), *strides)
    assert [kernel[0] for kernel in topology.kernels] == [1] * num_flat_kernels + [3] * (
        len(strides) + 1 - num_flat_kernels
    )


def test_without_a_usable_spacing_axes_count_as_equal() -> None:
    equal = plan_topology((32, 32, 16), (1, 1, 1))
    assert plan_topology((32, 32, 16), ()) == plan_topology((32, 32, 16), (1.0, 0.0, 5.0)) == equal
    assert plan_topology((32, 32, 16), (1.0, 1.0, 5.0)) != equal


@pytest.mark.parametrize("network", ["attentionunet", "monai_unetr", "segresnet", "swinunetr"])
def test_a_network_of_masks_that_halves_has_a_crop_that_can_be_halved(network: str) -> None:
    fitted = fit_crop(network, (37, 51, 36), ())
    assert all(extent % 2 ** load(network).HALVINGS == 0 for extent in fitted)


def test_the_vit_is_left_to_its_patches() -> None:
    assert fit_crop("vit", (37, 51), ()) == fit_crop("unetr", (37, 51), ()) == (37, 51)
    assert crop_steps("vit", (8, 4)) == crop_steps("unetr", (8, 4)) == (8, 4)
    assert crop_steps("swinunetr", (8, 4)) == (32, 32)


def test_a_target_without_a_named_network_has_that_of_nnunet_for_masks_and_the_vit_for_labels() -> None:
    assert network_name(recipe_with()) == network_name(recipe_with("model.network=dynunet")) == "dynunet"
    assert network_name(recipe_with("model.network=unetr")) == "unetr"
    assert (
        network_name(recipe_with(below=CLASSES))
        == network_name(recipe_with("model.network=vit", below=CLASSES))
        == "vit"
    )


@pytest.mark.parametrize(
    ("network", "crop", "example"),
    [
        ("dynunet", "[34, 32, 16]", "[40, 32, 16]"),
        ("attentionunet", "[40, 32, 16]", "[48, 32, 16]"),
        ("swinunetr", "[32, 32, 32]", "[64, 32, 32]"),
        ("segresnet", "[36, 32, 16]", "[40, 32, 16]"),
        ("monai_unetr", "[24, 32, 16]", "[32, 32, 16]"),
    ],
)
def test_a_crop_that_a_network_cannot_take_is_a_sentence_with_one_that_it_can(
    network: str, crop: str, example: str
) -> None:
    text = error_of(f"model.network={network}", f"data.crop={crop}", "model.patch=[2, 2, 2]")
    assert f"data.crop {crop} does not fit model.network {network}, which halves it several times" in text
    assert f"set for example {example}" in text
    assert recipe_with(f"model.network={network}", f"data.crop={example}").model.network == network


def test_other_networks_need_no_multiple_of_the_patch_but_the_vit_does() -> None:
    settings = ("data.crop=[40, 40, 16]", "model.patch=[16, 16, 16]")
    assert recipe_with("model.network=dynunet", *settings).data.crop == (40, 40, 16)
    assert recipe_with(*settings).data.crop == (40, 40, 16)
    assert "must be a multiple of model.patch" in error_of("model.network=unetr", *settings)


def test_a_network_of_another_kind_of_target_is_a_sentence() -> None:
    wrong = error_of("model.network=resnet50")
    assert "model.network resnet50 classifies, but the target is mask: choose another network" in wrong
    wrong = error_of("model.network=dynunet", below=CLASSES)
    assert "model.network dynunet segments, but the target is multiclass: choose another network" in wrong


def test_an_unknown_network_is_a_sentence_with_the_nearest_or_all_known_ones() -> None:
    known = ", ".join(plugins.names("networks"))
    assert error_of("model.network=x").endswith(f"key 'model.network' has the value 'x'. Known: {known}.")
    assert error_of("model.network=unet").endswith("key 'model.network' has the value 'unet'. Did you mean 'unetr'?")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["model.features=8", "model.network=unetr"], "model.features is 8, but must be 0 for model.network unetr"),
        (
            ["model.features=16", "model.network=swinunetr", "data.crop=[64, 64, 32]"],
            "model.features is 16, but must be 0 or a multiple of 12 for model.network swinunetr",
        ),
        (["model.features=9", "model.network=segresnet"], "must be 0 or a multiple of 8 for model.network segresnet"),
        (["model.features=-8", "model.network=segresnet"], "model.features is -8, but must be at least 0"),
    ],
)
def test_features_that_a_network_cannot_have_are_a_sentence(settings: list[str], expected: str) -> None:
    assert expected in error_of(*settings)


def test_a_classifier_with_batch_norms_needs_two_samples_at_once() -> None:
    settings = ("model.network=densenet121", "data.crop=[32, 32, 32]", "fit.accumulate=4")
    assert "fit.batch must give model.network densenet121 at least 2 samples at once" in error_of(
        *settings, below=CLASSES
    )
    assert recipe_with(*settings[:2], below=CLASSES).model.network == "densenet121"
