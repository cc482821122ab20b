"""DenseNet-121 (Huang et al. 2017) of timm for images and of MONAI for volumes, for labels of whole images."""

from selfmae.networks import Module
from selfmae.options import Recipe

TARGETS, LIBRARY = ("multilabel", "multiclass"), "timm"
ENCODER, IMAGENET = "timm", "densenet121.ra_in1k"  # volumes have MONAI's, which no method pre-trains
MIN_SAMPLES = 2  # of its batch norms


def build(recipe: Recipe) -> Module:
    """Return a new classifier: logits [B, F] of images [B, C, *S]."""
    from selfmae.models.library_networks import MonaiNetwork, TimmClassifier

    channels, num_outputs = len(recipe.data.channels), recipe.target.num_outputs
    if len(recipe.data.crop) == 2:
        return TimmClassifier("densenet121", channels, num_outputs)
    from monai.networks.nets import DenseNet121

    return MonaiNetwork(DenseNet121(spatial_dims=3, in_channels=channels, out_channels=num_outputs))
