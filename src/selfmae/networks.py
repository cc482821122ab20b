"""What the networks other than the Vision Transformer are for, and which crops they can take."""

from collections.abc import Sequence
from math import ceil, prod
from typing import NamedTuple

VIT = "vit"
CLASSIFIERS = ("resnet50", "densenet121")
SEGMENTERS = ("dynunet", "attentionunet", "swinunetr", "segresnet", "monai-unetr")

# The self pre-training of a network, which is also the name of the start that it gives; other networks have none.
PRETRAININGS = {VIT: "mae", "resnet50": "moco", "densenet121": "moco"}
SELF_STARTS = tuple(dict.fromkeys(PRETRAININGS.values()))
EQUAL = "scratch+"  # the start: scratch with the compute of self pre-training as more steps

HALVINGS = {"resnet50": 5, "densenet121": 5, "attentionunet": 4, "swinunetr": 5, "segresnet": 3, "monai-unetr": 4}
FEATURES = {"dynunet": 32, "attentionunet": 16, "swinunetr": 48, "segresnet": 32, "monai-unetr": 16}  # of the papers
FEATURE_STEPS = {"swinunetr": 12, "segresnet": 8}  # heads of the first stage times two halves; groups of a norm
SMALLEST_EDGE = 4  # of nnU-Net's coarsest features, on axes that were halved
FEWEST_HALVINGS = 2  # of MONAI's DynUNet


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
    With the spacing (), or one that `limits` refuses, axes count as equally spaced.
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


def fit_crop(network: str, crop: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the smallest crop, at least as large on every axis, that the network can take."""
    if network == VIT:
        return tuple(crop)
    if network in CLASSIFIERS:
        return tuple(max(2 ** HALVINGS[network], extent) for extent in crop)
    if network == "dynunet":
        return _fit_dynunet(crop, spacing_mm)
    multiple = 2 ** HALVINGS[network]
    fitted = [ceil(extent / multiple) * multiple for extent in crop]
    if all(extent == multiple for extent in fitted):
        fitted[0] *= 2  # norms of the coarsest features need more than one voxel
    return tuple(fitted)


def _fit_dynunet(crop: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    fitted = list(crop)
    while True:
        topology = plan_topology(fitted, spacing_mm)
        if len(topology.strides) > FEWEST_HALVINGS:
            break
        fitted[fitted.index(min(fitted))] += 1
    return tuple(ceil(extent / step) * step for extent, step in zip(fitted, topology.multiples, strict=True))


def steps_of(network: str, patch: Sequence[int]) -> tuple[int, ...]:
    """Return the granularity of the crop on each axis: one patch, or the total stride of the network."""
    return tuple(patch) if network == VIT else tuple(max(step, 2 ** HALVINGS.get(network, 5)) for step in patch)
