"""The checkpoint of an unfinished optimisation: weights, optimiser, loss scaler and where it stands."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from selfmae.errors import UserError
from selfmae.train.device import load_state, whole_state
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
    scaler = getattr(fabric._precision, "scaler", None)
    state = {
        **whole_state(model, optimizer),
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
    state = _read(path, fabric.device)
    load_state(model, optimizer, state)
    scaler = getattr(fabric._precision, "scaler", None)
    if scaler:
        scaler.load_state_dict(state["scaler"])
    return Progress(**state["progress"])


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(
            f"The checkpoint {path} could not be read ({(str(error).splitlines() or [type(error).__name__])[0]}): copy "
            "it again, or delete it to train from the start."
        ) from error
