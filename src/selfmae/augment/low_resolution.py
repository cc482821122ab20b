"""Lower resolution: voxels are left out and filled in linearly.

nnU-Net's trainer has a probability of 0.25, and keeps at least half of the voxels along an axis.
"""

from dataclasses import dataclass

import numpy as np

from selfmae.augment._draws import half_of, happens
from selfmae.options import DataOptions, Section, number

WHEN, ORDER = "normalised", 4
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}  # torch's names, by the number of axes


@dataclass(frozen=True)
class Options(Section):
    """How often the resolution is lowered, and how far."""

    probability: float = number(0.0, at_least=0, at_most=1)  # of a change, which then meets half of the channels
    smallest: float = number(0.5, above=0, below=1)  # share of the voxels along an axis, drawn evenly from here to 1


def apply(image: np.ndarray, options: Options, data: DataOptions, rng: np.random.Generator) -> np.ndarray:
    """Return an image [C, *crop] float32, changed in place: all axes alike, but no coarse ones."""
    if happens(options.probability, rng):
        from torch import from_numpy
        from torch.nn.functional import interpolate

        coarse = coarse_axes(data)
        for channel in half_of(image, rng):
            share = rng.uniform(options.smallest, 1)
            sides = [side if axis in coarse else max(1, round(side * share)) for axis, side in enumerate(channel.shape)]
            voxels = interpolate(from_numpy(channel)[None, None], sides, mode="nearest-exact")
            channel[:] = interpolate(voxels, channel.shape, mode=LINEAR[channel.ndim])[0, 0].numpy()
    return image


def coarse_axes(data: DataOptions) -> set[int]:
    """Return the axes of a lower resolution than `data.anisotropy` allows: they have no voxels to be left out."""
    finest = min(data.spacing_mm, default=0.0)
    return {axis for axis, mm in enumerate(data.spacing_mm) if 0 < data.anisotropy < mm / finest}
