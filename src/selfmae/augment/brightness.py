"""Brightness and contrast, as in nnU-Net's trainer: each with a probability of 0.15 and factors from 0.75 to 1.25."""

from dataclasses import dataclass

import numpy as np

from selfmae.augment._draws import happens
from selfmae.options import DataOptions, Section, number

WHEN, ORDER = "normalised", 3


@dataclass(frozen=True)
class Options(Section):
    """How often brightness and contrast are changed, and how far."""

    probability: float = number(0.0, at_least=0, at_most=1)  # of a change of brightness, and of one of contrast
    change: float = number(0.25, above=0, below=1)  # the largest, relative; drawn for each channel


def apply(image: np.ndarray, options: Options, data: DataOptions, rng: np.random.Generator) -> np.ndarray:
    """Return an image [C, *crop] float32, changed in place: brightness is a factor of all values of a channel, contrast
    one of their distances from its mean; of contrast the values stay within the channel's range."""
    if happens(options.probability, rng):
        for channel in image:
            channel *= np.float32(1 + rng.uniform(-options.change, options.change))
    if happens(options.probability, rng):
        for channel in image:
            low, mean, high = channel.min(), channel.mean(), channel.max()
            channel -= mean
            channel *= np.float32(1 + rng.uniform(-options.change, options.change))
            channel += mean
            np.clip(channel, low, high, out=channel)
    return image
