"""Devices and number formats: what a machine has, and Lightning Fabric set up for it."""

import ctypes
import logging
import os
import platform
import sys
import warnings
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from lightning_fabric.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from selfmae.errors import UserError
from selfmae.models.vit import PathBlock
from selfmae.options import DeviceOptions
from selfmae.weights.file import Weights

LONGEST_WAIT = timedelta(days=1)  # of devices for the one that scores the validation part
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)  # {} on all devices but the first


class FloatInputs(MixedPrecision):
    """Autocast that leaves inputs float32 until the network's own operations cast them.

    Fabric's casts them first, which would round targets made of them (normalised patches of an autoencoder) to half
    precision: an error of 0.05 to 0.5 on a CT whose patches vary by 10 to 1.5 HU.
    """

    def convert_input(self, data: Any) -> Any:
        """Return the inputs of a model as they are."""
        return data


class ShardedStrategy(ModelParallelStrategy):
    """Fabric's strategy for FSDP, whose processes start as those of DDP do: not by running the whole command again."""

    def _configure_launcher(self) -> None:
        self._launcher = _MultiProcessingLauncher(self, start_method="spawn")


# It repeats at every call what environment.json says, in a new process before any of our functions is called.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def resolve_accelerator(options: DeviceOptions) -> str:
    """Return "cuda", "mps" or "cpu": what was asked for, or for "auto" the fastest there is."""
    if options.accelerator != "auto":
        return options.accelerator
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_precision(options: DeviceOptions) -> str:
    """Return "fp32", "bf16" or "fp16": as asked for, or the fastest native one; raise if the devices are not there."""
    accelerator = resolve_accelerator(options)
    if (count := count_devices(accelerator)) < options.devices:
        raise UserError(
            f"device.accelerator {accelerator} with device.devices {options.devices} was asked for, but this machine "
            f"has {count} of them: lower device.devices, or set device.accelerator to cpu or auto."
        )
    if options.precision != "auto":
        return options.precision
    if accelerator == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if accelerator == "cpu" and cpu_has_bf16() else "fp32"


@lru_cache
def cpu_has_bf16() -> bool:
    """Return whether this processor multiplies bfloat16 itself; elsewhere it is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def make_fabric(options: DeviceOptions) -> Fabric:
    """Return Fabric for these options; with several devices it starts one process for each."""
    accelerator, precision = resolve_accelerator(options), resolve_precision(options)
    if accelerator == "cpu":
        keep_freed_memory()
    if options.shard and precision == "fp16":
        raise UserError(
            "device.shard was asked for in fp16, but takes fp32 or bf16 only: set device.precision to one of them, or "
            "device.shard to false."
        )
    strategy: str | Strategy = "auto"
    if options.shard:
        strategy = ShardedStrategy(shard, options.devices, 1, timeout=LONGEST_WAIT)
    elif options.devices > 1:
        strategy = DDPStrategy(timeout=LONGEST_WAIT, start_method="spawn")
    plugins: list[Any] = []
    if precision != "fp32":
        scaler = torch.amp.GradScaler(accelerator) if precision == "fp16" else None  # whose state a checkpoint holds
        plugins = [FloatInputs("16-mixed" if scaler else "bf16-mixed", accelerator, scaler)]
    return Fabric(accelerator=accelerator, devices=options.devices, strategy=strategy, plugins=plugins)


def one_device(options: DeviceOptions) -> DeviceOptions:
    """Return these options for a single device, which holds the whole model."""
    return replace(options, devices=1, shard=False)


def device_here(options: DeviceOptions) -> DeviceOptions:
    """Return options to predict with a trained model: one device of its kind or, if there is none, the fastest here."""
    return one_device(options) if count_devices(resolve_accelerator(options)) else DeviceOptions()


def count_devices(accelerator: str) -> int:
    """Return how many of "cuda", "mps" or "cpu" this machine has; on a CPU each is a process, as many as one likes."""
    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    return counts.get(accelerator, sys.maxsize)


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks: page faults for every large temporary make CPU steps up to a fifth slower."""
    if platform.libc_ver()[0] == "glibc" and "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX of malloc.h
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def tune_attention(model: nn.Module, options: DeviceOptions) -> None:
    """Switch timm's fused attention off on a CPU in bf16, where its backward pass is several times slower."""
    if resolve_accelerator(options) == "cpu" and resolve_precision(options) == "bf16":
        unfuse_attention(model)


def unfuse_attention(model: nn.Module) -> None:
    """Compute attention as products and a softmax, with equal results."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]


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
