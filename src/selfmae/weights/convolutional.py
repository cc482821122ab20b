"""Weights of timm's convolutional networks fitted to a recipe: of timm itself, or of a file that SelfMAE wrote."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import timm

from selfmae.errors import UserError
from selfmae.networks import network_name, network_of
from selfmae.options import Recipe
from selfmae.weights.adaptation import Transfer
from selfmae.weights.file import Weights
from selfmae.weights.imagenet import timm_weights
from selfmae.weights.resize import fold_channels

COUNTER = "num_batches_tracked"  # of a batch norm; nothing that a prediction depends on


def imagenet_weights(recipe: Recipe) -> tuple[Transfer, str]:
    """Return the encoder tensors of timm's ImageNet weights for the recipe's network, and their licence."""
    if len(recipe.data.crop) != 2:
        raise UserError(
            f"--init imagenet has weights of model.network {network_name(recipe)} for 2-D images only, but these are "
            "volumes: give --init scratch."
        )
    name = str(network_of(recipe).IMAGENET)
    weights, licence = timm_weights(name)
    return fit_weights(weights, recipe, name), f"{licence} ({name})"


def fit_weights(weights: Weights, recipe: Recipe, source: str) -> Transfer:
    """Return the encoder tensors that weights of timm's model give, its head left out, first layer by channels."""
    network, channels = network_name(recipe), len(recipe.data.channels)
    encoder: Any = timm.create_model(network, pretrained=False, in_chans=channels, num_classes=0)
    first = f"{encoder.pretrained_cfg['first_conv']}.weight"
    shapes = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    given = {name: tensor for name, tensor in weights.items() if name in shapes}
    adapted = {}
    if first in given and given[first].shape[1] != channels:
        adapted[first] = f"{given[first].shape[1]} to {channels} channels by their sum"
        given[first] = fold_channels(given[first], channels)
    needed = {name: shape for name, shape in shapes.items() if not name.endswith(COUNTER)}
    wrong = [name for name, shape in needed.items() if name not in given or tuple(given[name].shape) != shape]
    if wrong:
        raise UserError(
            f"The weights of {source} do not fit model.network {network}: {len(wrong)} of its {len(shapes)} tensors "
            f"are missing or have another shape (first: {wrong[0]}); give weights of timm's {network}."
        )
    unused = tuple(sorted(name for name in weights if name not in given))
    return Transfer(f"timm {network}", given, adapted, {}, unused)


def fit_own_weights(weights: Weights, metadata: Mapping[str, Any], recipe: Recipe, source: str) -> Transfer:
    """Return the encoder tensors of a file that SelfMAE wrote; raise if it is of another network or other channels."""
    network, channels = network_name(recipe), list(recipe.data.channels)
    theirs = metadata["recipe"]["model"]["network"] or "vit"
    if theirs != network:
        raise UserError(
            f"The weights of {source} are of model.network {theirs}, but the recipe's is {network}: set "
            f"model.network={theirs}, or give others."
        )
    if metadata["channels"] != channels:
        raise UserError(
            f"The weights of {source} are for the channels {metadata['channels']}, but data.channels is {channels}: "
            "give images with the same channels, in this order."
        )
    bare = {name.removeprefix("encoder."): tensor for name, tensor in weights.items()}
    return replace(fit_weights(bare, recipe, source), layout=f"SelfMAE {network}")
