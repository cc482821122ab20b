"""Reconstructions for the report: a few images whole, masked and filled in, for several shares of hidden patches.

Nothing of a hidden patch enters its reconstruction or the grey scale, which follows from the recipe alone.
Shapes: B images, C channels, S spatial axes, N patches, R ratios, H and W of the slice that is shown.
"""

from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfmae.data.case import Case
from selfmae.data.preparation.store import Store
from selfmae.data.sampling import draw_at, draw_unlabelled
from selfmae.files import write_arrays
from selfmae.methods import options_of
from selfmae.models.mae import MaskedAutoencoder
from selfmae.models.vit import draw_visible, num_visible, unpatchify
from selfmae.options import DataOptions, Recipe
from selfmae.seeds import generator

NUM_IMAGES = 4
RATIOS = (0.25, 0.5, 0.75, 0.9)
Z_SCORES = (-2.0, 3.0)  # shown black and white where images are normalised to zero mean and unit deviation
HIDDEN = 128  # the grey of a hidden patch


@torch.no_grad()
def save_reconstructions(
    path: Path, recipe: Recipe, store: Store, model: MaskedAutoencoder, cases: Sequence[Case]
) -> None:
    """Save slices of the first cases as uint8: "original" [B, H, W], "masked" and "reconstructed" [R, B, H, W]."""
    cases, data, trained = cases[:NUM_IMAGES], recipe.data, options_of(recipe, "mae").ratio
    draws = [draw_at([case], 0, index) for index, case in enumerate(cases)]
    views = [
        draw_unlabelled(store, draw.case, recipe.pretrain.augment, generator(draw.seed, "sample")) for draw in draws
    ]
    images = torch.stack(views).to(next(model.parameters()).device)
    ratios = sorted({*RATIOS, trained})
    pictures = [fill_in(model, images, ratio, [draw.seed for draw in draws], data) for ratio in ratios]
    masked, reconstructed = zip(*pictures, strict=True)
    figures = {"masked": np.stack(masked), "reconstructed": np.stack(reconstructed)}
    figures |= {"original": to_shades(images, data), "ids": np.array([case.id for case in cases])}
    write_arrays(path, figures | {"ratios": np.array(ratios), "ratio": np.array(trained)})


def fill_in(
    model: MaskedAutoencoder, images: Tensor, ratio: float, seeds: Sequence[int], data: DataOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Return slices [B, H, W] uint8 with the hidden patches grey and with them filled in; one seed an image.

    What is visible at a ratio is visible at every smaller one too.
    """
    num_patches, patch = model.encoder.num_patches, model.encoder.patch
    orders = [draw_visible(num_patches, ratio, generator(seed, "mask")) for seed in seeds]
    order = torch.from_numpy(np.stack(orders)).to(images.device)
    _, filled = model.reconstruct(images, order, ratio)
    seen = order[:, : num_visible(num_patches, ratio), None]
    covered = torch.ones(len(images), num_patches, 1, device=images.device).scatter(1, seen, 0.0)
    hidden = unpatchify(covered.expand(-1, -1, prod(patch)), model.encoder.grid, patch)
    masked = np.where(_slices(hidden) > 0, np.uint8(HIDDEN), to_shades(images, data))
    return masked, to_shades(filled, data)


def to_shades(images: Tensor, data: DataOptions) -> np.ndarray:
    """Return the shown slices of prepared images [B, C, *S] as uint8, on a grey scale that no image decides."""
    low, high = ((end - data.mean) / data.std for end in (Z_SCORES if data.intensity.startswith("zscore") else (0, 1)))
    return ((_slices(images) - low) / (high - low) * 255).clip(0, 255).round().astype(np.uint8)


def _slices(images: Tensor) -> np.ndarray:
    """Return pictures [B, H, W] of the first channel: volumes give their middle axial slice, front up."""
    first = images[:, 0].float().cpu().numpy()
    return first if first.ndim == 3 else first[..., first.shape[3] // 2].swapaxes(1, 2)[:, ::-1]
