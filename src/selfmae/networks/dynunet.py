"""The U-Net of nnU-Net (Isensee et al. 2021) from MONAI's blocks, for masks; planned from crop and spacing."""

from collections.abc import Sequence
from math import ceil, prod
from typing import Any, NamedTuple

from selfmae.networks import Module
from selfmae.options import Recipe

TARGETS, LIBRARY, ENCODER = ("mask",), "MONAI", "unet"
FEATURES, FEATURE_STEP = 32, 1
SMALLEST_EDGE = 4  # of nnU-Net's coarsest features, on axes that were halved
MIN_HALVINGS = 2  # of MONAI's DynUNet


class Topology(NamedTuple):
    """Strides and kernels of each resolution of nnU-Net's U-Net, finest first; the first stride is 1."""

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]

    @property
    def multiples(self) -> tuple[int, ...]:
        """Return what the crop must be a multiple of, axis by axis."""
        return tuple(prod(steps) for steps in zip(*self.strides, strict=True))


def plan_topology(crop: Sequence[int], spacing_mm: Sequence[float]) -> Topology:
    """Return the strides and kernels that nnU-Net (Isensee et al. 2021) plans for a crop and its spacing.

    Axes are halved while they have twice the smallest edge and a spacing below twice the finest of such axes. A kernel
    is 1 along an axis until its spacing has come below twice the finest; in the coarsest resolution all are 3.
    With the spacing (), or one that a recipe must not have, axes count as equally spaced.
    """
    usable = len(spacing_mm) == len(crop) and all(step > 0 for step in spacing_mm)
    sizes, spacing = list(crop), [float(step) for step in spacing_mm] if usable else [1.0] * len(crop)
    kernel = [1] * len(crop)
    strides, kernels = [(1,) * len(crop)], []
    while axes := _axes_to_halve(sizes, spacing):
        finest = min(spacing)
        kernel = [3 if step / finest < 2 else old for old, step in zip(kernel, spacing, strict=True)]
        for axis in axes:
            sizes[axis], spacing[axis] = ceil(sizes[axis] / 2), spacing[axis] * 2
        strides.append(tuple(2 if axis in axes else 1 for axis in range(len(crop))))
        kernels.append(tuple(kernel))
    return Topology(tuple(strides), (*kernels, (3,) * len(crop)))


def _axes_to_halve(sizes: Sequence[int], spacing: Sequence[float]) -> list[int]:
    """Return the axes that the next resolution halves; a single one needs three times the smallest edge."""
    large = [axis for axis, size in enumerate(sizes) if size >= 2 * SMALLEST_EDGE]
    finest = min((spacing[axis] for axis in large), default=1.0)
    axes = [axis for axis in large if spacing[axis] / finest < 2]
    return [] if len(axes) == 1 and sizes[axes[0]] < 3 * SMALLEST_EDGE else axes


def fit_crop(crop: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the smallest crop, at least as large on every axis, that the network can take."""
    if len(crop) == 3 and crop[-1] == 1:  # a slice of a volume
        return (*fit_crop(crop[:2], spacing_mm[:2]), 1)
    fitted = list(crop)
    while True:
        topology = plan_topology(fitted, spacing_mm)
        if len(topology.strides) > MIN_HALVINGS:
            break
        fitted[fitted.index(min(fitted))] += 1
    return tuple(ceil(extent / step) * step for extent, step in zip(fitted, topology.multiples, strict=True))


def build(recipe: Recipe) -> Module:
    """Return a new U-Net: logits [B, K, *S] of images [B, C, *S], in training a list of several resolutions."""
    from selfmae.models.planned_unet import PlannedUNet

    return PlannedUNet(build_encoder(recipe), recipe.target.num_outputs)


def build_encoder(recipe: Recipe) -> Any:
    """Return a new U-Net without its output layers, which self pre-training fills."""
    data, model = recipe.data, recipe.model
    return build_body(data.crop, data.spacing_mm, len(data.channels), model.features or FEATURES, model.residual)


def build_body(
    crop: Sequence[int], spacing_mm: Sequence[float], channels: int, features: int, residual: bool = False
) -> Any:
    """Return a new U-Net without its output layers, planned for a crop and its spacing; slices have a 2-D one."""
    from selfmae.models.planned_unet import UNetBody

    if len(crop) == 3 and crop[2] == 1:
        crop, spacing_mm = crop[:2], spacing_mm[:2]
    topology = plan_topology(crop, spacing_mm)
    return UNetBody(topology.strides, topology.kernels, channels, features, residual)
