"""Swin UNETR (Hatamizadeh et al. 2022) of MONAI, for masks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfmae.networks._halving import check_einops, monai_arguments, no_problems, whole_multiple
from selfmae.options import Recipe

if TYPE_CHECKING:
    from torch import nn

TARGETS = ("mask",)
ENCODER, LIBRARY = "", "MONAI"
FEATURES, FEATURE_STEP = 48, 12  # heads of the first stage times two halves
MIN_SAMPLES = 1
HALVINGS = 5
problems = no_problems


def fit_crop(crop: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the smallest crop, at least as large on every axis, that the network can take."""
    return whole_multiple(crop, HALVINGS)


def build(recipe: Recipe) -> "nn.Module":
    """Return a new network: logits [B, K, *S] of images [B, C, *S]."""
    import torch
    from monai.networks.nets import SwinUNETR

    from selfmae.models.library_networks import MonaiNetwork

    check_einops("swinunetr")
    with torch.device("cpu"):  # it cannot be built without memory (device "meta"), as the forecast would
        return MonaiNetwork(SwinUNETR(**monai_arguments(recipe), feature_size=recipe.model.features or FEATURES))
