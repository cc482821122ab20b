"""The command line: each command reads its flags and calls one job, which is imported inside the command."""

import errno
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from selfmae import __version__
from selfmae.cli.data import inspect, plan, recipes
from selfmae.cli.results import compare, evaluate, export, predict, report, score, weights
from selfmae.cli.training import demo, finetune, pretrain, run, sweep
from selfmae.errors import UserError

CONTINUED = {"demo", "run", "sweep", "pretrain", "finetune"}  # commands that keep what they have done
# What a person can mend of the errors of the file system; others are mistakes of ours.
OF_PLACES = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR}
OF_PLACES |= {errno.EEXIST, errno.ENAMETOOLONG, errno.EIO}
AGAIN = " The same command continues where it stopped."

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Did self pre-training with a masked autoencoder help on my medical images? Start with: selfmae demo",
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"selfmae {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error (works anywhere).")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Read the options of every command; `main` has taken `--debug` out already."""


# In the order of the help.
LOOKING_AND_TRAINING = (demo, inspect, run, sweep, plan, pretrain, finetune)
RESULTS = (evaluate, predict, score, compare, report, weights, export)
for command in (*LOOKING_AND_TRAINING, *RESULTS):
    app.command()(command)
app.add_typer(recipes, name="recipes")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: exit code 2 and one sentence for an error of the user, 130 for an interruption."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    try:
        app(given, prog_name="selfmae")
    except UserError as error:
        if debug:
            raise
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if debug or error.errno not in OF_PLACES:
            raise
        place = error.filename or "A file"
        print(
            f"Error: {place} could not be read or written ({error.strerror}): check path, permissions and free space.",
            file=sys.stderr,
        )
        sys.exit(2)
    except SystemExit as end:
        if end.code == 130:  # typer makes this of a KeyboardInterrupt
            print(f"Interrupted.{AGAIN if CONTINUED & {*given} else ''}", file=sys.stderr)
        raise
