"""Work side by side on one machine: a process for each piece, so that one that dies takes no other with it."""

import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import ForkServerProcess

import torch

from selfmae.data.threads import num_cores
from selfmae.jobs.cells.executors import Work, attempt
from selfmae.jobs.display import Display

# A fork of this process would copy the locks of torch's threads; one of a server that only imports is clean, and spares
# each process the seconds that the imports take.
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["selfmae.jobs.cells.grid"])


class Processes:
    """Up to `num_jobs` processes, which share the cores of this machine."""

    def __init__(self, num_jobs: int) -> None:
        self.threads = max(1, num_cores() // num_jobs)
        self.running: dict[str, tuple[ForkServerProcess, connection.Connection]] = {}

    def start(self, work: Work, display: Display) -> None:
        """Begin a piece of work in a process of its own."""
        receiver, sender = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=work_apart, args=(work, display, self.threads, sender))
        mask = hold_interrupt()  # the new process lets it through once it can act on it
        try:
            process.start()
            self.running[work.name] = (process, receiver)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        sender.close()

    def wait(self) -> tuple[str, str]:
        """Wait until one process has ended; return the name of its work and its error.

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


def hold_interrupt() -> set[signal.Signals]:
    """Hold Ctrl-C back from this thread and the processes it starts; return the mask of before."""
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}))  # type: ignore[arg-type]


def work_apart(work: Work, display: Display, threads: int, sender: connection.Connection) -> None:
    """Do the work in this process and send its error; nothing is sent where it was interrupted."""
    os.setsid()  # Ctrl-C in the terminal goes to the command only, which passes it on once
    threading.Thread(target=_follow_command, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        sender.send(attempt(work, display))
    except KeyboardInterrupt:
        sys.exit(130)


def _follow_command() -> None:
    """Interrupt this process when the command that started it is gone, however it ended."""
    command = parent_process()
    assert command is not None
    command.join()
    os.kill(os.getpid(), signal.SIGINT)
