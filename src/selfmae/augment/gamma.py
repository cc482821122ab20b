"""Gamma: values from 0 to 1 are raised to a random power.

nnU-Net's trainer has powers from 0.7 to 1.5, with a probability of 0.3, and of 0.1 on the inverted image.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from selfmae.augment._draws import happens
from selfmae.options import DataOptions, Recipe, Section, number

WHEN, ORDER = "normalised", 5


@dataclass(frozen=True)
class Options(Section):
    """How often, and to which powers."""

    probability: float = number(0.0, at_least=0, at_most=1)
    inverted: float = number(0.0, at_least=0, at_most=1)  # probability for the inverted image, before and besides
    power: tuple[float, float] = number((0.7, 1.5), above=0)  # drawn for each channel, below 1 as often as above


def problems(stage: str, options: Options, recipe: Recipe) -> Iterator[str]:
    """Yield why the powers are no range around 1."""
    low, high = options.power
    if not low <= 1 <= high:
        yield f"{stage}.augment.gamma.power {[low, high]} must go from at most 1 to at least 1"


def apply(image: np.ndarray, options: Options, data: DataOptions, rng: np.random.Generator) -> np.ndarray:
    """Return an image [C, *crop] float32, changed in place; each channel keeps its mean and its deviation."""
    for probability, is_inverted in ((options.inverted, True), (options.probability, False)):
        if happens(probability, rng):
            for channel in image:
                low, high = options.power
                power = rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)
                raise_channel(channel, power, is_inverted)
    return image


def raise_channel(channel: np.ndarray, power: float, is_inverted: bool) -> None:
    """Raise a channel [*S] float32, scaled to values from 0 to 1, to a power, then give it mean and deviation back.

    Inverted, the largest value is 0 and the smallest 1 meanwhile. A channel of one value stays as it is.
    """
    low, high = channel.min(), channel.max()
    if low == high:
        return
    mean, deviation = channel.mean(), channel.std()
    raised = high - channel if is_inverted else channel - low
    raised /= high - low
    raised **= np.float32(power)
    raised -= raised.mean()
    raised *= (-deviation if is_inverted else deviation) / raised.std()
    np.add(raised, mean, out=channel)
