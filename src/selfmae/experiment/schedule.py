"""Where training runs are done: one after the other, side by side in processes, or on a Ray cluster."""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from selfmae.data.memory import num_cores
from selfmae.display import Display
from selfmae.errors import UserError, did_you_mean
from selfmae.files import write_text
from selfmae.train.launch import term_interrupts

KINDS = ("local", "ray")
# A fork of this process would copy the locks of torch's threads; one of a server that only imports is clean, and spares
# each process the seconds that the imports take.
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["selfmae.experiment.train"])
RETRIES = 3  # of a run whose process or machine died; an error of the run itself is not tried again
SECONDS_TO_SAVE = 60.0  # that an interrupted run has to write its checkpoint
FAILURES = "failures"  # folder of an experiment with the tracebacks of runs that a mistake of ours ended


@dataclass(frozen=True)
class Scheduled:
    """A training run that is to be done."""

    title: str
    do: Callable[[Display], None]  # can be sent to another process, and may be done again
    folder: Path  # of the results: <init>/fold<k>/seed<n> of an experiment
    after: tuple[str, ...] = ()  # titles of what must be done before it, as far as it is to be done at all


@dataclass(frozen=True)
class Executor:
    """Where training runs are done, and how many at a time."""

    kind: str = "local"
    num_jobs: int = 0  # 0: one at a time on this machine, no limit on a cluster
    num_cpus: float = 1.0  # that Ray sets apart for one training run
    num_gpus: float = 0.0

    @property
    def is_beside(self) -> bool:
        """Return whether several of them share this machine."""
        return self.kind == "local" and self.num_jobs > 1


class Processes:
    """A pool of up to `num_jobs` processes, which share the cores of this machine."""

    def __init__(self, num_jobs: int) -> None:
        self.threads = max(1, num_cores() // num_jobs)
        self.running: dict[str, tuple[ForkServerProcess, connection.Connection]] = {}

    def start(self, work: Scheduled, display: Display) -> None:
        """Begin a training run in a process of its own."""
        receiver, sender = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=do_apart, args=(work, display, self.threads, sender))
        # Ctrl-C is held back from the new process, which lets it through once it can act on it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
            self.running[work.title] = (process, receiver)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        sender.close()

    def wait(self) -> tuple[str, str]:
        """Wait until one process has ended; return its title and its error.

        A pipe closes when its process is gone. `Process.sentinel` says so too early where a signal to the whole group
        has ended the server that the processes are forked from.
        """
        ended = connection.wait([receiver for _, receiver in self.running.values()])
        name = next(name for name, (_, receiver) in self.running.items() if receiver in ended)
        process, receiver = self.running[name]
        try:
            error = receiver.recv()
            process.join()
        except EOFError:
            process.join()
            error = f"its process ended with exit code {process.exitcode} (was it out of memory, or killed?)"
        del self.running[name]
        receiver.close()
        return name, error

    def stop(self) -> None:
        """Interrupt every process once and wait until it has saved its state; a second Ctrl-C ends them at once."""
        for process, _ in self.running.values():
            with suppress(ProcessLookupError):
                os.kill(process.pid or 0, signal.SIGINT)
        try:
            for _, receiver in self.running.values():
                with suppress(EOFError):
                    while True:
                        receiver.recv()
        finally:
            for process, _ in self.running.values():
                process.kill()
            self.running.clear()


class Cluster:
    """A pool of tasks on the Ray cluster of this machine (RAY_ADDRESS names another), or else on this machine alone."""

    def __init__(self, executor: Executor) -> None:
        self.ray = load_ray()
        self.ray.init(ignore_reinit_error=True, log_to_driver=True, logging_level="WARNING")
        cpus, gpus = executor.num_cpus, executor.num_gpus
        self.task = self.ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(do_on_node)
        self.threads = max(1, int(cpus))
        self.running: dict[Any, str] = {}
        # Raise if no machine has what one training run takes: Ray would wait for one for ever.
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        wanted = {"CPU": cpus, "GPU": gpus}
        if not any(all(node.get(name, 0) >= number for name, number in wanted.items()) for node in nodes):
            most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in wanted}
            raise UserError(
                f"One training run needs --cpus-per-run {cpus:g} and --gpus-per-run {gpus:g}, but no machine of the "
                f"Ray cluster has both (most: {most['CPU']:g} CPUs, {most['GPU']:g} GPUs): ask for less."
            )

    def start(self, work: Scheduled, display: Display) -> None:
        """Hand a training run to the cluster."""
        self.running[self.task.remote(work, display, self.threads, os.getcwd())] = work.title

    def wait(self) -> tuple[str, str]:
        """Wait until one task has ended; return its title and its error."""
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


Pool = Processes | Cluster
HERE = Executor()


