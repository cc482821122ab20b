"""AdamW or SGD with layer-wise learning rates, and the schedule of the learning rate."""

from collections.abc import Iterable
from math import cos, pi
from typing import Any

import torch
from torch import nn

from selfmae.options import OptimOptions

MOMENTUM = 0.9  # of SGD
NO_DECAY = ("cls_token", "pos_embed", "mask_token")


def lr_factor(step: int, options: OptimOptions) -> float:
    """Return the share of the peak learning rate at a step (0-based): linear warm-up, then half a cosine to 0."""
    if step < options.warmup_steps:
        return step / options.warmup_steps
    progress = (step - options.warmup_steps) / max(1, options.steps - options.warmup_steps)
    return 0.5 * (1 + cos(pi * min(1.0, progress)))


def layer_of(name: str, depth: int) -> int:
    """Return the layer of a parameter: 0 embeddings, block i is i + 1, everything above `depth` + 1.

    As in the released code of Zhou et al. 2023: the encoder's final norm counts among what stands on the blocks.
    """
    inner = name.removeprefix("encoder.")
    if inner == name:
        return depth + 1
    if inner.startswith(("cls_token", "pos_embed", "patch_embed")):
        return 0
    if inner.startswith("blocks."):
        return int(inner.split(".")[1]) + 1
    return depth + 1


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], depth: int, options: OptimOptions
) -> list[dict[str, Any]]:
    """Group parameters by layer and weight decay; each group has its own peak learning rate in "peak_lr".

    The peak of a layer is lr * layer_decay^(depth + 1 - layer) (Clark et al. 2020). One-dimensional parameters and
    biases are not decayed, nor, without `decay_tokens`, the class and mask tokens and the positions.
    """
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in parameters:
        layer = layer_of(name, depth)
        token = name.rsplit(".", 1)[-1] in NO_DECAY
        decayed = parameter.ndim > 1 and (options.decay_tokens or not token)
        peak = options.lr * options.layer_decay ** (depth + 1 - layer)
        group = groups.setdefault(
            (layer, decayed),
            {"params": [], "peak_lr": peak, "lr": peak, "weight_decay": options.weight_decay if decayed else 0.0},
        )
        group["params"].append(parameter)
    return list(groups.values())


def make_optimizer(model: nn.Module, depth: int, options: OptimOptions, scaled: bool = False) -> torch.optim.Optimizer:
    """Return the optimiser over the groups of the model's parameters, in the one-pass implementation.

    With `scaled` losses (fp16) in torch's default one: the one-pass one divides by the scale itself, so that gradients
    cannot be clipped before, and SGD's momentum is never set if it skips the first step.
    """
    groups = parameter_groups(model.named_parameters(), depth, options)
    fused = None if scaled else True  # False would also forbid the implementation for many tensors at once
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=MOMENTUM, fused=fused)
    return torch.optim.AdamW(groups, betas=options.betas, fused=fused)


def set_lr(optimizer: torch.optim.Optimizer, step: int, options: OptimOptions) -> float:
    """Set every group's learning rate for this step and return that of the highest layer."""
    factor = lr_factor(step, options)
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    return options.lr * factor
