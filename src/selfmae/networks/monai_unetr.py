"""UNETR of MONAI, for masks: patch 16 and 12 blocks are its own; width, heads and mlp_ratio are those of the recipe."""

from selfmae.networks import Module, check_einops, monai_arguments
from selfmae.options import Recipe

TARGETS, LIBRARY = ("mask",), "MONAI"
FEATURES, FEATURE_STEP, HALVINGS = 16, 1, 4


def build(recipe: Recipe) -> Module:
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
