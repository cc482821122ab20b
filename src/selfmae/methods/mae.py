"""Self pre-training: fill in the hidden patches of the training images (Zhou et al. 2023, section 2.1)."""

import torch
from torch import Tensor, nn

from selfmae.data.preparation.store import Store
from selfmae.data.sampling.samples import take_look
from selfmae.data.sampling.views import Draw, Sample
from selfmae.models.mae import MaskedAutoencoder, masked_loss
from selfmae.models.vit import draw_visible, grid_of
from selfmae.options import Recipe
from selfmae.seeds import generator


class Reconstruct:
    """Crops without labels: neither masks nor findings are read anywhere in this class."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.store = Store(recipe.data)
        grid = grid_of(recipe.data.crop, recipe.model.patch)
        self.num_patches = int(torch.tensor(grid).prod())

    def build(self) -> MaskedAutoencoder:
        """Return a new autoencoder with random weights."""
        recipe = self.recipe
        return MaskedAutoencoder(recipe.model, recipe.mask, len(recipe.data.channels), recipe.data.crop)

    def sample(self, draw: Draw) -> Sample:
        """Return {"image": [C, *crop], "order": [N]}; the visible patches stand first in the order."""
        image = take_look(self.store, draw.case, self.recipe.pretrain.augment, generator(draw.seed, "sample"))
        order = draw_visible(self.num_patches, self.recipe.mask.ratio, generator(draw.seed, "mask"))
        return {"image": image, "order": torch.from_numpy(order)}

    def loss(self, model: nn.Module, batch: Sample) -> Tensor:
        """Return the mean squared error of the hidden patches."""
        return masked_loss(*model(batch["image"], batch["order"]))
