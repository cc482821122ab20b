"""The command line: each command reads its flags and calls one job, which is imported inside the command."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from selfmae.errors import UserError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Did self pre-training with a masked autoencoder help on my medical images? Start with: selfmae demo",
)


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
Starts = Annotated[str, typer.Option("--starts", help="Starts to compare: scratch, mae, imagenet or weight files.")]
Folds = Annotated[
    Any,
    typer.Option(
        "--folds",
        parser=_parse_folds,
        metavar="K|auto",
        help="1 keeps the source's split, more test each patient once, auto suits the number of patients.",
    ),
]
Seeds = Annotated[int, typer.Option("--seeds", help="Trainings of each start; 3 or more cover training noise.")]
Start = Annotated[str, typer.Option("--start", help="scratch, imagenet, timm:NAME, mae:DIR or a file of weights.")]
Partial = Annotated[bool, typer.Option("--partial", help="Start even where tensors of the encoder lack or misfit.")]
Patients = Annotated[str, typer.Option("--patient-pattern", help="Regex for the patient in a case's id (first group).")]
Transductive = Annotated[
    bool,
    typer.Option("--allow-transductive", help="Let in weights that saw test cases; results are stamped TRANSDUCTIVE."),
]
Jobs = Annotated[int, typer.Option("--jobs", help="Cells at a time; 0 is one here, and all that fit on Ray.")]
Where = Annotated[str, typer.Option("--executor", help="local, or ray for a Ray cluster (RAY_ADDRESS).")]
CellCpus = Annotated[float, typer.Option("--cell-cpus", help="Cores of a cell on a Ray cluster.")]
CellGpus = Annotated[float, typer.Option("--cell-gpus", help="GPUs of a cell on a Ray cluster.")]
As = Annotated[str, typer.Option("--as", help="Layout to read the source as, instead of looking.")]
Folders = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run folders.")]


def _words(text: str) -> list[str]:
    """Return the words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def _with_patients(sets: list[str] | None, pattern: str) -> list[str]:
    """Return the settings with the pattern of `--patient-pattern` as one of them."""
    return [*(sets or []), *([f"data.patient_pattern={json.dumps(pattern)}"] if pattern else [])]


def _with_start(sets: list[str] | None, start: str, partial: bool) -> list[str]:
    """Return the settings with those of pre-training's `--start` and of `--partial`."""
    started = [f"start.pretrain={json.dumps(start)}"] if start else []
    return [*(sets or []), *started, *(["start.partial=true"] if partial else [])]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error (works anywhere).")] = False,
) -> None:
    """Read the options of every command; `main` has taken `--debug` out already."""


@app.command()
def demo(
    out: Out = Path("selfmae-demo"),
    kind: Annotated[str, typer.Option("--kind", help="volumes or radiographs.")] = "volumes",
) -> None:
    """Do the whole job on generated scans, on a CPU, in a few minutes."""
    from selfmae.jobs.demo import demo
    from selfmae.jobs.display import Display

    demo(kind, out, Display())


@app.command()
def inspect(
    source: Source,
    layout: As = "",
    patients: Patients = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    repaired: Annotated[Path | None, typer.Option("--fix", help="New folder for a source with repaired files.")] = None,
    sets: Sets = None,
) -> None:
    """Show how a source is understood and everything that is wrong with it; exit code 1 if there is an error."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.inspect import as_content, inspect, is_sound, show_source

    looked = inspect(source, layout, _with_patients(sets, patients), Display())
    if as_json:
        print(json.dumps(as_content(looked), indent=2))
    else:
        show_source(looked, Display(stdout=True))
    if repaired is not None:
        from selfmae.jobs.fix import fix, is_mended

        fix(looked, repaired, Display())
        if is_mended(looked):
            return
    if not is_sound(looked):
        raise typer.Exit(1)


@app.command()
def run(
    source: Source,
    out: Out,
    recipe: Name = "",
    starts: Starts = "scratch,mae",
    folds: Folds = "1",
    seeds: Seeds = 1,
    patients: Patients = "",
    partial: Partial = False,
    equal_compute: Annotated[
        bool, typer.Option("--equal-compute", help="Add the start scratch+: scratch with pre-training's compute too.")
    ] = False,
    transductive: Transductive = False,
    jobs: Jobs = 0,
    executor: Where = "local",
    cell_cpus: CellCpus = 1.0,
    cell_gpus: CellGpus = 0.0,
    sets: Sets = None,
) -> None:
    """Inspect, plan, pre-train, fine-tune every start, evaluate, compare and report."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.executors import Executor
    from selfmae.jobs.grid import EQUAL, Grid
    from selfmae.jobs.run import run

    named = _words(starts)
    named += [EQUAL] if equal_compute and EQUAL not in named else []
    grid = Grid(tuple(named), folds, seeds, transductive, Executor(executor, jobs, cell_cpus, cell_gpus))
    run(source, out, grid, recipe, _with_start(_with_patients(sets, patients), "", partial), Display())


