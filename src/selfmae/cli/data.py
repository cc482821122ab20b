"""Commands for data and recipes: `inspect`, `plan` and `recipes`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from selfmae.cli.flags import As, AsJson, Budget, Name, Patients, Sets, Source, Unlabelled, argument, option, settings
from selfmae.display import Display

recipes = typer.Typer(invoke_without_command=True, pretty_exceptions_enable=False)
RecipeName = Annotated[str, argument("NAME", "A name listed by `selfmae recipes`, or a file.")]
OtherName = Annotated[str, argument("OTHER", "The recipe to compare it with.")]


def inspect(
    source: Source,
    layout: As = "",
    patients: Patients = "",
    as_json: AsJson = False,
    repaired: Annotated[
        Path | None, option("--fix", "DIR", "Write a repaired copy of the source to this new folder.")
    ] = None,
    sets: Sets = None,
) -> None:
    """Show how a source is read and what is wrong with it; exit code 1 if anything is an error.

    Example: selfmae inspect scans
    """
    from selfmae.experiment.inspect import as_content, fix, has_errors, inspect, show_source

    surveyed = inspect(source, settings(sets, patients, layout), Display())
    if as_json:
        print(json.dumps(as_content(surveyed), indent=2))
    else:
        show_source(surveyed, Display(stdout=True))
    if repaired is not None:
        fix(surveyed, repaired, Display())
    if has_errors(surveyed, mended=repaired is not None):
        raise typer.Exit(1)


def plan(
    source: Source,
    out: Annotated[
        Path | None, option("--out", "FILE", "Write the recipe to this new file; otherwise it is only shown.")
    ] = None,
    recipe: Name = "",
    budget: Budget = None,
    layout: As = "",
    patients: Patients = "",
    unlabelled: Unlabelled = "",
    sets: Sets = None,
) -> None:
    """Show the recipe for a source, with reasons, and the disk space, memory and time of a run.

    Example: selfmae plan scans --out recipe.yaml
    """
    from selfmae.experiment.plan import save_plan

    checked = settings(sets, patients, layout, unlabelled=unlabelled)
    save_plan(source, recipe, checked, out, Display(stdout=True), budget)


@recipes.callback()
def list_recipes(context: typer.Context) -> None:
    """List the built-in recipes; see also `show` and `diff`."""
    if context.invoked_subcommand is None:
        from selfmae.experiment.plan import list_recipes

        list_recipes(Display(stdout=True))


@recipes.command()
def show(name: RecipeName) -> None:
    """Print a recipe with the source of every value.

    Example: selfmae recipes show btcv:paper
    """
    from selfmae.experiment.plan import show_recipe

    show_recipe(name, Display(stdout=True))


@recipes.command()
def diff(name: RecipeName, other: OtherName) -> None:
    """Show how two recipes differ, and why.

    Example: selfmae recipes diff btcv:paper btcv:released
    """
    from selfmae.experiment.plan import diff_recipes

    diff_recipes(name, other, Display(stdout=True))
