"""Initializations: an encoder's first weights, fitted to the recipe, and the report of what became of them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.methods import is_method, method_names, methods_for, why_not
from selfmae.networks import network_name, network_of
from selfmae.options import Recipe
from selfmae.results.exposure import ExposureLog, exposure_in_file
from selfmae.results.run_folder import models_below
from selfmae.results.training_run import is_pretraining
from selfmae.tasks.base import Trainable
from selfmae.weights.adaptation import Transfer, transfer
from selfmae.weights.checkpoint_formats import licence_of
from selfmae.weights.file import Weights, load_encoder, read_metadata, read_weights
from selfmae.weights.imagenet import check_heads, fit_weights, imagenet_name, imagenet_weights, timm_weights
from selfmae.weights.own import fit_own_weights


@dataclass(frozen=True)
class Initialization:
    """Where an encoder's first weights come from."""

    kind: str  # scratch, mae, moco, imagenet, timm or file
    name: str  # as typed
    transfer: Transfer | None = None
    seen: ExposureLog = field(default_factory=ExposureLog)
    licence: str = ""  # of the weights

    @property
    def digest(self) -> str:
        """A hash of the encoder's tensors, which tells other weights of the same name; "" for random ones."""
        found = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted((self.weights or {}).items()):
            found.update(name.encode())
            found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)  # reshaped, as counters have no axis
        return found.hexdigest() if self.weights else ""

    @property
    def weights(self) -> Weights | None:
        """The encoder's tensors, None for random ones."""
        return self.transfer.weights if self.transfer else None


def find_init(text: str, recipe: Recipe, flag: str = "--init") -> Initialization:
    """Return the initialization that `flag` names, its weights fitted to the recipe's network.

    Raises `UserError` where there is none or it misfits.
    """
    if text == "scratch":
        return Initialization("scratch", text)
    kind, _, location = text.partition(":")
    encoder = network_of(recipe).ENCODER
    is_vit, is_timm, is_unet = encoder == "vit", encoder == "timm", encoder == "unet"
    if text == "imagenet" and is_timm:
        fitted, licence = imagenet_weights(recipe)
        return Initialization(kind, text, fitted, licence=licence)
    if is_vit and (text == "imagenet" or (kind == "timm" and location)):
        name = imagenet_name(recipe.model) if text == "imagenet" else location
        weights, licence = timm_weights(name)
        check_heads(name, recipe.model)
        return Initialization(kind, text, transfer(weights, {}, recipe, text), licence=f"{licence} ({name})")
    takes_files = is_vit or is_unet or (is_timm and len(recipe.data.crop) == 2)
    if takes_files and is_method(kind) and location:
        path = _pretrained_file(location, f"{flag} {text}")
    elif takes_files and Path(text).is_file():
        kind, path = "file", Path(text)
    elif is_vit:
        own = ", ".join(f"{name}:DIR" for name in method_names())
        raise UserError(f"{flag} {text!r} must be scratch, imagenet, timm:NAME, {own} or an existing file of weights.")
    else:
        network = network_name(recipe)
        able = ", ".join(f"{name}:DIR" for name in methods_for(recipe))
        own = f"scratch, imagenet, {able} or an existing file of timm's {network}" if takes_files else "scratch"
        own = f"scratch, {able} or an existing file of weights" if is_unet else own
        raise UserError(f"{flag} {text!r} is no initialization of model.network {network}: give {own}.")
    weights, metadata = read_weights(path)
    if is_vit:
        fitted = transfer(weights, metadata, recipe, text)
    elif is_timm and not metadata:
        fitted = fit_weights(weights, recipe, text)
    else:
        fitted = fit_own_weights(weights, metadata, recipe, text)
    licence = str(metadata.get("licence", licence_of(weights)))
    return Initialization(kind, text, fitted, exposure_in_file(path, metadata), licence)


def _pretrained_file(folder: str, flag: str) -> Path:
    """Return the weights in the folder of a pre-training; raise if there are none, or they are not the last."""
    path = Path(folder) / "model.safetensors"
    metadata = read_metadata(path) if path.is_file() else {}
    if metadata.get("kind") == "finetune":
        raise UserError(f"{flag}: {folder} holds a fine-tuned model, no pre-training: give its file, {path}.")
    if not metadata.get("metrics"):  # written last
        below = [str(model.folder) for model in models_below(Path(folder)) if is_pretraining(model.init)]
        if below:
            raise UserError(f"{flag}: {folder} is no folder of a pre-training, but holds some: give mae:{below[0]}.")
        raise UserError(
            f"{flag}: {folder} holds no finished pre-training: run `selfmae pretrain RECIPE --out {folder}` to its "
            "end first."
        )
    return path


def check_pretrainable(recipe: Recipe, flag: str, method: str = "") -> str:
    """Return the method that pre-trains, the first that can where none is named; raise `UserError` where it cannot."""
    able = methods_for(recipe)
    if not method and not able:
        reasons = "; ".join(f"{name} {why_not(recipe, name)}" for name in method_names())
        raise UserError(
            f"{flag} has no method for model.network {network_name(recipe)} ({reasons}): give --init scratch."
        )
    method = method or able[0]
    if reason := why_not(recipe, method):
        others = "" if method in able or " but " in reason else f", but model.network is {network_name(recipe)}"
        remedy = "" if method in able else f": give --init {','.join(['scratch', *able])}"
        raise UserError(f"{flag}: {method} {reason}{others}{remedy}.")
    return method


def init_report(task: Trainable, init: Initialization) -> dict[str, Any]:
    """Return what became of the initialization's tensors and how many numbers the model learns.

    Both are for `environment.json`. Tensors are loaded, adapted, fresh, new (all else of the model) or unused.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = task.build()
    report: dict[str, Any] = {"kind": init.kind, "name": init.name}
    if init.transfer is not None:
        report |= {
            "layout": init.transfer.layout,
            "digest": init.digest,
            "loaded": len(init.transfer.weights),
            "adapted": init.transfer.adapted,
            "fresh": init.transfer.fresh,
            "new": list(load_encoder(model, init.transfer.weights)),
            "unused": list(init.transfer.unused),
        }
    return {"init": report, "num_parameters": sum(parameter.numel() for parameter in model.parameters())}


def say_init(report: Mapping[str, Any], display: Display) -> None:
    """Print in one sentence what became of an initialization's tensors; nothing for random ones."""
    if "loaded" not in report:
        return
    groups: dict[str, int] = {}
    for name, how in (*report["adapted"].items(), *report["fresh"].items()):
        last = name if name in ("patch_embed.proj.weight", "pos_embed", "cls_token") else name.rpartition(".")[0]
        kind = "attn.qkv.bias" if name.endswith("attn.qkv.bias") else last
        groups[f"{kind}: {how}"] = groups.get(f"{kind}: {how}", 0) + 1
    details = "; ".join(f"{text} ({number} tensors)" if number > 1 else text for text, number in groups.items())
    display.say(
        f"Initialization {report['name']} ({report['layout']}): {report['loaded'] - len(report['adapted'])} tensors of "
        f"the encoder loaded as they are, {len(report['adapted'])} adapted, {len(report['fresh'])} fresh"
        f"{f' ({details})' if details else ''}; {len(report['new']) - len(report['fresh'])} new beside the encoder, "
        f"{len(report['unused'])} of the file not used."
    )
