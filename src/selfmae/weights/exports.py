"""Our weights under the names of timm and MONAI, with the arguments that build the model they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from selfmae.errors import UserError
from selfmae.models.vit import grid_of
from selfmae.options import Recipe
from selfmae.weights.checkpoint_formats import MONAI_EPS, TIMM_EPS, rename

Tensors = dict[str, Tensor]
MONAI_NAMES = (
    (r"patch_embed\.proj\.(.+)", r"patch_embedding.patch_embeddings.\1"),
    (r"pos_embed", "patch_embedding.position_embeddings"),
    (r"(blocks\.\d+\.attn)\.proj\.(.+)", r"\1.out_proj.\2"),
    (r"(blocks\.\d+\.mlp)\.fc([12])\.(.+)", r"\1.linear\2.\3"),
    (r"head\.(.+)", r"classification_head.\1"),
)
MONAI_PATCH, MONAI_OUT_INDICES, MONAI_DEPTH = 16, [3, 6, 9], 12  # of MONAI's UNETR, which has no others


@dataclass(frozen=True)
class Export:
    """A model of another tool: its class, the arguments that build it, its state, and what is to be done by hand."""

    model: str
    arguments: dict[str, Any]
    state: Tensors
    advice: str = ""


def to_timm(weights: Mapping[str, Tensor], recipe: Recipe, kind: str) -> Export:
    """Return timm's `VisionTransformer`: a classifier whole, of other models the encoder (`num_classes` 0)."""
    data, model = recipe.data, recipe.model
    if len(data.crop) != 2:
        text = "--to timm is for 2-D images, which all of timm's ViTs are for, but these are volumes: use monai."
        raise UserError(text)
    whole = is_classifier(recipe, kind)
    state = _encoder(weights) | (_head(weights) if whole else {})
    if model.class_token:
        state["pos_embed"] = F.pad(state["pos_embed"], (0, 0, 1 - _num_slots(state, recipe), 0))
    arguments = {
        "img_size": list(data.crop),
        "patch_size": list(model.patch),
        "in_chans": len(data.channels),
        "num_classes": recipe.target.num_outputs if whole else 0,
        "global_pool": "token" if model.class_token else "avg",
        "embed_dim": model.width,
        "depth": model.depth,
        "num_heads": model.heads,
        "mlp_ratio": model.mlp_ratio,
        "class_token": model.class_token,
        "fc_norm": False,
    }
    return Export("timm.models.vision_transformer.VisionTransformer", arguments, state, _advise(recipe, TIMM_EPS))


def to_monai(weights: Mapping[str, Tensor], recipe: Recipe, kind: str) -> Export:
    """Return MONAI's `UNETR` of a segmentation model, its `ViT` of others."""
    if kind != "pretrain" and recipe.target.kind == "mask":
        return _to_unetr(weights, recipe)
    classifies = is_classifier(recipe, kind)
    if classifies and not recipe.model.class_token:
        others = "timm or onnx" if len(recipe.data.crop) == 2 else "onnx"
        raise UserError(
            "--to monai: MONAI's ViT classifies by its class token, but model.class_token is false and this head reads "
            f"the mean of the patches: use --to {others}."
        )
    if recipe.model.class_token and not classifies:
        raise UserError(
            "--to monai: MONAI's ViT has a class token only in a classifier, but this encoder has one and is none: "
            "fine-tune it first, or pre-train with model.class_token=false."
        )
    arguments = _monai_arguments(recipe) | {
        "patch_size": list(recipe.model.patch),
        "num_layers": recipe.model.depth,
        "classification": classifies,
        "num_classes": recipe.target.num_outputs,
        "post_activation": "",
    }
    state = _as_monai(_encoder(weights), recipe) | (_monai_names(_head(weights)) if classifies else {})
    return Export("monai.networks.nets.ViT", arguments, state, _advise(recipe, MONAI_EPS))


