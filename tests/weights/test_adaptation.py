"""Weights of other tools in our encoder: equal features, and a reason for each tensor that is not as it was."""

from collections.abc import Callable
from typing import Any

import monai.networks.nets as monai_nets
import pytest
import timm.models.vision_transformer as timm_vit
import torch
from monai.networks.nets.masked_autoencoder_vit import MaskedAutoEncoderViT
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from selfmae.errors import UserError
from selfmae.methods import mae
from selfmae.models.mae import MaskedAutoencoder
from selfmae.models.vit import Classifier, Encoder, sincos_positions
from selfmae.options import Recipe
from selfmae.recipe import as_content
from selfmae.weights.adaptation import Transfer, resize_positions, transfer
from selfmae.weights.checkpoint_formats import LAYOUTS
from selfmae.weights.file import load_encoder

Fill = Callable[[nn.Module], nn.Module]
Make = Callable[..., Recipe]


def encode(fitted: Transfer, recipe: Recipe, images: Tensor) -> Tensor:
    """Return the tokens of a fine-tuned model's encoder with the transferred weights."""
    model = Classifier(recipe.model, len(recipe.data.channels), recipe.data.crop, 2).eval()
    load_encoder(model, fitted.weights)
    return model.encoder(images).tokens


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def timm_model(size: int = 16, patch: int = 4, channels: int = 1, **more: Any) -> VisionTransformer:
    return VisionTransformer(size, patch, channels, embed_dim=48, depth=2, num_heads=3, **more)


def blocks_of(given: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    return {f"{prefix}{name}": given[name] for name in given if name.startswith(("blocks.", "norm."))}


# --- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more", [{}, {"class_token": False, "global_pool": "avg", "fc_norm": False}, {"no_embed_class": True}]
)
def test_timms_vit_gives_equal_features(make_recipe: Make, randomise: Fill, more: dict[str, Any]) -> None:
    theirs, images = randomise(timm_model(**more)), torch.randn(2, 1, 16, 16)
    recipe = make_recipe((16, 16), (4, 4), class_token=more.get("class_token", True))
    fitted = transfer(theirs.state_dict(), {}, recipe, "vit.pth")
    assert (fitted.layout, fitted.adapted, fitted.fresh) == ("timm ViT", {}, {})
    assert set(fitted.unused) >= {"head.weight", "head.bias"}
    close(encode(fitted, recipe, images), theirs.forward_features(images))


def test_the_norm_of_averaged_patches_becomes_that_of_the_tokens(make_recipe: Make, randomise: Fill) -> None:
    theirs, images = randomise(timm_model(global_pool="avg")), torch.randn(2, 1, 16, 16)
    recipe = make_recipe((16, 16), (4, 4))
    fitted = transfer(theirs.state_dict(), {}, recipe, "finetuned.pth")
    assert "averaged patches" in fitted.layout
    assert "averaged patches" in fitted.adapted["norm.weight"]
    close(encode(fitted, recipe, images), theirs.fc_norm(theirs.forward_features(images)))


@pytest.mark.parametrize("wrapper", ["", "module."])
def test_facebooks_pretraining_file_gives_the_features_of_its_encoder(
    make_recipe: Make, randomise: Fill, wrapper: str
) -> None:
    theirs, images = randomise(timm_model(num_classes=0)), torch.randn(2, 1, 16, 16)
    weights = theirs.state_dict() | {
        "mask_token": torch.randn(1, 1, 24),
        "decoder_embed.weight": torch.randn(24, 48),
        "decoder_blocks.0.norm1.weight": torch.randn(24),
        "decoder_pos_embed": torch.randn(1, 17, 24),
    }
    recipe = make_recipe((16, 16), (4, 4))
    fitted = transfer({f"{wrapper}{name}": tensor for name, tensor in weights.items()}, {}, recipe, "mae.pth")
    assert fitted.layout == "facebook MAE"
    assert len(fitted.unused) == 4
    close(encode(fitted, recipe, images), theirs.forward_features(images))


@pytest.mark.parametrize(("axes", "projection"), [(2, "conv"), (3, "conv"), (2, "perceptron"), (3, "perceptron")])
def test_monais_vit_gives_equal_tokens(make_recipe: Make, randomise: Fill, axes: int, projection: str) -> None:
    crop, patch = (16, 8, 8)[:axes], (4, 4, 2)[:axes]
    theirs = randomise(
        monai_nets.ViT(2, crop, patch, 48, 192, 2, 3, proj_type=projection, spatial_dims=axes, qkv_bias=True)
    )
    recipe, images = make_recipe(crop, patch, 2, class_token=False), torch.randn(2, 2, *crop)
    fitted = transfer(theirs.state_dict(), {}, recipe, "monai.pth")
    assert fitted.layout == "MONAI ViT"
    close(encode(fitted, recipe, images), theirs(images)[0])


