"""Commands on what was trained: `evaluate`, `predict`, `score`, `compare`, `report`, `weights` and `export`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from selfmae.cli.flags import AsJson, Folders, Transductive, split_words

TunedFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a fine-tuned model.")]


def evaluate(
    folder: TunedFolder,
    split: Annotated[str, typer.Option("--split", help="val or test.")] = "test",
    transductive: Transductive = False,
) -> None:
    """Score a fine-tuned model on one part of the split it was trained with."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.evaluate import evaluate, show_summary

    show_summary(evaluate(folder, split, Display(), transductive), Display(stdout=True))


def predict(
    folder: TunedFolder,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Image files, folders of them, or sources.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the predictions.")],
) -> None:
    """Predict new images: masks on each image's own grid, or a CSV of probabilities."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.predict import predict

    predict(folder, inputs, out, Display())


def score(
    pred: Annotated[Path, typer.Option("--pred", help="Folder of predicted masks, of any tool.")],
    truth: Annotated[Path, typer.Option("--truth", help="Folder of the true masks of the same cases, same names.")],
    labels: Annotated[
        Path | None, typer.Option("--labels", help="YAML or JSON file: name of a label or region, and its mask values.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="New folder for rows and summary, for `compare`.")] = None,
) -> None:
    """Score masks that any tool made, with the same metrics and file formats."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.score import score

    score(pred, truth, labels, out, Display(stdout=True))


def compare(
    folders: Folders,
    subgroups: Annotated[
        str, typer.Option("--subgroups", help="Columns of a table, by whose values cases are grouped: sex,view.")
    ] = "",
    table: Annotated[Path | None, typer.Option("--table", help="The table, if it is not the source itself.")] = None,
    transductive: Transductive = False,
) -> None:
    """Compare the starts of finished runs on the same test cases: differences, intervals, verdict."""
    from selfmae.jobs.compare import compare, show_verdict
    from selfmae.jobs.display import Display

    show_verdict(compare(folders, transductive, split_words(subgroups), table), Display(stdout=True))


def report(folders: Folders, transductive: Transductive = False) -> None:
    """Write one offline HTML page, `report.html`, into each run folder."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.report import report

    report(folders, Display(), transductive)


def weights(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Weights: .safetensors, or a torch file.")],
    as_json: AsJson = False,
) -> None:
    """Say what a file of weights holds: contract, layout, encoder, tensors; no code in it is run."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.weights import describe, show_weights

    found = describe(file)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        show_weights(found, Display(stdout=True))


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a pre-trained or fine-tuned model.")],
    to: Annotated[str, typer.Option("--to", help="timm, monai or onnx.")],
    out: Annotated[Path, typer.Option("--out", help="File to write; a JSON file beside it says how to use it.")],
) -> None:
    """Write a trained model for another tool, with how to build, feed and read it beside it."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.export import export

    export(folder, to, out, Display())
