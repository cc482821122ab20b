"""Cross-entropy over exclusive classes (softmax)."""

from selfmae.losses import Loss
from selfmae.options import Recipe

TARGETS = ("multiclass",)
WORDS = "cross-entropy over mutually exclusive classes"


def make(recipe: Recipe) -> Loss:
    """Return the loss of logits [B, F] and one-hot targets [B, F]."""
    from torch.nn.functional import cross_entropy

    return cross_entropy
