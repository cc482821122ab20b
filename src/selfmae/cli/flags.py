"""Flags that several commands share, and what is made of their values."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def _parse_folds(text: str) -> int | None:
    """Return the number of folds, None for "auto"."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} must be a whole number or auto.") from error


Source = Annotated[
    str, typer.Argument(help="Folder, table or archive of images; `inspect` shows how it is understood.")
]
RecipeFile = Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe file, as `selfmae plan` writes it.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results; the same command continues there.")]
Name = Annotated[str, typer.Option("--recipe", help="Recipe (a name or a file) whose values replace the planned ones.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Value of one recipe key: --set fit.steps=500.")]
Starts = Annotated[
    str,
    typer.Option("--starts", help="First weights to compare: scratch, mae (self pre-training), moco, imagenet, files."),
]
Folds = Annotated[
    Any,
    typer.Option(
        "--folds",
        parser=_parse_folds,
        metavar="K|auto",
        help="1 keeps the source's split; more: cross-validation by patient; auto: as many as suit the patients.",
    ),
]
Seeds = Annotated[
    int, typer.Option("--seeds", help="Trainings of each start and fold; 3 or more cover training noise.")
]
Start = Annotated[str, typer.Option("--start", help="scratch, imagenet, timm:NAME, mae:DIR, moco:DIR or a file.")]
Partial = Annotated[bool, typer.Option("--partial", help="Start even where the file lacks tensors of the encoder.")]
Patients = Annotated[
    str, typer.Option("--patient-pattern", help="Regular expression whose first group is the patient in a case's name.")
]
Transductive = Annotated[
    bool,
    typer.Option(
        "--allow-transductive", help="Let in weights that have seen test cases, and stamp every result TRANSDUCTIVE."
    ),
]
Jobs = Annotated[int, typer.Option("--jobs", help="Trainings at a time; 0 is one here, and all that fit on Ray.")]
Where = Annotated[str, typer.Option("--executor", help="local, or ray for a Ray cluster (RAY_ADDRESS).")]
CellCpus = Annotated[float, typer.Option("--cell-cpus", help="Cores for each training on a Ray cluster.")]
CellGpus = Annotated[float, typer.Option("--cell-gpus", help="GPUs for each training on a Ray cluster.")]
As = Annotated[
    str, typer.Option("--as", help="Read the source as this layout (msd, table, ...), instead of recognising it.")
]
Folders = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run folders.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def split_words(text: str) -> list[str]:
    """Return the words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def with_source(sets: list[str] | None, pattern: str, layout: str = "") -> list[str]:
    """Return the settings with what `--patient-pattern` and `--as` say of the source among them."""
    given = {"data.patient_pattern": pattern, "data.layout": layout}
    return [*(sets or []), *(f"{key}={json.dumps(value)}" for key, value in given.items() if value)]


def with_start(sets: list[str] | None, start: str, partial: bool) -> list[str]:
    """Return the settings with those of pre-training's `--start` and of `--partial`."""
    started = [f"start.pretrain={json.dumps(start)}"] if start else []
    return [*(sets or []), *started, *(["start.partial=true"] if partial else [])]
