"""Self pre-training of convolutional networks for pictures: MoCo v2 (Chen et al. 2020), as a baseline."""

from torch import Tensor, nn

from selfmae.data.preparation.store import Store
from selfmae.data.sampling.samples import take_look
from selfmae.data.sampling.views import Draw, Sample
from selfmae.models.moco import MomentumContrast
from selfmae.options import Recipe
from selfmae.seeds import generator


class Contrast:
    """Two views of each picture without labels: neither masks nor findings are read anywhere in this class."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.store = Store(recipe.data)

    def build(self) -> MomentumContrast:
        """Return a new network with random weights, its slow copy and a queue of random keys."""
        recipe = self.recipe
        momentum = recipe.moco.momentum ** (1 / recipe.pretrain.accumulate)  # of a forward pass, for one step in all
        return MomentumContrast(recipe.model.network, len(recipe.data.channels), recipe.moco, momentum)

    def sample(self, draw: Draw) -> Sample:
        """Return {"query": [C, *crop], "key": [C, *crop]}, drawn apart from each other."""
        options = self.recipe.pretrain.augment
        return {
            view: take_look(self.store, draw.case, options, generator(draw.seed, view)) for view in ("query", "key")
        }

    def loss(self, model: nn.Module, batch: Sample) -> Tensor:
        """Return the cross-entropy of finding the key of each query among those of other pictures."""
        loss: Tensor = model(batch["query"], batch["key"])
        return loss
