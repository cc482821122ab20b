"""Weights, gradients and optimiser state shared out over devices (FSDP), and the whole of them for files."""

import warnings
from typing import Any, cast

import torch
from lightning_fabric.strategies import ModelParallelStrategy
from lightning_fabric.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from selfmae.models.vit import PathBlock
from selfmae.models.weights import Weights

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)  # {} on all devices but the first


class ShardedStrategy(ModelParallelStrategy):
    """Fabric's strategy for FSDP, whose processes start as those of DDP do: not by running the whole command again."""

    def _configure_launcher(self) -> None:
        self._launcher = _MultiProcessingLauncher(self, start_method="spawn")


def shard(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Share out the model: each block is gathered when its turn comes (Zhao et al. 2023), the rest with the whole."""
    # A loss may be a view of the model's last tensor; the warning is for those who change it in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
    devices = mesh["data_parallel"]
    for module in model.modules():
        if isinstance(module, PathBlock):
            fully_shard(module, mesh=devices)
    fully_shard(model, mesh=devices)
    return model


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return all weights on the CPU of the first device's process, {} elsewhere; all processes must call it."""
    return cast(dict[str, Tensor], get_model_state_dict(model, options=WHOLE))


def load_weights(model: nn.Module, weights: Weights) -> None:
    """Put whole weights into a model, whether it is shared out or not."""
    set_model_state_dict(model, dict(weights), options=StateDictOptions(full_state_dict=True))


def whole_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return all weights and the optimiser's state, as `whole_weights` does."""
    weights, moments = get_state_dict(model, optimizer, options=WHOLE)
    return {"model": weights, "optimizer": moments}


def load_state(model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put what `whole_state` gave back, on every device."""
    set_state_dict(
        model,
        optimizer,
        model_state_dict=state["model"],
        optim_state_dict=state["optimizer"],
        options=StateDictOptions(full_state_dict=True),
    )
