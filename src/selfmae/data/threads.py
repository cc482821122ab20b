"""Threads that read, prepare and sample images."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def image_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Yield so many threads, within each of which torch uses no others; what was not begun at the end never is.

    NumPy and torch release Python's lock while they work: two threads are as fast as two processes
    (benchmarks/README.md), and need no second Python, no shared memory and no limit of open files.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, "selfmae-images", torch.set_num_threads, (1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)
