"""Combinations of a sweep: settings from the command line, their recipes, and which of them a training depends on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from selfmae.errors import UserError
from selfmae.options import OptimOptions, Recipe
from selfmae.recipe import as_content, flat, make_recipe, overlay, parse_sets

Settings = Mapping[str, Any]  # "mask.ratio": 0.5

# All combinations are trained and tested on the same cases: what decides them is no setting to sweep.
FIXED = (
    *("data.source", "data.layout", "data.channels", "data.patient_pattern", "data.splits"),
    *("data.test_fraction", "data.val_fraction", "data.split", "data.split_seed"),
)
UNUSED_IN_PRETRAINING = ("fit.", "predict.", "data.fraction")
UNUSED_WITHOUT_PRETRAINING = ("pretrain.", "mask.", "moco.", "probe.", "start.pretrain", "data.pretrain_on")


def parse_axes(words: Sequence[str]) -> dict[str, list[Any]]:
    """Return the values of each swept key, from words like mask.ratio=0.25,0.5."""
    axes: dict[str, list[Any]] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not key or not equals or not text:
            raise UserError(f"{word!r} must look like key=value,value, for example mask.ratio=0.25,0.5,0.75.")
        if key in axes:
            raise UserError(f"{key} is given twice: put all its values behind one {key}=.")
        if key in FIXED or key.startswith("target."):
            raise UserError(f"{key} decides the cases, which all of a sweep must share: make one run for each value.")
        axes[key] = next(iter(flat(parse_sets([f"{key}=[{text}]"])).values()))
        texts = [_text(value) for value in axes[key]]
        twice = next((value for value in texts if texts.count(value) > 1), None)
        if twice is not None:
            raise UserError(f"{key} has the value {twice} twice: give each value once.")
    if not axes:
        raise UserError("A sweep needs a key and its values, for example mask.ratio=0.25,0.5,0.75: name one.")
    return axes


def combine(axes: Mapping[str, Sequence[Any]]) -> list[Settings]:
    """Return every combination of the values, the last key changing fastest."""
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def name_of(settings: Settings) -> str:
    """Return the name of a combination's folder: "mask.ratio=0.5,fit.steps=400", or "base" without settings."""
    return ",".join(f"{key}={_text(value)}" for key, value in settings.items()) or "base"


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text.replace("/", "_").replace("\\", "_")


def recipe_of(base: Recipe, settings: Settings, share: float = 1.0) -> Recipe:
    """Return the recipe with the settings over it, and with this share of the steps of both stages."""
    content = as_content(base)
    for key, value in settings.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        content = overlay(content, value)
    recipe = make_recipe(content, name_of(settings))
    if share == 1:
        return recipe
    probe = replace(recipe.probe, every=_shorter(recipe.probe.every, share))
    return replace(recipe, fit=_shorten(recipe.fit, share), pretrain=_shorten(recipe.pretrain, share), probe=probe)


def _shorten(options: OptimOptions, share: float) -> OptimOptions:
    """Return a training of a share of its steps; warm-up and looks come as much earlier."""
    return replace(
        options,
        steps=_shorter(options.steps, share),
        warmup_steps=round(options.warmup_steps * share),
        validate_every=_shorter(options.validate_every, share),
    )


def _shorter(steps: int, share: float) -> int:
    return max(1, round(steps * share)) if steps else 0


def settings_of_pretraining(settings: Settings, recipe: Recipe) -> Settings:
    """Return the settings that a pre-training depends on; `recipe` has all of them."""
    asks_labels = bool(recipe.probe.every) and recipe.probe.kind == "labels"
    return {
        key: value
        for key, value in settings.items()
        if not key.startswith(UNUSED_IN_PRETRAINING) or (asks_labels and key == "data.fraction")
    }


def settings_without_pretraining(settings: Settings) -> Settings:
    """Return the settings that a fine-tuning depends on which has nothing from a pre-training of the sweep."""
    return {key: value for key, value in settings.items() if not key.startswith(UNUSED_WITHOUT_PRETRAINING)}
