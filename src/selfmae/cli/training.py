"""Commands that train: `demo`, `run`, `sweep`, `pretrain` and `finetune`; each returns its work, which `main` does."""

from collections.abc import Callable
from functools import partial as bound
from pathlib import Path
from typing import Annotated

from selfmae.cli import flags
from selfmae.display import Display

Work = Callable[[], object]


def demo(
    out: flags.Out = Path("selfmae-demo"),
    kind: Annotated[
        str, flags.option("--kind", "KIND", "volumes (3-D, segmentation) or radiographs (2-D, findings).")
    ] = "volumes",
) -> Work:
    """Run the whole experiment on generated scans; takes a few minutes on a CPU.

    Example: selfmae demo
    """
    from selfmae.experiment.run import demo

    return bound(demo, kind, out, Display())


def run(
    source: flags.Source,
    out: flags.Out,
    recipe: flags.Name = "",
    inits: flags.Inits = "scratch,scratch+,mae",
    folds: flags.Folds = "1",
    seeds: flags.Seeds = 3,
    budget: flags.Budget = None,
    until: flags.Until = "",
    margin: flags.Margin = 0.01,
    labels: flags.Labels = None,
    draws: flags.Draws = 0,
    unlabelled: flags.Unlabelled = "",
    layout: flags.As = "",
    patients: flags.Patients = "",
    partial: flags.Partial = False,
    transductive: flags.Transductive = False,
    jobs: flags.Jobs = 0,
    kind: flags.ExecutorKind = "local",
    cpus_per_run: flags.CpusPerRun = 1.0,
    gpus_per_run: flags.GpusPerRun = 0.0,
    sets: flags.Sets = None,
) -> Work:
    """Run the whole experiment: inspect, plan, pre-train, fine-tune, evaluate, compare, report.

    Example: selfmae run scans --out results --budget 4h
    """
    from selfmae.experiment.run import run
    from selfmae.experiment.schedule import Executor
    from selfmae.experiment.train import Grid

    executor = Executor(kind, jobs, cpus_per_run, gpus_per_run)
    grid = Grid(
        tuple(flags.split_words(inits)),
        folds,
        seeds,
        transductive,
        executor,
        labels=labels or (),
        num_draws=draws,
        margin=margin,
        until_decided=flags.parse_until(until),
        budget=budget,
    )
    settings = flags.settings(sets, patients, layout, partial=partial, unlabelled=unlabelled)
    return bound(run, source, out, grid, recipe, settings, Display())


def sweep(
    recipe: flags.RecipeFile,
    out: flags.Out,
    axes: Annotated[
        list[str], flags.argument("KEY=VALUE,VALUE...", "Keys of the recipe, each with the values to try.")
    ],
    inits: flags.Inits = "scratch,mae",
    folds: flags.Folds = "1",
    seeds: flags.Seeds = 1,
    halving: flags.Halving = False,
    transductive: flags.Transductive = False,
    jobs: flags.Jobs = 0,
    kind: flags.ExecutorKind = "local",
    cpus_per_run: flags.CpusPerRun = 1.0,
    gpus_per_run: flags.GpusPerRun = 0.0,
    sets: flags.Sets = None,
) -> Work:
    """Run every combination of recipe values; training runs that they do not affect are shared.

    Example: selfmae sweep recipe.yaml --out sweep mae.ratio=0.25,0.5,0.75
    """
    from selfmae.experiment.combinations import parse_axes
    from selfmae.recipe import load_recipe

    values, checked = parse_axes(axes), load_recipe(recipe, sets or [])  # before imports that take seconds
    from selfmae.experiment.schedule import Executor
    from selfmae.experiment.sweep import sweep
    from selfmae.experiment.train import Grid

    executor = Executor(kind, jobs, cpus_per_run, gpus_per_run)
    grid = Grid(tuple(flags.split_words(inits)), folds, seeds, transductive, executor)
    return bound(sweep, checked, values, grid, halving, out, Display())


def pretrain(
    recipe: flags.RecipeFile,
    out: flags.Out,
    method: flags.Method = "",
    init: flags.PretrainingInit = "",
    partial: flags.Partial = False,
    sets: flags.Sets = None,
) -> Work:
    """Pre-train the recipe's network on the training images of its source, without their labels.

    Example: selfmae pretrain recipe.yaml --out pretrained
    """
    from selfmae.recipe import load_recipe

    checked = load_recipe(recipe, flags.settings(sets, init=init, partial=partial))  # before imports that take seconds
    from selfmae.experiment.stages import pretrain

    return bound(pretrain, checked, out, Display(), method)


def finetune(
    recipe: flags.RecipeFile,
    out: flags.Out,
    init: flags.Init = "scratch",
    partial: flags.Partial = False,
    transductive: flags.Transductive = False,
    sets: flags.Sets = None,
) -> Work:
    """Fine-tune from an initialization, select the checkpoint by validation, and score the model.

    Example: selfmae finetune recipe.yaml --out tuned --init mae:pretrained
    """
    from selfmae.recipe import load_recipe

    checked = load_recipe(recipe, flags.settings(sets, partial=partial))
    from selfmae.experiment.stages import finetune

    return bound(finetune, checked, init, out, Display(), transductive)