def check_executor(executor: Executor) -> None:
    """Raise before anything is begun if there is no such executor, or it could do nothing."""
    if executor.kind not in KINDS:
        raise UserError(f"--executor {executor.kind!r} is not known.{did_you_mean(executor.kind, KINDS)}")
    if executor.num_jobs < 0:
        raise UserError(f"--jobs {executor.num_jobs} must be at least 1; leave it out for one training run at a time.")
    if executor.num_cpus <= 0 or executor.num_gpus < 0:
        raise UserError(
            f"--cpus-per-run {executor.num_cpus:g} must be above 0 and --gpus-per-run {executor.num_gpus:g} at least 0."
        )
    if executor.kind == "ray":
        load_ray()


def schedule(works: Sequence[Scheduled], executor: Executor, display: Display) -> dict[str, str]:
    """Do all training runs; return what failed, title and error. One that fails stops only those that come after it.

    An interruption, SIGTERM too, stops all; nothing is lost, since the same runs go on where they stopped.
    """
    if executor.kind == "ray" or executor.is_beside:
        with term_interrupts():
            pool = _make_pool(executor)
            try:
                return _dispatch(works, pool, executor.num_jobs or len(works), display)
            finally:
                pool.stop()
    failures: dict[str, str] = {}
    for work in _in_order(works):
        with caught(work) as errors:
            if failed := next(filter(failures.get, work.after), ""):
                errors.append(f"{failed} failed")
            else:
                work.do(display)
        if errors:
            failures[work.title] = errors[0]
            display.say(f"{work.title} failed: {errors[0]}")
    return failures


def _in_order(works: Sequence[Scheduled]) -> Iterator[Scheduled]:
    """Yield training runs in their order, but each after those that it waits for."""
    waiting, left = list(works), {work.title for work in works}
    while waiting:
        work = next(work for work in waiting if left.isdisjoint(work.after))
        waiting.remove(work)
        left.discard(work.title)
        yield work


@contextmanager
def caught(work: Scheduled) -> Iterator[list[str]]:
    """Catch the failure of a training run, and nothing else does: give a list that gets its error as one line.

    The traceback of a mistake of ours goes into the experiment's folder. An interruption is no failure and passes on.
    """
    errors: list[str] = []
    try:
        yield errors
    except UserError as error:
        errors.append(str(error))
    except Exception as error:  # whatever ended this run, the others go on
        errors.append(f"{type(error).__name__}: {error}".rstrip(": "))
        name = "-".join(work.folder.parts[-3:])
        write_text(work.folder.parents[2] / FAILURES / f"{name}.txt", traceback.format_exc())


def _make_pool(executor: Executor) -> Pool:
    return Cluster(executor) if executor.kind == "ray" else Processes(executor.num_jobs)


def _dispatch(works: Sequence[Scheduled], pool: Pool, limit: int, display: Display) -> dict[str, str]:
    waiting, running, failures = list(works), 0, dict[str, str]()
    left = {work.title for work in works}
    while left:
        for work in [work for work in waiting if any(title in failures for title in work.after)]:
            waiting.remove(work)
            left.discard(work.title)
            failures[work.title] = f"{next(filter(failures.get, work.after))} failed"
        for work in [work for work in waiting if left.isdisjoint(work.after)][: limit - running]:
            waiting.remove(work)
            pool.start(work, display.labelled(work.title))
            running += 1
        if running:
            name, error = pool.wait()
            running -= 1
            left.discard(name)
            if error:
                failures[name] = error
            display.say(f"{name} {f'failed: {error}' if error else 'is done'}; {len(left)} of {len(works)} left.")
    return failures


def first_of(failures: Mapping[str, str]) -> str:
    """Return the first failure as a clause of a sentence: whose it is, and its error without a full stop."""
    title, error = next(iter(failures.items()))
    return f"{title}: {error.rstrip('.')}"


def do_apart(work: Scheduled, display: Display, threads: int, sender: connection.Connection) -> None:
    """Do a training run in this process and send its error; nothing is sent where it was interrupted."""
    os.setsid()  # Ctrl-C in the terminal goes to the command only, which passes it on once
    threading.Thread(target=_follow_command, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        with caught(work) as errors:
            work.do(display)
        sender.send(next(iter(errors), ""))
    except KeyboardInterrupt:
        sys.exit(130)


def _follow_command() -> None:
    """Interrupt this process when the command that started it is gone, however it ended."""
    command = parent_process()
    assert command is not None
    command.join()
    os.kill(os.getpid(), signal.SIGINT)


def load_ray() -> ModuleType:
    """Return the library Ray; raise `UserError` with the command that installs it where it is missing."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's behaviour to come, without its warning
    try:
        return import_module("ray")
    except ImportError as error:
        raise UserError('--executor ray needs Ray: pip install "selfmae[ray]".') from error


def do_on_node(work: Scheduled, display: Display, threads: int, folder: str) -> str:
    """Do a training run in the folder where the command runs, which all machines share, and return its error."""
    os.chdir(folder)
    torch.set_num_threads(threads)
    with caught(work) as errors:
        work.do(display)
    return next(iter(errors), "")
