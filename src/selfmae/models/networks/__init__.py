"""Networks other than the Vision Transformer, from timm and MONAI: the baselines of the same harness."""

from torch import nn

from selfmae.networks import CLASSIFIERS
from selfmae.options import Recipe


def build_network(recipe: Recipe) -> nn.Module:
    """Return a new network of the recipe's `model.network`; it maps images [B, C, *S] (and `skip`) to logits."""
    if recipe.model.network in CLASSIFIERS:
        from selfmae.models.networks.classifiers import build_classifier

        return build_classifier(recipe)
    # MONAI takes seconds to import, which classification of images does without.
    from selfmae.models.networks.segmenters import build_segmenter

    return build_segmenter(recipe)
