"""Losses of fine-tuning: each file is one loss, and its name is its name in recipes (`fit.loss`).

A file defines `TARGETS`, the kinds of target that it is for (mask, regions, multilabel, multiclass), `WORDS`, how the
report names it ("trained with ..."), and `make(recipe)`, which returns a function of logits [B, K, *S] and targets that
gives a scalar; only there torch and MONAI are imported. Targets are class indices [B, 1, *S] of masks, regions
[B, R, *S] of 0 and 1, and numbers [B, F] of whole images.
"""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from selfmae import plugins
from selfmae.options import Recipe

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[["Tensor", "Tensor"], "Tensor"]  # of logits and targets
USUAL = {"mask": "dice_ce", "regions": "dice", "multilabel": "binary_cross_entropy", "multiclass": "cross_entropy"}


def target_of(recipe: Recipe) -> str:
    """Return the kind of target as losses tell them apart: masks learned as overlapping regions are "regions"."""
    return "regions" if recipe.target.regions else recipe.target.kind


def loss_of(recipe: Recipe) -> ModuleType:
    """Return the file of a recipe's loss: the one that `fit.loss` names, or the usual one of its target."""
    return plugins.load("losses", recipe.fit.loss or USUAL[target_of(recipe)])


def loss_problems(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with the loss that a recipe names."""
    name, known = recipe.fit.loss, plugins.names("losses")
    if recipe.pretrain.loss:
        yield f"pretrain.loss is {recipe.pretrain.loss!r}, but pre-training has the loss of its method: leave it out"
    if name and name not in known:
        yield f"fit.loss is {name!r}, but must be one of {', '.join(known)}"
    elif target_of(recipe) not in loss_of(recipe).TARGETS:
        yield f"fit.loss {name} is for {' and '.join(loss_of(recipe).TARGETS)}, but the target is {target_of(recipe)}"
