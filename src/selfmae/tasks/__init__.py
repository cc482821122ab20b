"""Tasks: what is trained, and how it is scored."""

from torch import nn

from selfmae.networks.registry import CLASSIFIERS, PRETRAININGS
from selfmae.options import Recipe
from selfmae.tasks.base import Pretraining, Task


def make_task(recipe: Recipe) -> Task:
    """Return the supervised task of a recipe."""
    # Segmentation needs MONAI, five seconds to import, which classification does without.
    if recipe.target.kind == "mask":
        from selfmae.tasks.segment import Segment

        return Segment(recipe)
    from selfmae.tasks.classify import Classify

    return Classify(recipe)


def make_pretraining(recipe: Recipe) -> Pretraining:
    """Return the self pre-training of a recipe's network, which must have one."""
    if PRETRAININGS[recipe.model.network] == "moco":
        from selfmae.methods.moco import Contrast

        return Contrast(recipe)
    from selfmae.methods.mae import Reconstruct

    return Reconstruct(recipe)


def build_network(recipe: Recipe) -> nn.Module:
    """Return a new network of the recipe's `model.network`.

    It maps images [B, C, *S] (and `drop_path_scale`) to logits.
    """
    if recipe.model.network in CLASSIFIERS:
        from selfmae.models.conv_classifiers import build_classifier

        return build_classifier(recipe)
    # MONAI takes seconds to import, which classification of images does without.
    from selfmae.models.monai_segmenters import build_segmenter

    return build_segmenter(recipe)
