"""Attention U-Net (Oktay et al. 2018) of MONAI, for masks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfmae.networks._halving import monai_arguments, no_problems, whole_multiple
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
    from monai.networks.nets import AttentionUnet

    from selfmae.models.library_networks import MonaiNetwork

    features, strides = recipe.model.features or FEATURES, (2,) * HALVINGS
    widths = [features * 2**level for level in range(HALVINGS + 1)]
    return MonaiNetwork(AttentionUnet(**monai_arguments(recipe), channels=widths, strides=strides))
