"""Weights of networks other than our ViT from files that SelfMAE wrote: a U-Net, or a convolutional encoder of timm."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from selfmae.errors import UserError
from selfmae.networks import default_network, network_name, network_of
from selfmae.options import Recipe
from selfmae.weights.adaptation import Transfer
from selfmae.weights.file import Weights
from selfmae.weights.imagenet import fit_weights

DECODER = "upsamples."  # how the names of the tensors of a U-Net's decoder begin


def fit_own_weights(weights: Weights, metadata: Mapping[str, Any], recipe: Recipe, source: str) -> Transfer:
    """Return the encoder tensors that a file gives to the recipe's network.

    Raises `UserError` where the file is none of SelfMAE's, or of another network, or for other channels or sizes.
    """
    network, channels = network_name(recipe), list(recipe.data.channels)
    if not metadata:
        raise UserError(
            f"The weights of {source} are of a file that SelfMAE did not write, but model.network {network} takes only "
            "those that it did: give others."
        )
    before = metadata["recipe"]
    theirs = before["model"]["network"] or default_network(before["target"]["kind"])
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
    if network_of(recipe).ENCODER == "unet":
        return _fit_unet(bare, recipe, source)
    return replace(fit_weights(bare, recipe, source), layout=f"SelfMAE {network}")


def _fit_unet(weights: Weights, recipe: Recipe, source: str) -> Transfer:
    """Return all tensors below a U-Net's output layers, or those of its encoder alone (`masked_unet.transfer`)."""
    network, is_whole = network_name(recipe), _is_whole(recipe)
    with torch.device("meta"):
        encoder = network_of(recipe).build_encoder(recipe)
    shapes = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    kept = [name for name in shapes if is_whole or not name.startswith(DECODER)]
    wrong = [name for name in kept if name not in weights or tuple(weights[name].shape) != shapes[name]]
    if wrong:
        raise UserError(
            f"The weights of {source} do not fit model.network {network}: {len(wrong)} of {len(kept)} tensors are "
            f"missing or of another shape (first: {wrong[0]}); set data.crop, data.spacing_mm, model.features and "
            "model.residual as they were in its training."
        )
    fresh = {name: "masked_unet.transfer takes the encoder alone" for name in shapes if name not in kept}
    unused = tuple(sorted(name for name in weights if name not in kept))
    return Transfer(f"SelfMAE {network}", {name: weights[name] for name in kept}, {}, fresh, unused)


def _is_whole(recipe: Recipe) -> bool:
    """Return whether a recipe takes all that was pre-trained; methods stand above weights, so its section is asked."""
    return bool(getattr(recipe.methods.get("masked_unet"), "transfer", "all") == "all")
