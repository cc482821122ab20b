"""Flags that several commands share, and what is made of their values."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from selfmae.networks.registry import EQUAL


def _parse_folds(text: str) -> int | None:
    """Return the number of folds, None for "auto"."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} must be a whole number or auto.") from error


SIDE_BY_SIDE = "Several trainings at a time"  # the panel of the help in which their flags stand
LAYOUTS = "msd, nnunet, chestxray14, medmnist, btcv, bids, table, datalist, dicom, paired or classfolders"
INITS = "scratch, imagenet, timm:NAME, mae:DIR, moco:DIR (folders of `pretrain`) or a file of weights"

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="Your images: a folder, table or archive. `selfmae inspect` shows how it is understood."
    ),
]
RecipeFile = Annotated[
    str, typer.Argument(metavar="RECIPE", help="Recipe: the file that `selfmae plan SOURCE --out FILE` writes.")
]
Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder for the results; the same command continues there.")
]
Name = Annotated[
    str,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        help="Recipe whose values replace the planned ones; `selfmae recipes` lists names.",
        show_default="the plan's own values",
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="One value of the recipe, as in --set fit.steps=500; may be given again. "
        "The file of `selfmae plan SOURCE --out FILE` holds all keys.",
    ),
]
Inits = Annotated[
    str,
    typer.Option(
        "--init",
        metavar="INIT,...",
        help="What fine-tuning starts from, compared with one another: scratch (no pre-training), mae and moco "
        "(pre-trained on your images), imagenet, or files of weights.",
    ),
]
EqualCompute = Annotated[
    bool,
    typer.Option(
        "--equal-compute",
        help="Add the initialization scratch+: from scratch, with the compute of pre-training as more steps.",
    ),
]
Folds = Annotated[
    Any,
    typer.Option(
        "--folds",
        parser=_parse_folds,
        metavar="K|auto",
        help="Cross-validation: with 1 the test part of the source (or a drawn one), with K each patient is tested "
        "once in one of K parts, auto suits the number of patients.",
    ),
]
Seeds = Annotated[
    int,
    typer.Option(
        "--seeds",
        metavar="N",
        help="Trainings of each initialization, each with its own random numbers; 3 or more show noise.",
    ),
]
Init = Annotated[str, typer.Option("--init", metavar="INIT", help=f"What fine-tuning starts from: {INITS}.")]
PretrainingInit = Annotated[
    str,
    typer.Option(
        "--init", metavar="INIT", help=f"What pre-training starts from: {INITS}.", show_default="that of the recipe"
    ),
]
Partial = Annotated[
    bool,
    typer.Option("--partial", help="Take weights even where some of the encoder are missing or of another shape."),
]
Patients = Annotated[
    str,
    typer.Option(
        "--patient-pattern",
        metavar="REGEX",
        help="Where file names tell the patient: a regular expression whose first group is the patient, as in "
        "'(p[0-9]+)_'.",
    ),
]
Transductive = Annotated[
    bool,
    typer.Option(
        "--allow-transductive",
        help="Let in weights that have seen test images, which makes scores too good; all results are stamped "
        "TRANSDUCTIVE.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        metavar="N",
        help="Trainings at a time; 0 is one at a time here, and as many as fit on a cluster.",
        rich_help_panel=SIDE_BY_SIDE,
    ),
]
Where = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="local|ray",
        help="This machine, or the Ray cluster that RAY_ADDRESS names.",
        rich_help_panel=SIDE_BY_SIDE,
    ),
]
CellCpus = Annotated[
    float,
    typer.Option("--cell-cpus", metavar="N", help="Cores for one training on Ray.", rich_help_panel=SIDE_BY_SIDE),
]
CellGpus = Annotated[
    float,
    typer.Option("--cell-gpus", metavar="N", help="GPUs for one training on Ray.", rich_help_panel=SIDE_BY_SIDE),
]
As = Annotated[
    str,
    typer.Option(
        "--as", metavar="LAYOUT", help=f"How to read the source: {LAYOUTS}.", show_default="recognised by itself"
    ),
]
Folders = Annotated[
    list[Path], typer.Argument(metavar="DIR...", help="Folders of `run`, of single trainings, or of `score --out`.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def split_words(text: str) -> list[str]:
    """Return the words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def split_inits(inits: str, equal_compute: bool) -> tuple[str, ...]:
    """Return the initializations of `--init`, with the one that `--equal-compute` adds."""
    named = tuple(split_words(inits))
    return (*named, EQUAL) if equal_compute and EQUAL not in named else named


def with_source(sets: list[str] | None, pattern: str, layout: str = "") -> list[str]:
    """Return the settings with what `--patient-pattern` and `--as` say of the source among them."""
    given = {"data.patient_pattern": pattern, "data.layout": layout}
    return [*(sets or []), *(f"{key}={json.dumps(value)}" for key, value in given.items() if value)]


def with_init(sets: list[str] | None, init: str, partial: bool) -> list[str]:
    """Return the settings with those of pre-training's `--init` and of `--partial`."""
    started = [f"init.pretrain={json.dumps(init)}"] if init else []
    return [*(sets or []), *started, *(["init.partial=true"] if partial else [])]
