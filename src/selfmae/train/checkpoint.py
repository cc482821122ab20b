"""The checkpoint of an unfinished optimisation: weights, optimiser, loss scaler and where it stands."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from selfmae.errors import UserError
from selfmae.train.device import WHOLE
from selfmae.weights.file import whole_file


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
    state = {
        "model": weights,
        "optimizer": moments,
        "progress": vars(progress),
        "scaler": scaler.state_dict() if scaler else {},
    }
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
    weights, moments = state["model"], state["optimizer"]
    options = StateDictOptions(full_state_dict=True)
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments, options=options)
    scaler = getattr(fabric._precision, "scaler", None)
    if scaler:
        scaler.load_state_dict(state["scaler"])
    return Progress(**state["progress"])
