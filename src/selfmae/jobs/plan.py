"""The plan: a recipe made from the source's fingerprint and the machine, with the reason of every value it sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log2, prod
from typing import Any

from selfmae.data.case import Cases
from selfmae.data.fingerprint import Fingerprint, take_fingerprint
from selfmae.jobs.source import Source
from selfmae.options import DeviceOptions
from selfmae.recipe import Content, overlay
from selfmae.train.device import resolve_accelerator


@dataclass
class Plan:
    """Planned keys ("model.patch") with their values and reasons."""

    values: dict[str, Any]
    reasons: dict[str, str]

    def put(self, key: str, value: Any, reason: str) -> None:
        """Set one key."""
        self.values[key] = list(value) if isinstance(value, tuple) else value
        self.reasons[key] = reason

    def content(self) -> Content:
        """Return the planned keys as nested mappings, ready for `make_recipe`."""
        content: Content = {}
        for key, value in self.values.items():
            for part in reversed(key.split(".")):
                value = {part: value}
            content = overlay(content, value)
        return content


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


CPU = Budget("a CPU", 48**3, 96, 192, 6, 3, 96, 4, 12)
GPU = Budget("a GPU", 96**3, 224, 768, 12, 12, 384, 8, 16)


def make_plan(source: Source, device: DeviceOptions) -> Plan:
    """Plan a recipe for a source on this machine."""
    cases = source.cases
    fingerprint = take_fingerprint(cases, source.facts)
    budget = CPU if resolve_accelerator(device) == "cpu" else GPU
    plan = Plan({}, {})
    _plan_source(plan, cases)
    if cases.labels.kind == "mask":
        _plan_volume(plan, fingerprint, budget)
    else:
        _plan_whole(plan, fingerprint, budget)
    _plan_model(plan, fingerprint, budget)
    _plan_training(plan, fingerprint, cases)
    return plan


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
    else:
        plan.put("data.spacing_mm", (), "all images have the same spacing; nothing is resampled")
    limit = budget.voxels if len(shape) == 3 else budget.voxels ** (2 / 3) * 4
    patch = tuple(_power_of_two(min(extent, limit ** (1 / len(shape)) * 1.3) / 6) for extent in shape)
    crop = [ceil(extent / step) * step for extent, step in zip(shape, patch, strict=True)]
    while prod(crop) > limit:
        # Cut the axis with most patches: the crop keeps the proportions of the image as far as it can.
        axis = max(range(len(crop)), key=lambda place: crop[place] / patch[place])
        if crop[axis] <= patch[axis]:
            break
        crop[axis] -= patch[axis]
    plan.put("model.patch", patch, f"powers of two near a sixth of the median image {list(shape)}")
    plan.put(
        "data.crop",
        tuple(crop),
        f"the median image {list(shape)} in whole patches, at most {round(limit):,} voxels on {budget.name}",
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
    tokens = 12 if len(shape) == 2 else 6
    patch = tuple(_power_of_two(extent / tokens) for extent in size)
    crop = tuple(max(step, round(extent / step) * step) for extent, step in zip(size, patch, strict=True))
    plan.put("model.patch", patch, f"powers of two that make about {tokens} patches along an axis")
    plan.put("data.crop", crop, f"the median image {list(shape)} with at most {limit} along an axis on {budget.name}")
    plan.put("data.size", crop, "whole images are resized to the crop")
    plan.put("data.intensity", "zscore", "each image gets mean 0 and deviation 1")


def _plan_model(plan: Plan, fingerprint: Fingerprint, budget: Budget) -> None:
    size = f"affordable on {budget.name}"
    plan.put("model.width", budget.width, size)
    plan.put("model.depth", budget.depth, size)
    plan.put("model.heads", budget.heads, "64 values a head")
    plan.put("model.decoder_features", budget.features, size)
    plan.put("mask.decoder_width", budget.decoder_width, "half of the encoder's")
    plan.put("mask.decoder_depth", budget.decoder_depth, size)
    plan.put("mask.decoder_heads", max(1, budget.decoder_width // 32), "32 values a head")


def _plan_training(plan: Plan, fingerprint: Fingerprint, cases: Cases) -> None:
    segmentation = cases.labels.kind == "mask"
    plan.put("mask.ratio", 0.5 if segmentation else 0.75, "low ratios suit segmentation (Zhou et al. 2023, table 4)")
    recipe: Mapping[str, Any] = (
        {"pretrain.steps": 2000, "pretrain.batch": 8, "fit.steps": 600, "fit.batch": 4}
        if segmentation
        else {"pretrain.steps": 2000, "pretrain.batch": 32, "fit.steps": 600, "fit.batch": 32}
    )
    for key, value in recipe.items():
        plan.put(key, value, "small data on one machine (LOG.md)")
    plan.put("pretrain.lr", 1e-3, "AdamW at this batch size")
    plan.put("pretrain.warmup_steps", recipe["pretrain.steps"] // 20, "a twentieth of the steps")
    plan.put("fit.lr", 5e-4, "AdamW at this batch size")
    plan.put("fit.warmup_steps", recipe["fit.steps"] // 20, "a twentieth of the steps")
    plan.put("fit.layer_decay", 0.75, "Zhou et al. 2023")
    plan.put("fit.drop_path", 0.1, "Zhou et al. 2023")
    plan.put("fit.clip", 1.0, "keeps single bad batches from spoiling a run")
    plan.put("fit.validate_every", recipe["fit.steps"] // 6, "six looks at the val part")
    if segmentation:
        plan.put("fit.augment.foreground", 0.5, "half of the crops show a label for sure")
        plan.put("fit.augment.intensity", 0.1, "scanners differ in brightness and contrast")
    else:
        plan.put("pretrain.augment.min_scale", 0.5, "random resized crops, as He et al. 2021")
        plan.put("fit.augment.min_scale", 0.7, "random resized crops")


def _power_of_two(value: float) -> int:
    """Return the power of two nearest to `value` in ratio, from 2 to 16."""
    return int(2 ** min(4, max(1, round(log2(max(value, 1))))))
