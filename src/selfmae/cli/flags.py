"""Flags shared by several commands, and the parsing of their values."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from selfmae.methods import EQUAL


def _parse_folds(text: str) -> int | None:
    """Return the number of folds, None for "auto"."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} must be a whole number or auto.") from error


PARALLEL = "Training runs in parallel"  # the panel of the help that shows their flags
# By the names of the files: the readers themselves take seconds to import.
LAYOUTS = ", ".join(sorted(path.stem for path in (Path(__file__).parents[1] / "data" / "sources").glob("[a-z]*.py")))
INITS = "scratch, imagenet, timm:NAME, mae:DIR or moco:DIR (a folder of `pretrain`), or a weight file"

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="Your images: a folder, a table or an archive. `selfmae inspect` shows how it is read."
    ),
]
RecipeFile = Annotated[
    str, typer.Argument(metavar="RECIPE", help="Recipe file, as written by `selfmae plan SOURCE --out FILE`.")
]
Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Output folder. Run the same command again to resume there.")
]
Name = Annotated[
    str,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        help="Recipe whose values override the planned ones; `selfmae recipes` lists the built-in ones.",
        show_default="planned values only",
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one value of the recipe, e.g. --set fit.steps=500; can be repeated. "
        "`selfmae plan SOURCE --out FILE` writes a file with every key.",
    ),
]
Inits = Annotated[
    str,
    typer.Option(
        "--init",
        metavar="INIT,...",
        help="Initializations to compare: scratch (random weights), mae or moco (pre-trained on your images), "
        "imagenet, timm:NAME, or a weight file.",
    ),
]
EqualCompute = Annotated[
    bool,
    typer.Option(
        "--equal-compute",
        help="Add the initialization scratch+: from scratch, with the compute of pre-training spent on more steps.",
    ),
]
Folds = Annotated[
    Any,
    typer.Option(
        "--folds",
        parser=_parse_folds,
        metavar="K|auto",
        help="1: the test set of the source, or one drawn from it. K: K-fold cross-validation, which tests each "
        "patient once. auto: chosen by the number of patients.",
    ),
]
Seeds = Annotated[
    int,
    typer.Option(
        "--seeds",
        metavar="N",
        help="Training runs per initialization and fold, each with its own random seed; use 3 or more to estimate "
        "training variance.",
    ),
]
Init = Annotated[str, typer.Option("--init", metavar="INIT", help=f"Initial weights for fine-tuning: {INITS}.")]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAME",
        help="Method of pre-training, such as mae or moco.",
        show_default="the first that suits the network",
    ),
]
PretrainingInit = Annotated[
    str,
    typer.Option(
        "--init",
        metavar="INIT",
        help=f"Initial weights for pre-training: {INITS}.",
        show_default="init.pretrain of the recipe",
    ),
]
Partial = Annotated[
    bool,
    typer.Option("--partial", help="Load weights even if some encoder tensors are missing or have another shape."),
]
Patients = Annotated[
    str,
    typer.Option(
        "--patient-pattern",
        metavar="REGEX",
        help="Regular expression that finds the patient in the name of a case (its first group, or the whole match), "
        "e.g. '(p[0-9]+)_'.",
    ),
]
Transductive = Annotated[
    bool,
    typer.Option(
        "--allow-transductive",
        help="Allow weights that have seen test images. This inflates the scores; all results are stamped "
        "TRANSDUCTIVE.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        metavar="N",
        help="Number of training runs in parallel. 0: one at a time on this machine, as many as fit on Ray.",
        rich_help_panel=PARALLEL,
    ),
]
ExecutorKind = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="local|ray",
        help="This machine, or a Ray cluster (selected by RAY_ADDRESS).",
        rich_help_panel=PARALLEL,
    ),
]
CpusPerRun = Annotated[
    float,
    typer.Option("--cpus-per-run", metavar="N", help="CPU cores per training run on Ray.", rich_help_panel=PARALLEL),
]
GpusPerRun = Annotated[
    float,
    typer.Option("--gpus-per-run", metavar="N", help="GPUs per training run on Ray.", rich_help_panel=PARALLEL),
]
As = Annotated[
    str,
    typer.Option("--as", metavar="LAYOUT", help=f"Layout of the source: {LAYOUTS}.", show_default="detected"),
]
Folders = Annotated[
    list[Path],
    typer.Argument(metavar="DIR...", help="Folders of `run`, of single training runs, or of `score --out`."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def split_words(text: str) -> list[str]:
    """Return the words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def split_inits(inits: str, equal_compute: bool) -> tuple[str, ...]:
    """Return the initializations of `--init`, and the one that `--equal-compute` adds."""
    named = tuple(split_words(inits))
    return (*named, EQUAL) if equal_compute and EQUAL not in named else named


def with_source(sets: list[str] | None, pattern: str, layout: str = "") -> list[str]:
    """Return the settings, with those of `--patient-pattern` and `--as` added."""
    given = {"data.patient_pattern": pattern, "data.layout": layout}
    return [*(sets or []), *(f"{key}={json.dumps(value)}" for key, value in given.items() if value)]


def with_init(sets: list[str] | None, init: str, partial: bool) -> list[str]:
    """Return the settings, with those of `--init` (of pre-training) and `--partial` added."""
    given = [f"init.pretrain={json.dumps(init)}"] if init else []
    return [*(sets or []), *given, *(["init.partial=true"] if partial else [])]
