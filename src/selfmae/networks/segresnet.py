"""SegResNet (Myronenko 2018) of MONAI, for masks."""

from selfmae.networks import Module, monai_arguments
from selfmae.options import Recipe

TARGETS, LIBRARY = ("mask",), "MONAI"
FEATURES, FEATURE_STEP = 32, 8  # groups of a norm
HALVINGS = 3


def build(recipe: Recipe) -> Module:
    """Return a new network: logits [B, K, *S] of images [B, C, *S]."""
    from monai.networks.nets import SegResNet

    from selfmae.models.library_networks import MonaiNetwork

    return MonaiNetwork(SegResNet(**monai_arguments(recipe), init_filters=recipe.model.features or FEATURES))
