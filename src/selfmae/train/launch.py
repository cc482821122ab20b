"""Several devices: a process for each, and what ends one of them early."""

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.queues import SimpleQueue
from typing import Any, NoReturn

from lightning_fabric import Fabric
from torch import distributed
from torch.multiprocessing.spawn import ProcessException

from selfmae.errors import UserError
from selfmae.train.signals import Interrupted, catch_signals

Fit = Callable[..., Any]  # of a training, a display and a fabric


def run_on_devices(fit: Fit, training: Any, display: Any, fabric: Fabric) -> None:
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


def _fit_apart(fabric: Fabric, fit: Fit, training: Any, display: Any, problems: "SimpleQueue[BaseException]") -> None:
    """Optimise in a process of its own; what ends it early goes into `problems`, to be raised where the command runs.

    The model does not come back as a value: it is in the folder, and its memory goes with the process.
    """
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
