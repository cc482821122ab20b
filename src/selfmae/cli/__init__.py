"""The command line: each command reads its flags and calls one function, which it imports only then."""

import errno
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from selfmae import __version__
from selfmae.cli.data import inspect, plan, recipes
from selfmae.cli.results import compare, evaluate, export, predict, report, score, weights
from selfmae.cli.training import demo, finetune, pretrain, run, sweep
from selfmae.errors import UserError

CONTINUED = {"demo", "run", "sweep", "pretrain", "finetune"}  # commands that can be resumed
# Errors of the file system that a user can fix; any other is a bug of ours.
FIXABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR}
FIXABLE |= {errno.EEXIST, errno.ENAMETOOLONG, errno.EIO}
WORK: list[Callable[[], object]] = []  # what a command that trains has left for `main`


def leave_work(work: Callable[[], object] | None, **_: bool) -> None:
    """Leave what a command returns for `main` to do, so that no frame of typer lies between `main` and a training."""
    WORK.extend([work] if work else [])


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    result_callback=leave_work,
    help="Does self pre-training with a masked autoencoder help on my medical images? Start with: selfmae demo",
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"selfmae {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works with every command.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Accept the options of every command; `main` has already removed `--debug`."""


# In the order of the help.
TRAINING = (demo, inspect, run, sweep, plan, pretrain, finetune)
RESULTS = (evaluate, predict, score, compare, report, weights, export)
for command in (*TRAINING, *RESULTS):
    app.command()(command)
app.add_typer(recipes, name="recipes")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: exit code 2 and one sentence for a user error, 130 for an interruption."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    WORK.clear()
    try:
        _read(given)
        for work in WORK:
            work()
        sys.exit(0)
    except UserError as error:
        if debug:
            raise
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if debug or error.errno not in FIXABLE:
            raise
        problem = f"{error.filename or 'A file'} could not be read or written ({error.strerror})"
        print(f"Error: {problem}: check path, permissions and free space.", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        again = " The same command continues where it stopped." if CONTINUED & {*given} else ""
        print(f"Interrupted.{again}", file=sys.stderr)
        sys.exit(130)


def _read(given: Sequence[str]) -> None:
    """Read the flags of a command and do what it does at once; end here for `--help` and wrong flags."""
    try:
        app(given, prog_name="selfmae")
    except SystemExit as end:
        if end.code == 130:  # typer makes this of a KeyboardInterrupt
            raise KeyboardInterrupt from end
        if end.code or not WORK:
            raise
