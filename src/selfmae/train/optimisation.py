"""The optimiser and its learning rates, the checkpoint of an unfinished optimisation, and the log of its steps."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import cos, pi
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from selfmae.errors import UserError
from selfmae.files import read_log, write_text
from selfmae.options import OptimOptions
from selfmae.train.device import WHOLE
from selfmae.weights.file import whole_file

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
    if name.startswith(("encoder.cls_token", "encoder.pos_embed", "encoder.patch_embed")):
        return 0
    if name.startswith("encoder.blocks."):
        return int(name.split(".")[2]) + 1
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
        layer, is_token = layer_of(name, depth), name.rsplit(".", 1)[-1] in NO_DECAY
        decayed = parameter.ndim > 1 and (options.decay_tokens or not is_token)
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


@dataclass
class Progress:
    """Where an optimisation stands; with model and optimiser this is all that a checkpoint needs."""

    step: int = 0
    best: float = float("-inf")
    best_step: int = 0  # 0 until the first validation
    validations_without_gain: int = 0
    stopped: bool = False
    losses: list[float] = field(default_factory=list)  # of the steps since the last line of the log


def save_checkpoint(
    path: Path, fabric: Fabric, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the checkpoint at once or not at all; all processes must call it."""
    weights, moments = get_state_dict(model, optimizer, options=WHOLE)
    scaler = getattr(fabric._precision, "scaler", None)
    scale = scaler.state_dict() if scaler else {}
    state = {"model": weights, "optimizer": moments, "progress": vars(progress), "scaler": scale}
    if fabric.is_global_zero:
        with whole_file(path, "checkpoint") as part:
            torch.save(state, part)


def load_checkpoint(path: Path, fabric: Fabric, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Put model, optimiser and loss scaler where they were; return where that is, or a fresh start without a file."""
    if not path.exists():
        return Progress()
    try:
        state = torch.load(path, map_location=fabric.device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(
            f"The checkpoint {path} could not be read ({(str(error).splitlines() or [type(error).__name__])[0]}): copy "
            "it again, or delete it to train from the start."
        ) from error
    options = StateDictOptions(full_state_dict=True)
    set_state_dict(
        model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"], options=options
    )
    scaler = getattr(fabric._precision, "scaler", None)
    if scaler:
        scaler.load_state_dict(state["scaler"])
    return Progress(**state["progress"])


class StepLog:
    """Lines {"step", "loss", "lr"} and {"step", "score"}; a run that continues drops those after its checkpoint."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def is_due(self, step: int) -> bool:
        """Return whether the losses up to this step are to be written."""
        return step % self.every == 0

    def write(self, line: dict[str, Any]) -> None:
        """Append one line."""
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def cut(self, step: int) -> None:
        """Drop the lines after `step`, and a line that a crash left unfinished."""
        kept = [json.dumps(line) + "\n" for line in read_log(self.path) if line["step"] <= step]
        write_text(self.path, "".join(kept))
