"""The plan: a recipe made from the source's fingerprint and the machine, with the reason of every value it sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2, prod
from pathlib import Path
from typing import Any

from selfmae.data.case import Cases
from selfmae.data.fingerprint import Fingerprint, take_fingerprint
from selfmae.data.folds import Folding
from selfmae.errors import UserError
from selfmae.jobs.display import Display
from selfmae.jobs.forecast import forecast, show_forecast
from selfmae.jobs.inspect import show_source
from selfmae.jobs.source import Source, check_crop, check_fits, load_cases, look_at
from selfmae.jobs.trainings import count_trainings
from selfmae.networks import VIT, fit_crop
from selfmae.options import DeviceOptions, Recipe
from selfmae.recipe import (
    Content,
    as_content,
    check_partial,
    find_recipe,
    flat,
    make_recipe,
    overlay,
    parse_sets,
    read_content,
    write_recipe,
)
from selfmae.train.device import resolve_accelerator


class Plan:
    """Keys ("model.patch") with their values and reasons; what the user gave is never planned over."""

    def __init__(self, given: Content) -> None:
        self.given = given
        self.values = flat(given)
        self.reasons = dict.fromkeys(self.values, "given")

    def put(self, key: str, value: Any, reason: str) -> Any:
        """Set one key unless it was given, and return the value it has."""
        if key not in self.values:
            self.values[key] = list(value) if isinstance(value, tuple) else value
            self.reasons[key] = reason
        return self.values[key]

    def content(self) -> Content:
        """Return all keys as nested mappings, ready for `make_recipe`."""
        content: Content = {}
        for key, value in self.values.items():
            for part in reversed(key.split(".")):
                value = {part: value}
            content = overlay(content, value)
        return overlay(content, self.given)


@dataclass(frozen=True)
class Budget:
    """What a machine affords. Widths are those of ViT-Ti, S and B."""

    name: str
    voxels: int  # of one crop
    pixels: int  # side of a 2-D image
    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    features: int
    patches: tuple[int, int]  # along an axis of a whole image, and of a whole volume


# A reason must not say more than was measured: compared with another value, or only what the runs in the log had.
TUNED = "better than others in the experiments of LOG.md"
USED = "as in the runs of LOG.md; not compared"
CPU = Budget("a CPU", 48**3, 64, 192, 6, 3, 96, 4, 8, (8, 4))
GPU = Budget("a GPU", 96**3, 224, 768, 12, 12, 384, 8, 16, (14, 6))


def make_plan(source: Source, device: DeviceOptions, given: Content) -> Plan:
    """Plan what was not given of a recipe for a source on this machine."""
    cases = source.cases
    fingerprint = take_fingerprint(cases, source.facts)
    budget = CPU if resolve_accelerator(device) == "cpu" else GPU
    plan = Plan(given)
    _plan_source(plan, cases)
    if cases.labels.kind == "mask":
        _plan_volume(plan, fingerprint, budget)
    else:
        _plan_whole(plan, fingerprint, budget)
    _plan_model(plan, budget)
    _plan_training(plan, cases, budget)
    if network_of(plan) != VIT:
        _say_idle(plan)
    return plan


def network_of(plan: Plan) -> str:
    """Return the name of the network that is planned for."""
    return str(plan.values.get("model.network", VIT))


def _say_idle(plan: Plan) -> None:
    """Give what a network other than the ViT does not look at the reason that says so."""
    network = network_of(plan)
    used = ("model.width", "model.heads") if network == "monai-unetr" else ()
    for key, reason in plan.reasons.items():
        idle = key.startswith(("model.", "mask.", "pretrain.")) or key in ("fit.layer_decay", "fit.drop_path")
        if reason != "given" and idle and key not in used:
            plan.reasons[key] = f"plays no part in {network}"
        elif reason in (TUNED, USED):
            plan.reasons[key] = f"as for the Vision Transformer; not tuned for {network}"


def resolve(source: str, name: str, sets: Sequence[str], display: Display) -> tuple[Recipe, dict[str, str], Source]:
    """Return the whole recipe for a source, the reason of each planned value, and the examined source.

    The plan gives every value that matters; the recipe `name` (a file or one that comes with SelfMAE; "" is none) goes
    over it, and the settings (`--set`) over both.
    """
    given = read_content(find_recipe(name)) if name else {}
    origin = f"--recipe {name}" if name else "--set"
    typed = overlay(given, parse_sets(sets))
    partial = check_partial(typed, origin)
    looked = look_at(load_cases(replace(partial.data, source=source)), masks=True, display=display)
    plan = make_plan(looked, partial.device, typed)
    recipe = make_recipe(plan.content(), origin)
    check_fits(recipe, looked.cases)
    check_crop(recipe, looked)
    return recipe, plan.reasons, looked


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
    show_source(looked, display)
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


def _plan_source(plan: Plan, cases: Cases) -> None:
    labels = cases.labels
    plan.put("data.source", str(cases.source), "as given")
    plan.put("data.layout", cases.layout, "recognised")
    plan.put("data.channels", cases.channels, "found in the source")
    plan.put("target.kind", labels.kind, "found in the source")
    plan.put("target.names", labels.names, "found in the source")
    plan.put("target.values", labels.values, "found in the source")


def _plan_volume(plan: Plan, fingerprint: Fingerprint, budget: Budget) -> None:
    """Plan the grid and the crop of a segmentation."""
    shape = fingerprint.median_shape
    if fingerprint.spacing_mm and fingerprint.spacing_varies:
        plan.put("data.spacing_mm", fingerprint.spacing_mm, "median spacing, since spacings differ between images")
    elif fingerprint.spacing_mm and network_of(plan) == "dynunet":
        plan.put("data.spacing_mm", fingerprint.spacing_mm, "that of all images; the strides are planned from it")
    else:
        plan.put("data.spacing_mm", (), "all images have the same spacing; nothing is resampled")
    limit = budget.voxels if len(shape) == 3 else budget.voxels ** (2 / 3) * 4
    sixth = tuple(_power_of_two(min(extent, limit ** (1 / len(shape)) * 1.3) / 6) for extent in shape)
    patch = plan.put("model.patch", sixth, f"powers of two near a sixth of the median image {list(shape)}")
    crop = [ceil(extent / step) * step for extent, step in zip(shape, patch, strict=True)]
    while prod(crop) > limit:
        # Cut the axis with most patches: the crop keeps the proportions of the image as far as it can.
        axis = max(range(len(crop)), key=lambda place: crop[place] / patch[place])
        if crop[axis] <= patch[axis]:
            break
        crop[axis] -= patch[axis]
    plan.put(
        "data.crop",
        fit_crop(network_of(plan), crop, plan.values["data.spacing_mm"]),
        f"the median image {list(shape)} in whole patches, at most {round(limit):,} voxels on {budget.name}"
        f"{'' if network_of(plan) == VIT else f', enlarged where {network_of(plan)} must'}",
    )
    if fingerprint.looks_like_ct:
        plan.put("data.intensity", "window", "values below -500: Hounsfield units")
        plan.put("data.window", (-175.0, 250.0), "soft tissue, as in Zhou et al. 2023")
    else:
        plan.put("data.intensity", "zscore", "no Hounsfield units: each image gets mean 0 and deviation 1")


def _plan_whole(plan: Plan, fingerprint: Fingerprint, budget: Budget) -> None:
    """Plan the size of the whole images or volumes that a classifier looks at."""
    shape = fingerprint.median_shape
    limit = budget.pixels if len(shape) == 2 else round(budget.voxels ** (1 / 3))
    largest = max(shape)
    size = [min(1.0, limit / largest) * extent for extent in shape]
    tokens = budget.patches[len(shape) - 2]
    some = tuple(_power_of_two(extent / tokens) for extent in size)
    patch = plan.put("model.patch", some, f"powers of two that make about {tokens} patches along an axis")
    whole = tuple(max(step, round(extent / step) * step) for extent, step in zip(size, patch, strict=True))
    reason = f"the median image {list(shape)} with at most {limit} along an axis on {budget.name}"
    crop = plan.put("data.crop", fit_crop(network_of(plan), whole, ()), reason)
    plan.put("data.size", crop, "whole images are resized to the crop")
    plan.put("data.intensity", "zscore", "each image gets mean 0 and deviation 1")


def _plan_model(plan: Plan, budget: Budget) -> None:
    size = f"affordable on {budget.name}"
    plan.put("model.width", budget.width, size)
    plan.put("model.depth", budget.depth, size)
    plan.put("model.heads", budget.heads, "64 values a head")
    plan.put("mask.decoder_width", budget.decoder_width, "half of the encoder's")
    plan.put("mask.decoder_depth", budget.decoder_depth, size)
    plan.put("mask.decoder_heads", max(1, budget.decoder_width // 32), "32 values a head")


def _plan_training(plan: Plan, cases: Cases, budget: Budget) -> None:
    if cases.labels.kind == "mask":
        _plan_segmentation(plan, budget)
    else:
        _plan_classification(plan)
    for stage in ("pretrain", "fit"):
        plan.put(f"{stage}.warmup_steps", int(plan.values[f"{stage}.steps"]) // 20, "a twentieth of the steps")
    plan.put("pretrain.lr", 1e-3, "AdamW at this batch size")
    plan.put("fit.drop_path", 0.1, "Zhou et al. 2023")
    plan.put("fit.clip", 1.0, "keeps single bad batches from spoiling a run")


def _plan_segmentation(plan: Plan, budget: Budget) -> None:
    plan.put("mask.ratio", 0.5, USED)
    plan.put("pretrain.steps", 1200, USED)
    plan.put("pretrain.batch", 8, USED)
    plan.put("fit.steps", 400, USED)
    plan.put("fit.batch", 2, USED)
    plan.put("fit.lr", 2e-3, TUNED)
    plan.put("fit.validate_every", 100, "often enough to catch the best")
    plan.put("fit.layer_decay", 1.0, TUNED)
    plan.put("model.tap_norm", "instance", "hidden states of a pre-trained encoder are many times as large (LOG.md)")
    for stage in ("pretrain", "fit"):
        reason = TUNED if stage == "fit" else "as in fine-tuning"  # the three were compared together, there
        plan.put(f"{stage}.augment.rotate_degrees", 15.0, reason)
        plan.put(f"{stage}.augment.zoom", 0.15, reason)
        plan.put(f"{stage}.augment.intensity", 0.2, reason)
    plan.put("model.decoder_features", budget.features, f"affordable on {budget.name}")
    plan.put("fit.augment.foreground", 0.5, "half of the crops show a label for sure")


def _plan_classification(plan: Plan) -> None:
    plan.put("mask.ratio", 0.75, "He et al. 2021, and Zhou et al. 2023 for radiographs")
    plan.put("pretrain.steps", 2000, USED)
    plan.put("pretrain.batch", 32, USED)
    plan.put("fit.steps", 400, USED)
    plan.put("fit.batch", 32, USED)
    plan.put("fit.lr", 5e-4, "AdamW at this batch size")
    plan.put("fit.validate_every", 50, "often enough to catch the best")
    plan.put("fit.layer_decay", 0.85, f"between 0.75 of Zhou et al. 2023 for a deeper encoder and none; {USED}")
    plan.put("pretrain.augment.min_scale", 0.5, "random resized crops, as He et al. 2021")
    plan.put("fit.augment.min_scale", 0.7, "random resized crops")


def _power_of_two(value: float) -> int:
    """Return the power of two nearest to `value` in ratio, from 2 to 16."""
    return int(2 ** min(4, max(1, round(log2(max(value, 1))))))
