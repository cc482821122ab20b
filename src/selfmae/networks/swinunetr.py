"""Swin UNETR (Hatamizadeh et al. 2022) of MONAI, for masks."""

from selfmae.networks import Module, check_einops, monai_arguments
from selfmae.options import Recipe

TARGETS, LIBRARY = ("mask",), "MONAI"
FEATURES, FEATURE_STEP = 48, 12  # heads of the first stage times two halves


def build(recipe: Recipe) -> Module:
    """Return a new network: logits [B, K, *S] of images [B, C, *S]."""
    import torch
    from monai.networks.nets import SwinUNETR

    from selfmae.models.library_networks import MonaiNetwork

    check_einops("swinunetr")
    with torch.device("cpu"):  # it cannot be built without memory (device "meta"), as the forecast would
        return MonaiNetwork(SwinUNETR(**monai_arguments(recipe), feature_size=recipe.model.features or FEATURES))
