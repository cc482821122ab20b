"""Binary cross-entropy averaged over images and labels, which may occur together (sigmoid)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from selfmae.options import Recipe

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = ("multilabel",)
WORDS = "binary cross-entropy, since findings may occur together"


def make(recipe: Recipe) -> "Callable[[Tensor, Tensor], Tensor]":
    """Return the loss of logits [B, F] and targets [B, F] of 0 and 1."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits
