"""Gaussian blur of a few voxels, as in nnU-Net's trainer (probability 0.2, deviations from 0.5 to 1 voxels).

`intensity.blur` is another: that of contrastive learning, in proportion to the crop.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from selfmae.augment._draws import half_of, happens, rising_problems
from selfmae.options import DataOptions, Recipe, Section, number

WHEN, ORDER = "normalised", 2
TRUNCATE = 3.0  # deviations where the kernel ends


@dataclass(frozen=True)
class Options(Section):
    """How often images are blurred, and how far."""

    probability: float = number(0.0, at_least=0, at_most=1)  # of a change, which then meets half of the channels
    deviation: tuple[float, float] = number((0.5, 1.0), above=0)  # in voxels, drawn for each channel and axis


def problems(stage: str, options: Options, recipe: Recipe) -> Iterator[str]:
    """Yield why the deviations are no range."""
    yield from rising_problems(f"{stage}.augment.blur.deviation", options.deviation)


def apply(image: np.ndarray, options: Options, data: DataOptions, rng: np.random.Generator) -> np.ndarray:
    """Return an image [C, *crop] float32, changed in place; it is mirrored at its borders."""
    if happens(options.probability, rng):
        from scipy.ndimage import gaussian_filter

        for channel in half_of(image, rng):
            deviations = rng.uniform(*options.deviation, channel.ndim)
            gaussian_filter(channel, deviations, output=channel, mode="mirror", truncate=TRUNCATE)
    return image
