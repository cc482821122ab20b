"""Work on a Ray cluster: a task for each piece, with resources of its own, retried where a machine fails."""

import os
from types import ModuleType
from typing import Any

import torch

from selfmae.errors import UserError
from selfmae.jobs.cells.executors import Executor, Work, attempt
from selfmae.jobs.display import Display

RETRIES = 3  # of work whose process or machine died; an error of the work itself is not tried again
SECONDS_TO_SAVE = 60.0  # that interrupted work has to write its checkpoint


def load_ray() -> ModuleType:
    """Return the library Ray; raise `UserError` with the command that installs it where it is missing."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's behaviour to come, without its warning
    try:
        import ray
    except ImportError as error:
        raise UserError('--executor ray needs Ray: pip install "selfmae[ray]".') from error
    module: ModuleType = ray
    return module


class Cluster:
    """The Ray cluster that this machine is part of (RAY_ADDRESS names another), or else this machine alone."""

    def __init__(self, executor: Executor) -> None:
        self.ray = load_ray()
        self.ray.init(ignore_reinit_error=True, log_to_driver=True, logging_level="WARNING")
        self._check_resources(executor)
        resources = {"num_cpus": executor.num_cpus, "num_gpus": executor.num_gpus}
        self.task = self.ray.remote(**resources, max_retries=RETRIES)(work_on_node)
        self.threads = max(1, int(executor.num_cpus))
        self.running: dict[Any, str] = {}

    def _check_resources(self, executor: Executor) -> None:
        """Raise if no machine has what one piece of work takes: Ray would wait for one for ever."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        wanted = {"CPU": executor.num_cpus, "GPU": executor.num_gpus}
        if not any(all(node.get(name, 0) >= number for name, number in wanted.items()) for node in nodes):
            most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in wanted}
            raise UserError(
                f"--cell-cpus {executor.num_cpus:g} and --cell-gpus {executor.num_gpus:g} were asked for one cell, but "
                f"no machine of the Ray cluster has both (most: {most['CPU']:g} CPUs, {most['GPU']:g} GPUs): ask for "
                "less."
            )

    def start(self, work: Work, display: Display) -> None:
        """Hand a piece of work to the cluster."""
        self.running[self.task.remote(work, display, self.threads, os.getcwd())] = work.name

    def wait(self) -> tuple[str, str]:
        """Wait until one task has ended; return the name of its work and its error."""
        ended, _ = self.ray.wait(list(self.running), num_returns=1)
        name = self.running.pop(ended[0])
        try:
            return name, self.ray.get(ended[0])
        except self.ray.exceptions.RayError as error:
            return name, str(error).strip()

    def stop(self) -> None:
        """Interrupt every task and wait a while for its checkpoint."""
        for task in self.running:
            self.ray.cancel(task, force=False, recursive=False)
        if self.running:
            self.ray.wait(list(self.running), num_returns=len(self.running), timeout=SECONDS_TO_SAVE)
        self.running.clear()


def work_on_node(work: Work, display: Display, threads: int, folder: str) -> str:
    """Do the work in the folder where the command runs, which all machines share, and return its error."""
    os.chdir(folder)
    torch.set_num_threads(threads)
    return attempt(work, display)
