"""Weights in files: written with the contract of the model, loaded with a report of every tensor, never in silence."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from selfmae.errors import UserError

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Loaded:
    """What became of a file's tensors: how many were used, which of the model stay new, which were not used."""

    used: int
    new: tuple[str, ...]
    unused: tuple[str, ...]


def save_weights(path: Path, weights: Weights, contract: Mapping[str, Any]) -> None:
    """Write tensors and the contract (JSON: recipe, channels, label names) as one safetensors file, at once."""
    part = path.with_name(f"{path.name}.part")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(tensors, part, metadata={"contract": json.dumps(contract, sort_keys=True)})
    part.replace(path)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the contract ({} if another tool wrote the file) of a safetensors or torch file."""
    if not path.is_file():
        raise UserError(f"Weights were expected in {path}, but there is no such file: check the path.")
    if path.suffix != ".safetensors":
        return _read_torch(path), {}
    try:
        with safe_open(path, framework="pt") as file:
            contract = json.loads((file.metadata() or {}).get("contract", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, contract  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise UserError(
            f"{path} could not be read as safetensors ({error}): the file is damaged or of another kind; copy it again."
        ) from error


def read_contract(path: Path) -> dict[str, Any]:
    """Return only the contract of a safetensors file that SelfMAE wrote; its tensors stay on disk."""
    if not path.is_file():
        raise UserError(f"Weights were expected in {path}, but there is no such file: check the path.")
    with safe_open(path, framework="pt") as file:
        contract: dict[str, Any] = json.loads((file.metadata() or {}).get("contract", "{}"))
        return contract


def _read_torch(path: Path) -> dict[str, Tensor]:
    """Read a `torch.save` file without running code from it; a checkpoint's weights may lie under a common key."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are none of its own
        raise UserError(
            f"{path} could not be read as weights ({type(error).__name__}): it is damaged or holds more than tensors, "
            "and code in a file is never run; give a .safetensors file, or a .pth file of tensors only."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    items = content.items() if isinstance(content, dict) else ()
    tensors = {name: value for name, value in items if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{path} holds no weights: give a file with a dictionary of tensors.")
    return tensors


def load_encoder(model: nn.Module, weights: Weights, source: str) -> Loaded:
    """Copy the encoder tensors of `weights` into `model.encoder`; every tensor of its blocks must be found and fit.

    Names may be ours ("encoder.blocks...") or timm's ("blocks..."). Learned positions [1, 1 + N, D] are copied where
    they fit. Fixed ones [1, N, D] and those of another grid are not: the model starts from sine-cosine values for its
    own grid. Raises `UserError` naming what does not fit.
    """
    encoder = model.encoder
    assert isinstance(encoder, nn.Module)
    given = {name.removeprefix("encoder."): tensor for name, tensor in weights.items()}
    wanted = dict(encoder.state_dict())
    required = [name for name in wanted if name != "pos_embed"]
    missing = [name for name in required if name not in given]
    if missing:
        raise UserError(
            f"The weights of {source} lack {len(missing)} of the encoder's {len(required)} tensors "
            f"(first: {missing[0]}): give weights of a ViT with the same depth, or change model.depth."
        )
    misfits = [name for name in required if given[name].shape != wanted[name].shape]
    if misfits:
        name = misfits[0]
        raise UserError(
            f"The weights of {source} do not fit: {name} has shape {list(given[name].shape)}, but the recipe's model "
            f"wants {list(wanted[name].shape)} ({len(misfits)} tensors differ): set model.width, model.patch and the "
            "number of channels as they were in pre-training."
        )
    copied = required + (["pos_embed"] if _positions_fit(encoder, given.get("pos_embed")) else [])
    encoder.load_state_dict({name: given[name] for name in copied}, strict=False)
    used = {f"encoder.{name}" for name in copied}
    return Loaded(
        used=len(copied),
        new=tuple(name for name in model.state_dict() if name not in used),
        unused=tuple(sorted(name for name in weights if name.removeprefix("encoder.") not in copied)),
    )


def _positions_fit(encoder: nn.Module, positions: Tensor | None) -> bool:
    own = encoder.pos_embed
    return positions is not None and isinstance(own, nn.Parameter) and positions.shape == own.shape


def load_whole(model: nn.Module, weights: Weights, source: Path) -> None:
    """Copy all tensors into the model they were saved from; raise `UserError` where one lacks or does not fit."""
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise UserError(f"The weights of {source} do not fit the recipe beside them ({detail}).") from error
