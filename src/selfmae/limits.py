"""What the values of a recipe must be beyond their types: ranges, and what must fit together."""

from collections.abc import Iterator

from selfmae.networks.registry import CLASSIFIERS, FEATURE_STEPS, VIT, fit_crop
from selfmae.options import AugmentOptions, DataOptions, OptimOptions, Recipe, TargetOptions


def find_problems(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with single values and with values together, one clause for each."""
    yield from _data_problems(recipe)
    yield from _model_problems(recipe)
    yield from _network_problems(recipe)
    yield from _unetr_problems(recipe)
    yield from _probe_problems(recipe)
    yield from _moco_problems(recipe)
    for name in ("pretrain", "fit"):
        yield from _optim_problems(name, getattr(recipe, name), recipe)
    yield from _outside("predict.overlap", recipe.predict.overlap, 0, 1, open_above=True)
    yield from _device_problems(recipe)


def _device_problems(recipe: Recipe) -> Iterator[str]:
    device, network = recipe.device, recipe.model.network
    if device.devices < 1:
        yield f"device.devices is {device.devices}, but must be at least 1"
    if device.shard and device.devices < 2:
        yield "device.shard shares a model out over several devices, but device.devices is 1"
    if device.shard and device.precision == "fp16":
        yield "device.shard takes fp32 or bf16, but device.precision is fp16"
    if device.shard and network != VIT:
        yield f"device.shard is for the Vision Transformer, but model.network is {network}"


def _outside(key: str, value: float, low: float, high: float, open_above: bool = False) -> Iterator[str]:
    """Yield what is wrong if the value is not in the range (NaN never is)."""
    if not (low <= value < high or (value == high and not open_above)):
        yield f"{key} is {value}, but must be at least {low} and {'below' if open_above else 'at most'} {high}"


def _data_problems(recipe: Recipe) -> Iterator[str]:
    data, num_axes = recipe.data, len(recipe.data.crop)
    for key, values in (("data.size", data.size), ("data.spacing_mm", data.spacing_mm)):
        if values and (len(values) != num_axes or not all(value > 0 for value in values)):
            yield f"{key} {list(values)} must have a value above 0 for each of the {num_axes} axes of data.crop"
    if not all(extent > 0 for extent in data.crop):
        yield f"data.crop {list(data.crop)} must be above 0 on every axis"
    if data.size and data.spacing_mm:
        yield "data.size and data.spacing_mm exclude each other: empty one of them"
    if len(set(data.channels)) < len(data.channels):
        yield f"data.channels {list(data.channels)} must be different names"
    yield from _intensity_problems(data)
    yield from _split_problems(data)
    yield from _target_problems(recipe.target)


def _split_problems(data: DataOptions) -> Iterator[str]:
    yield from _outside("data.test_fraction", data.test_fraction, 0, 1, open_above=True)
    yield from _outside("data.val_fraction", data.val_fraction, 0, 1, open_above=True)
    if data.test_fraction + data.val_fraction >= 1:
        yield "data.test_fraction and data.val_fraction must leave patients to train on: their sum must be below 1"
    if not 0 < data.fraction <= 1:
        yield f"data.fraction is {data.fraction}, but must be above 0 and at most 1"


def _target_problems(target: TargetOptions) -> Iterator[str]:
    if not target.names:
        yield "target.names is empty, but there must be something to learn"
    if len(set(target.names)) < len(target.names):
        yield f"target.names {list(target.names)} must be different names"
    yield from _report_problems(target)
    yield from _region_problems(target)
    if target.kind == "mask":
        if len(target.values) != len(target.names):
            yield f"target.values {list(target.values)} must name one mask value for each of {list(target.names)}"
        if not all(value > 0 for value in target.values) or len(set(target.values)) != len(target.values):
            yield f"target.values {list(target.values)} must be different and above 0 (0 is the background)"
        if len(target.values) > 255:
            yield f"target.values has {len(target.values)} values, but at most 255 labels can be learned"


def _report_problems(target: TargetOptions) -> Iterator[str]:
    unknown = [name for name in target.report if name not in target.output_names]
    if unknown:
        yield f"target.report names {unknown}, but the model learns {list(target.output_names)}"
    if target.report and target.kind != "mask":
        yield f"target.report is for masks, but target.kind is {target.kind}"


def _region_problems(target: TargetOptions) -> Iterator[str]:
    if target.regions and target.kind != "mask":
        yield f"target.regions is for masks, but target.kind is {target.kind}"
        return
    for name, values in target.regions.items():
        unknown = [value for value in values if value not in target.values]
        if unknown or not values:
            yield f"target.regions.{name} {list(values)} must be some of the mask values {sorted(target.values)}"


def _intensity_problems(data: DataOptions) -> Iterator[str]:
    if data.intensity == "window" and (len(data.window) != 2 or not data.window[0] < data.window[1]):
        yield f"data.window {list(data.window)} must be two rising values for data.intensity window"
    if not 0 < data.std < float("inf"):
        yield f"data.std is {data.std}, but must be above 0"
    if not abs(data.mean) < float("inf"):
        yield f"data.mean is {data.mean}, but must be a finite number"
    if not (data.anisotropy == 0 or data.anisotropy >= 1):
        yield f"data.anisotropy is {data.anisotropy}, but must be a ratio of at least 1, or 0 to switch it off"
    if data.normalise_crops and data.intensity not in ("zscore", "zscore_nonzero"):
        yield f"data.normalise_crops needs data.intensity zscore or zscore_nonzero, but it is {data.intensity}"


def _model_problems(recipe: Recipe) -> Iterator[str]:
    data, model, mask = recipe.data, recipe.model, recipe.mask
    if not 0 < mask.ratio < 1:
        yield f"mask.ratio is {mask.ratio}, but must lie between 0 and 1"
    for key, value in (
        ("model.depth", model.depth),
        ("model.decoder_features", model.decoder_features),
        ("mask.decoder_depth", mask.decoder_depth),
    ):
        if value < 1:
            yield f"{key} is {value}, but must be at least 1"
    if not 0 < model.mlp_ratio < float("inf"):
        yield f"model.mlp_ratio is {model.mlp_ratio}, but must be above 0"
    if not 0 < model.norm_eps < 1:
        yield f"model.norm_eps is {model.norm_eps}, but must lie between 0 and 1"
    if len(model.patch) != len(data.crop) or len(model.patch) not in (2, 3):
        yield f"model.patch {list(model.patch)} and data.crop {list(data.crop)} must have two or three axes each"
    elif model.network == VIT and any(
        step < 1 or extent % step for extent, step in zip(data.crop, model.patch, strict=True)
    ):
        yield f"data.crop {list(data.crop)} must be a multiple of model.patch {list(model.patch)} on every axis"
    for name, width, heads in (
        ("model.width", model.width, model.heads),
        ("mask.decoder_width", mask.decoder_width, mask.decoder_heads),
    ):
        if heads < 1 or width < 1 or width % heads:
            yield f"{name} {width} must be a multiple of its {heads} heads"


def _network_problems(recipe: Recipe) -> Iterator[str]:
    """Yield what a network other than the ViT cannot do, or cannot take."""
    data, model, network = recipe.data, recipe.model, recipe.model.network
    if network == VIT:
        if model.features:
            yield f"model.features is {model.features}, but must be 0 for model.network vit, which has decoder_features"
        return
    if (network in CLASSIFIERS) == (recipe.target.kind == "mask"):
        does, wanted = ("classifies", "masks") if network in CLASSIFIERS else ("segments", recipe.target.kind)
        yield f"model.network {network} {does}, but the target is {wanted}: choose another network"
        return
    share = recipe.fit.batch // (max(1, recipe.fit.accumulate) * max(1, recipe.device.devices))
    if network in CLASSIFIERS and share < 2:
        yield f"fit.batch must give model.network {network} at least 2 samples at once for its batch norms, not {share}"
    step = FEATURE_STEPS.get(network, 1)
    if model.features < 0 or model.features % step or (model.features and network in CLASSIFIERS):
        multiple = "0" if network in CLASSIFIERS else f"0 or a multiple of {step}"
        yield f"model.features is {model.features}, but must be {multiple} for model.network {network}"
    if len(data.crop) in (2, 3) and min(data.crop) > 0:
        adaptation = fit_crop(network, data.crop, data.spacing_mm)
        if adaptation != data.crop:
            yield (
                f"data.crop {list(data.crop)} does not fit model.network {network}, which halves it several times: "
                f"set for example {list(adaptation)}"
            )


def _unetr_problems(recipe: Recipe) -> Iterator[str]:
    """Yield what UNETR's decoder cannot do: it doubles the patch grid until it has full resolution."""
    model = recipe.model
    if model.network != VIT or recipe.target.kind != "mask" or not model.patch or min(model.patch) < 1:
        return
    if any(step & (step - 1) for step in model.patch) or max(model.patch) == 1:
        yield f"model.patch {list(model.patch)} must be powers of two for UNETR, at least one of them above 1"
        return
    num_states = max(model.patch).bit_length() - 2
    if model.out_indices and (
        len(model.out_indices) != num_states or any(not 0 <= index < model.depth for index in model.out_indices)
    ):
        yield (
            f"model.out_indices {list(model.out_indices)} must name {num_states} of the blocks 0 to "
            f"{model.depth - 1} for model.patch "
            f"{list(model.patch)}, or be empty"
        )


def _probe_problems(recipe: Recipe) -> Iterator[str]:
    for key in ("every", "patience"):
        if getattr(recipe.probe, key) < 0:
            yield f"probe.{key} is {getattr(recipe.probe, key)}, but must be at least 0"
    if recipe.probe.patience and not recipe.probe.every:
        yield "probe.patience means nothing without probe.every: set it too"
    if recipe.pretrain.validate_every or recipe.pretrain.patience:
        yield "pretrain.validate_every and pretrain.patience mean nothing: set probe.every and probe.patience"


def _moco_problems(recipe: Recipe) -> Iterator[str]:
    moco = recipe.moco
    if not 0 < moco.temperature < float("inf"):
        yield f"moco.temperature is {moco.temperature}, but must be above 0"
    yield from _outside("moco.momentum", moco.momentum, 0, 1, open_above=True)
    if moco.queue < 1:
        yield f"moco.queue is {moco.queue}, but must be at least 1"


def _optim_problems(name: str, options: OptimOptions, recipe: Recipe) -> Iterator[str]:
    devices = max(1, recipe.device.devices)
    if options.steps < 1 or options.batch < 1 or options.accumulate < 1:
        yield f"{name}.steps, {name}.batch and {name}.accumulate must be at least 1"
    elif options.batch % (options.accumulate * devices):
        yield (
            f"{name}.batch {options.batch} must be a multiple of {name}.accumulate {options.accumulate} times "
            f"device.devices {devices}"
        )
    if options.crops_per_case < 1 or options.batch % options.crops_per_case:
        yield f"{name}.batch {options.batch} must be a multiple of {name}.crops_per_case {options.crops_per_case}"
    if not 0 < options.lr < float("inf"):
        yield f"{name}.lr is {options.lr}, but must be above 0"
    yield from _rule_problems(name, options)
    yield from _augment_problems(f"{name}.augment", options.augment, recipe.data.crop)
    if options.augment.rand_augment:
        yield from _rand_augment_problems(name, options.augment.rand_augment, recipe)


def _rule_problems(name: str, options: OptimOptions) -> Iterator[str]:
    """Yield what is wrong with the update rule, or with when it stops."""
    for key in ("warmup_steps", "validate_every", "patience", "clip", "weight_decay"):
        if not getattr(options, key) >= 0:
            yield f"{name}.{key} is {getattr(options, key)}, but must be at least 0"
    for beta in options.betas:
        yield from _outside(f"{name}.betas", beta, 0, 1, open_above=True)
    if options.patience and not options.validate_every:
        yield f"{name}.patience means nothing without {name}.validate_every: set it too"
    if not 0 < options.layer_decay <= 1:
        yield f"{name}.layer_decay is {options.layer_decay}, but must be above 0 and at most 1"
    yield from _outside(f"{name}.drop_path", options.drop_path, 0, 1, open_above=True)


def _rand_augment_problems(name: str, magnitude: float, recipe: Recipe) -> Iterator[str]:
    yield from _outside(f"{name}.augment.rand_augment", magnitude, 0, 10)
    if name == "pretrain" or recipe.target.kind == "mask" or len(recipe.data.crop) != 2:
        yield f"{name}.augment.rand_augment is for fine-tuning on pictures with findings or classes: set it to 0"
    elif recipe.data.intensity not in ("percentile", "window", "range"):
        yield (
            f"{name}.augment.rand_augment needs data.intensity percentile, window or range, whose values lie between "
            f"0 and 1, but it is {recipe.data.intensity}"
        )


def _augment_problems(name: str, options: AugmentOptions, crop: tuple[int, ...]) -> Iterator[str]:
    num_axes = len(crop)
    if any(not 0 <= axis < num_axes for axis in options.flip_axes):
        yield f"{name}.flip_axes {list(options.flip_axes)} must name axes from 0 to {num_axes - 1}"
    for key in ("flip", "foreground", "quarter_turns", "shading", "blur"):
        yield from _outside(f"{name}.{key}", getattr(options, key), 0, 1)
    for key in ("zoom", "intensity", "gain"):
        yield from _outside(f"{name}.{key}", getattr(options, key), 0, 1, open_above=True)
    yield from _outside(f"{name}.rotate_degrees", options.rotate_degrees, 0, 180)
    if not 0 < options.min_scale <= 1:
        yield f"{name}.min_scale is {options.min_scale}, but must be above 0 and at most 1"
    if options.foreground and options.min_scale < 1:
        yield f"{name}.foreground means nothing with {name}.min_scale below 1: set one of them only"
    if not 0 <= options.offset < float("inf"):
        yield f"{name}.offset is {options.offset}, but must be at least 0"
    if options.quarter_turns and crop[0] != crop[1]:
        yield f"{name}.quarter_turns needs a data.crop with two equal first axes, but it is {list(crop)}"
