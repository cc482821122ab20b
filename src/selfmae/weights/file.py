"""Weights in files: written with the metadata of the model, loaded with a report of every tensor, never in silence."""

import argparse
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.serialization import safe_globals

from selfmae.errors import UserError
from selfmae.files import parse_metadata

Weights = Mapping[str, Tensor]
_make_number = np.float64(0).__reduce__()[0]  # private in NumPy, under another name in each of its versions
# Besides tensors and plain values, weights come with the arguments of a script (facebook) and scores (SelfMedMAE).
HARMLESS: list[Any] = [
    *(argparse.Namespace, np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8"))),
    *((_make_number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


def save_weights(path: Path, weights: Weights, metadata: Mapping[str, Any]) -> None:
    """Write tensors and the metadata (JSON: recipe, channels, label names) as one safetensors file, at once."""
    write_tensors(path, weights, {"metadata": json.dumps(metadata, sort_keys=True)})


def write_tensors(path: Path, weights: Weights, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, at once."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with whole_file(path, "weights") as part:
        part.touch()
        mode = part.stat().st_mode
        save_file(tensors, part, metadata=dict(metadata))
        part.chmod(mode)  # safetensors makes files that only their owner can read


@contextmanager
def whole_file(path: Path, what: str) -> Iterator[Path]:
    """Give another path to write to, which becomes `path` at the end: the file is written at once or not at all."""
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        part.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch makes a RuntimeError of a full disk
        with suppress(OSError):
            part.unlink(missing_ok=True)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"The {what} could not be written to {path} ({reason}): free some space there and give the same command "
            "again; training continues from its last checkpoint."
        ) from error


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the metadata ({} if another tool wrote the file) of a safetensors or torch file."""
    if path.is_file() and path.suffix != ".safetensors":
        return _read_torch(path), {}
    with _open(path) as file:
        metadata = parse_metadata(file.metadata() or {}, path)
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 (not a dict)


def read_metadata(path: Path) -> dict[str, Any]:
    """Return only the metadata of a safetensors file that SelfMAE wrote; its tensors stay on disk."""
    with _open(path) as file:
        return parse_metadata(file.metadata() or {}, path)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise UserError(f"Weights were expected in {path}, but there is no such file: check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise UserError(
            f"{path} could not be read as safetensors ({error}): the file is damaged or of another kind; copy it again."
        ) from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    """Read a `torch.save` file of harmless content without running code; its weights may lie under a common key."""
    try:
        with safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about other kinds of pickle: the error below says what is wrong
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are none of its own
        raise UserError(
            f"{path} could not be read as weights ({type(error).__name__}): it is damaged or holds more than tensors, "
            "and code in a file is never run; give a .safetensors file, or a .pth file of tensors only."
        ) from error
    for key in ("state_dict", "model", "network_weights"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    items = content.items() if isinstance(content, dict) else ()
    tensors = {name: value for name, value in items if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{path} holds no weights: give a file with a dictionary of tensors.")
    return tensors


def load_encoder(model: nn.Module, weights: Weights) -> tuple[str, ...]:
    """Copy what `adaptation.transfer` gives into `model.encoder`; return the names of the tensors that stay new.

    Positions [1, N, D] become those of the patches; learned ones of the class token start at zero.
    """
    encoder: Any = model.encoder
    given = dict(weights)
    if "pos_embed" in given:
        missing = encoder.pos_embed.shape[1] - given["pos_embed"].shape[1]
        given["pos_embed"] = F.pad(given["pos_embed"], (0, 0, missing, 0))
    left = encoder.load_state_dict(given, strict=False)
    assert not left.unexpected_keys
    return tuple(name for name in model.state_dict() if name.removeprefix("encoder.") not in given)


def load_whole(model: nn.Module, weights: Weights, source: Path) -> None:
    """Copy all tensors into the model they were saved from; raise `UserError` where one is missing or does not fit."""
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise UserError(
            f"The weights of {source} do not fit the recipe beside them ({detail}): copy the whole folder again, both "
            "files from one run."
        ) from error
