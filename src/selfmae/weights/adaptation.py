"""The fitting of a file's tensors to a recipe's encoder: channels, patch, positions, biases; a misfit stops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from selfmae.errors import UserError
from selfmae.models.vit import Encoder, grid_of, sincos_positions
from selfmae.options import Recipe
from selfmae.weights.checkpoint_formats import (
    EMBED,
    MONAI_EPS,
    OWN,
    SCRAMBLED,
    TIMM_EPS,
    kernel_of,
    strip_wrapper,
    translate,
)
from selfmae.weights.resize import factorise, fold_channels, inflate, resize_kernel, resize_positions

POSITIONS, CLASS = "pos_embed", "cls_token"


class WeightAdaptation:
    """A file's tensors on their way into the encoder: each step changes `given` and says so."""

    def __init__(self, given: dict[str, Tensor], before: Mapping[str, Any], recipe: Recipe, source: str) -> None:
        self.given = given
        self.before = before  # the recipe that made the weights, {} if not known
        self.recipe = recipe
        self.source = source
        with torch.device("meta"):
            encoder = Encoder(recipe.model, len(recipe.data.channels), recipe.data.crop, learn_positions=False)
        # Positions are those of the patches, without the class token.
        self.shapes = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
        self.adapted: dict[str, str] = {}
        self.fresh: dict[str, str] = {}
        self.excused: set[str] = set()  # tensors that may be fresh: the values of a new encoder are as good

    def check_heads(self) -> None:
        """Raise if the weights are known to be of another number of heads, which no shape tells."""
        heads = self.before.get("model", {}).get("heads")
        if heads is not None and heads != self.recipe.model.heads:
            raise UserError(
                f"The weights of {self.source} were trained with {heads} heads, but model.heads is "
                f"{self.recipe.model.heads}: set model.heads={heads}."
            )

    def fit_embedding(self, layout: str) -> int:
        """Fit the patch embedding to the recipe's channels and patch; return for how many axes it was made."""
        wanted = self.shapes[EMBED]
        weight = kernel_of(self.given[EMBED], layout, wanted)
        if weight is None:
            self.fresh[EMBED] = (
                f"its shape {list(self.given.pop(EMBED).shape)} does not match patches of {list(wanted[1:])}"
            )
            return len(wanted) - 2
        num_axes = weight.ndim - 2
        if num_axes > len(wanted) - 2:
            raise UserError(
                f"The weights of {self.source} are for volumes, but the recipe's images are 2-D: give weights of "
                "images."
            )
        steps = ["pixels in the order of its pre-training"] if layout == SCRAMBLED and weight.shape[1] > 1 else []
        if self.given[EMBED].ndim == 2:
            steps.append(f"a matrix taken as patches of {_by(wanted[2:])}, as the file does not say")
        weight = self._fit_channels(weight, steps)
        old, new = tuple(weight.shape[2:]), wanted[2:]
        if old != new[:num_axes]:
            weight = resize_kernel(weight, new[:num_axes])
            steps.append(f"patch {_by(old)} to {_by(new[:num_axes])} by resampling")
        if num_axes < len(new):
            how = self.recipe.init.inflate
            weight = inflate(weight, new[2], how)
            steps.append(f"inflated over a depth of {new[2]} ({how})")
        self.given[EMBED] = weight
        if steps:
            self.adapted[EMBED] = ", ".join(steps)
        return num_axes

    def _fit_channels(self, weight: Tensor, steps: list[str]) -> Tensor:
        """Return the weight with the recipe's channels: by name where both sides are named, else folded."""
        names, wanted = list(self.before.get("data", {}).get("channels", ())), list(self.recipe.data.channels)
        if names != wanted and set(wanted) <= set(names):
            steps.append(f"channels {', '.join(names)} to {', '.join(wanted)} by name")
            return weight[:, [names.index(name) for name in wanted]]
        if weight.shape[1] != len(wanted):
            steps.append(f"{weight.shape[1]} to {len(wanted)} channels by their sum")
            return fold_channels(weight, len(wanted))
        if names and names != wanted:
            steps.append(f"channels {', '.join(names)} taken as {', '.join(wanted)}")
        return weight

    def fit_positions(self, num_axes: int, layout: str) -> None:
        """Fit the positions to the recipe's grid; the class token takes what was added to it."""
        positions = self.given.pop(POSITIONS, None)
        target = grid_of(self.recipe.data.crop, self.recipe.model.patch)
        grid = None if positions is None else self._grid_of(positions, num_axes, layout)
        if positions is None or grid is None:
            reason = "none in the file" if positions is None else f"the grid of its {positions.shape[1]} is not known"
            self.fresh[POSITIONS] = reason
            return
        num_slots = positions.shape[1] - prod(grid)
        if num_slots and CLASS in self.given:
            self.given[CLASS] = self.given[CLASS] + positions[:, :1]
        positions = positions[:, num_slots:]
        if num_axes < len(target):
            if self.recipe.init.positions == "fresh":
                self._leave_fresh(f"sine-cosine values of {_by(target)} patches, as those of the file are 2-D")
            else:
                self.given[POSITIONS] = factorise(positions, grid, target)
                how = f"{_by(grid)} to {_by(target)} patches: in-plane by interpolation, axial sine-cosine"
                self.adapted[POSITIONS] = how
        elif grid == target:
            self.given[POSITIONS] = positions
            if len(set(grid)) > 1 and layout != OWN and not _is_sincos(positions, grid):
                self.adapted[POSITIONS] = f"taken as those of {_by(grid)} patches, as the file does not say"
        elif layout == OWN and not num_slots and _is_sincos(positions, grid):
            self._leave_fresh(f"sine-cosine values of {_by(target)} patches instead of {_by(grid)}")
        else:
            self.given[POSITIONS] = resize_positions(positions, grid, target)
            self.adapted[POSITIONS] = f"{_by(grid)} to {_by(target)} patches by interpolation"

    def _leave_fresh(self, reason: str) -> None:
        self.fresh[POSITIONS] = reason
        self.excused.add(POSITIONS)

    def _grid_of(self, positions: Tensor, num_axes: int, layout: str) -> tuple[int, ...] | None:
        """Return the grid of positions [1, (1 +) N, D]: known, the recipe's, or with equal sides; None if none fits."""
        target = grid_of(self.recipe.data.crop, self.recipe.model.patch)
        slots = CLASS in self.given and not layout.startswith("MONAI")  # MONAI adds no position to the class token
        counts = [positions.shape[1] - slots, positions.shape[1]]
        if self.before:
            grid = grid_of(self.before["data"]["crop"], self.before["model"]["patch"])
            return grid if prod(grid) in counts else None
        if num_axes == len(target) and prod(target) in counts:
            return target
        sides = [(count, round(count ** (1 / num_axes))) for count in counts]
        return next(((side,) * num_axes for count, side in sides if side**num_axes == count), None)

    def fill_biases(self) -> None:
        """Give attention without biases, which MONAI's ViT has by default, biases of zero."""
        biases = [name for name in self.shapes if name.endswith("attn.qkv.bias")]
        if not any(name in self.given for name in biases):
            self.given |= {name: torch.zeros(self.shapes[name]) for name in biases}
            self.adapted |= dict.fromkeys(biases, "zero, as the file's attention has none")

    def check_whole(self) -> None:
        """Raise unless every tensor of the encoder is there and fits, or move it to `fresh` if `init.partial`."""
        shapes, partial = self.shapes, self.recipe.init.partial
        extra = [name for name in self.given if name not in shapes and name != CLASS]
        missing = [name for name in shapes if name not in self.given and name not in self.excused]
        misfits = [name for name in self.given if name in shapes and tuple(self.given[name].shape) != shapes[name]]
        if not partial:
            self._raise_for(missing, misfits, extra)
        for name in misfits:
            self.fresh[name] = f"{list(self.given[name].shape)} in the file, {list(shapes[name])} in the model"
        self.fresh |= {name: "not in the file" for name in missing if name not in self.fresh}
        self.given = {name: self.given[name] for name in shapes if name in self.given and name not in misfits}
        self.adapted = {name: how for name, how in self.adapted.items() if name in self.given}
        if not any(name.startswith("blocks.") and name not in self.adapted for name in self.given):
            raise UserError(f"No block of {self.source} fits the recipe's model: set model.width as in the file.")

    def _raise_for(self, missing: Sequence[str], misfits: Sequence[str], extra: Sequence[str]) -> None:
        source, anyway = self.source, "or give --partial to start with what there is"
        if misfits:
            name = misfits[0]
            raise UserError(
                f"The weights of {source} do not fit: {name} has shape {list(self.given[name].shape)}, but the "
                f"recipe's model wants {list(self.shapes[name])} ({len(misfits)} tensors differ): set model.width and "
                f"model.mlp_ratio as they were in training, {anyway}."
            )
        if missing == [CLASS]:
            raise UserError(f"The weights of {source} have no class token: set model.class_token=false, {anyway}.")
        if missing and set(missing) <= set(self.fresh):
            name = missing[0]
            raise UserError(f"The weights of {source} give no {name} ({self.fresh[name]}): give others, {anyway}.")
        if missing:
            raise UserError(
                f"The weights of {source} lack {len(missing)} of the encoder's {len(self.shapes)} tensors "
                f"(first: {missing[0]}): give weights of a ViT with the same depth, change model.depth, {anyway}."
            )
        if extra:
            raise UserError(
                f"The weights of {source} hold {len(extra)} tensors that the recipe's encoder has not (first: "
                f"{extra[0]}): set model.depth as in the file, give weights of a plain ViT, {anyway}."
            )


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


