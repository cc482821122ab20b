"""Masked autoencoder (He et al. 2022; Zhou et al. 2023, section 2.1): fill in the hidden patches of training images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from selfmae.methods import Objective, Plan, PlanFacts, options_of
from selfmae.options import Recipe, Section, number
from selfmae.seeds import generator

if TYPE_CHECKING:
    from torch import nn

    from selfmae.data.case import Case
    from selfmae.data.preparation.store import Store
    from selfmae.data.sampling import Draw, Sample

YIELDS = "weights"
SUBJECT, ORIGIN = "self pre-training", "with self pre-training"
PROBED = True


@dataclass(frozen=True)
class Options(Section):
    """What the autoencoder must fill in, and its decoder."""

    ratio: float = number(0.75, above=0, below=1)  # share of hidden patches
    target: Literal["patch", "channel", "raw"] = "patch"  # normalise the target per patch, per channel of it, or not
    decoder_width: int = number(384, at_least=1)
    decoder_depth: int = number(8, at_least=1)
    decoder_heads: int = number(12, at_least=1)


def can_pretrain(network: ModuleType, num_axes: int) -> str:
    """Return "" or why a network is none that hides patches."""
    return "" if network.ENCODER == "vit" else "pre-trains a Vision Transformer, which hides patches"


def problems(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with the decoder."""
    options = options_of(recipe, "mae")
    if options.decoder_width % options.decoder_heads:
        yield f"mae.decoder_width {options.decoder_width} must be a multiple of its {options.decoder_heads} heads"


def plan(plan: Plan, facts: PlanFacts) -> None:
    """Plan the share of hidden patches and the decoder."""
    width = int(plan.put("mae.decoder_width", facts.width // 2, "half of the encoder's"))
    plan.put("mae.decoder_depth", 8 if facts.is_gpu else 4, f"affordable on {facts.machine}")
    heads = next(count for count in range(max(1, width // 32), 0, -1) if width % count == 0)
    plan.put("mae.decoder_heads", heads, f"{width // heads} values a head")
    if facts.kind == "mask":
        plan.put("mae.ratio", 0.5, "as in our experiments; not compared")
    else:
        plan.put("mae.ratio", 0.75, "He et al. 2022, and Zhou et al. 2023 for radiographs")


def objective(recipe: Recipe, store: "Store") -> Objective:
    """Return how to train: samples are {"image": [C, *crop], "order": [N]}, the visible patches first in the order."""
    import torch

    from selfmae.data.sampling import draw_unlabelled
    from selfmae.models.mae import MaskedAutoencoder, masked_loss
    from selfmae.models.vit import draw_visible, grid_of

    options, data = options_of(recipe, "mae"), recipe.data
    num_patches = prod(grid_of(data.crop, recipe.model.patch))

    def sample(draw: "Draw") -> "Sample":
        image = draw_unlabelled(store, draw.case, recipe.pretrain.augment, generator(draw.seed, "sample"))
        order = draw_visible(num_patches, options.ratio, generator(draw.seed, "mask"))
        return {"image": image, "order": torch.from_numpy(order)}

    return Objective(
        build=lambda: MaskedAutoencoder(recipe.model, options, len(data.channels), data.crop),
        sample=sample,
        loss=lambda model, batch: masked_loss(*model(batch["image"], batch["order"])),
    )


def save_figure(path: Path, recipe: Recipe, store: "Store", model: "nn.Module", cases: "Sequence[Case]") -> None:
    """Write reconstructions of a few of these cases (`.npz`)."""
    from selfmae.methods._reconstructions import save_reconstructions
    from selfmae.models.mae import MaskedAutoencoder

    assert isinstance(model, MaskedAutoencoder)
    save_reconstructions(path, recipe, store, model, cases)


def trivial_loss(settings: Mapping[str, Any]) -> float | None:
    """Return the loss of guessing the mean of each hidden patch: the variance of normalised ones, 1; None for raw."""
    return None if settings.get("mae.target", "patch") == "raw" else 1.0


def describe(settings: Mapping[str, Any]) -> str:
    """Return how it trains, from the values of a recipe by dotted key."""
    hidden = f" with {100 * settings['mae.ratio']:g} % of the patches hidden," if "mae.ratio" in settings else ""
    return f"as a masked autoencoder (He et al. 2022; Zhou et al. 2023){hidden}"
