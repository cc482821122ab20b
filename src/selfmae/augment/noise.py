"""White Gaussian noise of a random deviation.

nnU-Net's trainer has a probability of 0.1 and deviations up to 0.1 (it calls them variances, but uses them as
deviations) of an image with z-scores. Ours are relative to the channel, so that they mean the same for values from 0
to 1.
"""

from dataclasses import dataclass

import numpy as np

from selfmae.augment._draws import happens
from selfmae.options import DataOptions, Section, number

WHEN, ORDER = "normalised", 1


@dataclass(frozen=True)
class Options(Section):
    """How often noise is added, and how much."""

    probability: float = number(0.0, at_least=0, at_most=1)
    deviation: float = number(0.1, above=0)  # the largest, in deviations of the channel; drawn evenly from 0 to it


def apply(image: np.ndarray, options: Options, data: DataOptions, rng: np.random.Generator) -> np.ndarray:
    """Return an image [C, *crop] float32, changed in place: noise of one strength, drawn anew for each channel."""
    if happens(options.probability, rng):
        strength = rng.uniform(0, options.deviation)
        for channel in image:
            noise = rng.standard_normal(channel.shape, dtype=np.float32)
            noise *= np.float32(strength * channel.std())
            channel += noise
    return image
