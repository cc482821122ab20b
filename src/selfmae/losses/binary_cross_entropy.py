"""Binary cross-entropy averaged over images and labels, which may occur together (sigmoid)."""

from selfmae.losses import Loss
from selfmae.options import Recipe

TARGETS = ("multilabel",)
WORDS = "binary cross-entropy, since labels may occur together"


def make(recipe: Recipe) -> Loss:
    """Return the loss of logits [B, F] and targets [B, F] of 0 and 1."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits
