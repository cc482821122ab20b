"""Networks: each file is one network, and its name is its name in recipes (`model.network`).

A file defines:

* `TARGETS`: the kinds of target that it is for (mask, multilabel, multiclass)
* `build(recipe)`: a new `nn.Module` with random weights that maps images [B, C, *S] and `drop_path_scale` (DropPath of
  our transformer blocks, None otherwise) to logits; only here torch, timm or MONAI are imported

and what differs from `DEFAULTS`:

* `ENCODER`: whose tensors its encoder holds, "vit" (ours), "unet" (ours: all below its output layers, which
  `build_encoder(recipe)` makes), "timm" (of the same name; `IMAGENET` is timm's name of its weights) or ""
  (nothing that a method of self pre-training could fill)
* `LIBRARY`: the library that it comes from, "" for our own
* `FEATURES`, `FEATURE_STEP`: the default of `model.features` and what it must be a multiple of; 0 has no such option
* `HALVINGS`: how often it halves its input
* `MIN_SAMPLES`: how many samples a training step needs at least (batch norms: 2)
* `fit_crop(crop, spacing_mm)`: the smallest crop, at least as large on every axis, that it can take; None is the one
  that whole patches or `HALVINGS` ask for
* `problems(recipe)`: what else of a recipe does not fit, a clause for each
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from math import ceil
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from selfmae import plugins
from selfmae.errors import UserError
from selfmae.options import Recipe

if TYPE_CHECKING:
    import torch

Module: TypeAlias = "torch.nn.Module"  # for annotations of files that must not import torch
DEFAULTS: dict[str, Any] = {
    "ENCODER": "",
    "LIBRARY": "",
    "FEATURES": 0,
    "FEATURE_STEP": 0,
    "HALVINGS": 5,
    "MIN_SAMPLES": 1,
    "fit_crop": None,
    "problems": lambda recipe: (),
}


def default_network(kind: str) -> str:
    """Return the network of a kind of target where `model.network` names none."""
    return "dynunet" if kind == "mask" else "vit"


def network_name(recipe: Recipe) -> str:
    """Return the name of a recipe's network."""
    return recipe.model.network or default_network(recipe.target.kind)


def network_of(recipe: Recipe) -> ModuleType:
    """Return the file of a recipe's network."""
    return plugins.load("networks", network_name(recipe))


def has_vit(recipe: Recipe) -> bool:
    """Return whether our Vision Transformer is the encoder of a recipe's network."""
    return bool(network_of(recipe).ENCODER == "vit")


def networks_for(kind: str) -> list[str]:
    """Return the names of the networks for a kind of target."""
    return [name for name, network in plugins.load_all("networks").items() if kind in network.TARGETS]


def crop_steps(name: str, patch: Sequence[int]) -> tuple[int, ...]:
    """Return by how many voxels a crop of a network can grow on each axis: one patch, or at most its total stride."""
    network = plugins.load("networks", name)
    stride = 1 if network.ENCODER == "vit" else 2**network.HALVINGS
    return tuple(max(step, stride) for step in patch)


def fit_crop(name: str, crop: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the smallest crop, at least as large on every axis, that a network can take."""
    network = plugins.load("networks", name)
    if network.fit_crop:
        return tuple(network.fit_crop(crop, spacing_mm))
    if network.ENCODER == "vit":
        return tuple(crop)  # it is planned in whole patches
    multiple = 2**network.HALVINGS
    if "mask" not in network.TARGETS:
        return tuple(max(multiple, extent) for extent in crop)
    # Not all axes end with one voxel: the norms of the coarsest features need more than that.
    fitted = [ceil(extent / multiple) * multiple for extent in crop]
    if set(fitted) == {multiple}:
        fitted[0] *= 2
    return tuple(fitted)


def monai_arguments(recipe: Recipe) -> dict[str, Any]:
    """Return the arguments that MONAI's networks share."""
    return {
        "spatial_dims": len(recipe.data.crop),
        "in_channels": len(recipe.data.channels),
        "out_channels": recipe.target.num_outputs,
    }


def check_einops(name: str) -> None:
    """Raise `UserError` if the extra that some of MONAI's networks need is not installed."""
    if find_spec("einops") is None:
        raise UserError(f'model.network {name} needs einops: run `pip install "selfmae[baselines]"`.')


def network_problems(recipe: Recipe) -> Iterator[str]:
    """Yield what of a recipe its network cannot do or take, one clause for each."""
    data, model, target = recipe.data, recipe.model, recipe.target
    name = network_name(recipe)
    if name not in plugins.names("networks"):
        yield f"model.network is {name!r}, but must be one of {', '.join(plugins.names('networks'))}"
        return
    network = plugins.load("networks", name)
    if target.kind not in network.TARGETS:
        does = "segments" if network.TARGETS == ("mask",) else "classifies"
        others = ", ".join(networks_for(target.kind))
        yield f"model.network {name} {does}, but the target is {target.kind}: choose another network ({others})"
        return
    step = network.FEATURE_STEP
    if model.features and (not step or model.features % step):
        wanted = f"0 or a multiple of {step}" if step else "0"
        yield f"model.features is {model.features}, but must be {wanted} for model.network {name}"
    share = recipe.fit.batch // (max(1, recipe.fit.accumulate) * max(1, recipe.device.devices))
    if share < network.MIN_SAMPLES:
        yield (
            f"fit.batch must give model.network {name} at least {network.MIN_SAMPLES} samples at once for its batch "
            f"norms, not {share}"
        )
    patches = network.ENCODER == "vit" and len(model.patch) == len(data.crop)
    if patches and any(step < 1 or extent % step for extent, step in zip(data.crop, model.patch, strict=True)):
        yield f"data.crop {list(data.crop)} must be a multiple of model.patch {list(model.patch)} on every axis"
    yield from network.problems(recipe)
    if network.ENCODER != "vit" and len(data.crop) in (2, 3) and min(data.crop) > 0:
        fitting = fit_crop(name, data.crop, data.spacing_mm)
        if fitting != data.crop:
            yield (
                f"data.crop {list(data.crop)} does not fit model.network {name}, which halves it several times: set "
                f"for example {list(fitting)}"
            )
