"""Weights of timm's Vision Transformers, by timm's names; supervised ImageNet-1k ones for the usual sizes."""

from difflib import get_close_matches
from pathlib import Path

import timm
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

from selfmae.errors import UserError
from selfmae.options import ModelOptions
from selfmae.weights.file import Weights, read_weights

# timm's ViTs supervised on ImageNet-1k (the smallest on ImageNet-21k first) by (width, depth, heads).
NAMES = {
    (192, 12, 3): "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    (384, 12, 6): "vit_small_patch16_224.augreg_in1k",
    (768, 12, 12): "vit_base_patch16_224.augreg_in1k",
}
FILE = "model.safetensors"
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
    heads = getattr(attention, "num_heads", options.heads)
    if heads != options.heads:
        raise UserError(
            f"The weights of timm:{name} were trained with {heads} heads, but model.heads is {options.heads}: set "
            f"model.heads={heads}."
        )
