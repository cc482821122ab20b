"""Starts an optimisation on one device or on several, one process each."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, NoReturn, Protocol

from lightning_fabric import Fabric
from torch import distributed, nn
from torch.multiprocessing.spawn import ProcessException

from selfmae.data.case import Case
from selfmae.errors import UserError
from selfmae.options import OptimOptions, Recipe
from selfmae.tasks.base import Trainable
from selfmae.train.device import make_fabric, tune_attention
from selfmae.train.loop import Optimisation, Validate
from selfmae.train.signals import Interrupted, catch_signals
from selfmae.weights.file import Weights, load_encoder, read_weights


@dataclass(frozen=True)
class Job:
    """One optimisation: its name for the display, options, folder, training cases, metadata of the weights."""

    name: str
    options: OptimOptions
    folder: Path
    cases: Sequence[Case]
    metadata: Mapping[str, Any]
    init: Weights | None = None  # encoder weights (`models.transfer`) to start from; None keeps random ones
    validate: Validate | None = None  # can be sent to other processes


class Stages(Protocol):
    """Something that opens a stage with progress (`jobs.display.Display`)."""

    def stage(self, name: str, total: int) -> Any:
        """Open a stage of `total` steps."""
        ...


def launch(recipe: Recipe, task: Trainable, job: Job, display: Stages) -> nn.Module:
    """Run the job to its end and return the model with its best weights, in eval, on the recipe's first device."""
    fabric = make_fabric(recipe.device)
    if recipe.device.devices == 1:
        return work(fabric, task, job, display)
    _launch_apart(fabric, task, job, display)
    model = task.build()
    model.load_state_dict(read_weights(job.folder / "model.safetensors")[0])
    tune_attention(model, recipe.device)
    return model.to(fabric.device).eval()


def _launch_apart(fabric: Fabric, task: Trainable, job: Job, display: Stages) -> None:
    """Run the job in a process for each device; raise what ended it early in any of them."""
    problems: SimpleQueue[BaseException] = get_context("spawn").SimpleQueue()
    crash: ProcessException | None = None
    with catch_signals(_pass_on) as asked_to_stop:
        try:
            fabric.launch(partial(work_apart, task=task, job=job, display=display, problems=problems))
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


def work_apart(
    fabric: Fabric, task: Trainable, job: Job, display: Stages, problems: "SimpleQueue[BaseException]"
) -> None:
    """Optimise in a process of its own; what ends it early goes into `problems`, to be raised where the command runs.

    The model does not come back as a value: it is in the folder, and its memory goes with the process.
    """
    spawned = parent_process() is not None  # processes of torchrun have more to do, and raise themselves
    try:
        work(fabric, task, job, display)
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


def work(fabric: Fabric, task: Trainable, job: Job, display: Stages) -> nn.Module:
    """Optimise on this process's device."""
    optimisation = Optimisation(fabric, task, job.options, job.folder)
    if job.init is not None:
        load_encoder(optimisation.model, job.init)
    if not fabric.is_global_zero:
        return optimisation.run(job.cases, job.metadata, job.validate)
    with display.stage(job.name, job.options.steps) as stage:
        return optimisation.run(job.cases, job.metadata, job.validate, stage.update)
