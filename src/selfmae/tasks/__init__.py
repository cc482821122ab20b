"""Tasks: what is trained, and how it is scored."""

from selfmae.networks import PRETRAININGS
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
        from selfmae.tasks.contrast import Contrast

        return Contrast(recipe)
    from selfmae.tasks.reconstruct import Reconstruct

    return Reconstruct(recipe)