def test_what_a_file_does_not_say_of_its_patches_is_told(make_recipe: Make) -> None:
    theirs = monai_nets.ViT(2, (16, 8), (4, 4), 48, 192, 2, 3, proj_type="perceptron", spatial_dims=2, qkv_bias=True)
    recipe = make_recipe((16, 8), (4, 4), 2, class_token=False, norm_eps=1e-5)
    assert transfer(theirs.state_dict(), {}, recipe, "monai.pth").adapted == {
        "patch_embed.proj.weight": "a matrix taken as patches of 4x4, as the file does not say",
        "pos_embed": "taken as those of 4x2 patches, as the file does not say",
    }


def test_monais_class_token_takes_no_position(make_recipe: Make, randomise: Fill) -> None:
    theirs = randomise(monai_nets.ViT(1, (12, 12), (4, 4), 48, 192, 2, 3, classification=True, spatial_dims=2))
    fitted = transfer(theirs.state_dict(), {}, make_recipe((16, 8), (4, 4)), "monai.pth")  # of 8 patches, not of 9
    assert fitted.adapted["pos_embed"] == "3x3 to 4x2 patches by interpolation"


def test_monais_new_vit_with_its_norms_gives_equal_tokens_of_faint_images(make_recipe: Make) -> None:
    theirs = monai_nets.ViT(1, (8, 8), (4, 4), 48, 192, 2, 3, spatial_dims=2).eval()
    recipe, images = make_recipe((8, 8), (4, 4), class_token=False, norm_eps=1e-5), torch.randn(2, 1, 8, 8) / 100
    fitted = transfer(theirs.state_dict(), {}, recipe, "monai.pth")
    assert "norm.weight" not in fitted.adapted
    close(encode(fitted, recipe, images), theirs(images)[0])


def test_monais_attention_without_biases_gets_zeros(make_recipe: Make, randomise: Fill) -> None:
    theirs = randomise(monai_nets.ViT(1, (8, 8, 8), (4, 4, 4), 48, 192, 2, 3))
    recipe, images = make_recipe((8, 8, 8), (4, 4, 4), class_token=False), torch.randn(2, 1, 8, 8, 8)
    fitted = transfer(theirs.state_dict(), {}, recipe, "monai.pth")
    assert fitted.adapted["blocks.1.attn.qkv.bias"] == "zero, as the file's attention has none"
    close(encode(fitted, recipe, images), theirs(images)[0])


def test_monais_classifier_brings_its_class_token(make_recipe: Make, randomise: Fill) -> None:
    theirs = randomise(monai_nets.ViT(1, (8, 8, 8), (4, 4, 4), 48, 192, 2, 3, classification=True, post_activation=""))
    recipe, images = make_recipe((8, 8, 8), (4, 4, 4)), torch.randn(2, 1, 8, 8, 8)
    fitted = transfer(theirs.state_dict(), {}, recipe, "monai.pth")
    tokens = encode(fitted, recipe, images)
    close(theirs.classification_head(tokens[:, 0]), theirs(images)[0])


def test_monais_unetr_gives_equal_tokens(make_recipe: Make, randomise: Fill) -> None:
    theirs = randomise(monai_nets.UNETR(1, 2, (16, 32, 16), feature_size=4, hidden_size=48, mlp_dim=192, num_heads=3))
    recipe, images = make_recipe((16, 32, 16), (16, 16, 16), depth=12, class_token=False), torch.randn(1, 1, 16, 32, 16)
    fitted = transfer(theirs.state_dict(), {}, recipe, "unetr.pth")
    assert fitted.layout == "MONAI UNETR"
    assert fitted.adapted["norm.weight"] == "from norms with an epsilon of 1e-05, as model.norm_eps may be"
    close(encode(fitted, recipe, images), theirs.vit(images)[0])


