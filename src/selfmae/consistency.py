"""Checks of a recipe across values: what must fit together beyond types and ranges."""

from collections.abc import Iterator

from selfmae.augment import augment_problems
from selfmae.losses import loss_problems
from selfmae.networks import has_vit, network_name, network_problems
from selfmae.options import DataOptions, OptimOptions, Recipe, TargetOptions, range_problems

MAX_LABELS = 255  # of masks, which are kept as one byte a voxel


def find_problems(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with single values and with values together, one clause for each."""
    yield from range_problems(recipe)
    yield from _data_problems(recipe)
    yield from _patient_problems(recipe.data)
    yield from _target_problems(recipe.target)
    crop, model = recipe.data.crop, recipe.model
    if len(model.patch) != len(crop) or len(model.patch) not in (2, 3):
        yield f"model.patch {list(model.patch)} and data.crop {list(crop)} must have two or three axes each"
    if model.heads and model.width % model.heads:
        yield f"model.width {model.width} must be a multiple of its {model.heads} heads"
    found = list(network_problems(recipe))
    yield from found
    if recipe.probe.patience and not recipe.probe.every:
        yield "probe.patience means nothing without probe.every: set it too"
    if recipe.pretrain.validate_every or recipe.pretrain.patience:
        yield "pretrain.validate_every and pretrain.patience mean nothing: set probe.every and probe.patience"
    for name in ("pretrain", "fit"):
        yield from _optim_problems(name, getattr(recipe, name), recipe)
    yield from loss_problems(recipe)
    yield from augment_problems(recipe)
    yield from [] if any("model.network" in text for text in found) else _device_problems(recipe)


def _device_problems(recipe: Recipe) -> Iterator[str]:
    device = recipe.device
    if device.shard and device.devices < 2:
        yield "device.shard shares a model out over several devices, but device.devices is 1"
    if device.shard and device.precision == "fp16":
        yield "device.shard takes fp32 or bf16, but device.precision is fp16"
    if device.shard and not has_vit(recipe):
        yield f"device.shard is for the Vision Transformer, but model.network is {network_name(recipe)}"


def _data_problems(recipe: Recipe) -> Iterator[str]:
    data, num_axes = recipe.data, len(recipe.data.crop)
    for key, values in (("data.size", data.size), ("data.spacing_mm", data.spacing_mm)):
        if values and (len(values) != num_axes or not all(value > 0 for value in values)):
            yield f"{key} {list(values)} must have a value above 0 for each of the {num_axes} axes of data.crop"
    if data.size and data.spacing_mm:
        yield "data.size and data.spacing_mm exclude each other: empty one of them"
    if len(set(data.channels)) < len(data.channels):
        yield f"data.channels {list(data.channels)} must be different names"
    if data.intensity == "window" and (len(data.window) != 2 or not data.window[0] < data.window[1]):
        yield f"data.window {list(data.window)} must be two rising values for data.intensity window"
    if not (data.anisotropy == 0 or data.anisotropy >= 1):
        yield f"data.anisotropy is {data.anisotropy}, but must be a ratio of at least 1, or 0 to switch it off"
    if data.normalise_crops and data.intensity not in ("zscore", "zscore_nonzero"):
        yield f"data.normalise_crops needs data.intensity zscore or zscore_nonzero, but it is {data.intensity}"


def _patient_problems(data: DataOptions) -> Iterator[str]:
    if data.test_fraction + data.val_fraction >= 1:
        yield "data.test_fraction and data.val_fraction must leave patients to train on: their sum must be below 1"
    if data.labels and data.fraction < 1:
        yield "data.labels and data.fraction exclude each other: set data.labels=0 or data.fraction=1"
    if data.labels == 1:
        yield "data.labels is 1, but a draw of a single patient tells nothing of others: set at least 2, or 0 for all"
    if data.unlabelled and "unlabelled" not in data.pretrain_on:
        yield "data.unlabelled has no use where data.pretrain_on leaves out unlabelled: add it there"


def _target_problems(target: TargetOptions) -> Iterator[str]:
    if not target.names:
        yield "target.names is empty, but there must be something to learn"
    if len(set(target.names)) < len(target.names):
        yield f"target.names {list(target.names)} must be different names"
    unknown = [name for name in target.report if name not in target.output_names]
    if unknown:
        yield f"target.report names {unknown}, but the model learns {list(target.output_names)}"
    if target.kind == "mask":
        yield from _mask_problems(target)
        return
    for key in ("report", "regions"):
        if getattr(target, key):
            yield f"target.{key} is for masks, but target.kind is {target.kind}"


def _mask_problems(target: TargetOptions) -> Iterator[str]:
    for name, values in target.regions.items():
        if not values or not set(values) <= set(target.values):
            yield f"target.regions.{name} {list(values)} must be some of the mask values {sorted(target.values)}"
    if len(target.values) != len(target.names):
        yield f"target.values {list(target.values)} must name one mask value for each of {list(target.names)}"
    if not all(value > 0 for value in target.values) or len(set(target.values)) != len(target.values):
        yield f"target.values {list(target.values)} must be different and above 0 (0 is the background)"
    if len(target.values) > MAX_LABELS:
        yield f"target.values has {len(target.values)} values, but at most {MAX_LABELS} labels can be learned"


def _optim_problems(name: str, options: OptimOptions, recipe: Recipe) -> Iterator[str]:
    devices, batch = max(1, recipe.device.devices), options.batch
    if batch % (max(1, options.accumulate) * devices):
        yield (
            f"{name}.batch {batch} must be a multiple of {name}.accumulate {options.accumulate} times device.devices "
            f"{devices}"
        )
    if batch % max(1, options.crops_per_case):
        yield f"{name}.batch {batch} must be a multiple of {name}.crops_per_case {options.crops_per_case}"
    if options.patience and not options.validate_every:
        yield f"{name}.patience means nothing without {name}.validate_every: set it too"
