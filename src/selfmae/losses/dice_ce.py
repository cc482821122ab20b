"""Dice and cross-entropy over exclusive labels and the background (nnU-Net; Zhou et al. 2023), from MONAI."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from selfmae.losses._dice import SHARED
from selfmae.options import Recipe

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = ("mask",)
WORDS = "Dice and cross-entropy loss"


def make(recipe: Recipe) -> "Callable[[Tensor, Tensor], Tensor]":
    """Return the loss of logits [B, K, *S] and class indices [B, 1, *S]."""
    from monai.losses import DiceCELoss

    loss: Callable[[Tensor, Tensor], Tensor] = DiceCELoss(softmax=True, to_onehot_y=True, **SHARED)
    return loss
