"""Masked image modelling of U-Nets: fill in blocks of training images that were set to zero, with all skip connections.

Dense, unlike MAE: the network sees the whole image with its blocks emptied, as S3D's dense variant (Tang et al. 2025)
and the self pre-training on cardiac MRI of Zhang et al. 2024 (arXiv 2409.18100); the loss is that of hidden voxels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from selfmae.methods import Objective, Plan, PlanFacts, options_of
from selfmae.networks import network_of
from selfmae.options import Recipe, Section, number
from selfmae.seeds import generator

if TYPE_CHECKING:
    from selfmae.data.preparation.store import Store
    from selfmae.data.sampling import Draw, Sample

YIELDS = "weights"
SUBJECT, ORIGIN = "self pre-training", "with self pre-training"
PROBED = False


@dataclass(frozen=True)
class Options(Section):
    """What the U-Net must fill in, and what fine-tuning takes from it."""

    ratio: float = number(0.6, above=0, below=1)  # share of hidden blocks
    block: tuple[int, ...] = number((), above=0)  # voxels of a hidden block on each axis; () is 16, or less (see plan)
    transfer: Literal["all", "encoder"] = "all"  # what is kept: all but the output layer, or the encoder alone


def can_pretrain(network: ModuleType, num_axes: int) -> str:
    """Return "" or why a network is no U-Net of ours."""
    return "" if network.ENCODER == "unet" else "pre-trains a U-Net (dynunet)"


def block_of(recipe: Recipe) -> tuple[int, ...]:
    """Return the voxels of a hidden block along each axis."""
    block: tuple[int, ...] = options_of(recipe, "masked_unet").block
    return block or usual_block(recipe.data.crop)


def usual_block(crop: Sequence[int]) -> tuple[int, ...]:
    """Return blocks of 16 voxels, at least 8 where a crop is small: the skip connections interpolate smaller ones.

    On an axis with fewer than 16 voxels (thick slices) a block takes all.
    """
    return tuple(extent if extent < 16 else 8 if extent < 64 else 16 for extent in crop)


def problems(recipe: Recipe) -> Iterator[str]:
    """Yield where blocks do not fit the crop."""
    block, crop = block_of(recipe), recipe.data.crop
    if len(block) != len(crop):
        yield f"masked_unet.block {list(block)} must have one value for each of the {len(crop)} axes of data.crop"
    elif count_blocks(crop, block) < 2:
        yield f"masked_unet.block {list(block)} leaves one block in data.crop {list(crop)}: make it smaller"


def count_blocks(crop: Sequence[int], block: Sequence[int]) -> int:
    """Return how many blocks a crop has, those cut by its border included."""
    return prod(ceil(extent / size) for extent, size in zip(crop, block, strict=True))


def plan(plan: Plan, facts: PlanFacts) -> None:
    """Plan the size and the share of hidden blocks."""
    block = usual_block(plan.values["data.crop"])
    plan.put("masked_unet.block", block, "16 voxels, 8 where the crop is below 64; whole thick slices")
    plan.put("masked_unet.ratio", 0.6, "between 0.6 and 0.75, which S3D (2025) found equal")


def draw_hidden(crop: Sequence[int], block: Sequence[int], ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Return which voxels of a crop are hidden, bool [1, *crop]: at least one block, and at least one is not."""
    grid = [ceil(extent / size) for extent, size in zip(crop, block, strict=True)]
    num_hidden = min(prod(grid) - 1, max(1, round(ratio * prod(grid))))
    hidden = np.zeros(prod(grid), dtype=bool)
    hidden[rng.permutation(prod(grid))[:num_hidden]] = True
    voxels = hidden.reshape(grid)
    for axis, size in enumerate(block):
        voxels = np.repeat(voxels, size, axis)
    return np.ascontiguousarray(voxels[tuple(slice(extent) for extent in crop)][None])


def objective(recipe: Recipe, store: "Store") -> Objective:
    """Return how to train: samples are {"image": [C, *crop], "hidden": bool [1, *crop]}."""
    import torch

    from selfmae.data.sampling import draw_unlabelled
    from selfmae.models.planned_unet import MaskedUNet, hidden_loss

    options, block, crop = options_of(recipe, "masked_unet"), block_of(recipe), recipe.data.crop

    def sample(draw: "Draw") -> "Sample":
        image = draw_unlabelled(store, draw.case, recipe.pretrain.augment, generator(draw.seed, "sample"))
        hidden = draw_hidden(crop, block, options.ratio, generator(draw.seed, "mask"))
        return {"image": image, "hidden": torch.from_numpy(hidden)}

    def loss(model: Any, batch: "Sample") -> torch.Tensor:
        return hidden_loss(model(batch["image"], batch["hidden"]), batch["image"], batch["hidden"])

    return Objective(
        build=lambda: MaskedUNet(network_of(recipe).build_encoder(recipe), len(recipe.data.channels)),
        sample=sample,
        loss=loss,
    )


def trivial_loss(settings: Mapping[str, Any]) -> float | None:
    """Return the loss of guessing the mean of an image: the variance of z-scored images, 1; None for others."""
    return 1.0 if settings.get("data.intensity") == "zscore" else None


def describe(settings: Mapping[str, Any]) -> str:
    """Return how it trains, from the values of a recipe by dotted key."""
    hidden = f" with {100 * settings['masked_unet.ratio']:g} % of the blocks hidden" if settings else ""
    return f"by masked image modelling, which fills in blocks of an image set to zero,{hidden}"
