"""Attention U-Net (Oktay et al. 2018) of MONAI, for masks."""

from selfmae.networks import Module, monai_arguments
from selfmae.options import Recipe

TARGETS, LIBRARY = ("mask",), "MONAI"
FEATURES, FEATURE_STEP, HALVINGS = 16, 1, 4


def build(recipe: Recipe) -> Module:
    """Return a new network: logits [B, K, *S] of images [B, C, *S]."""
    from monai.networks.nets import AttentionUnet

    from selfmae.models.library_networks import MonaiNetwork

    features, strides = recipe.model.features or FEATURES, (2,) * HALVINGS
    widths = [features * 2**level for level in range(HALVINGS + 1)]
    return MonaiNetwork(AttentionUnet(**monai_arguments(recipe), channels=widths, strides=strides))
