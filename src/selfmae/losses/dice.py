"""Dice over regions that may overlap, each with a sigmoid of its own (Zhou et al. 2023 for BraTS), from MONAI."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from selfmae.losses._dice import SHARED
from selfmae.options import Recipe

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = ("regions",)
WORDS = "Dice loss on overlapping regions"


def make(recipe: Recipe) -> "Callable[[Tensor, Tensor], Tensor]":
    """Return the loss of logits and regions of 0 and 1, both [B, R, *S]."""
    from monai.losses import DiceLoss

    loss: Callable[[Tensor, Tensor], Tensor] = DiceLoss(sigmoid=True, **SHARED)
    return loss
