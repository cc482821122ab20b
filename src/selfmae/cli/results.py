"""Commands for results and models: `evaluate`, `predict`, `score`, `compare`, `report`, `weights` and `export`."""

import json
from pathlib import Path
from typing import Annotated

from selfmae.cli.flags import AsJson, Folders, Transductive, argument, option, split_words
from selfmae.display import Display

TunedFolder = Annotated[Path, argument("DIR", "Folder of a fine-tuned model, e.g. RUN/mae/fold0/seed0.")]


def evaluate(
    folder: TunedFolder,
    split: Annotated[str, option("--split", "PART", "val or test.")] = "test",
    transductive: Transductive = False,
) -> None:
    """Score a fine-tuned model on the validation or test cases of its own data.

    Example: selfmae evaluate results/mae/fold0/seed0 --split val
    """
    from selfmae.experiment.evaluate import evaluate, show_summary

    show_summary(evaluate(folder, split, Display(), transductive), Display(stdout=True))


def predict(
    folder: TunedFolder,
    inputs: Annotated[list[Path], argument("INPUT...", "Image files, folders of images, or sources as for `run`.")],
    out: Annotated[Path, option("--out", "DIR", "Output folder; no file is overwritten.")],
) -> None:
    """Predict new images: masks on each image's own grid, or a CSV of probabilities.

    Example: selfmae predict results/mae/fold0/seed0 new-scans --out predictions
    """
    from selfmae.experiment.predict import predict

    predict(folder, inputs, out, Display())


def score(
    pred: Annotated[Path, option("--pred", "DIR", "Folder of predicted masks.")],
    truth: Annotated[Path, option("--truth", "DIR", "Folder of reference masks with the same file names.")],
    labels: Annotated[
        Path | None,
        option(
            "--labels",
            "FILE",
            "YAML or JSON file that gives each label its mask values, e.g. `tumour: [1, 2]`, or a dataset.json.",
            default="every value in the reference masks",
        ),
    ] = None,
    out: Annotated[
        Path | None, option("--out", "DIR", "Write the scores to this new folder, for `compare` and `report`.")
    ] = None,
) -> None:
    """Score masks from any tool with SelfMAE's metrics and file formats.

    Example: selfmae score --pred nnunet-masks --truth labelsTs --out nnunet
    """
    from selfmae.experiment.score import score

    score(pred, truth, labels, out, Display(stdout=True))


def compare(
    folders: Folders,
    subgroups: Annotated[
        str, option("--subgroups", "COLUMN,...", "Also compare within each value of these columns, e.g. sex,view.")
    ] = "",
    table: Annotated[
        Path | None,
        option("--table", "FILE", "CSV file with the columns named in --subgroups.", default="the table of the source"),
    ] = None,
    margin: Annotated[
        float | None,
        option(
            "--margin",
            "X",
            "Smallest difference of Dice or AUC that matters: a whole interval within it is `no difference`.",
            default="that of the run, otherwise 0.01",
        ),
    ] = None,
    transductive: Transductive = False,
) -> None:
    """Compare initializations on the same test cases: differences, confidence intervals, verdict.

    Example: selfmae compare results
    """
    from selfmae.results.verdict import compare, show_verdict

    verdict = compare(folders, transductive, split_words(subgroups), table, margin)
    show_verdict(verdict, Display(stdout=True))


def report(folders: Folders, transductive: Transductive = False) -> None:
    """Write a self-contained HTML report, `report.html`, to each run folder.

    Example: selfmae report results
    """
    from selfmae.experiment.report import report

    report(folders, Display(), transductive)


def weights(
    file: Annotated[Path, argument("FILE", "A .safetensors or PyTorch file, or the folder of a model.")],
    as_json: AsJson = False,
) -> None:
    """Show what a weight file holds and whether it can initialize a model; runs no code in it.

    Example: selfmae weights vit.safetensors
    """
    from selfmae.experiment.weights import describe, show_weights

    found = describe(file)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        show_weights(found, Display(stdout=True))


def export(
    folder: Annotated[Path, argument("DIR", "Folder of a pre-trained or fine-tuned model.")],
    to: Annotated[str, option("--to", "TOOL", "timm (2-D only), monai or onnx.")],
    out: Annotated[Path, option("--out", "FILE", "File to write: .safetensors, .pth or .onnx.")],
) -> None:
    """Export a trained model to another tool, with a JSON file that explains how to use it.

    Example: selfmae export results/mae/fold0/seed0 --to onnx --out model.onnx
    """
    from selfmae.experiment.export import export

    export(folder, to, out, Display())
