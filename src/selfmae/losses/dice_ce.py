"""Dice and cross-entropy over exclusive labels and the background (nnU-Net; Zhou et al. 2023), from MONAI."""

from selfmae.losses import Loss
from selfmae.losses.dice import SHARED
from selfmae.options import Recipe

TARGETS = ("mask",)
WORDS = "Dice and cross-entropy loss"


def make(recipe: Recipe) -> Loss:
    """Return the loss of logits [B, K, *S] and class indices [B, 1, *S]."""
    from monai.losses import DiceCELoss

    loss: Loss = DiceCELoss(softmax=True, to_onehot_y=True, **SHARED)
    return loss
