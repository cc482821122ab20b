"""Tasks: how pre-training, fine-tuning and the probe train, predict and score."""

from selfmae.options import Recipe
from selfmae.tasks.base import Task


def make_task(recipe: Recipe) -> Task:
    """Return the supervised task of a recipe."""
    # Segmentation needs MONAI, seconds to import, which classification does without.
    if recipe.target.kind == "mask":
        from selfmae.tasks.segment import Segment

        return Segment(recipe)
    from selfmae.tasks.classify import Classify

    return Classify(recipe)
