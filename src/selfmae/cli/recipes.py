"""The command `recipes`: those that come with SelfMAE, listed, shown and compared."""

from typing import Annotated

import typer

recipes = typer.Typer(invoke_without_command=True, pretty_exceptions_enable=False)
RecipeName = Annotated[str, typer.Argument(metavar="NAME", help="A name that `selfmae recipes` lists, or a file.")]
OtherName = Annotated[str, typer.Argument(metavar="OTHER", help="The recipe to compare it with.")]


@recipes.callback()
def list_recipes(context: typer.Context) -> None:
    """List the recipes that come with SelfMAE; `show` and `diff` tell more."""
    if context.invoked_subcommand is None:
        from selfmae.jobs.display import Display
        from selfmae.jobs.recipes import list_recipes

        list_recipes(Display(stdout=True))


@recipes.command()
def show(name: RecipeName) -> None:
    """Print a recipe with the source of every value.

    Example: selfmae recipes show btcv:paper
    """
    from selfmae.jobs.display import Display
    from selfmae.jobs.recipes import show_recipe

    show_recipe(name, Display(stdout=True))


@recipes.command()
def diff(name: RecipeName, other: OtherName) -> None:
    """Print in what two recipes differ and why.

    Example: selfmae recipes diff btcv:paper btcv:released
    """
    from selfmae.jobs.display import Display
    from selfmae.jobs.recipes import diff_recipes

    diff_recipes(name, other, Display(stdout=True))
