"""What networks that halve their input several times share: crops, `model.features`, and how MONAI builds them."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from math import ceil
from typing import Any

from selfmae.errors import UserError
from selfmae.options import Recipe


def no_problems(recipe: Recipe) -> Iterator[str]:
    """Yield nothing: crop and features are all that such a network asks."""
    yield from ()


def whole_multiple(crop: Sequence[int], num_halvings: int) -> tuple[int, ...]:
    """Return the smallest crop, at least as large on every axis, that can be halved so often.

    Not all axes end with one voxel: the norms of the coarsest features need more than that.
    """
    multiple = 2**num_halvings
    fitted = [ceil(extent / multiple) * multiple for extent in crop]
    if all(extent == multiple for extent in fitted):
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
