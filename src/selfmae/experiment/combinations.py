"""Combinations of a sweep: settings from the command line, their recipes, and which of them a training depends on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, log2
from pathlib import Path
from typing import Any

from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.methods import EQUAL, is_method, method_names
from selfmae.options import OptimOptions, Recipe
from selfmae.recipe import as_content, flat, make_recipe, overlay, parse_sets
from selfmae.results.formatting import mean_of, number
from selfmae.results.sweep_results import Settings, name_of, value_text
from selfmae.results.training_run import training_runs

# All combinations are trained and tested on the same cases: what decides them is no setting to sweep.
FIXED = (
    *("data.source", "data.layout", "data.channels", "data.patient_pattern", "data.splits", "data.unlabelled"),
    *("data.test_fraction", "data.val_fraction", "data.split", "data.split_seed"),
)
UNUSED_IN_PRETRAINING = ("fit.", "predict.", "data.fraction", "data.labels")
UNUSED_WITHOUT_PRETRAINING = ("pretrain.", "probe.", "init.pretrain", "data.pretrain_on")

MIN_VALUES = 3  # values worth a round
FINALISTS = 2

Scores = Mapping[str, float | None]  # of each combination by its name; None where none is defined
Score = Callable[[Sequence[Settings], float, int], tuple[Scores, Mapping[str, str]]]


@dataclass(frozen=True)
class Round:
    """One round: the share of the steps, val scores, the names of those that went on, and trainings that failed."""

    number: int
    share: float
    scores: Scores
    kept: tuple[str, ...]
    failed: Mapping[str, str]


def parse_axes(words: Sequence[str]) -> dict[str, list[Any]]:
    """Return the values of each swept key, from words like mae.ratio=0.25,0.5."""
    axes: dict[str, list[Any]] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not key or not equals or not text:
            raise UserError(f"{word!r} must look like key=value,value, for example mae.ratio=0.25,0.5,0.75.")
        if key in axes:
            raise UserError(f"{key} is given twice: put all its values behind one {key}=.")
        if key in FIXED or key.startswith("target."):
            raise UserError(f"{key} decides the cases, which all of a sweep must share: make one run for each value.")
        axes[key] = next(iter(flat(parse_sets([f"{key}=[{text}]"])).values()))
        texts = [value_text(value) for value in axes[key]]
        twice = next((value for value in texts if texts.count(value) > 1), None)
        if twice is not None:
            raise UserError(f"{key} has the value {twice} twice: give each value once.")
    if not axes:
        raise UserError("A sweep needs a key and its values, for example mae.ratio=0.25,0.5,0.75: name one.")
    return axes


def combine(axes: Mapping[str, Sequence[Any]]) -> list[Settings]:
    """Return every combination of the values, the last key changing fastest."""
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def recipe_of(base: Recipe, settings: Settings, share: float = 1.0) -> Recipe:
    """Return the recipe with the settings over it, and with this share of the steps of both stages."""
    content = as_content(base)
    for key, value in settings.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        content = overlay(content, value)
    recipe = make_recipe(content, name_of(settings))

    def shorter(steps: int) -> int:
        return max(1, round(steps * share)) if steps else 0

    def shortened(options: OptimOptions) -> OptimOptions:
        """Return a training of a share of its steps; warm-up and validations come as much earlier."""
        steps, every = shorter(options.steps), shorter(options.validate_every)
        return replace(options, steps=steps, warmup_steps=round(options.warmup_steps * share), validate_every=every)

    probe = replace(recipe.probe, every=shorter(recipe.probe.every))
    return replace(recipe, fit=shortened(recipe.fit), pretrain=shortened(recipe.pretrain), probe=probe)


def settings_of_pretraining(settings: Settings, recipe: Recipe) -> Settings:
    """Return the settings that a pre-training depends on; `recipe` has all of them."""
    asks_labels = bool(recipe.probe.every) and recipe.probe.kind == "labels"
    return {
        key: value
        for key, value in settings.items()
        if not key.startswith(UNUSED_IN_PRETRAINING) or (asks_labels and key in ("data.fraction", "data.labels"))
    }


def settings_of_init(settings: Settings, init: str) -> Settings:
    """Return the settings that the fine-tuning from an initialization depends on; pre-training is no matter to most."""
    if is_method(init) or init == EQUAL:
        return settings
    unused = (*UNUSED_WITHOUT_PRETRAINING, *(f"{name}." for name in method_names()))
    return {key: value for key, value in settings.items() if not key.startswith(unused)}


def check_halving(axes: Mapping[str, Sequence[Any]]) -> None:
    """Raise where there is nothing to halve."""
    if len(axes) != 1 or len(next(iter(axes.values()))) < MIN_VALUES:
        counts = ", ".join(f"{key} with {len(values)}" for key, values in axes.items())
        raise UserError(
            f"--halving chooses among {MIN_VALUES} or more values of one key, but came with {counts}: give one key and "
            "its values, or leave --halving out."
        )


def halve(combinations: Sequence[Settings], score: Score, display: Display) -> tuple[list[Settings], list[Round]]:
    """Return the combinations that are worth the whole budget, in their order, and the rounds that chose them.

    `score` trains combinations with a share of the steps in a numbered round and returns their val scores, and what
    failed. The last round has half of the steps, the one before a quarter, and so on. Raises `UserError` where a round
    has no score to choose by.
    """
    left, rounds = list(combinations), list[Round]()
    num_rounds = count_rounds(len(left))
    for turn in range(1, num_rounds + 1):
        share = 0.5 ** (num_rounds + 1 - turn)
        scores, failed = score(left, share, turn)
        if all(value is None for value in scores.values()):
            raise UserError(
                f"--halving chooses by val scores, but in round {turn} none is defined: give the split more val "
                "cases, or leave --halving out."
            )
        defined = {name: float("-inf") if value is None else value for name, value in scores.items()}
        best = sorted(left, key=lambda settings: defined[name_of(settings)], reverse=True)[: ceil(len(left) / 2)]
        left = [settings for settings in left if settings in best]
        rounds.append(Round(turn, share, scores, tuple(map(name_of, left)), failed))
        found = ", ".join(f"{name}: {number(value, 4)}" for name, value in scores.items())
        display.say(
            f"Halving, round {turn} of {num_rounds}: with {share:g} of the steps and one seed, val scores (test "
            f"cases are not used) are {found}; {', '.join(map(name_of, left))} go on."
        )
    return left, rounds


def count_rounds(count: int) -> int:
    """Return how many halvings leave at most `FINALISTS` of `count`."""
    return ceil(log2(count / FINALISTS))


def val_score(folder: Path, metric: str) -> float | None:
    """Return the mean val score of the training runs of a combination's folder; None if none is defined."""
    return mean_of([run.val_summary["metrics"][metric] for run in training_runs(folder) if run.val_summary])
