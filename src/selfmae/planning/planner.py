"""The planner: values of a recipe from the source's fingerprint and what the machine affords, each with its reason."""

from collections.abc import Callable
from math import ceil, log2, prod
from typing import Any

from selfmae import plugins
from selfmae.data.case import Cases
from selfmae.data.doctor.duplicates import Fingerprint, take_fingerprint
from selfmae.data.source import Source
from selfmae.errors import UserError
from selfmae.methods import PlanFacts
from selfmae.networks import default_network, fit_crop
from selfmae.options import DeviceOptions
from selfmae.planning.budget import Budget
from selfmae.planning.machines import (
    CPU,
    GPU,
    NETWORK,
    NNUNET,
    TRAINING,
    TUNED,
    UNET,
    UNET_AUGMENT,
    Machine,
)
from selfmae.planning.size import MIN_STEPS, Size, choose_size, list_sizes, takes_slices
from selfmae.recipe import Content, flat, overlay
from selfmae.train.device import resolve_accelerator

TimeStep = Callable[[Size, int, int], float]  # of samples of a size, with so many channels and outputs
HEAD = 64  # values of a head of attention, or the next number that divides the width


class Plan:
    """Keys ("model.patch") with their values and reasons; what the user gave is never planned over."""

    def __init__(self, given: Content) -> None:
        self.given = given
        self.values = flat(given)
        self.given_keys = set(self.values)
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


def default_budget(device: DeviceOptions) -> float:
    """Return the seconds that a run may take where no budget is given."""
    return (CPU if resolve_accelerator(device) == "cpu" else GPU).budget


