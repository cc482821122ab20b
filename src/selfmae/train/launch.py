"""Processes: one for each of several devices, and the signals that end them between two optimiser steps."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.queues import SimpleQueue
from types import FrameType
from typing import Any, NoReturn

from lightning_fabric import Fabric
from torch import distributed
from torch.multiprocessing.spawn import ProcessException

from selfmae.errors import UserError


class Interrupted(KeyboardInterrupt):
    """The user or the system asked for an end; the checkpoint is written, the same command continues."""


@contextmanager
def catch_signals(tell: Callable[[int], None] | None = None) -> Iterator[threading.Event]:
    """Turn the first SIGINT and the first SIGTERM into a set event; a second of the same kind acts as it always does.

    A system that ends a job sends SIGTERM to all of its processes; the SIGINT that `--jobs` then passes on to its
    training runs must not end them before their checkpoint. `tell` is given the number of the signal.
    """
    event = threading.Event()
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(number, before[signal.Signals(number)])
        if tell:
            tell(number)

    with _handled(note, *before):
        yield event


def term_interrupts() -> AbstractContextManager[None]:
    """Let SIGTERM act as Ctrl-C does, for work that has to be stopped in other processes."""
    return _handled(signal.default_int_handler, signal.SIGTERM)


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], Any], *numbers: signal.Signals) -> Iterator[None]:
    """Let a function handle these signals, which only the main thread receives."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def run_on_devices(fit: Callable[..., Any], training: Any, display: Any, fabric: Fabric) -> None:
    """Run `fit` in a process for each device of a fabric; raise what ended it early in any of them."""
    problems: SimpleQueue[BaseException] = get_context("spawn").SimpleQueue()
    crash: ProcessException | None = None
    with catch_signals(_pass_on) as asked_to_stop:
        try:
            fabric.launch(partial(_fit_apart, fit=fit, training=training, display=display, problems=problems))
        except ProcessException as error:
            crash = error
    if not problems.empty():
        raise problems.get()
    if asked_to_stop.is_set():  # perhaps while the processes were still importing, where a signal ends them
        raise Interrupted
    if crash:
        raise crash


def _pass_on(number: int) -> None:
    """Tell the processes of a signal that may have come to this one alone, by the kind that they have not seen yet."""
    other = signal.SIGTERM if number == signal.SIGINT else signal.SIGINT
    for process in active_children():
        if process.pid is not None:
            os.kill(process.pid, other)


def _fit_apart(
    fabric: Fabric, fit: Callable[..., Any], training: Any, display: Any, problems: "SimpleQueue[BaseException]"
) -> None:
    """Optimise in a process of its own; what ends it early goes to where the command runs, through `problems`."""
    spawned = parent_process() is not None  # processes of torchrun have more to do, and raise themselves
    try:
        fit(training, display, fabric)
    except UserError as error:
        if not spawned:
            raise
        problems.put(error)
        _leave(1)  # at once: the others wait for this one, and a process that failed makes torch end them
    except Interrupted as error:  # in all processes at the same step
        if not spawned:
            raise
        if fabric.is_global_zero:
            problems.put(error)
    if distributed.is_initialized():
        distributed.destroy_process_group()
    if not fabric.is_global_zero and spawned:
        # Now and then its threads of gloo abort it while Python shuts down, which would look like a crash.
        _leave(0)


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
