"""The plan of a run: the recipe for a source, its values shown with their reasons, and written to a file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from selfmae.data.folds import Folding
from selfmae.data.source import Source, check_crop, check_fits, checked_source, load_cases
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.inspect import show_source
from selfmae.methods import methods_for
from selfmae.options import Recipe
from selfmae.planning.forecast import count_trainings, forecast, show_forecast
from selfmae.planning.planner import make_plan
from selfmae.recipe import (
    as_content,
    check_partial,
    find_recipe,
    flat,
    make_recipe,
    named_recipes,
    overlay,
    parse_sets,
    read_content,
    read_reasons,
    write_recipe,
)

DEFAULT = "not in the recipe: the default, or what the plan chooses"


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
    surveyed = checked_source(load_cases(replace(partial.data, source=source)), masks=True, display=display)
    show_source(surveyed, display)  # also where no plan can be made of it
    plan = make_plan(surveyed, partial.device, typed)
    recipe = make_recipe(plan.content(), origin)
    check_fits(recipe, surveyed.cases)
    check_crop(recipe, surveyed)
    kept = {key: why for key, why in reasons.items() if key in plan.values and key not in flat(settings)}
    return recipe, plan.reasons | kept, surveyed


def show_plan(recipe: Recipe, reasons: Mapping[str, str], display: Display) -> None:
    """Print the values that were planned or given, with their reasons."""
    values = flat(as_content(recipe))
    rows = [(key, values[key], reason) for key, reason in reasons.items() if key in values]
    display.table(("plan", "value", "reason"), rows)


def save_plan(source: str, name: str, sets: Sequence[str], out: Path | None, display: Display) -> None:
    """Print the recipe for a source and what a run will take; with `out`, write the recipe there, over no file."""
    if out is not None and out.exists():
        raise UserError(f"--out {out} exists already, and a plan overwrites nothing: choose another file.")
    recipe, reasons, surveyed = resolve(source, name, sets, display)
    show_plan(recipe, reasons, display)
    inits = ("scratch", *methods_for(recipe)[:1])
    display.say(
        f"For one run with the initialization{'s' if len(inits) > 1 else ''} {' and '.join(inits)}, one fold and "
        "one seed:"
    )
    usual = count_trainings(surveyed, recipe, Folding(), inits, num_seeds=1)
    show_forecast(forecast(recipe, surveyed, usual, None, display), display)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_recipe(out, recipe, reasons)
        display.say(f"The recipe is in {out}.")


def list_recipes(display: Display) -> None:
    """Print the name of every recipe with its first sentence."""
    rows = [(name, path.read_text().splitlines()[0].strip("# ")) for name, path in named_recipes().items()]
    display.table(("recipe", "what it is"), rows)


def show_recipe(name: str, display: Display) -> None:
    """Print a recipe as it stands in its file."""
    display.say(find_recipe(name).read_text().rstrip())


def diff_recipes(one: str, other: str, display: Display) -> None:
    """Print every key in which two recipes differ, with both values and the reason of each.

    Before them come the comments below the titles of both, such as what the reasons refer to.
    """
    rows, notes = compare_recipes(one, other), dict[str, None]()
    for name in (one, other) if rows else ():
        lines = find_recipe(name).read_text().splitlines()[1:]
        notes |= dict.fromkeys(line.strip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
    for note in notes:
        display.say(note)
    for key, values, reasons in rows:
        display.say(key)
        for name, value, reason in zip((one, other), values, reasons, strict=True):
            display.say(f"    {name}: {value}  # {reason}")
    display.say(f"{len(rows)} keys differ." if rows else f"{one} and {other} have the same values.")


def compare_recipes(one: str, other: str) -> list[tuple[str, tuple[object, object], tuple[str, str]]]:
    """Return each key in which two recipes differ, defaults too, its two values, and the reasons in their files."""
    ours, theirs = (flat(as_content(check_partial(read_content(find_recipe(name)), name))) for name in (one, other))
    why, why_there = (read_reasons(find_recipe(name)) for name in (one, other))
    return [
        (key, (ours.get(key), theirs.get(key)), (why.get(key, DEFAULT), why_there.get(key, DEFAULT)))
        for key in dict.fromkeys((*ours, *theirs))
        if ours.get(key) != theirs.get(key)
    ]
