"""Vision Transformer (Dosovitskiy et al. 2021) with a linear head, for labels of whole images and volumes."""

from selfmae.networks import Module
from selfmae.options import Recipe

TARGETS, ENCODER = ("multilabel", "multiclass"), "vit"


def build(recipe: Recipe) -> Module:
    """Return a new classifier: logits [B, F] of images [B, C, *S]."""
    from selfmae.models.vit import Classifier

    return Classifier(recipe.model, len(recipe.data.channels), recipe.data.crop, recipe.target.num_outputs)
