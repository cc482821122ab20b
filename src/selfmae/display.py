"""Terminal output: progress with step, loss, rate and time left; messages; numbers and intervals."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

SECONDS_BETWEEN_LINES = 15.0
WIDTH_OF_FILES = 140  # columns of a table that goes into a file or a pipe


class Stage:
    """One stretch of counted work; `update` may be called at every step."""

    def __init__(self, console: Console, name: str, total: int, bar: Progress | None) -> None:
        self.console, self.name, self.total, self.bar = console, name, total, bar
        self.task: TaskID | None = bar.add_task(escape(name), total=total, detail="") if bar else None
        self.begin = self.printed = time.monotonic()
        self.first: int | None = None

    def update(self, done: int, loss: float | None = None) -> None:
        """Tell that `done` of the total are done; `loss` is that of the last step."""
        if self.first is None:
            # A run that continues starts in the middle; its first step shows the pace of nothing yet.
            self.first, self.begin = done, time.monotonic()
        now = time.monotonic()
        rate = (done - self.first) / (now - self.begin) if done > self.first and now > self.begin else 0.0
        parts = [f"loss {loss:.4f}"] if loss is not None else []
        if rate:
            parts += [f"{rate:.1f}/s", f"{_clock((self.total - done) / rate)} left"]
        detail = "  ".join(parts)
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=done, detail=detail)
        elif now - self.printed > SECONDS_BETWEEN_LINES or done == self.total:
            self.printed = now
            self.console.print(f"{self.name}: {done}/{self.total}  {detail}".rstrip(), highlight=False, markup=False)


class Display:
    """Writes to standard error, or what a command was asked for to standard output.

    Stages are bars on a terminal, and a line every few seconds elsewhere, or where a label tells whose lines they are
    among those of others that work at the same time.
    """

    def __init__(self, stdout: bool = False, quiet: bool = False, label: str = "") -> None:
        self.label, self.prefix = label, f"[{label}] " if label else ""
        width = None if (sys.stdout if stdout else sys.stderr).isatty() else WIDTH_OF_FILES
        self.console = Console(stderr=not stdout, quiet=quiet, soft_wrap=True, width=width, emoji=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Be made anew in another process, where a terminal's state cannot go."""
        return type(self), (not self.console.stderr, self.console.quiet, self.label)

    def labelled(self, label: str) -> "Display":
        """Return a display that puts a label before its lines."""
        return Display(not self.console.stderr, self.console.quiet, label)

    def say(self, sentence: str) -> None:
        """Print one sentence."""
        self.console.print(f"{self.prefix}{sentence}", highlight=False, markup=False)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print rows under their column names; nothing if there is no row."""
        if not rows:
            return
        table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
        for row in rows:
            table.add_row(*(escape(str(value)) for value in row))
        self.console.print(table, highlight=False)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Open a stage of `total` steps."""
        if self.label or not self.console.is_terminal:
            yield Stage(self.console, f"{self.prefix}{name}", total, None)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} {task.fields[detail]}"),
        )
        with Progress(*columns, console=self.console) as bar:
            yield Stage(self.console, name, total, bar)


def number(value: float | None, sign: bool = False) -> str:
    """Return four decimals (none of a count) or "undefined"; the minus is ASCII, which any terminal and pipe takes."""
    if value is None or isinstance(value, int):
        return "undefined" if value is None else str(value)
    return f"{value:{'+' if sign else ''}.4f}"


def interval(bounds: Sequence[float] | None, sign: bool = False) -> str:
    """Return "0.0100 to 0.0500" or "undefined"."""
    return "undefined" if bounds is None else " to ".join(number(float(bound), sign) for bound in bounds)


def _clock(seconds: float) -> str:
    """Return seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
