"""UNETR (Hatamizadeh et al. 2022): our Vision Transformer with a convolutional decoder, for masks."""

from collections.abc import Iterator

from selfmae.networks import Module
from selfmae.options import Recipe

TARGETS, ENCODER = ("mask",), "vit"


def problems(recipe: Recipe) -> Iterator[str]:
    """Yield what the decoder cannot do: it doubles the patch grid until it has full resolution."""
    model = recipe.model
    if not model.patch or min(model.patch) < 1:
        return
    if any(step & (step - 1) for step in model.patch) or max(model.patch) == 1:
        yield f"model.patch {list(model.patch)} must be powers of two for UNETR, at least one of them above 1"
        return
    num_states = max(model.patch).bit_length() - 2
    inside = all(0 <= index < model.depth for index in model.out_indices)
    if model.out_indices and (len(model.out_indices) != num_states or not inside):
        yield (
            f"model.out_indices {list(model.out_indices)} must name {num_states} of the blocks 0 to {model.depth - 1} "
            f"for model.patch {list(model.patch)}, or be empty"
        )


def build(recipe: Recipe) -> Module:
    """Return a new UNETR: logits [B, K, *S] of images [B, C, *S]."""
    from selfmae.models.unetr import UNETR

    return UNETR(recipe.model, len(recipe.data.channels), recipe.data.crop, recipe.target.num_outputs)
