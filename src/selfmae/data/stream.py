"""The endless stream of training batches: which case comes when, and with which random changes.

The sample at place p of the stream is a pure function of the seed and p, so that a run continued at step k sees
what it would have seen, on any number of devices.
"""

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from selfmae.data.case import Case
from selfmae.seeds import derive, generator

Sample = dict[str, Tensor]
AHEAD = 3  # batches prepared before they are asked for


@dataclass(frozen=True)
class Draw:
    """One look at one case: `seed` decides crop, augmentation, mask and DropPath."""

    case: Case
    seed: int


def draw_at(cases: Sequence[Case], seed: int, place: int, crops_per_case: int = 1) -> Draw:
    """Return the draw at this place of the stream: every epoch shows every case once, in a new order.

    A case is shown `crops_per_case` times in succession, each time with other changes.
    """
    epoch, index = divmod(place // crops_per_case, len(cases))
    return Draw(cases[int(_order(len(cases), seed, epoch)[index])], derive(seed, "draw", place))


@lru_cache(maxsize=4)
def _order(num_cases: int, seed: int, epoch: int) -> np.ndarray:
    return generator(seed, "order", epoch).permutation(num_cases)


def collate(samples: Sequence[Sample]) -> Sample:
    """Stack samples to a batch: every value [*] becomes [B, *]."""
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def stream(make: Callable[[int], Sample], start: int, stop: int) -> Generator[Sample, None, None]:
    """Yield make(start), ..., make(stop - 1), each made ahead of time by one background thread.

    One thread is enough, since a prepared crop takes about a millisecond, and it needs no fork, no shared memory and
    no limit of open files. An error in the thread is raised here.
    """
    ready: queue.Queue[Sample | BaseException] = queue.Queue(maxsize=AHEAD)
    closed = threading.Event()

    def fill() -> None:
        try:
            for number in range(start, stop):
                if closed.is_set():
                    return
                ready.put(make(number))
        except BaseException as error:
            ready.put(error)

    worker = threading.Thread(target=fill, name="selfmae-batches", daemon=True)
    worker.start()
    try:
        for _ in range(start, stop):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        while worker.is_alive():
            _drain(ready)
            worker.join(timeout=0.05)


def _drain(ready: queue.Queue[Sample | BaseException]) -> None:
    """Empty the queue, so that a thread waiting to put something in it sees that nobody listens."""
    while not ready.empty():
        ready.get_nowait()
