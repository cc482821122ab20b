"""Dice over regions that may overlap, each with a sigmoid of its own (Zhou et al. 2023 for BraTS), from MONAI."""

from typing import Any

from selfmae.losses import Loss
from selfmae.options import Recipe

TARGETS = ("regions",)
WORDS = "Dice loss on overlapping regions"
# With `dice_ce`: squared denominators and the smoothing of the code that Zhou et al. 2023 released.
SHARED: dict[str, Any] = {"squared_pred": True, "smooth_nr": 0.0, "smooth_dr": 1e-6}


def make(recipe: Recipe) -> Loss:
    """Return the loss of logits and regions of 0 and 1, both [B, R, *S]."""
    from monai.losses import DiceLoss

    loss: Loss = DiceLoss(sigmoid=True, **SHARED)
    return loss
