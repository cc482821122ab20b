"""What several augmentations draw and check alike: whether they act, on which channels, and ranges."""

from collections.abc import Iterator, Sequence

import numpy as np


def happens(probability: float, rng: np.random.Generator) -> bool:
    """Return True with this probability; nothing is drawn where it is 0 or 1."""
    return probability >= 1 or (probability > 0 and bool(rng.random() < probability))


def half_of(image: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the channels [*S] of an image [C, *S], to be changed in place, each with a probability of one half."""
    for channel in image:
        if happens(0.5, rng):
            yield channel


def rising_problems(key: str, limits: Sequence[float]) -> Iterator[str]:
    """Yield why `limits` are no range to draw from."""
    if len(limits) != 2 or limits[0] > limits[1]:
        yield f"{key} {list(limits)} must be two numbers, the smaller one first"