def _is_sincos(positions: Tensor, grid: Sequence[int]) -> bool:
    return torch.allclose(positions[0].float(), sincos_positions(grid, positions.shape[2]), atol=1e-4)


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def transfer(weights: Mapping[str, Tensor], metadata: Mapping[str, Any], recipe: Recipe, source: str) -> Transfer:
    """Return the encoder tensors for the recipe's model from a file's tensors; `metadata` is {} for a foreign file.

    Raises `UserError` where the layout is unknown, or the encoder cannot be filled whole (unless `init.partial`).
    """
    weights = strip_wrapper(weights)
    layout, names = translate(weights, source)
    before = metadata.get("recipe", {}) if layout == OWN else {}
    adaptation = WeightAdaptation({ours: weights[theirs] for ours, theirs in names.items()}, before, recipe, source)
    adaptation.check_heads()
    num_axes = adaptation.fit_embedding(layout)
    adaptation.fit_positions(num_axes, layout)
    adaptation.fill_biases()
    if names.get("norm.weight", "").startswith("fc_norm"):
        adaptation.adapted["norm.weight"] = "the norm of averaged patches, now of every token"
    eps = before.get("model", {}).get("norm_eps", MONAI_EPS if layout.startswith("MONAI") else TIMM_EPS)
    if recipe.model.norm_eps != eps:
        before_it = adaptation.adapted.get("norm.weight")
        how = f"from norms with an epsilon of {eps}, as model.norm_eps may be"
        adaptation.adapted["norm.weight"] = f"{before_it}, {how}" if before_it else how
    adaptation.check_whole()
    used = {names[name] for name in adaptation.given if name in names}
    unused = tuple(sorted(name for name in weights if name not in used))
    return Transfer(layout, adaptation.given, adaptation.adapted, adaptation.fresh, unused)