def make_plan(
    source: Source,
    device: DeviceOptions,
    given: Content,
    budget: Budget | None = None,
    time_step: TimeStep | None = None,
) -> Plan:
    """Plan what was not given of a recipe for a source on this machine, within a budget.

    `time_step` returns the seconds that a step of a U-Net takes here. Without it, or without a budget, its network is
    the smallest, and images keep their resolution as far as they are not too large for it.
    """
    cases = source.cases
    fingerprint = take_fingerprint(cases, source.facts)
    machine = CPU if resolve_accelerator(device) == "cpu" else GPU
    plan = Plan(given)
    _plan_source(plan, cases)
    network = plugins.load("networks", str(plan.values["model.network"]))
    is_vit = network.ENCODER == "vit"
    _check_axes(plan, len(fingerprint.median_shape))
    if cases.labels.kind == "mask":
        if network.ENCODER == "unet":
            seconds = budget.seconds_each("unet") if budget else 0.0
            _plan_size(plan, fingerprint, machine, seconds, time_step if budget else None)
        _plan_crop(plan, fingerprint, machine, is_vit)
    else:
        _plan_whole(plan, fingerprint, machine)
    size = f"affordable on {machine.name}"
    width = int(plan.put("model.width", machine.width, size))
    plan.put("model.depth", machine.depth, size)
    num_heads = next(count for count in range(max(1, width // HEAD), 0, -1) if width % count == 0)
    plan.put("model.heads", num_heads, f"{width // num_heads} values a head")
    num_axes = len(plan.values["data.crop"])
    num_images = len(cases.part(*plan.values.get("data.pretrain_on", ("train", "unlabelled"))))
    facts = PlanFacts(machine.name, machine is GPU, cases.labels.kind, num_axes, num_images, width)
    for method in plugins.load_all("methods").values():
        if not method.can_pretrain(network, num_axes):
            method.plan(plan, facts)
    _plan_training(plan, cases, machine)
    if not is_vit:
        _say_idle(plan)
    return plan


def _check_axes(plan: Plan, num_axes: int) -> None:
    """Raise if a size was given for images of another number of axes."""
    for key in ("model.patch", "data.crop", "data.size", "data.spacing_mm"):
        value = plan.values.get(key) or ()
        if len(value) not in (0, num_axes):
            raise UserError(
                f"{key} {value} has {len(value)} values, but the images have {num_axes} axes: give {num_axes}."
            )


def _say_idle(plan: Plan) -> None:
    """Give what a network other than the ViT does not use the reason that says so."""
    network = plan.values["model.network"]
    used = {"monai_unetr": ("model.width", "model.heads"), "dynunet": ("model.features",)}.get(network, ())
    pretrained = any(key.split(".")[0] in plugins.names("methods") for key in plan.values)
    sections = ("model.", *(() if pretrained else ("pretrain.",)))
    for key, reason in plan.reasons.items():
        idle = key.startswith(sections) or key in ("fit.layer_decay", "fit.drop_path")
        if reason not in ("given", *NETWORK.values()) and idle and key not in used:
            plan.reasons[key] = f"plays no part in {network}"
        elif reason in TRAINING:
            plan.reasons[key] = f"as for the Vision Transformer; not tuned for {network}"


def _plan_source(plan: Plan, cases: Cases) -> None:
    labels = cases.labels
    plan.put("data.source", str(cases.source), "as given")
    plan.put("data.layout", cases.layout, "recognised")
    plan.put("data.channels", cases.channels, "found in the source")
    plan.put("target.kind", labels.kind, "found in the source")
    plan.put("target.names", labels.names, "found in the source")
    plan.put("target.values", labels.values, "found in the source")
    plan.put("model.network", default_network(labels.kind), NETWORK[labels.kind])


def _plan_size(
    plan: Plan, fingerprint: Fingerprint, machine: Machine, seconds: float, time_step: TimeStep | None
) -> None:
    """Plan what a sample of a U-Net shows, and its features, by the time that a training may take."""
    shape, spacing_mm = fingerprint.median_shape, fingerprint.spacing_mm
    by_slices = machine is CPU and takes_slices(shape, spacing_mm)
    max_voxels = machine.voxels if len(shape) == 3 else machine.side**2
    sizes = list(list_sizes(shape, spacing_mm, max_voxels, machine.side, by_slices))
    channels, outputs = len(plan.values["data.channels"]), len(plan.values["target.names"]) + 1
    if time_step is None or {"data.crop", "data.size", "data.spacing_mm"} & plan.given_keys:
        finest = min(size.factor for size in sizes)  # what is given is not made coarser
        sizes = [size for size in sizes if size.factor == finest]
    size, reason = sizes[0], "not measured here"
    if time_step and not {"data.crop", "model.features", "fit.batch"} <= plan.given_keys:  # as in a run that goes on
        timed = time_step
        size, pace = choose_size(sizes, lambda size: timed(size, channels, outputs), seconds)
        reason = f"{MIN_STEPS:,} steps of {pace:.2g} s fit into the time for a training"
        if pace * MIN_STEPS > seconds:
            reason = f"even so {MIN_STEPS:,} steps of {pace:.2g} s do not fit into the time for a training"
    if size.factor > 1:
        if spacing_mm:
            why = f"{size.factor:.3g} times that of the images: {reason}"
            plan.put("data.spacing_mm", size.spacing_mm, why)
        else:
            why = f"the images at 1/{size.factor:.3g} of their resolution: {reason}"
            plan.put("data.size", size.shape, why)
    whole = "one slice" if size.is_slices else "the image or most of it"
    plan.put("data.crop", size.crop, f"{whole}, enlarged to what the network must have")
    plan.put("model.features", size.features, f"of 8, 16 and 32: {reason}")
    images = "slices" if size.is_slices else "images" if len(shape) == 2 else "volumes"
    for stage in ("pretrain", "fit"):
        plan.put(f"{stage}.batch", size.batch, f"{images}, as in our experiments; not compared")


def _plan_crop(plan: Plan, fingerprint: Fingerprint, machine: Machine, is_vit: bool) -> None:
    """Plan the grid and the crop of a segmentation."""
    shape, network = fingerprint.median_shape, str(plan.values["model.network"])
    if fingerprint.spacing_varies:
        reason = "median spacing, since spacings differ between images"
    elif fingerprint.spacing_mm:
        reason = "that of all images; a new one of another spacing is resampled to it"
    else:
        reason = "the images have no spacing; nothing is resampled"
    plan.put("data.spacing_mm", fingerprint.spacing_mm, reason)
    limit = machine.voxels if len(shape) == 3 else machine.side**2
    sixth = tuple(_power_of_two(min(extent, limit ** (1 / len(shape)) * 1.3) / 6) for extent in shape)
    patch = plan.put("model.patch", sixth, f"powers of two near a sixth of the median image {list(shape)}")
    crop = [ceil(extent / step) * step for extent, step in zip(shape, patch, strict=True)]
    while prod(crop) > limit:
        # Cut the axis with most patches: the crop keeps the proportions of the image as far as it can.
        axis = max(range(len(crop)), key=lambda index: crop[index] / patch[index])
        if crop[axis] <= patch[axis]:
            break
        crop[axis] -= patch[axis]
    plan.put(
        "data.crop",
        fit_crop(network, crop, plan.values["data.spacing_mm"]),
        f"the median image {list(shape)} in whole patches, at most {round(limit):,} voxels on {machine.name}"
        f"{'' if is_vit else f', enlarged where {network} must'}",
    )
    if fingerprint.looks_like_ct:
        plan.put("data.intensity", "window", "values below -500: Hounsfield units")
        plan.put("data.window", (-175.0, 250.0), "soft tissue, as in Zhou et al. 2023")
    else:
        plan.put("data.intensity", "zscore", "no Hounsfield units: each image gets mean 0 and deviation 1")


def _plan_whole(plan: Plan, fingerprint: Fingerprint, machine: Machine) -> None:
    """Plan the size of the whole images or volumes that a classifier sees."""
    shape = fingerprint.median_shape
    limit = machine.pixels if len(shape) == 2 else round(machine.voxels ** (1 / 3))
    largest = max(shape)
    size = [min(1.0, limit / largest) * extent for extent in shape]
    tokens = machine.patches[len(shape) - 2]
    some = tuple(_power_of_two(extent / tokens) for extent in size)
    patch = plan.put("model.patch", some, f"powers of two that make about {tokens} patches along an axis")
    whole = tuple(max(step, round(extent / step) * step) for extent, step in zip(size, patch, strict=True))
    reason = f"the median image {list(shape)} with at most {limit} along an axis on {machine.name}"
    crop = plan.put("data.crop", fit_crop(str(plan.values["model.network"]), whole, ()), reason)
    plan.put("data.size", crop, "whole images are resized to the crop")
    plan.put("data.intensity", "zscore", "each image gets mean 0 and deviation 1")


def _plan_training(plan: Plan, cases: Cases, machine: Machine) -> None:
    """Plan the length of both stages, augmentations and what else decides how well the network learns."""
    is_mask = cases.labels.kind == "mask"
    is_unet = plugins.load("networks", str(plan.values["model.network"])).ENCODER == "unet"
    for key, (value, reason) in (
        UNET if is_unet else machine.segmentation if is_mask else machine.classification
    ).items():
        plan.put(key, value, reason)
    for stage in ("pretrain", "fit"):
        plan.put(f"{stage}.warmup_steps", int(plan.values[f"{stage}.steps"]) // 20, "a twentieth of the steps")
        if is_mask:
            reason = TUNED if stage == "fit" else "as in fine-tuning"  # the three were compared together, there
            plan.put(f"{stage}.augment.spatial.rotate_degrees", 15.0, reason)
            if not (is_unet and stage == "fit"):
                plan.put(f"{stage}.augment.spatial.zoom", 0.15, reason)
                plan.put(f"{stage}.augment.intensity.contrast", 0.2, reason)
    if is_unet:
        for key, setting in UNET_AUGMENT.items():
            plan.put(f"fit.augment.{key}", setting, NNUNET)
        plan.put("fit.augment.spatial.foreground", 0.33, "a third of the crops show a label for sure, as in nnU-Net")
        plan.put("predict.largest_component", "validation", "fewer false positives where validation confirms it")
    elif is_mask:
        plan.put("model.out_norm", "instance", "hidden states of a pre-trained encoder are many times as large")
        plan.put("model.decoder_features", machine.features, f"affordable on {machine.name}")
        plan.put("fit.augment.spatial.foreground", 0.5, "half of the crops show a label for sure")
    else:
        plan.put("pretrain.augment.spatial.min_scale", 0.5, "random resized crops, as He et al. 2021")
        plan.put("fit.augment.spatial.min_scale", 0.7, "random resized crops")
    plan.put("fit.drop_path", 0.1, "Zhou et al. 2023")
    plan.put("fit.clip", 1.0, "keeps single bad batches from spoiling a run")


def _power_of_two(value: float) -> int:
    """Return the power of two nearest to `value` in ratio, from 2 to 16."""
    return int(2 ** min(4, max(1, round(log2(max(value, 1))))))