def test_monais_autoencoder_brings_its_norm_as_a_block(make_recipe: Make, randomise: Fill) -> None:
    theirs = MaskedAutoEncoderViT(1, (8, 8, 8), (4, 4, 4), 48, 192, 2, 3, decoder_hidden_size=24, decoder_num_heads=2)
    randomise(theirs)
    recipe, images = make_recipe((8, 8, 8), (4, 4, 4)), torch.randn(2, 1, 8, 8, 8)
    fitted = transfer(theirs.state_dict(), {}, recipe, "mae.pth")
    tokens = torch.cat([theirs.cls_token.expand(2, -1, -1), theirs.patch_embedding(images)], dim=1)
    assert fitted.layout == "MONAI MaskedAutoEncoderViT"
    assert torch.equal(fitted.weights["norm.weight"], theirs.blocks[2].weight)
    close(encode(fitted, recipe, images), theirs.blocks(tokens))


def selfmedmae(encoder: nn.Module, axes: int, channels: int) -> dict[str, Tensor]:
    """Return a pre-training file as SelfMedMAE names it, from timm-named blocks."""
    given = dict(encoder.state_dict())
    return {
        "encoder_pos_embed": torch.randn(1, 2**axes, 48) * 0.3,
        "decoder_pos_embed": torch.randn(1, 2**axes, 24),
        "mask_token": torch.randn(1, 1, 24),
        "encoder.cls_token": given["cls_token"],
        "encoder.patch_embed.proj.weight": torch.randn(48, channels, *(4,) * axes) * 0.1,
        "encoder.patch_embed.proj.bias": torch.randn(48),
        **blocks_of(given, "encoder."),
        "decoder.norm.weight": torch.randn(24),
        "encoder_to_decoder.weight": torch.randn(24, 48),
    }


def their_tokens(encoder: Any, weights: dict[str, Tensor], patches: Tensor) -> Tensor:
    """Return what SelfMedMAE's encoder makes of patches [B, N, *patch, C], the order that its embedding expects."""
    kernel, bias = (weights[f"encoder.patch_embed.proj.{name}"] for name in ("weight", "bias"))
    tokens = torch.einsum("bn...c,dc...->bnd", patches, kernel) + bias + weights["encoder_pos_embed"]
    tokens = torch.cat([weights["encoder.cls_token"].expand(len(tokens), -1, -1), tokens], dim=1)
    for block in encoder.blocks:
        tokens = block(tokens)
    return encoder.norm(tokens)


def test_selfmedmaes_volumes_give_the_tokens_of_their_pretraining(make_recipe: Make, randomise: Fill) -> None:
    encoder = randomise(timm_model(num_classes=0))
    weights, images = selfmedmae(encoder, 3, 2), torch.randn(2, 2, 8, 8, 8)
    cells = images.reshape(2, 2, 2, 4, 2, 4, 2, 4).permute(0, 2, 4, 6, 3, 5, 7, 1)  # [B, gh, gw, gd, ph, pw, pd, C]
    recipe = make_recipe((8, 8, 8), (4, 4, 4), 2)
    fitted = transfer(weights, {}, recipe, "mae3d.pth.tar")
    assert (fitted.layout, fitted.adapted, fitted.fresh) == ("SelfMedMAE MAE3D", {}, {})
    close(encode(fitted, recipe, images), their_tokens(encoder, weights, cells.reshape(2, 8, 4, 4, 4, 2)))


def test_selfmedmaes_scrambled_images_give_the_tokens_of_their_pretraining(make_recipe: Make, randomise: Fill) -> None:
    encoder = randomise(timm_model(num_classes=0))
    weights, images = selfmedmae(encoder, 2, 3), torch.randn(2, 3, 8, 8)
    cells = images.reshape(2, 3, 2, 4, 2, 4).permute(0, 2, 4, 1, 3, 5)  # [B, gh, gw, C, ph, pw], read as [ph, pw, C]
    recipe = make_recipe((8, 8), (4, 4), 3)
    fitted = transfer(weights, {}, recipe, "mae2d.pth.tar")
    assert fitted.adapted == {"patch_embed.proj.weight": "pixels in the order of its pre-training"}
    close(encode(fitted, recipe, images), their_tokens(encoder, weights, cells.reshape(2, 4, 4, 4, 3)))


def test_selfmedmaes_unetr_brings_its_learned_positions(make_recipe: Make, randomise: Fill) -> None:
    recipe, images = make_recipe((8, 8, 8), (4, 4, 4)), torch.randn(2, 1, 8, 8, 8)
    theirs = randomise(Encoder(recipe.model, 1, (8, 8, 8)))
    weights = {f"encoder.{name}": tensor for name, tensor in theirs.state_dict().items()}
    weights |= {"decoder.encoder1.layer.conv1.conv.weight": torch.randn(4, 1, 3, 3, 3)}
    fitted = transfer(weights, {}, recipe, "unetr3d.pth.tar")
    assert fitted.layout == "SelfMedMAE UNETR3D"
    close(encode(fitted, recipe, images), theirs(images).tokens)


