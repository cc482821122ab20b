"""DenseNet-121 (Huang et al. 2017) of timm for images and of MONAI for volumes, for labels of whole images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfmae.networks._halving import no_problems
from selfmae.options import Recipe

if TYPE_CHECKING:
    from torch import nn

TARGETS = ("multilabel", "multiclass")
ENCODER, LIBRARY = "timm", "timm"  # volumes: of MONAI, which no method pre-trains
FEATURES, FEATURE_STEP = 0, 0
MIN_SAMPLES = 2  # of its batch norms
HALVINGS = 5
IMAGENET = "densenet121.ra_in1k"  # timm's name of its weights
problems = no_problems


def fit_crop(crop: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the smallest crop, at least as large on every axis, that the network can take."""
    return tuple(max(2**HALVINGS, extent) for extent in crop)


def build(recipe: Recipe) -> "nn.Module":
    """Return a new classifier: logits [B, F] of images [B, C, *S]."""
    channels, num_outputs = len(recipe.data.channels), recipe.target.num_outputs
    if len(recipe.data.crop) == 2:
        from selfmae.models.library_networks import TimmClassifier

        return TimmClassifier("densenet121", channels, num_outputs)
    from monai.networks.nets import DenseNet121

    from selfmae.models.library_networks import MonaiNetwork

    return MonaiNetwork(DenseNet121(spatial_dims=3, in_channels=channels, out_channels=num_outputs))
