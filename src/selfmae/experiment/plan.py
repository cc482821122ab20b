"""The plan of a run: the recipe for a source, its values shown with their reasons, and written to a file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from selfmae.data.folds import Folding
from selfmae.data.source import Source, check_crop, check_fits, checked_source, load_cases
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.inspect import show_source
from selfmae.methods import EQUAL, OWN, methods_for
from selfmae.options import DeviceOptions, Recipe
from selfmae.planning.budget import Budget, Steps
from selfmae.planning.forecast import MORE, Forecast, check_space, forecast, show_forecast
from selfmae.planning.measure import time_unet_step
from selfmae.planning.planner import default_budget, make_plan
from selfmae.planning.trainings import Trainings, count_trainings
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
from selfmae.results.formatting import duration, listed, plural

USUAL_INITS, USUAL_SEEDS = ("scratch", EQUAL, OWN), 3  # of a run
STEPS = ("pretrain.steps", "pretrain.warmup_steps", "fit.steps", "fit.warmup_steps", "fit.validate_every")
TO_BUDGET = "what the budget allows, by the pace measured here"
FEW_IMAGES = 2  # of pre-training for one with labels; below, others found no gain (arXiv 2409.18100, all labels)
DEFAULT = "not in the recipe: the default, or what the plan chooses"


class Spending(NamedTuple):
    """Seconds of a budget, whether the user gave them, and what they are for, in words."""

    seconds: float
    is_given: bool
    of: str


class Resolved(NamedTuple):
    """The whole recipe for a source, the reason of each planned or given value, and what was examined."""

    recipe: Recipe
    reasons: dict[str, str]
    source: Source
    given: frozenset[str]  # keys that no plan changes

    def with_steps(self, found: Forecast) -> "Resolved":
        """Return this with the steps that a budget allows, as the forecast found them."""
        planned = {} if "fit.steps" in self.given else {key: TO_BUDGET for key in STEPS if key not in self.given}
        reasons = {key: planned.get(key, reason) for key, reason in self.reasons.items()}
        return self._replace(recipe=found.recipe or self.recipe, reasons=reasons)


def resolve(
    source: str,
    name: str,
    sets: Sequence[str],
    display: Display,
    budget: Callable[[Source, DeviceOptions], Budget] | None = None,
    before: Path | None = None,
) -> Resolved:
    """Show a source and return the whole recipe for it.

    The plan gives every value that matters, within the `budget` for a source and a device; the recipe `name` (a file
    or one that comes with SelfMAE; "" is none) goes over it with the reasons that stand behind its values, and the
    settings (`--set`) over both. `before` is the recipe of a run that goes on: what was planned for it stands.
    """
    base = before or (find_recipe(name) if name else None)
    given, reasons = (read_content(base), read_reasons(base)) if base else ({}, {})
    origin, settings = f"--recipe {name}" if name else "--set", parse_sets(sets)
    typed = overlay(given, read_content(find_recipe(name))) if before and name else given
    typed = overlay(typed, settings)
    partial_recipe = check_partial(typed, origin)
    data, device = replace(partial_recipe.data, source=source), partial_recipe.device
    surveyed = checked_source(load_cases(data), masks=True, display=display)
    show_source(surveyed, display)  # also where no plan can be made of it
    time_step = partial(time_unet_step, device=device)
    plan = make_plan(surveyed, device, typed, budget(surveyed, device) if budget else None, time_step)
    recipe = make_recipe(plan.content(), origin)
    check_fits(recipe, surveyed.cases)
    check_crop(recipe, surveyed)
    kept = {key: why for key, why in reasons.items() if key in plan.values and key not in flat(settings)}
    return Resolved(recipe, plan.reasons | kept, surveyed, frozenset(plan.given_keys))


def show_plan(recipe: Recipe, reasons: Mapping[str, str], display: Display) -> None:
    """Print the values that were planned or given, with their reasons."""
    values = flat(as_content(recipe))
    rows = [(key, values[key], reason) for key, reason in reasons.items() if key in values]
    display.table(("plan", "value", "reason"), rows)


def fit_into_budget(
    found: Resolved, trainings: Trainings, spending: Spending, out: Path | None, display: Display
) -> Resolved:
    """Print the plan with the steps that its budget allows, and what all trainings take; return it with these steps.

    Raises `UserError` where the budget is too small, or plans nothing since the steps are given.
    """
    is_fixed = "fit.steps" in found.given
    if spending.is_given and is_fixed:
        raise UserError(
            "--budget plans how many steps each training has, but fit.steps is given by the recipe or --set: leave one "
            "of them out."
        )
    steps = Steps(spending.seconds, found.given)
    expected = forecast(found.recipe, found.source, trainings, out, display, steps)
    found = found.with_steps(expected)
    show_plan(found.recipe, found.reasons, display)
    given = "as --budget says" if spending.is_given else "the default for this machine (--budget)"
    display.say(f"For {spending.of}{'' if is_fixed else f': {duration(spending.seconds)}, {given}'}.")
    if not is_fixed and expected.larger:
        display.say(
            f"{MORE} times as much time would train {expected.larger.fit.steps:,} steps instead of "
            f"{found.recipe.fit.steps:,}, or plan larger samples and a larger network where these fit."
        )
    if note := pretraining_note(found):
        display.say(f"Note: {note}")
    show_forecast(expected, display)
    if out is not None:
        check_space(expected)
    return found


def pretraining_note(found: Resolved) -> str:
    """Return that a gain is unlikely where pre-training sees hardly more images than have labels; "" otherwise."""
    cases = found.source.cases
    images, labelled = cases.part(*found.recipe.data.pretrain_on), cases.part("train")
    if not methods_for(found.recipe) or len(images) >= FEW_IMAGES * len(labelled):
        return ""
    return (
        f"Pre-training sees {plural(len(images), 'image')}, {len(labelled):,} of them with labels: a gain over longer "
        "training is unlikely with so few others; add unlabelled scans of the same kind (--unlabelled)."
    )


def save_plan(
    source: str, name: str, sets: Sequence[str], out: Path | None, display: Display, seconds: float | None = None
) -> None:
    """Print the recipe for a source and what a run will take; with `out`, write the recipe there, over no file.

    `seconds` are those of a run with the usual initializations and seeds; None is the default of this machine.
    """
    if out is not None and out.exists():
        raise UserError(f"--out {out} exists already, and a plan overwrites nothing: choose another file.")

    def budget(surveyed: Source, device: DeviceOptions) -> Budget:
        return Budget(seconds or default_budget(device), USUAL_INITS, (OWN,), USUAL_SEEDS, USUAL_SEEDS)

    found = resolve(source, name, sets, display, budget)
    inits = USUAL_INITS if methods_for(found.recipe) else ("scratch",)
    usual = count_trainings(found.source, found.recipe, Folding(), inits, USUAL_SEEDS)
    time = budget(found.source, found.recipe.device).seconds
    what = f"a run with {listed(inits)}, one fold and {USUAL_SEEDS} seeds"
    found = fit_into_budget(found, usual, Spending(time, seconds is not None, what), None, display)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_recipe(out, found.recipe, found.reasons)
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