def test_nnssls_vit_is_recognised_and_refused(make_recipe: Make) -> None:
    weights = {"eva.blocks.0.attn.q_proj.weight": torch.ones(2, 2), "down_projection.proj.weight": torch.ones(2)}
    with pytest.raises(UserError) as error:
        transfer(weights, {}, make_recipe((8, 8, 8), (4, 4, 4)), "nnssl.pth")
    assert str(error.value) == (
        "The weights of nnssl.pth are of the layout nnssl Eva/Primus, but it has rotary positions and gated MLPs, "
        "which this encoder has not: give those of a plain ViT."
    )


def test_a_file_of_no_known_layout_names_those_that_are(make_recipe: Make) -> None:
    with pytest.raises(UserError) as error:
        transfer({"layer1.0.conv1.weight": torch.ones(2)}, {}, make_recipe((8, 8), (4, 4)), "resnet.pth")
    text = str(error.value)
    assert text.startswith(
        "The weights of resnet.pth are of no known layout (first of 1 tensors: layer1.0.conv1.weight): give a file of "
    )
    assert all(layout.name in text for layout in LAYOUTS if not layout.hindrance)


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_another_grid_patch_and_channels_are_those_of_timms_own_resampling(make_recipe: Make, randomise: Fill) -> None:
    theirs = randomise(timm_model(32, 8, 3))
    recipe, images = make_recipe((20, 12), (4, 4)), torch.randn(2, 1, 20, 12)
    fitted = transfer(theirs.state_dict(), {}, recipe, "vit.pth")
    other = VisionTransformer((20, 12), 4, 1, embed_dim=48, depth=2, num_heads=3).eval()
    state = timm_vit.checkpoint_filter_fn(theirs.state_dict(), other)
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].sum(1, keepdim=True)
    other.load_state_dict(state)
    assert fitted.adapted == {
        "patch_embed.proj.weight": "3 to 1 channels by their sum, patch 8x8 to 4x4 by resampling",
        "pos_embed": "4x4 to 5x3 patches by interpolation",
    }
    close(encode(fitted, recipe, images), other.forward_features(images))


@pytest.mark.parametrize("how", ["mean", "centre"])
def test_weights_of_images_see_a_slice_in_a_volume(make_recipe: Make, randomise: Fill, how: str) -> None:
    theirs, slice_ = randomise(timm_model(16, 4, 3)), torch.randn(1, 1, 16, 16)
    recipe = make_recipe((16, 16, 4), (4, 4, 4), init={"inflate": how, "positions": "factorised"})
    fitted = transfer(theirs.state_dict(), {}, recipe, "vit.pth")
    assert fitted.adapted["patch_embed.proj.weight"].endswith(f"inflated over a depth of 4 ({how})")
    tokens = encode(fitted, recipe, slice_[..., None].expand(-1, -1, -1, -1, 4))
    close(tokens, theirs.forward_features(slice_.expand(-1, 3, -1, -1)))


def test_volumes_get_fresh_positions_from_weights_of_images(make_recipe: Make, randomise: Fill) -> None:
    recipe = make_recipe((8, 8, 8), (4, 4, 4))
    fitted = transfer(randomise(timm_model()).state_dict(), {}, recipe, "vit.pth")
    assert fitted.fresh == {"pos_embed": "sine-cosine values of 2x2x2 patches, as those of the file are 2-D"}
    model = Classifier(recipe.model, 1, (8, 8, 8), 2)
    load_encoder(model, fitted.weights)
    assert torch.equal(model.encoder.pos_embed[0, 1:], sincos_positions((2, 2, 2), 48))


def test_what_is_added_to_the_class_token_goes_with_it_to_volumes(make_recipe: Make, randomise: Fill) -> None:
    theirs = randomise(timm_model())
    fitted = transfer(theirs.state_dict(), {}, make_recipe((8, 8, 8), (4, 4, 4)), "vit.pth")
    assert torch.equal(fitted.weights["cls_token"], theirs.cls_token + theirs.pos_embed[:, :1])


