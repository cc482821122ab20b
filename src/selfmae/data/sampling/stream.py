"""The stream of training samples: which case is drawn at which position, batches made ahead of time."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from selfmae.data.case import Case
from selfmae.data.memory import image_threads
from selfmae.seeds import derive, generator

Sample = dict[str, Tensor]
AHEAD = 3  # batches prepared before they are asked for


@dataclass(frozen=True)
class Draw:
    """One sample of one case: `seed` decides crop, augmentation, mask and DropPath."""

    case: Case
    seed: int


def draw_at(cases: Sequence[Case], seed: int, position: int, crops_per_case: int = 1) -> Draw:
    """Return the draw at this position of the stream: every epoch shows every case once, in a new order.

    A case is shown `crops_per_case` times in succession, each time with other changes.
    """
    epoch, index = divmod(position // crops_per_case, len(cases))
    return Draw(cases[int(_order(len(cases), seed, epoch)[index])], derive(seed, "draw", position))


@lru_cache(maxsize=4)
def _order(num_cases: int, seed: int, epoch: int) -> np.ndarray:
    return generator(seed, "order", epoch).permutation(num_cases)


def collate(samples: Sequence[Sample]) -> Sample:
    """Stack samples to a batch: every value [*] becomes [B, *]."""
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def stream(
    make: Callable[[Draw], Sample], batches: Iterable[Sequence[Draw]], num_threads: int
) -> Generator[Sample, None, None]:
    """Yield the samples of each batch of draws, collated, made ahead of time by `num_threads` threads.

    The batches are the same for any number of threads. An error in a thread is raised here, instead of its batch.
    """

    def gather(samples: Sequence[Future[Sample]]) -> Sample:
        return collate([sample.result() for sample in samples])

    ready: deque[Future[Sample]] = deque()
    with image_threads(num_threads) as pool:
        for draws in batches:
            # Queued behind its samples, so that no thread waits here for a sample that none has begun.
            ready.append(pool.submit(gather, [pool.submit(make, draw) for draw in draws]))
            if len(ready) > AHEAD:
                yield ready.popleft().result()
        while ready:
            yield ready.popleft().result()
