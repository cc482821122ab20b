"""From the tensors of any known file to the encoder of a recipe, with a report of every tensor: nothing in silence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from selfmae.models.fitting import Fitting
from selfmae.models.layouts import MONAI_EPS, OWN, TIMM_EPS, strip_wrapper, translate
from selfmae.options import Recipe


@dataclass(frozen=True)
class Transfer:
    """The encoder's tensors that a file gives, and what was done to them; names are the encoder's, without prefix.

    Positions are [1, N, D]: what a file adds to its class token is in the class token.
    """

    layout: str
    weights: dict[str, Tensor]
    adapted: dict[str, str]  # tensor: what was done to it
    fresh: dict[str, str]  # tensor of the encoder that the file does not give: why
    unused: tuple[str, ...]  # names in the file


def transfer(weights: Mapping[str, Tensor], contract: Mapping[str, Any], recipe: Recipe, source: str) -> Transfer:
    """Return the encoder tensors for the recipe's model from a file's tensors; `contract` is {} for a foreign file.

    Raises `UserError` where the layout is unknown, or the encoder cannot be filled whole (unless `start.partial`).
    """
    weights = strip_wrapper(weights)
    layout, names = translate(weights, source)
    before = contract.get("recipe", {}) if layout == OWN else {}
    fitting = Fitting({ours: weights[theirs] for ours, theirs in names.items()}, before, recipe, source)
    fitting.check_heads()
    num_axes = fitting.fit_embedding(layout)
    fitting.fit_positions(num_axes, layout)
    fitting.fill_biases()
    if names.get("norm.weight", "").startswith("fc_norm"):
        fitting.adapted["norm.weight"] = "the norm of averaged patches, now of every token"
    eps = before.get("model", {}).get("norm_eps", MONAI_EPS if layout.startswith("MONAI") else TIMM_EPS)
    if recipe.model.norm_eps != eps:
        before_it = fitting.adapted.get("norm.weight")
        how = f"from norms with an epsilon of {eps}, as model.norm_eps may be"
        fitting.adapted["norm.weight"] = f"{before_it}, {how}" if before_it else how
    fitting.check_whole()
    used = {names[name] for name in fitting.given if name in names}
    unused = tuple(sorted(name for name in weights if name not in used))
    return Transfer(layout, fitting.given, fitting.adapted, fitting.fresh, unused)