def test_weights_of_volumes_are_refused_for_images(make_recipe: Make, randomise: Fill) -> None:
    theirs = randomise(monai_nets.ViT(1, (8, 8, 8), (4, 4, 4), 48, 192, 2, 3))
    with pytest.raises(UserError) as error:
        transfer(theirs.state_dict(), {}, make_recipe((8, 8), (4, 4)), "monai.pth")
    assert str(error.value) == (
        "The weights of monai.pth are for volumes, but the recipe's images are 2-D: give weights of images."
    )


# --- weights of our own ----------------------------------------------------------------------------------------------


def own(recipe: Recipe) -> tuple[MaskedAutoencoder, dict[str, Any]]:
    channels = recipe.data.channels
    model = MaskedAutoencoder(recipe.model, mae.Options(), len(channels), recipe.data.crop)
    return model, {"recipe": as_content(recipe)}


def test_sine_cosine_positions_of_our_own_are_made_anew_for_another_grid(make_recipe: Make) -> None:
    model, metadata = own(make_recipe((8, 8), (4, 4), width=48))
    fitted = transfer(model.state_dict(), metadata, make_recipe((16, 8), (4, 4)), "mae:run")
    assert fitted.fresh == {"pos_embed": "sine-cosine values of 4x2 patches instead of 2x2"}


def test_other_positions_of_our_own_are_interpolated(make_recipe: Make) -> None:
    model, metadata = own(make_recipe((8, 12), (4, 4)))
    nn.init.normal_(model.encoder.pos_embed)
    fitted = transfer(model.state_dict(), metadata, make_recipe((16, 8), (4, 4)), "mae:run")
    assert torch.equal(fitted.weights["pos_embed"], resize_positions(model.encoder.pos_embed, (2, 3), (4, 2)))


def test_channels_are_taken_by_their_names(make_recipe: Make) -> None:
    model, metadata = own(make_recipe((8, 8), (4, 4), 3))
    metadata["recipe"]["data"]["channels"] = ["c1", "c9", "c0"]
    fitted = transfer(model.state_dict(), metadata, make_recipe((8, 8), (4, 4), 2), "mae:run")
    assert fitted.adapted == {"patch_embed.proj.weight": "channels c1, c9, c0 to c0, c1 by name"}
    weight = model.encoder.patch_embed.proj.weight
    assert torch.equal(fitted.weights["patch_embed.proj.weight"], weight[:, [2, 0]])


def test_channels_of_other_names_are_taken_in_their_order_and_told(make_recipe: Make) -> None:
    model, metadata = own(make_recipe((8, 8), (4, 4), 2))
    metadata["recipe"]["data"]["channels"] = ["T1", "c0"]
    fitted = transfer(model.state_dict(), metadata, make_recipe((8, 8), (4, 4), 2), "mae:run")
    assert fitted.adapted == {"patch_embed.proj.weight": "channels T1, c0 taken as c0, c1"}


@pytest.mark.parametrize("ours", [True, False])
def test_norms_of_another_epsilon_are_told(make_recipe: Make, ours: bool) -> None:
    model, metadata = own(make_recipe((8, 8), (4, 4)))
    weights = model.state_dict() if ours else timm_model(8).state_dict()
    fitted = transfer(weights, metadata if ours else {}, make_recipe((8, 8), (4, 4), norm_eps=1e-5), "weights")
    assert fitted.adapted == {"norm.weight": "from norms with an epsilon of 1e-06, as model.norm_eps may be"}


def test_another_number_of_heads_is_refused(make_recipe: Make) -> None:
    model, metadata = own(make_recipe((8, 8), (4, 4)))
    with pytest.raises(UserError) as error:
        transfer(model.state_dict(), metadata, make_recipe((8, 8), (4, 4), heads=2), "mae:run")
    assert str(error.value) == (
        "The weights of mae:run were trained with 3 heads, but model.heads is 2: set model.heads=3."
    )


# --- less than the whole encoder -------------------------------------------------------------------------------------

ANYWAY = "or give --partial to start with what there is."


def refusal(weights: dict[str, Tensor], recipe: Recipe) -> str:
    with pytest.raises(UserError) as error:
        transfer(weights, {}, recipe, "vit.pth")
    return str(error.value)


def test_weights_of_a_shallower_encoder_are_refused(make_recipe: Make) -> None:
    assert refusal(timm_model().state_dict(), make_recipe((16, 16), (4, 4), depth=3)) == (
        "The weights of vit.pth lack 12 of the encoder's 42 tensors (first: blocks.2.norm1.weight): give weights of a "
        f"ViT with the same depth, change model.depth, {ANYWAY}"
    )


