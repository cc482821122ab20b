"""Our models as those of timm and MONAI: equal outputs of the real classes, or the reason why there is none."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import monai.networks.nets as monai_nets
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from selfmae.errors import UserError
from selfmae.methods import mae
from selfmae.models.mae import MaskedAutoencoder
from selfmae.models.unetr import UNETR
from selfmae.models.vit import Classifier
from selfmae.options import Recipe, TargetOptions
from selfmae.weights.adaptation import transfer
from selfmae.weights.exports import Export, to_monai, to_timm

Fill = Callable[[nn.Module], nn.Module]
Make = Callable[..., Recipe]
CLASSES = {
    "timm.models.vision_transformer.VisionTransformer": VisionTransformer,
    "monai.networks.nets.ViT": monai_nets.ViT,
    "monai.networks.nets.UNETR": monai_nets.UNETR,
}


def build(export: Export) -> nn.Module:
    """Return the real model of an export, its state loaded strictly, and changed as the export advises."""
    model = CLASSES[export.model](**export.arguments)
    model.load_state_dict(export.state, strict=True)
    exec(export.advice, {"model": model, "torch": torch})
    return model.eval()


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def classifying(recipe: Recipe) -> Recipe:
    return replace(recipe, target=TargetOptions("multilabel", ("a", "b", "c")))


@pytest.mark.parametrize("class_token", [True, False])
def test_timm_gives_the_logits_of_a_classifier(make_recipe: Make, randomise: Fill, class_token: bool) -> None:
    recipe = classifying(make_recipe((16, 24), (4, 8), 2, class_token=class_token))
    ours, images = randomise(Classifier(recipe.model, 2, (16, 24), 3)), torch.randn(2, 2, 16, 24)
    close(build(to_timm(ours.state_dict(), recipe, "finetune"))(images), ours(images))


@pytest.mark.parametrize("class_token", [True, False])
def test_timm_gives_the_tokens_of_a_pretrained_encoder(make_recipe: Make, randomise: Fill, class_token: bool) -> None:
    recipe, images = make_recipe((16, 24), (4, 8), class_token=class_token), torch.randn(2, 1, 16, 24)
    ours = randomise(MaskedAutoencoder(recipe.model, mae.Options(), 1, (16, 24)))
    theirs: Any = build(to_timm(ours.state_dict(), recipe, "pretrain"))
    close(theirs.forward_features(images), ours.encoder(images).tokens)


def test_timm_gets_the_encoder_of_a_segmentation_model(make_recipe: Make, randomise: Fill) -> None:
    recipe, images = make_recipe((16, 16), (4, 4)), torch.randn(2, 1, 16, 16)
    ours = randomise(UNETR(recipe.model, 1, (16, 16), 2))
    theirs: Any = build(to_timm(ours.state_dict(), recipe, "finetune"))
    close(theirs.forward_features(images), ours.encoder(images).tokens)


def test_timm_has_no_volumes(make_recipe: Make) -> None:
    with pytest.raises(UserError) as error:
        to_timm({}, make_recipe((8, 8, 8), (4, 4, 4)), "pretrain")
    assert str(error.value) == (
        "--to timm is for 2-D images, which all of timm's ViTs are for, but these are volumes: use monai."
    )


@pytest.mark.parametrize(("crop", "patch"), [((16, 24), (4, 8)), ((8, 16, 8), (4, 4, 2))])
def test_monai_gives_the_logits_of_a_classifier(
    make_recipe: Make, randomise: Fill, crop: tuple[int, ...], patch: tuple[int, ...]
) -> None:
    recipe, images = classifying(make_recipe(crop, patch, 2)), torch.randn(2, 2, *crop)
    ours = randomise(Classifier(recipe.model, 2, crop, 3))
    close(build(to_monai(ours.state_dict(), recipe, "finetune"))(images)[0], ours(images))


def test_monai_gives_the_tokens_of_a_pretrained_encoder(make_recipe: Make, randomise: Fill) -> None:
    recipe, images = make_recipe((8, 8, 16), (4, 4, 4), class_token=False), torch.randn(2, 1, 8, 8, 16)
    ours = randomise(MaskedAutoencoder(recipe.model, mae.Options(), 1, (8, 8, 16)))
    close(build(to_monai(ours.state_dict(), recipe, "pretrain"))(images)[0], ours.encoder(images).tokens)


@pytest.mark.parametrize("crop", [(32, 48), (32, 16, 32)])
def test_monai_gives_the_logits_of_unetr(make_recipe: Make, randomise: Fill, crop: tuple[int, ...]) -> None:
    recipe = make_recipe(crop, (16,) * len(crop), 2, depth=12, class_token=False)
    recipe = replace(recipe, target=TargetOptions("mask", ("a", "b"), (1, 2)))
    ours, images = randomise(UNETR(recipe.model, 2, crop, 3)), torch.randn(2, 2, *crop)
    close(build(to_monai(ours.state_dict(), recipe, "finetune"))(images), ours(images))


def test_layer_norms_that_are_not_the_other_tools_are_advised_of(make_recipe: Make) -> None:
    ours, monais = (classifying(make_recipe((8, 8), (4, 4), norm_eps=eps)) for eps in (1e-6, 1e-5))
    weights = Classifier(ours.model, 1, (8, 8), 3).state_dict()
    assert to_timm(weights, ours, "finetune").advice == to_monai(weights, monais, "finetune").advice == ""
    assert to_monai(weights, ours, "finetune").advice.endswith("module.eps = 1e-06")
    assert to_timm(weights, monais, "finetune").advice.endswith("module.eps = 1e-05")


@pytest.mark.parametrize("class_token", [True, False])
def test_with_monais_norms_small_tokens_give_equal_outputs_too(make_recipe: Make, class_token: bool) -> None:
    recipe = classifying(make_recipe((8, 8), (4, 4), norm_eps=1e-5, class_token=class_token))
    kind = "finetune" if class_token else "pretrain"
    ours: Any = Classifier(recipe.model, 1, (8, 8), 3).eval()  # of a new class token the spread is 0.02
    nn.init.normal_(ours.encoder.pos_embed, std=0.01)
    images = torch.randn(2, 1, 8, 8) / 100
    expected = ours(images) if class_token else ours.encoder(images).tokens
    close(build(to_monai(ours.state_dict(), recipe, kind))(images)[0], expected)


@pytest.mark.parametrize(("crop", "others"), [((8, 8), "timm or onnx"), ((8, 8, 8), "onnx")])
def test_a_head_on_the_mean_of_the_patches_is_none_of_monais(
    make_recipe: Make, crop: tuple[int, ...], others: str
) -> None:
    recipe = classifying(make_recipe(crop, (4,) * len(crop), class_token=False))
    with pytest.raises(UserError) as error:
        to_monai({}, recipe, "finetune")
    assert str(error.value) == (
        "--to monai: MONAI's ViT classifies by its class token, but model.class_token is false and this head reads "
        f"the mean of the patches: use --to {others}."
    )


def test_an_encoder_with_a_class_token_that_classifies_nothing_is_none_of_monais(make_recipe: Make) -> None:
    with pytest.raises(UserError) as error:
        to_monai({}, make_recipe((8, 8, 8), (4, 4, 4)), "pretrain")
    assert str(error.value) == (
        "--to monai: MONAI's ViT has a class token only in a classifier, but this encoder has one and is none: "
        "fine-tune it first, or pre-train with model.class_token=false."
    )


def test_every_reason_why_a_model_is_not_monais_unetr_is_named(make_recipe: Make) -> None:
    recipe = make_recipe((16, 16, 16), (8, 8, 16), out_indices=(0, 1, 1), out_norm="instance")
    with pytest.raises(UserError) as error:
        to_monai({}, recipe, "finetune")
    assert str(error.value) == (
        "--to monai: the model is not MONAI's UNETR (model.patch [8, 8, 16] is not 16 on every axis; model.depth is 2, "
        "not 12; model.out_indices [0, 1, 1] is not [3, 6, 9]; model.out_norm is instance, not none; "
        "model.class_token is "
        "true): train one that is, or use --to onnx."
    )


@pytest.mark.parametrize("export", [to_timm, to_monai])
def test_what_is_exported_can_be_read_again(make_recipe: Make, randomise: Fill, export: Callable[..., Export]) -> None:
    recipe, images = classifying(make_recipe((16, 16), (4, 4))), torch.randn(2, 1, 16, 16)
    ours: Any = randomise(Classifier(recipe.model, 1, (16, 16), 3))
    state = export(ours.state_dict(), recipe, "finetune").state
    fitted = transfer(state, {}, recipe, "exported")
    assert fitted.adapted.keys() <= {"norm.weight"}  # MONAI's epsilon
    assert fitted.fresh == {}
    again = Classifier(recipe.model, 1, (16, 16), 3).eval()
    again.encoder.load_state_dict({**ours.encoder.state_dict(), **fitted.weights, "pos_embed": ours.encoder.pos_embed})
    assert torch.equal(fitted.weights["pos_embed"], ours.encoder.pos_embed[:, 1:])
    with torch.no_grad():
        again.encoder.pos_embed[:, :1] = 0
    close(again.encoder(images).tokens, ours.encoder(images).tokens)