def _to_unetr(weights: Mapping[str, Tensor], recipe: Recipe) -> Export:
    model, patch, out_indices = recipe.model, list(recipe.model.patch), list(recipe.model.out_indices)
    obstacles = {
        f"model.patch {patch} is not 16 on every axis": set(patch) != {MONAI_PATCH},
        f"model.depth is {model.depth}, not {MONAI_DEPTH}": model.depth != MONAI_DEPTH,
        f"model.out_indices {out_indices} is not {MONAI_OUT_INDICES}": out_indices not in ([], MONAI_OUT_INDICES),
        f"model.out_norm is {model.out_norm}, not none": model.out_norm != "none",
        "model.class_token is true": model.class_token,
    }
    if reasons := [reason for reason, holds in obstacles.items() if holds]:
        raise UserError(
            f"--to monai: the model is not MONAI's UNETR ({'; '.join(reasons)}): train one that is, or use --to onnx."
        )
    decoder = {monai_decoder_name(name): tensor for name, tensor in weights.items() if not name.startswith("encoder.")}
    encoder = {f"vit.{name}": tensor for name, tensor in _as_monai(_encoder(weights), recipe).items()}
    arguments = _monai_arguments(recipe) | {
        "out_channels": recipe.target.num_outputs,
        "feature_size": model.decoder_features,
        "norm_name": "instance",
        "res_block": True,
    }
    return Export("monai.networks.nets.UNETR", arguments, encoder | decoder, _advise(recipe, MONAI_EPS))


def _advise(recipe: Recipe, eps: float) -> str:
    """Return the Python that gives the other tool's model our layer norms, "" where it has them already."""
    if recipe.model.norm_eps == eps:
        return ""
    norms = "[module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]"
    return f"for module in {norms}: module.eps = {recipe.model.norm_eps}"


def _monai_arguments(recipe: Recipe) -> dict[str, Any]:
    data, model = recipe.data, recipe.model
    return {
        "in_channels": len(data.channels),
        "img_size": list(data.crop),
        "hidden_size": model.width,
        "mlp_dim": int(model.width * model.mlp_ratio),
        "num_heads": model.heads,
        "proj_type": "conv",
        "qkv_bias": True,
        "spatial_dims": len(data.crop),
    }


def _as_monai(encoder: Mapping[str, Tensor], recipe: Recipe) -> Tensors:
    """Return the encoder under MONAI's names; its class token takes what was added to it, as positions have no slot."""
    state = dict(encoder)
    num_slots = _num_slots(state, recipe)
    if num_slots and "cls_token" in state:
        state["cls_token"] = state["cls_token"] + state["pos_embed"][:, :1]
    state["pos_embed"] = state["pos_embed"][:, num_slots:]
    # MONAI's blocks hold a norm for cross-attention that they do not use without it.
    for block in range(recipe.model.depth):
        state[f"blocks.{block}.norm_cross_attn.weight"] = torch.ones(recipe.model.width)
        state[f"blocks.{block}.norm_cross_attn.bias"] = torch.zeros(recipe.model.width)
    return _monai_names(state)


def _monai_names(state: Mapping[str, Tensor]) -> Tensors:
    return {rename(name, MONAI_NAMES, name): tensor for name, tensor in state.items()}


def monai_decoder_name(name: str) -> str:
    """Return where MONAI's UNETR keeps a tensor of our decoder."""
    part, _, rest = name.partition(".")
    if part == "input_skip":
        return f"encoder1.{rest}"
    theirs = {"skip_connections": "encoder", "ups": "decoder"}.get(part)
    level, _, rest = rest.partition(".")
    return f"{theirs}{int(level) + 2}.{rest}" if theirs else name


def is_classifier(recipe: Recipe, kind: str) -> bool:
    """Return whether weights of a kind are a classifier with its head."""
    return kind != "pretrain" and recipe.target.kind != "mask"


def _encoder(weights: Mapping[str, Tensor]) -> Tensors:
    return {name.removeprefix("encoder."): tensor for name, tensor in weights.items() if name.startswith("encoder.")}


def _head(weights: Mapping[str, Tensor]) -> Tensors:
    return {name: weights[name] for name in ("head.weight", "head.bias")}


def _num_slots(state: Tensors, recipe: Recipe) -> int:
    """Return how many positions stand before those of the patches: 1 where the class token has one."""
    return state["pos_embed"].shape[1] - prod(grid_of(recipe.data.crop, recipe.model.patch))
