"""Preparation of all images at once, before several processes would each begin with the same ones."""

from selfmae.jobs.display import Display
from selfmae.jobs.folders.source import Source
from selfmae.options import Recipe
from selfmae.tasks import make_task


def prepare_all(recipe: Recipe, source: Source, display: Display) -> None:
    """Prepare every image that takes part, and the masks of the labelled ones; what is prepared stays as it is."""
    store, masks = make_task(recipe).store, recipe.target.kind == "mask"
    labelled, others = source.cases.part("train", "val", "test"), source.cases.part("unlabelled")
    with display.stage("preparing images", len(labelled) + len(others)) as stage:
        places = masks and recipe.fit.augment.foreground > 0
        store.prepare(labelled, masks, lambda done, _: stage.update(done), places)
        store.prepare(others, False, lambda done, _: stage.update(len(labelled) + done))
