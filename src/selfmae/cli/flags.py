"""Flags shared by several commands, and the parsing of their values."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from selfmae.errors import UserError
from selfmae.planning.budget import parse_budget


def argument(metavar: str, text: str) -> Any:
    """Return a word that a command takes by its position, with its help."""
    return typer.Argument(metavar=metavar, help=text)


def option(name: str, metavar: str, text: str, default: str | None = None, panel: str | None = None) -> Any:
    """Return an option with its help; `default` says in words what holds without it."""
    return typer.Option(name, metavar=metavar, help=text, show_default=default or True, rich_help_panel=panel)


def _parse_folds(text: str) -> int | None:
    """Return the number of folds, None for "auto"."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} must be a whole number or auto.") from error


def _parse_budget(text: str) -> float:
    """Return the seconds of a budget such as 30m."""
    return parse_budget(text)


def _parse_labels(text: str) -> tuple[int, ...]:
    """Return numbers of labelled patients in rising order; "all" is always trained and stands for itself."""
    words = split_words(text)
    wrong = next((word for word in words if word != "all" and not (word.isdigit() and int(word) > 0)), None)
    if wrong is not None or not words:
        raise UserError(f"--labels {text!r} must be numbers of labelled patients above 0, or all, as in 3,5,10,all.")
    return tuple(sorted({int(word) for word in words if word != "all"}))


def parse_until(text: str) -> bool:
    """Return whether seeds are added until the verdict is decided; raise `UserError` for another word."""
    if text not in ("", "decided"):
        raise UserError(f"--until {text!r} must be decided, or be left out.")
    return bool(text)


PARALLEL = "Training runs in parallel"  # the panel of the help that shows their flags
# By the names of the files: the readers themselves take seconds to import.
LAYOUTS = ", ".join(sorted(path.stem for path in (Path(__file__).parents[1] / "data" / "sources").glob("[a-z]*.py")))
INITS = "scratch, imagenet, timm:NAME, mae:DIR, masked_unet:DIR or moco:DIR (of `pretrain`), or a weight file"
HELP = {  # of the flags with much to say
    "source": "Your images: a folder, a table or an archive. `selfmae inspect` shows how it is read.",
    "recipe": "Recipe whose values override the planned ones; `selfmae recipes` lists the built-in ones.",
    "set": "Override one value of the recipe, e.g. --set fit.steps=500; can be repeated. `selfmae plan SOURCE --out "
    "FILE` writes a file with every key.",
    "patients": "Regular expression that finds the patient in the name of a case (its first group, or the whole "
    "match), e.g. '(p[0-9]+)_'.",
    "inits": "Initializations to compare: scratch (random weights), scratch+ (from scratch with the compute of "
    "pre-training), mae (pre-trained on your images by the network's own method) or another method, imagenet, "
    "timm:NAME, or a weight file.",
    "budget": "Time for the whole run, such as 30m, 4h or 2d: it plans network, resolution, crop and number of steps.",
    "margin": "Smallest difference that matters, in units of the metric (Dice or AUC): an interval within it is no "
    "difference.",
    "until": "decided: add training seeds one by one until the verdict is helps, hurts or no difference, or the budget "
    "is spent.",
    "labels": "Also train with fewer labelled patients, e.g. 3,5,10,all: how much labels and pre-training are worth.",
    "draws": "Random draws of the labelled patients for each number of --labels.",
    "unlabelled": "Further images without labels to pre-train on: a folder, a table or an archive of any layout.",
    "folds": "1: the test set of the source, or one drawn from it. K: K-fold cross-validation, which tests each "
    "patient once. auto: chosen by the number of patients.",
    "seeds": "Training runs per initialization and fold, each with its own random seed; use 3 or more to estimate "
    "training variance.",
    "partial": "Load weights even if some encoder tensors are missing or have another shape.",
    "transductive": "Allow weights that have seen test images. This inflates the scores; all results are stamped "
    "TRANSDUCTIVE.",
    "halving": "Start with short training runs, then train the better half (by validation score) for longer, until two "
    "values remain.",
    "jobs": "Number of training runs in parallel. 0: one at a time on this machine, as many as fit on Ray.",
    "executor": "This machine, or a Ray cluster (selected by RAY_ADDRESS).",
}

