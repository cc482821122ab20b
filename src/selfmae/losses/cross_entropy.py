"""Cross-entropy over exclusive classes (softmax)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from selfmae.options import Recipe

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = ("multiclass",)
WORDS = "cross-entropy over exclusive classes"


def make(recipe: Recipe) -> "Callable[[Tensor, Tensor], Tensor]":
    """Return the loss of logits [B, F] and one-hot targets [B, F]."""
    from torch.nn.functional import cross_entropy

    return cross_entropy