def test_weights_of_a_deeper_encoder_are_refused(make_recipe: Make) -> None:
    assert refusal(timm_model().state_dict(), make_recipe((16, 16), (4, 4), depth=1)) == (
        "The weights of vit.pth hold 12 tensors that the recipe's encoder has not (first: blocks.1.norm1.weight): set "
        f"model.depth as in the file, give weights of a plain ViT, {ANYWAY}"
    )


def test_a_vit_with_layer_scale_is_no_plain_one(make_recipe: Make) -> None:
    weights = timm_model(init_values=0.1).state_dict()
    assert "has not (first: blocks.0.ls1.gamma)" in refusal(weights, make_recipe((16, 16), (4, 4)))


def test_weights_of_another_width_are_refused(make_recipe: Make) -> None:
    assert refusal(timm_model().state_dict(), make_recipe((16, 16), (4, 4), width=96)) == (
        "The weights of vit.pth do not fit: cls_token has shape [1, 1, 48], but the recipe's model wants [1, 1, 96] "
        f"(30 tensors differ): set model.width and model.mlp_ratio as they were in training, {ANYWAY}"
    )


def test_a_missing_class_token_is_explained(make_recipe: Make, randomise: Fill) -> None:
    weights = timm_model(class_token=False, global_pool="avg", fc_norm=False).state_dict()
    assert refusal(weights, make_recipe((16, 16), (4, 4))) == (
        f"The weights of vit.pth have no class token: set model.class_token=false, {ANYWAY}"
    )


def test_positions_of_an_unknown_grid_are_explained(make_recipe: Make) -> None:
    weights = VisionTransformer((8, 24), 4, 1, embed_dim=48, depth=2, num_heads=3).state_dict()
    assert refusal(weights, make_recipe((16, 16), (4, 4))) == (
        f"The weights of vit.pth give no pos_embed (the grid of its 13 is not known): give others, {ANYWAY}"
    )


def test_a_matrix_of_another_patch_is_explained(make_recipe: Make) -> None:
    theirs = monai_nets.ViT(1, (8, 8, 8), (4, 4, 4), 48, 192, 2, 3, proj_type="perceptron")
    text = refusal(theirs.state_dict(), make_recipe((4, 4, 4), (2, 2, 2), class_token=False))
    assert text.startswith(
        "The weights of vit.pth give no patch_embed.proj.weight (its shape [48, 64] does not match patches of "
        "[1, 2, 2, 2]): give"
    )


def test_partial_takes_what_fits_and_names_the_rest(make_recipe: Make, randomise: Fill) -> None:
    theirs = randomise(timm_model(class_token=False, global_pool="avg", fc_norm=False))
    recipe = make_recipe((16, 16), (4, 4), depth=3, init={"partial": True})
    fitted = transfer(theirs.state_dict(), {}, recipe, "vit.pth")
    assert fitted.fresh == {
        name: "not in the file" for name in fitted.fresh if name == "cls_token" or name.startswith("blocks.2.")
    }
    assert len(fitted.fresh) == 13
    model = Classifier(recipe.model, 1, (16, 16), 2)
    new = load_encoder(model, fitted.weights)
    assert {name.removeprefix("encoder.") for name in new} == {*fitted.fresh, "head.weight", "head.bias"}
    close(model.encoder.blocks[0](torch.ones(1, 2, 48)), theirs.blocks[0](torch.ones(1, 2, 48)))


def test_partial_needs_one_block_at_least(make_recipe: Make) -> None:
    recipe = make_recipe((16, 16), (4, 4), width=96, init={"partial": True})
    assert refusal(timm_model().state_dict(), recipe) == (
        "No block of vit.pth fits the recipe's model: set model.width as in the file."
    )


def test_pretraining_keeps_the_positions_of_its_initialization(make_recipe: Make, randomise: Fill) -> None:
    theirs, images = randomise(timm_model()), torch.randn(2, 1, 16, 16)
    recipe = make_recipe((16, 16), (4, 4))
    model = own(recipe)[0]
    new = load_encoder(model, transfer(theirs.state_dict(), {}, recipe, "vit.pth").weights)
    close(model.encoder(images).tokens, theirs.forward_features(images))
    assert all(name.startswith("decoder.") for name in new)
    again = transfer(model.state_dict(), own(recipe)[1], recipe, "mae:run")
    close(encode(again, recipe, images), model.encoder(images).tokens)