@app.command()
def sweep(
    recipe: RecipeFile,
    out: Out,
    axes: Annotated[list[str], typer.Argument(metavar="KEY=VALUE,VALUE...", help="mask.ratio=0.25,0.5,0.75")],
    starts: Starts = "scratch,mae",
    folds: Folds = "1",
    seeds: Seeds = 1,
    halving: Annotated[
        bool, typer.Option("--halving", help="Short trainings choose, on val, what is trained.")
    ] = False,
    transductive: Transductive = False,
    jobs: Jobs = 0,
    executor: Where = "local",
    cell_cpus: CellCpus = 1.0,
    cell_gpus: CellGpus = 0.0,
    sets: Sets = None,
) -> None:
    """Run every combination of values of some keys, sharing what they do not change; table, figure, CSV."""
    from selfmae.jobs.combinations import parse_axes
    from selfmae.recipe import load_recipe

    values, checked = parse_axes(axes), load_recipe(recipe, sets or [])
    from selfmae.jobs.display import Display
    from selfmae.jobs.executors import Executor
    from selfmae.jobs.grid import Grid
    from selfmae.jobs.sweep import Plan, sweep

    grid = Grid(tuple(_words(starts)), folds, seeds, transductive, Executor(executor, jobs, cell_cpus, cell_gpus))
    sweep(checked, Plan(values, grid, halving), out, Display())


@app.command()
def plan(
    source: Source,
    out: Annotated[Path | None, typer.Option("--out", help="File to write the recipe to.")] = None,
    recipe: Name = "",
    patients: Patients = "",
    sets: Sets = None,
) -> None:
    """Show the recipe that would be used, with the reason of every value, and write it to a file."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.plan import save_plan

    save_plan(source, recipe, _with_patients(sets, patients), out, Display(stdout=True))


@app.command()
def pretrain(recipe: RecipeFile, out: Out, start: Start = "", partial: Partial = False, sets: Sets = None) -> None:
    """Pre-train a masked autoencoder on the training images of a recipe's source, without labels."""
    from selfmae.recipe import load_recipe

    checked = load_recipe(recipe, _with_start(sets, start, partial))  # before the imports that take seconds
    from selfmae.jobs.display import Display
    from selfmae.jobs.pretrain import pretrain

    pretrain(checked, out, Display())


@app.command()
def finetune(
    recipe: RecipeFile,
    out: Out,
    start: Start = "scratch",
    partial: Partial = False,
    transductive: Transductive = False,
    sets: Sets = None,
) -> None:
    """Fine-tune from a start, choose the checkpoint on val, evaluate on val and test."""
    from selfmae.recipe import load_recipe

    checked = load_recipe(recipe, _with_start(sets, "", partial))
    from selfmae.jobs.display import Display
    from selfmae.jobs.finetune import finetune

    finetune(checked, start, out, Display(), transductive)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a fine-tuned model.")],
    split: Annotated[str, typer.Option("--split", help="val or test.")] = "test",
    transductive: Transductive = False,
) -> None:
    """Score a fine-tuned model on one part of the split it was trained with."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.evaluate import evaluate, show_summary

    show_summary(evaluate(folder, split, Display(), transductive), Display(stdout=True))


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a fine-tuned model.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Image files, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the predictions.")],
) -> None:
    """Predict new images: masks on each image's own grid, or a CSV of probabilities."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.predict import predict

    predict(folder, inputs, out, Display())


@app.command()
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


@app.command()
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

    show_verdict(compare(folders, transductive, _words(subgroups), table), Display(stdout=True))


@app.command()
def report(folders: Folders, transductive: Transductive = False) -> None:
    """Write one offline HTML page, `report.html`, into each run folder."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.report import report

    report(folders, Display(), transductive)


@app.command()
def weights(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Weights: .safetensors, or a torch file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Say what a file of weights holds: contract, layout, encoder, tensors; no code in it is run."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.weights import describe, show_weights

    found = describe(file)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        show_weights(found, Display(stdout=True))


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a pre-trained or fine-tuned model.")],
    to: Annotated[str, typer.Option("--to", help="timm, monai or onnx.")],
    out: Annotated[Path, typer.Option("--out", help="File to write; a JSON file beside it says how to use it.")],
) -> None:
    """Write a trained model for another tool, with how to build, feed and read it beside it."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.export import export

    export(folder, to, out, Display())


recipes = typer.Typer(invoke_without_command=True, pretty_exceptions_enable=False)
app.add_typer(recipes, name="recipes")
RecipeName = Annotated[str, typer.Argument(metavar="NAME", help="A name that `selfmae recipes` lists, or a file.")]
OtherName = Annotated[str, typer.Argument(metavar="NAME", help="The recipe to compare it with.")]


@recipes.callback()
def list_recipes(context: typer.Context) -> None:
    """List the recipes that come with SelfMAE; `show` and `diff` tell more."""
    if context.invoked_subcommand is None:
        from selfmae.jobs.display import Display
        from selfmae.jobs.recipes import list_recipes

        list_recipes(Display(stdout=True))


@recipes.command()
def show(name: RecipeName) -> None:
    """Print a recipe with the source of every value."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.recipes import show_recipe

    show_recipe(name, Display(stdout=True))


@recipes.command()
def diff(name: RecipeName, other: OtherName) -> None:
    """Print in what two recipes differ and why: selfmae recipes diff btcv:paper btcv:released."""
    from selfmae.jobs.display import Display
    from selfmae.jobs.recipes import diff_recipes

    diff_recipes(name, other, Display(stdout=True))


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
    except SystemExit as end:
        if end.code == 130:  # typer makes this of a KeyboardInterrupt
            print("Interrupted: the same command continues where it stopped.", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
