"""SegResNet (Myronenko 2018) of MONAI, for masks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfmae.networks._halving import monai_arguments, no_problems, whole_multiple
from selfmae.options import Recipe

if TYPE_CHECKING:
    from torch import nn

TARGETS = ("mask",)
ENCODER, LIBRARY = "", "MONAI"
FEATURES, FEATURE_STEP = 32, 8  # groups of a norm
MIN_SAMPLES = 1
HALVINGS = 3
problems = no_problems


def fit_crop(crop: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the smallest crop, at least as large on every axis, that the network can take."""
    return whole_multiple(crop, HALVINGS)


def build(recipe: Recipe) -> "nn.Module":
    """Return a new network: logits [B, K, *S] of images [B, C, *S]."""
    from monai.networks.nets import SegResNet

    from selfmae.models.library_networks import MonaiNetwork

    return MonaiNetwork(SegResNet(**monai_arguments(recipe), init_filters=recipe.model.features or FEATURES))
