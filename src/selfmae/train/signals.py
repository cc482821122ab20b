"""The wish to stop, from the keyboard or the system, taken between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """The user or the system asked for an end; the checkpoint is written, the same command continues."""


@contextmanager
def catch_signals() -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into a set event; a second one acts as it always does."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        event.set()
        for name, handler in before.items():
            signal.signal(name, handler)

    for name in before:
        signal.signal(name, note)
    try:
        yield event
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