Source = Annotated[str, argument("SOURCE", HELP["source"])]
RecipeFile = Annotated[str, argument("RECIPE", "Recipe file, as written by `selfmae plan SOURCE --out FILE`.")]
Folders = Annotated[list[Path], argument("DIR...", "Folders of `run`, of single training runs, or of `score --out`.")]
Out = Annotated[Path, option("--out", "DIR", "Output folder. Run the same command again to resume there.")]
Name = Annotated[str, option("--recipe", "NAME|FILE", HELP["recipe"], default="planned values only")]
Sets = Annotated[list[str] | None, option("--set", "KEY=VALUE", HELP["set"])]
As = Annotated[str, option("--as", "LAYOUT", f"Layout of the source: {LAYOUTS}.", default="detected")]
Patients = Annotated[str, option("--patient-pattern", "REGEX", HELP["patients"])]
Inits = Annotated[str, option("--init", "INIT,...", HELP["inits"])]
Budget = Annotated[
    float | None,
    typer.Option(
        "--budget", parser=_parse_budget, metavar="TIME", help=HELP["budget"], show_default="1h on a CPU, 6h on a GPU"
    ),
]
Margin = Annotated[float, option("--margin", "X", HELP["margin"])]
Until = Annotated[str, option("--until", "decided", HELP["until"], default="all seeds are trained")]
Labels = Annotated[Any, typer.Option("--labels", parser=_parse_labels, metavar="N,...", help=HELP["labels"])]
Draws = Annotated[int, option("--draws", "N", HELP["draws"], default="as many as --seeds")]
Unlabelled = Annotated[str, option("--unlabelled", "DIR", HELP["unlabelled"], default="those of the source")]
Folds = Annotated[Any, typer.Option("--folds", parser=_parse_folds, metavar="K|auto", help=HELP["folds"])]
Seeds = Annotated[int, option("--seeds", "N", HELP["seeds"])]
Init = Annotated[str, option("--init", "INIT", f"Initial weights for fine-tuning: {INITS}.")]
PretrainingInit = Annotated[
    str, option("--init", "INIT", f"Initial weights for pre-training: {INITS}.", default="init.pretrain of the recipe")
]
Method = Annotated[
    str,
    option("--method", "NAME", "Method of pre-training, such as mae or moco.", "the first that suits the network"),
]
Partial = Annotated[bool, typer.Option("--partial", help=HELP["partial"])]
Transductive = Annotated[bool, typer.Option("--allow-transductive", help=HELP["transductive"])]
Halving = Annotated[bool, typer.Option("--halving", help=HELP["halving"])]
Jobs = Annotated[int, option("--jobs", "N", HELP["jobs"], panel=PARALLEL)]
ExecutorKind = Annotated[str, option("--executor", "local|ray", HELP["executor"], panel=PARALLEL)]
CpusPerRun = Annotated[float, option("--cpus-per-run", "N", "CPU cores per training run on Ray.", panel=PARALLEL)]
GpusPerRun = Annotated[float, option("--gpus-per-run", "N", "GPUs per training run on Ray.", panel=PARALLEL)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def split_words(text: str) -> list[str]:
    """Return the words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def settings(
    sets: list[str] | None,
    patients: str = "",
    layout: str = "",
    init: str = "",
    partial: bool = False,
    unlabelled: str = "",
) -> list[str]:
    """Return `--set` with what other flags set, such as `--patient-pattern`."""
    keys = {"data.patient_pattern": patients, "data.layout": layout, "init.pretrain": init, "init.partial": partial}
    keys["data.unlabelled"] = unlabelled
    return [*(sets or []), *(f"{key}={json.dumps(value)}" for key, value in keys.items() if value)]
