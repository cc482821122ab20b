"""Networks: each file is one network, and its name is its name in recipes (`model.network`).

A file defines:

* `TARGETS`: the kinds of target that it is for (mask, multilabel, multiclass)
* `ENCODER`: whose tensors its encoder holds, "vit" (ours), "timm" (of the same name) or "" (nothing that a method of
  self pre-training could fill)
* `LIBRARY`: the library that it comes from, "" for our own
* `FEATURES`, `FEATURE_STEP`: the default of `model.features` and what it must be a multiple of; 0 has no such option
* `MIN_SAMPLES`: how many samples a training step needs at least (batch norms: 2)
* `fit_crop(crop, spacing_mm)`: the smallest crop, at least as large on every axis, that it can take
* `problems(recipe)`: what else of a recipe does not fit, a clause for each
* `build(recipe)`: a new `nn.Module` with random weights that maps images [B, C, *S] and `drop_path_scale` (DropPath of
  our transformer blocks, None otherwise) to logits; only here torch, timm or MONAI are imported
"""

from collections.abc import Iterator, Sequence
from types import ModuleType

from selfmae import plugins
from selfmae.options import Recipe, TargetOptions


def default_network(kind: str) -> str:
    """Return the network of a kind of target where `model.network` names none."""
    return "unetr" if kind == "mask" else "vit"


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
    return (
        tuple(patch)
        if network.ENCODER == "vit"
        else tuple(max(step, 2 ** getattr(network, "HALVINGS", 5)) for step in patch)
    )


def network_problems(recipe: Recipe) -> Iterator[str]:
    """Yield what of a recipe its network cannot do or take, one clause for each."""
    data, model, target = recipe.data, recipe.model, recipe.target
    name = network_name(recipe)
    if name not in plugins.names("networks"):
        yield f"model.network is {name!r}, but must be one of {', '.join(plugins.names('networks'))}"
        return
    network = plugins.load("networks", name)
    if target.kind not in network.TARGETS:
        yield _misfit(name, network, target)
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
    yield from network.problems(recipe)
    if network.ENCODER != "vit" and len(data.crop) in (2, 3) and min(data.crop) > 0:
        fitting = network.fit_crop(data.crop, data.spacing_mm)
        if fitting != data.crop:
            yield (
                f"data.crop {list(data.crop)} does not fit model.network {name}, which halves it several times: set "
                f"for example {list(fitting)}"
            )


def _misfit(name: str, network: ModuleType, target: TargetOptions) -> str:
    does = "segments" if network.TARGETS == ("mask",) else "classifies"
    others = ", ".join(networks_for(target.kind))
    return f"model.network {name} {does}, but the target is {target.kind}: choose another network ({others})"
