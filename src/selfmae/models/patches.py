"""Images as sequences of patches: grids, positions, and which patches are hidden.

Shapes: B batch, C channels, S spatial axes, G patches along each axis, N = prod(G) patches, P = C * prod(patch) values.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from selfmae.errors import UserError


def grid_of(size: Sequence[int], patch: Sequence[int]) -> tuple[int, ...]:
    """Return how many patches fit along each axis; raise `UserError` where the size is no multiple."""
    if len(size) != len(patch) or any(extent % step for extent, step in zip(size, patch, strict=True)):
        raise UserError(
            f"data.crop {list(size)} must be a multiple of model.patch {list(patch)} on every axis: change one of them."
        )
    return tuple(extent // step for extent, step in zip(size, patch, strict=True))


def patchify(images: Tensor, patch: Sequence[int]) -> Tensor:
    """Cut images [B, C, *S] into patches [B, N, P]; the values of a patch are in the order [C, *patch]."""
    grid = grid_of(images.shape[2:], patch)
    num_axes = len(grid)
    split = [extent for pair in zip(grid, patch, strict=True) for extent in pair]
    cells = images.reshape(*images.shape[:2], *split)
    order = [0, *range(2, 2 + 2 * num_axes, 2), 1, *range(3, 3 + 2 * num_axes, 2)]
    return cells.permute(order).reshape(images.shape[0], prod(grid), images.shape[1] * prod(patch))


def unpatchify(patches: Tensor, grid: Sequence[int], patch: Sequence[int]) -> Tensor:
    """Put patches [B, N, P] together again: images [B, C, *S]. The inverse of `patchify`."""
    num_axes = len(grid)
    channels = patches.shape[2] // prod(patch)
    cells = patches.reshape(patches.shape[0], *grid, channels, *patch)
    order = [0, 1 + num_axes]
    for axis in range(num_axes):
        order += [1 + axis, 2 + num_axes + axis]
    size = [extent * step for extent, step in zip(grid, patch, strict=True)]
    return cells.permute(order).reshape(patches.shape[0], channels, *size)


def sincos_positions(grid: Sequence[int], width: int) -> Tensor:
    """Return fixed sine-cosine positions [N, width], float32.

    Each of the n axes gets 2 * (width // 2n) values, frequencies 1 / 10000^(k / (width // 2n)); what is left is zero.
    2-D order as He et al. 2021: [sin w, cos w, sin h, cos h]; 3-D as Zhou et al. 2023: [sin h, cos h, sin w, ...].
    """
    num_axes = len(grid)
    share = width // (2 * num_axes)
    omega = 1.0 / 10000 ** (torch.arange(share, dtype=torch.float64) / share)
    places = torch.meshgrid(*(torch.arange(extent, dtype=torch.float64) for extent in grid), indexing="ij")
    axes = reversed(places) if num_axes == 2 else places
    columns = []
    for place in axes:
        angles = place.reshape(-1, 1) * omega
        columns += [angles.sin(), angles.cos()]
    positions = torch.cat(columns, dim=1)
    return torch.nn.functional.pad(positions, (0, width - positions.shape[1])).float()


def num_visible(num_patches: int, ratio: float) -> int:
    """Return how many patches stay visible: the floor of N (1 - ratio), but at least one is seen and one hidden."""
    # 0.9 is no binary number: without the guard 20 * (1 - 0.9) would be 1.
    return min(max(1, int(num_patches * (1 - ratio) + 1e-6)), num_patches - 1)


def draw_visible(num_patches: int, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Return the order [N] of one image's patches: the first `num_visible` are seen, the others hidden."""
    order = rng.permutation(num_patches)
    count = num_visible(num_patches, ratio)
    return np.concatenate([np.sort(order[:count]), np.sort(order[count:])])
