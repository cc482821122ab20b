"""Self pre-training as the training loop sees it: a method's objective on images alone."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from selfmae import plugins
from selfmae.augment import section
from selfmae.data.case import Case
from selfmae.data.preparation.store import Store
from selfmae.data.sampling import Draw, Sample
from selfmae.methods import Objective
from selfmae.options import Recipe
from selfmae.tasks.base import Progress


class Pretraining:
    """A method of `methods/` with a recipe; neither masks nor labels are read anywhere in it."""

    def __init__(self, recipe: Recipe, method: str) -> None:
        self.recipe, self.method = recipe, method
        self.store = Store(recipe.data)
        self.objective: Objective = plugins.load("methods", method).objective(recipe, self.store)

    def __reduce__(self) -> tuple[Any, ...]:
        """Be made anew in another process."""
        return type(self), (self.recipe, self.method)

    def build(self) -> nn.Module:
        """Return a new model with random weights; its `encoder` is what fine-tuning keeps."""
        return self.objective.build()

    def sample(self, draw: Draw) -> Sample:
        """Return one training sample; a pure function of the draw."""
        return self.objective.sample(draw)

    def loss(self, model: nn.Module, batch: Sample) -> Tensor:
        """Return the mean loss, a scalar in float32, of a batch of samples."""
        return self.objective.loss(model, batch)

    def prepare(self, cases: Sequence[Case], progress: Progress | None = None) -> None:
        """Prepare the images of these cases, and where their tissue is if crops are centred on it."""
        foreground = section(self.recipe.pretrain.augment, "spatial").foreground > 0
        self.store.prepare(cases, masks=False, progress=progress, coordinates=foreground)
