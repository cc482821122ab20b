"""Starts an optimisation on one device or on several, one process each."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, Protocol

from lightning_fabric import Fabric
from torch import distributed, nn

from selfmae.data.case import Case
from selfmae.errors import UserError
from selfmae.models.weights import Weights, load_encoder, read_weights
from selfmae.options import OptimOptions, Recipe
from selfmae.tasks.base import Trainable
from selfmae.train.device import make_fabric, tune_attention
from selfmae.train.loop import Optimisation, Validate
from selfmae.train.signals import Interrupted


@dataclass(frozen=True)
class Job:
    """One optimisation: its name for the display, options, folder, training cases, contract of the weights."""

    name: str
    options: OptimOptions
    folder: Path
    cases: Sequence[Case]
    contract: Mapping[str, Any]
    start: Weights | None = None  # encoder weights (`models.transfer`) to start from; None keeps random ones
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
    problem = fabric.launch(partial(work_apart, task=task, job=job, display=display))
    if problem is not None:
        raise problem
    model = task.build()
    model.load_state_dict(read_weights(job.folder / "model.safetensors")[0])
    tune_attention(model, recipe.device)
    return model.to(fabric.device).eval()


def work_apart(fabric: Fabric, task: Trainable, job: Job, display: Stages) -> BaseException | None:
    """Optimise in a process of its own; return what ended it early, to be raised where the command runs.

    The model does not come back as a value: it is in the folder, and its memory goes with the process.
    """
    problem: BaseException | None = None
    try:
        work(fabric, task, job, display)
    except (UserError, Interrupted) as error:
        problem = error
    if distributed.is_initialized():
        distributed.destroy_process_group()
    if not fabric.is_global_zero and parent_process() is not None:
        # Nothing is returned by this process. Now and then its threads of gloo abort it while Python shuts down, which
        # would look like a crash; `parent_process` is None where torchrun started it, and it has more to do.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return problem


def work(fabric: Fabric, task: Trainable, job: Job, display: Stages) -> nn.Module:
    """Optimise on this process's device."""
    optimisation = Optimisation(fabric, task, job.options, job.folder)
    if job.start is not None:
        load_encoder(optimisation.model, job.start)
    if not fabric.is_global_zero:
        return optimisation.run(job.cases, job.contract, job.validate)
    with display.stage(job.name, job.options.steps) as stage:
        return optimisation.run(job.cases, job.contract, job.validate, stage.update)
