"""Where the pieces of a grid are done: one after the other, side by side in processes, or on a Ray cluster."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from selfmae.errors import UserError, did_you_mean
from selfmae.jobs.display import Display
from selfmae.train.signals import term_interrupts

KINDS = ("local", "ray")


@dataclass(frozen=True)
class Work:
    """One piece of work: `do` can be sent to another process, leaves its results in a folder, and may be done again.

    It raises, or returns why it failed. `after` names the work that must be done before it.
    """

    name: str
    do: Callable[[Display], str | None]
    after: str = ""


@dataclass(frozen=True)
class Executor:
    """Where work is done, and how much of it at a time; `num_jobs` 0 is one on this machine, no limit on a cluster.

    `num_cpus` and `num_gpus` are what Ray sets apart for one piece of work.
    """

    kind: str = "local"
    num_jobs: int = 0
    num_cpus: float = 1.0
    num_gpus: float = 0.0

    @property
    def is_apart(self) -> bool:
        """Return whether work is done in other processes than this one."""
        return self.kind != "local" or self.num_jobs > 1

    @property
    def is_beside(self) -> bool:
        """Return whether several pieces share this machine."""
        return self.kind == "local" and self.num_jobs > 1


HERE = Executor()


class Pool(Protocol):
    """Something that does work apart from this process."""

    def start(self, work: Work, display: Display) -> None:
        """Begin a piece of work."""
        ...

    def wait(self) -> tuple[str, str]:
        """Wait until one of those begun has ended; return its name and its error, "" if there was none."""
        ...

    def stop(self) -> None:
        """Ask all that was begun to save its state and end, and wait until it has."""
        ...


def check_executor(executor: Executor) -> None:
    """Raise before anything is begun if there is no such executor, or it could do nothing."""
    if executor.kind not in KINDS:
        raise UserError(f"--executor {executor.kind!r} is not known.{did_you_mean(executor.kind, KINDS)}")
    if executor.num_jobs < 0:
        raise UserError(f"--jobs {executor.num_jobs} must be at least 1; leave it out for one cell at a time.")
    if executor.num_cpus <= 0 or executor.num_gpus < 0:
        raise UserError(
            f"--cell-cpus {executor.num_cpus:g} must be above 0 and --cell-gpus {executor.num_gpus:g} at least 0."
        )
    if executor.kind == "ray":
        from selfmae.jobs.cells.cluster import load_ray

        load_ray()


def carry_out(works: Sequence[Work], executor: Executor, display: Display) -> dict[str, str]:
    """Do all the work and return what failed: name and error. One that fails stops only those that come after it.

    An interruption, SIGTERM too, stops all; nothing is lost, since the same work goes on where it stopped.
    """
    if not executor.is_apart:
        return _one_by_one(works, display)
    limit = executor.num_jobs or len(works)
    with term_interrupts():
        pool = _make_pool(executor)
        try:
            return _side_by_side(works, pool, limit, display)
        finally:
            pool.stop()


def _make_pool(executor: Executor) -> Pool:
    if executor.kind == "ray":
        from selfmae.jobs.cells.cluster import Cluster

        return Cluster(executor)
    from selfmae.jobs.cells.processes import Processes

    return Processes(executor.num_jobs)


def _one_by_one(works: Sequence[Work], display: Display) -> dict[str, str]:
    failures: dict[str, str] = {}
    for work in works:
        error = f"{work.after} failed" if work.after in failures else attempt(work, display)
        if error:
            failures[work.name] = error
            display.say(f"{work.name} failed: {error}")
    return failures


def attempt(work: Work, display: Display) -> str:
    """Do the work and return its error, "" if there was none; of a mistake of ours, the traceback."""
    try:
        return work.do(display) or ""
    except UserError as error:
        return str(error)
    except Exception:
        return traceback.format_exc().strip()


def _side_by_side(works: Sequence[Work], pool: Pool, limit: int, display: Display) -> dict[str, str]:
    waiting, running, failures = list(works), 0, dict[str, str]()
    left = {work.name for work in works}
    while left:
        for work in [work for work in waiting if work.after in failures]:
            waiting.remove(work)
            left.discard(work.name)
            failures[work.name] = f"{work.after} failed"
        for work in [work for work in waiting if work.after not in left][: limit - running]:
            waiting.remove(work)
            pool.start(work, display.labelled(work.name))
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
    """Return the first failure as a clause of a sentence: whose it is, and the last line of its error."""
    name, error = next(iter(failures.items()))
    return f"{name}: {error.splitlines()[-1]}"
