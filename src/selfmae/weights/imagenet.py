"""Weights of timm's networks: supervised ones of ImageNet by name, and convolutional ones fitted to a recipe."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

from selfmae.errors import UserError
from selfmae.networks import network_name, network_of
from selfmae.options import ModelOptions, Recipe
from selfmae.weights.adaptation import Transfer, fold_channels, require_heads
from selfmae.weights.file import Weights, read_weights

# timm's ViTs supervised on ImageNet-1k (the smallest on ImageNet-21k first) by (width, depth, heads).
NAMES = {
    (192, 12, 3): "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    (384, 12, 6): "vit_small_patch16_224.augreg_in1k",
    (768, 12, 12): "vit_base_patch16_224.augreg_in1k",
}
FILE = "model.safetensors"
COUNTER = "num_batches_tracked"  # of a batch norm; nothing that a prediction depends on
SECONDS = 5.0  # without an answer of the hub in this time there is no network


def imagenet_name(options: ModelOptions) -> str:
    """Return timm's name of the supervised ViT of this size; raise `UserError` where there is none."""
    name = NAMES.get((options.width, options.depth, options.heads))
    if name is None:
        sizes = ", ".join(f"{width}/{depth}/{heads}" for width, depth, heads in NAMES)
        raise UserError(
            f"--init imagenet has weights for model.width/depth/heads {sizes}, but the recipe has "
            f"{options.width}/{options.depth}/{options.heads}: set one of these."
        )
    return name


def timm_weights(name: str) -> tuple[Weights, str]:
    """Return the tensors of timm's pre-trained model of this name, and their licence; downloads them once."""
    if not timm.models.is_model_pretrained(name):
        near = get_close_matches(name, timm.list_pretrained("vit_*"), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`timm.list_pretrained('vit_*')` lists them."
        raise UserError(f"timm:{name} is no pre-trained ViT of timm: {hint}")
    config = timm.get_pretrained_cfg(name)
    assert config is not None
    repository = str(config.hf_hub_id)
    path = try_to_load_from_cache(repository, FILE)
    if not isinstance(path, str):
        try:
            # Without a network this fails at once, while the download itself would try for half a minute.
            get_hf_file_metadata(hf_hub_url(repository, FILE), timeout=SECONDS)
            path = hf_hub_download(repository, FILE)
        except Exception as error:  # of the hub or of the HTTP library, whichever its version uses
            raise UserError(
                f"The weights {name} could not be downloaded ({' '.join(str(error).split()) or type(error).__name__}): "
                "connect to the network once, or give a file of such weights (--init FILE, --init imagenet=FILE)."
            ) from error
    return read_weights(Path(path))[0], config.license or "not stated"


def check_heads(name: str, options: ModelOptions) -> None:
    """Raise if timm's ViT of this name has another number of heads, which no tensor tells."""
    with torch.device("meta"):
        blocks = getattr(timm.create_model(name, pretrained=False), "blocks", ())
    attention = getattr(next(iter(blocks), None), "attn", None)
    require_heads(getattr(attention, "num_heads", None), options, f"timm:{name}")


def imagenet_weights(recipe: Recipe) -> tuple[Transfer, str]:
    """Return the encoder tensors of timm's ImageNet weights for a convolutional network, and their licence."""
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
