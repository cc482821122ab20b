"""UNETR of MONAI, for masks: patch 16 and 12 blocks are its own; width, heads and mlp_ratio are those of the recipe."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfmae.networks._halving import check_einops, monai_arguments, no_problems, whole_multiple
from selfmae.options import Recipe

if TYPE_CHECKING:
    from torch import nn

TARGETS = ("mask",)
ENCODER, LIBRARY = "", "MONAI"
FEATURES, FEATURE_STEP = 16, 1
MIN_SAMPLES = 1
HALVINGS = 4
problems = no_problems


def fit_crop(crop: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the smallest crop, at least as large on every axis, that the network can take."""
    return whole_multiple(crop, HALVINGS)


def build(recipe: Recipe) -> "nn.Module":
    """Return a new network: logits [B, K, *S] of images [B, C, *S]."""
    from monai.networks.nets import UNETR
    from torch import nn

    from selfmae.models.library_networks import MonaiNetwork

    check_einops("monai_unetr")
    model = recipe.model
    network = UNETR(
        **monai_arguments(recipe),
        img_size=recipe.data.crop,
        feature_size=model.features or FEATURES,
        hidden_size=model.width,
        mlp_dim=round(model.width * model.mlp_ratio),
        num_heads=model.heads,
    )
    for block in network.vit.blocks:
        # It never attends to a context: parameters that no loss reaches would only wait in every optimiser.
        block.norm_cross_attn = block.cross_attn = nn.Identity()
    return MonaiNetwork(network)
