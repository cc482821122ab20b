"""Weights of one size as weights of another: positions, patch kernels, channels, and from images to volumes.

Shapes: D width, C channels, N patches, G patches along each axis, S spatial axes of a kernel.
"""

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from selfmae.models.vit import sincos_positions


def resize_matrix(old: int, new: int) -> Tensor:
    """Return the matrix [new, old] of a bicubic, anti-aliased resampling, edges aligned; float64."""
    # Not a batch of columns one value wide: torch 2.14 repeats the first value of those.
    unit = torch.eye(old, dtype=torch.float64)[None, None]
    return F.interpolate(unit, (new, old), mode="bicubic", antialias=True)[0, 0]


def resize_positions(positions: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """Return positions [1, prod(new), D] of [1, prod(old), D], interpolated along each axis (bicubic)."""
    grid = positions[0].double().reshape(*old, -1)
    for axis, (before, after) in enumerate(zip(old, new, strict=True)):
        if before != after:
            grid = _along(resize_matrix(before, after), grid, axis)
    return grid.reshape(1, prod(new), -1).float()


def resize_kernel(weight: Tensor, patch: Sequence[int]) -> Tensor:
    """Return patch weights [D, C, *patch] of [D, C, *S]: an image enlarged with its patch keeps its tokens.

    The pseudo-inverse of the resampling (Beyer et al. 2023, FlexiViT, section 3.4), axis by axis.
    """
    kernel = weight.double()
    for axis, after in enumerate(patch, start=2):
        before = kernel.shape[axis]
        if before != after:
            kernel = _along(torch.linalg.pinv(resize_matrix(before, after).T), kernel, axis)
    return kernel.float()


def fold_channels(weight: Tensor, channels: int) -> Tensor:
    """Return patch weights [D, channels, *S] of [D, C, *S].

    Each channel gets the sum over C divided by their number: an image that is equal in all of its channels gives the
    tokens of the same image in all C.
    """
    return weight.sum(dim=1, keepdim=True).expand(-1, channels, *weight.shape[2:]).contiguous() / channels


def inflate(weight: Tensor, depth: int, how: str) -> Tensor:
    """Return patch weights [D, C, *S, depth] of volumes from those of images [D, C, *S].

    "mean" spreads them evenly over the depth, "centre" puts them into its middle slice (Carreira & Zisserman 2017):
    a volume of equal slices gives the tokens of one slice either way.
    """
    if how == "mean":
        return weight[..., None].expand(*weight.shape, depth).contiguous() / depth
    volume = weight.new_zeros(*weight.shape, depth)
    volume[..., depth // 2] = weight
    return volume


def factorise(positions: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """Return positions [1, prod(new), D] of volumes from those of images [1, prod(old), D].

    Each is the in-plane position plus sine-cosine values of its slice, which have zero mean and the spread of the
    in-plane positions.
    """
    plane = resize_positions(positions, old, new[:2])[0]
    axial = sincos_positions(new[2:], positions.shape[2])
    axial = axial - axial.mean(dim=0)
    axial = axial * plane.std() / axial.std().clamp(min=1e-6) if new[2] > 1 else axial
    return (plane[:, None] + axial).reshape(1, prod(new), -1)


def _along(matrix: Tensor, values: Tensor, axis: int) -> Tensor:
    return torch.tensordot(matrix, values, dims=([1], [axis])).movedim(0, axis)
