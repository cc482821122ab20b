"""Commands that train: `demo`, `run`, `sweep`, `pretrain` and `finetune`; each returns its work, which `main` does."""

from collections.abc import Callable
from functools import partial as bound
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
) -> Callable[[], object]:
    """Run the whole experiment on generated scans; takes a few minutes on a CPU.

    Example: selfmae demo
    """
    from selfmae.display import Display
    from selfmae.experiment.demo import demo

    return bound(demo, kind, out, Display())


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
    kind: ExecutorKind = "local",
    cpus_per_run: CpusPerRun = 1.0,
    gpus_per_run: GpusPerRun = 0.0,
    sets: Sets = None,
) -> Callable[[], object]:
    """Run the whole experiment: inspect, plan, pre-train, fine-tune, evaluate, compare, report.

    Example: selfmae run scans --out results --seeds 3
    """
    from selfmae.display import Display
    from selfmae.experiment.run import run
    from selfmae.experiment.schedule import Executor
    from selfmae.experiment.train import Grid

    executor = Executor(kind, jobs, cpus_per_run, gpus_per_run)
    grid = Grid(split_inits(inits, equal_compute), folds, seeds, transductive, executor)
    settings = with_init(with_source(sets, patients, layout), "", partial)
    return bound(run, source, out, grid, recipe, settings, Display())


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
    kind: ExecutorKind = "local",
    cpus_per_run: CpusPerRun = 1.0,
    gpus_per_run: GpusPerRun = 0.0,
    sets: Sets = None,
) -> Callable[[], object]:
    """Run every combination of recipe values; training runs that they do not affect are shared.

    Example: selfmae sweep recipe.yaml --out sweep mae.ratio=0.25,0.5,0.75
    """
    from selfmae.experiment.combinations import parse_axes
    from selfmae.recipe import load_recipe

    values, checked = parse_axes(axes), load_recipe(recipe, sets or [])
    from selfmae.display import Display
    from selfmae.experiment.schedule import Executor
    from selfmae.experiment.sweep import Design, sweep
    from selfmae.experiment.train import Grid

    executor = Executor(kind, jobs, cpus_per_run, gpus_per_run)
    grid = Grid(split_inits(inits, equal_compute), folds, seeds, transductive, executor)
    return bound(sweep, checked, Design(values, grid, halving), out, Display())


def pretrain(
    recipe: RecipeFile,
    out: Out,
    method: Method = "",
    init: PretrainingInit = "",
    partial: Partial = False,
    sets: Sets = None,
) -> Callable[[], object]:
    """Pre-train the recipe's network on the training images of its source, without their labels.

    Example: selfmae pretrain recipe.yaml --out pretrained
    """
    from selfmae.recipe import load_recipe

    checked = load_recipe(recipe, with_init(sets, init, partial))  # before the imports that take seconds
    from selfmae.display import Display
    from selfmae.experiment.pretrain import pretrain

    return bound(pretrain, checked, out, Display(), method)


def finetune(
    recipe: RecipeFile,
    out: Out,
    init: Init = "scratch",
    partial: Partial = False,
    transductive: Transductive = False,
    sets: Sets = None,
) -> Callable[[], object]:
    """Fine-tune from an initialization, select the checkpoint by validation, and score the model.

    Example: selfmae finetune recipe.yaml --out tuned --init mae:pretrained
    """
    from selfmae.recipe import load_recipe

    checked = load_recipe(recipe, with_init(sets, "", partial))
    from selfmae.display import Display
    from selfmae.experiment.finetune import finetune

    return bound(finetune, checked, init, out, Display(), transductive)
