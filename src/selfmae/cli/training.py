"""Commands that train: `demo`, `run`, `sweep`, `pretrain` and `finetune`."""

from pathlib import Path
from typing import Annotated

import typer

from selfmae.cli.flags import (
    As,
    CellCpus,
    CellGpus,
    EqualCompute,
    Folds,
    Init,
    Inits,
    Jobs,
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
    Where,
    split_inits,
    with_init,
    with_source,
)


def demo(
    out: Out = Path("selfmae-demo"),
    kind: Annotated[
        str, typer.Option("--kind", metavar="KIND", help="volumes (3-D, masks) or radiographs (2-D, findings).")
    ] = "volumes",
) -> None:
    """Do the whole job on generated scans, on a CPU, in a few minutes.

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
    executor: Where = "local",
    cell_cpus: CellCpus = 1.0,
    cell_gpus: CellGpus = 0.0,
    sets: Sets = None,
) -> None:
    """Do the whole job: inspect, plan, pre-train, fine-tune from every initialization, evaluate, compare, report.

    Example: selfmae run scans --out results --seeds 3
    """
    from selfmae.display import Display
    from selfmae.experiment.run import run
    from selfmae.experiment.schedule import Executor
    from selfmae.experiment.train import Grid

    grid = Grid(
        split_inits(inits, equal_compute), folds, seeds, transductive, Executor(executor, jobs, cell_cpus, cell_gpus)
    )
    run(source, out, grid, recipe, with_init(with_source(sets, patients, layout), "", partial), Display())


def sweep(
    recipe: RecipeFile,
    out: Out,
    axes: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE,VALUE...", help="Keys of the recipe and the values to try.")
    ],
    inits: Inits = "scratch,mae",
    folds: Folds = "1",
    seeds: Seeds = 1,
    equal_compute: EqualCompute = False,
    halving: Annotated[
        bool,
        typer.Option(
            "--halving",
            help="Drop the worse half of the values again and again, by short trainings and validation scores.",
        ),
    ] = False,
    transductive: Transductive = False,
    jobs: Jobs = 0,
    executor: Where = "local",
    cell_cpus: CellCpus = 1.0,
    cell_gpus: CellGpus = 0.0,
    sets: Sets = None,
) -> None:
    """Run every combination of values of some keys of a recipe; what they do not change is trained once.

    Example: selfmae sweep recipe.yaml --out sweep mask.ratio=0.25,0.5,0.75
    """
    from selfmae.experiment.combinations import parse_axes
    from selfmae.recipe import load_recipe

    values, checked = parse_axes(axes), load_recipe(recipe, sets or [])
    from selfmae.display import Display
    from selfmae.experiment.schedule import Executor
    from selfmae.experiment.sweep import Design, sweep
    from selfmae.experiment.train import Grid

    grid = Grid(
        split_inits(inits, equal_compute), folds, seeds, transductive, Executor(executor, jobs, cell_cpus, cell_gpus)
    )
    sweep(checked, Design(values, grid, halving), out, Display())


def pretrain(
    recipe: RecipeFile, out: Out, init: PretrainingInit = "", partial: Partial = False, sets: Sets = None
) -> None:
    """Self pre-train the recipe's network on the training images of its source, without labels.

    Example: selfmae pretrain recipe.yaml --out pretrained
    """
    from selfmae.recipe import load_recipe

    checked = load_recipe(recipe, with_init(sets, init, partial))  # before the imports that take seconds
    from selfmae.display import Display
    from selfmae.experiment.pretrain import pretrain

    pretrain(checked, out, Display())


def finetune(
    recipe: RecipeFile,
    out: Out,
    init: Init = "scratch",
    partial: Partial = False,
    transductive: Transductive = False,
    sets: Sets = None,
) -> None:
    """Fine-tune from scratch or from weights; the validation part chooses the checkpoint, val and test are scored.

    Example: selfmae finetune recipe.yaml --out tuned --init mae:pretrained
    """
    from selfmae.recipe import load_recipe

    checked = load_recipe(recipe, with_init(sets, "", partial))
    from selfmae.display import Display
    from selfmae.experiment.finetune import finetune

    finetune(checked, init, out, Display(), transductive)
