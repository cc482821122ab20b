"""Commands that train: `demo`, `run`, `sweep`, `pretrain` and `finetune`."""

from pathlib import Path
from typing import Annotated

import typer

from selfmae.cli.flags import (
    As,
    CellCpus,
    CellGpus,
    Folds,
    Jobs,
    Name,
    Out,
    Partial,
    Patients,
    RecipeFile,
    Seeds,
    Sets,
    Source,
    Start,
    Starts,
    Transductive,
    Where,
    split_words,
    with_source,
    with_start,
)


def demo(
    out: Out = Path("selfmae-demo"),
    kind: Annotated[str, typer.Option("--kind", help="volumes or radiographs.")] = "volumes",
) -> None:
    """Do the whole job on generated scans, on a CPU, in a few minutes."""
    from selfmae.jobs.demo import demo
    from selfmae.jobs.display import Display

    demo(kind, out, Display())


def run(
    source: Source,
    out: Out,
    recipe: Name = "",
    starts: Starts = "scratch,mae",
    folds: Folds = "1",
    seeds: Seeds = 1,
    layout: As = "",
    patients: Patients = "",
    partial: Partial = False,
    equal_compute: Annotated[
        bool,
        typer.Option("--equal-compute", help="Add scratch+: from scratch, as long as both stages of mae together."),
    ] = False,
    transductive: Transductive = False,
    jobs: Jobs = 0,
    executor: Where = "local",
    cell_cpus: CellCpus = 1.0,
    cell_gpus: CellGpus = 0.0,
    sets: Sets = None,
) -> None:
    """Inspect, plan, pre-train, fine-tune every start, evaluate, compare and report."""
    from selfmae.jobs.cells.executors import Executor
    from selfmae.jobs.cells.grid import Grid
    from selfmae.jobs.display import Display
    from selfmae.jobs.run import run
    from selfmae.networks import EQUAL

    named = split_words(starts)
    named += [EQUAL] if equal_compute and EQUAL not in named else []
    grid = Grid(tuple(named), folds, seeds, transductive, Executor(executor, jobs, cell_cpus, cell_gpus))
    run(source, out, grid, recipe, with_start(with_source(sets, patients, layout), "", partial), Display())


def sweep(
    recipe: RecipeFile,
    out: Out,
    axes: Annotated[list[str], typer.Argument(metavar="KEY=VALUE,VALUE...", help="mask.ratio=0.25,0.5,0.75")],
    starts: Starts = "scratch,mae",
    folds: Folds = "1",
    seeds: Seeds = 1,
    halving: Annotated[
        bool,
        typer.Option(
            "--halving", help="Train all briefly, and on with the better half by val scores, until two are left."
        ),
    ] = False,
    transductive: Transductive = False,
    jobs: Jobs = 0,
    executor: Where = "local",
    cell_cpus: CellCpus = 1.0,
    cell_gpus: CellGpus = 0.0,
    sets: Sets = None,
) -> None:
    """Run every combination of values of some keys, sharing what they do not change; table, figure, CSV."""
    from selfmae.jobs.cells.combinations import parse_axes
    from selfmae.recipe import load_recipe

    values, checked = parse_axes(axes), load_recipe(recipe, sets or [])
    from selfmae.jobs.cells.executors import Executor
    from selfmae.jobs.cells.grid import Grid
    from selfmae.jobs.display import Display
    from selfmae.jobs.sweep import Design, sweep

    grid = Grid(tuple(split_words(starts)), folds, seeds, transductive, Executor(executor, jobs, cell_cpus, cell_gpus))
    sweep(checked, Design(values, grid, halving), out, Display())


def pretrain(recipe: RecipeFile, out: Out, start: Start = "", partial: Partial = False, sets: Sets = None) -> None:
    """Self pre-train the recipe's network on the training images of its source, without labels."""
    from selfmae.recipe import load_recipe

    checked = load_recipe(recipe, with_start(sets, start, partial))  # before the imports that take seconds
    from selfmae.jobs.display import Display
    from selfmae.jobs.pretrain import pretrain

    pretrain(checked, out, Display())


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

    checked = load_recipe(recipe, with_start(sets, "", partial))
    from selfmae.jobs.display import Display
    from selfmae.jobs.finetune import finetune

    finetune(checked, start, out, Display(), transductive)
