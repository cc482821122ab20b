"""Commands that train: `demo`, `run`, `sweep`, `pretrain` and `finetune`."""

from pathlib import Path
from typing import Annotated

import typer

from selfmae.cli.flags import (
    As,
    CpusPerRun,
    EqualCompute,
    ExecutorKind,
    Folds,
    GpusPerRun,
    Init,
    Inits,
    Jobs,
    Method,
    Name,
    Out,
    Partial,
    Patients,
    PretrainingInit,
    RecipeFile,
    Seeds,
    Sets,
    Source,
    Transductive,
    split_inits,
    with_init,
    with_source,
)


def demo(
    out: Out = Path("selfmae-demo"),
    kind: Annotated[
        str, typer.Option("--kind", metavar="KIND", help="volumes (3-D, segmentation) or radiographs (2-D, findings).")
    ] = "volumes",
) -> None:
    """Run the whole experiment on generated scans; takes a few minutes on a CPU.

    Example: selfmae demo
    """
    from selfmae.display import Display
    from selfmae.experiment.demo import demo

    demo(kind, out, Display())


def run(
    source: Source,
    out: Out,
    recipe: Name = "",
    inits: Inits = "scratch,mae",
    folds: Folds = "1",
    seeds: Seeds = 1,
    layout: As = "",
    patients: Patients = "",
    partial: Partial = False,
    equal_compute: EqualCompute = False,
    transductive: Transductive = False,
    jobs: Jobs = 0,
    executor: ExecutorKind = "local",
    cpus_per_run: CpusPerRun = 1.0,
    gpus_per_run: GpusPerRun = 0.0,
    sets: Sets = None,
) -> None:
    """Run the whole experiment: inspect, plan, pre-train, fine-tune each initialization, evaluate, compare, report.

    Example: selfmae run scans --out results --seeds 3
    """
    from selfmae.display import Display
    from selfmae.experiment.run import run
    from selfmae.experiment.schedule import Executor
    from selfmae.experiment.train import Grid

    place = Executor(executor, jobs, cpus_per_run, gpus_per_run)
    grid = Grid(split_inits(inits, equal_compute), folds, seeds, transductive, place)
    run(source, out, grid, recipe, with_init(with_source(sets, patients, layout), "", partial), Display())


def sweep(
    recipe: RecipeFile,
    out: Out,
    axes: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE,VALUE...", help="Keys of the recipe, each with the values to try.")
    ],
    inits: Inits = "scratch,mae",
    folds: Folds = "1",
    seeds: Seeds = 1,
    equal_compute: EqualCompute = False,
    halving: Annotated[
        bool,
        typer.Option(
            "--halving",
            help="Start with short training runs, then train the better half (by validation score) for longer, until "
            "two values remain.",
        ),
    ] = False,
    transductive: Transductive = False,
    jobs: Jobs = 0,
    executor: ExecutorKind = "local",
    cpus_per_run: CpusPerRun = 1.0,
    gpus_per_run: GpusPerRun = 0.0,
    sets: Sets = None,
) -> None:
    """Run an experiment for every combination of values; training runs that they do not affect are shared.

    Example: selfmae sweep recipe.yaml --out sweep mae.ratio=0.25,0.5,0.75
    """
    from selfmae.experiment.combinations import parse_axes
    from selfmae.recipe import load_recipe

    values, checked = parse_axes(axes), load_recipe(recipe, sets or [])
    from selfmae.display import Display
    from selfmae.experiment.schedule import Executor
    from selfmae.experiment.sweep import Design, sweep
    from selfmae.experiment.train import Grid

    place = Executor(executor, jobs, cpus_per_run, gpus_per_run)
    grid = Grid(split_inits(inits, equal_compute), folds, seeds, transductive, place)
    sweep(checked, Design(values, grid, halving), out, Display())


def pretrain(
    recipe: RecipeFile,
    out: Out,
    method: Method = "",
    init: PretrainingInit = "",
    partial: Partial = False,
    sets: Sets = None,
) -> None:
    """Pre-train the recipe's network on the training images of its source, without their labels.

    Example: selfmae pretrain recipe.yaml --out pretrained
    """
    from selfmae.recipe import load_recipe

    checked = load_recipe(recipe, with_init(sets, init, partial))  # before the imports that take seconds
    from selfmae.display import Display
    from selfmae.experiment.pretrain import pretrain

    pretrain(checked, out, Display(), method)


def finetune(
    recipe: RecipeFile,
    out: Out,
    init: Init = "scratch",
    partial: Partial = False,
    transductive: Transductive = False,
    sets: Sets = None,
) -> None:
    """Fine-tune from an initialization; validation selects the checkpoint, then validation and test cases are scored.

    Example: selfmae finetune recipe.yaml --out tuned --init mae:pretrained
    """
    from selfmae.recipe import load_recipe

    checked = load_recipe(recipe, with_init(sets, "", partial))
    from selfmae.display import Display
    from selfmae.experiment.finetune import finetune

    finetune(checked, init, out, Display(), transductive)
