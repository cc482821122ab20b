"""Vision Transformer (Dosovitskiy et al. 2021) with a linear head, for labels of whole images and volumes."""

from typing import TYPE_CHECKING

from selfmae.networks._vit import fit_crop, patch_problems
from selfmae.options import Recipe

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build", "fit_crop", "problems"]

TARGETS = ("multilabel", "multiclass")
ENCODER, LIBRARY = "vit", ""
FEATURES, FEATURE_STEP = 0, 0
MIN_SAMPLES = 1
problems = patch_problems


def build(recipe: Recipe) -> "nn.Module":
    """Return a new classifier: logits [B, F] of images [B, C, *S]."""
    from selfmae.models.vit import Classifier

    return Classifier(recipe.model, len(recipe.data.channels), recipe.data.crop, recipe.target.num_outputs)
