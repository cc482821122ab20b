"""The checkpoint of an unfinished optimisation: weights, optimiser, loss scaler, where it stands; and its log."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from selfmae.errors import UserError
from selfmae.files import read_log, write_text
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
