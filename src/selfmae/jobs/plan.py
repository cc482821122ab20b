"""The plan of a run: the recipe for a source, its values shown with their reasons, and written to a file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from selfmae.data.folds import Folding
from selfmae.errors import UserError
from selfmae.jobs.display import Display
from selfmae.jobs.folders.source import Source, check_crop, check_fits, load_cases, look_at
from selfmae.jobs.inspect import show_source
from selfmae.jobs.planning.forecast import forecast, show_forecast
from selfmae.jobs.planning.planner import make_plan
from selfmae.jobs.planning.trainings import count_trainings
from selfmae.networks import VIT
from selfmae.options import Recipe
from selfmae.recipe import (
    as_content,
    check_partial,
    find_recipe,
    flat,
    make_recipe,
    overlay,
    parse_sets,
    read_content,
    read_reasons,
    write_recipe,
)


def resolve(source: str, name: str, sets: Sequence[str], display: Display) -> tuple[Recipe, dict[str, str], Source]:
    """Show a source; return the whole recipe for it, the reason of each planned or given value, and what was examined.

    The plan gives every value that matters; the recipe `name` (a file or one that comes with SelfMAE; "" is none) goes
    over it with the reasons that stand behind its values, and the settings (`--set`) over both.
    """
    given = read_content(find_recipe(name)) if name else {}
    reasons = read_reasons(find_recipe(name)) if name else {}
    origin, settings = f"--recipe {name}" if name else "--set", parse_sets(sets)
    typed = overlay(given, settings)
    partial = check_partial(typed, origin)
    looked = look_at(load_cases(replace(partial.data, source=source)), masks=True, display=display)
    show_source(looked, display)  # also where no plan can be made of it
    plan = make_plan(looked, partial.device, typed)
    recipe = make_recipe(plan.content(), origin)
    check_fits(recipe, looked.cases)
    check_crop(recipe, looked)
    kept = {key: why for key, why in reasons.items() if key in plan.values and key not in flat(settings)}
    return recipe, plan.reasons | kept, looked


def show_plan(recipe: Recipe, reasons: Mapping[str, str], display: Display) -> None:
    """Print the values that were planned or given, with their reasons."""
    values = flat(as_content(recipe))
    rows = [(key, values[key], reason) for key, reason in reasons.items() if key in values]
    display.table(("plan", "value", "reason"), rows)


def save_plan(source: str, name: str, sets: Sequence[str], out: Path | None, display: Display) -> Recipe:
    """Print the recipe for a source and what a run will take; with `out`, write the recipe there, over no file."""
    if out is not None and out.exists():
        raise UserError(f"--out {out} exists already, and a plan overwrites nothing: choose another file.")
    recipe, reasons, looked = resolve(source, name, sets, display)
    show_plan(recipe, reasons, display)
    starts = ("scratch", "mae") if recipe.model.network == VIT else ("scratch",)
    display.say(
        f"For one run with the start{'s' if len(starts) > 1 else ''} {' and '.join(starts)}, one fold and one seed:"
    )
    usual = count_trainings(looked, recipe, Folding(), starts, num_seeds=1)
    show_forecast(forecast(recipe, looked, usual, None, display), display)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_recipe(out, recipe, reasons)
        display.say(f"The recipe is in {out}.")
    return recipe
