"""SIGINT and SIGTERM, handled between two optimiser steps."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """The user or the system asked for an end; the checkpoint is written, the same command continues."""


@contextmanager
def catch_signals(tell: Callable[[int], None] | None = None) -> Iterator[threading.Event]:
    """Turn the first SIGINT and the first SIGTERM into a set event; a second of the same kind acts as it always does.

    A system that ends a job sends SIGTERM to all of its processes; the SIGINT that `--jobs` then passes on to its
    training runs must not end them before their checkpoint. `tell` is given the number of the signal.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(number, before[signal.Signals(number)])
        if tell:
            tell(number)

    for name in before:
        signal.signal(name, note)
    try:
        yield event
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def term_interrupts() -> Iterator[None]:
    """Let SIGTERM act as Ctrl-C does, for work that has to be stopped in other processes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
