"""The fitting of a file's tensors to a recipe's encoder: channels, patch, positions, biases; a misfit stops.

Shapes: D width, C channels, N patches, S spatial axes of a kernel.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from selfmae.errors import UserError
from selfmae.models.vit import Encoder, grid_of, sincos_positions
from selfmae.options import ModelOptions, Recipe
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

    def fit_embedding(self, layout: str) -> int:
        """Fit the patch embedding to the recipe's channels and patch; return for how many axes it was made."""
        wanted = self.shapes[EMBED]
        weight = kernel_of(self.given[EMBED], layout, wanted)
        if weight is None:
            shape = list(self.given.pop(EMBED).shape)
            self.fresh[EMBED] = f"its shape {shape} does not match patches of {list(wanted[1:])}"
            return len(wanted) - 2
        num_axes = weight.ndim - 2
        if num_axes > len(wanted) - 2:
            problem = "are for volumes, but the recipe's images are 2-D: give weights of images."
            raise UserError(f"The weights of {self.source} {problem}")
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
        if positions is None:
            self.fresh[POSITIONS] = "none in the file"
            return
        target = grid_of(self.recipe.data.crop, self.recipe.model.patch)
        grid = self._grid_of(positions, num_axes, layout)
        if grid is None:
            self.fresh[POSITIONS] = f"the grid of its {positions.shape[1]} is not known"
            return
        num_slots = positions.shape[1] - prod(grid)
        if num_slots and CLASS in self.given:
            self.given[CLASS] = self.given[CLASS] + positions[:, :1]
        positions = positions[:, num_slots:]
        if num_axes < len(target) and self.recipe.init.positions == "fresh":
            self.fresh[POSITIONS] = f"sine-cosine values of {_by(target)} patches, as those of the file are 2-D"
            self.excused.add(POSITIONS)
        elif num_axes < len(target):
            self.given[POSITIONS] = factorise(positions, grid, target)
            how = f"{_by(grid)} to {_by(target)} patches: in-plane by interpolation, axial sine-cosine"
            self.adapted[POSITIONS] = how
        elif grid == target:
            self.given[POSITIONS] = positions
            if len(set(grid)) > 1 and layout != OWN and not _is_sincos(positions, grid):
                self.adapted[POSITIONS] = f"taken as those of {_by(grid)} patches, as the file does not say"
        elif layout == OWN and not num_slots and _is_sincos(positions, grid):
            self.fresh[POSITIONS] = f"sine-cosine values of {_by(target)} patches instead of {_by(grid)}"
            self.excused.add(POSITIONS)
        else:
            self.given[POSITIONS] = resize_positions(positions, grid, target)
            self.adapted[POSITIONS] = f"{_by(grid)} to {_by(target)} patches by interpolation"

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
    """The encoder's tensors that a file gives, and what was done to them; names are the encoder's, without prefix."""

    layout: str
    weights: dict[str, Tensor]  # positions [1, N, D] of the patches: the class token has its own added
    adapted: dict[str, str]  # tensor: what was done to it
    fresh: dict[str, str]  # tensor of the encoder that the file does not give: why
    unused: tuple[str, ...]  # names in the file


def require_heads(heads: int | None, options: ModelOptions, source: str) -> None:
    """Raise if weights are known to be of another number of heads, which no shape tells."""
    if heads not in (None, options.heads):
        raise UserError(
            f"The weights of {source} were trained with {heads} heads, but model.heads is {options.heads}: set "
            f"model.heads={heads}."
        )


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
    require_heads(before.get("model", {}).get("heads"), recipe.model, source)
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


def resize_matrix(old: int, new: int) -> Tensor:
    """Return the matrix [new, old] of a bicubic, anti-aliased resampling, edges aligned; float64."""
    # Not a batch of columns one value wide: torch 2.14 repeats the first value of those.
    unit = torch.eye(old, dtype=torch.float64)[None, None]
    return F.interpolate(unit, (new, old), mode="bicubic", antialias=True)[0, 0]


def resize_positions(positions: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """Return positions [1, prod(new), D] of [1, prod(old), D], interpolated along each axis (bicubic)."""
    grid = _resample(positions[0].double().reshape(*old, -1), new, 0, resize_matrix)
    return grid.reshape(1, prod(new), -1).float()


def resize_kernel(weight: Tensor, patch: Sequence[int]) -> Tensor:
    """Return patch weights [D, C, *patch] of [D, C, *S]: an image enlarged with its patch keeps its tokens.

    The pseudo-inverse of the resampling (Beyer et al. 2023, FlexiViT, section 3.4), axis by axis.
    """
    return _resample(weight.double(), patch, 2, lambda old, new: torch.linalg.pinv(resize_matrix(old, new).T)).float()


def fold_channels(weight: Tensor, channels: int) -> Tensor:
    """Return patch weights [D, channels, *S] of [D, C, *S], their sum divided evenly: gray images keep their tokens."""
    return weight.sum(dim=1, keepdim=True).expand(-1, channels, *weight.shape[2:]).contiguous() / channels


def inflate(weight: Tensor, depth: int, how: str) -> Tensor:
    """Return patch weights [D, C, *S, depth] of volumes from those of images [D, C, *S].

    "mean" spreads them evenly over the depth, "centre" puts them into its middle slice (Carreira & Zisserman 2017):
    a volume of equal slices gives the tokens of one slice either way.
    """
    if how == "mean":
        return weight[..., None].expand(*weight.shape, depth).contiguous() / depth
    volume = weight.new_zeros(*weight.shape, depth)
    volume[..., depth // 2] = weight
    return volume


def factorise(positions: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """Return positions [1, prod(new), D] of volumes from those of images [1, prod(old), D].

    Each is the in-plane position plus sine-cosine values of its slice, of zero mean and the in-plane positions' spread.
    """
    plane = resize_positions(positions, old, new[:2])[0]
    axial = sincos_positions(new[2:], positions.shape[2])
    axial = axial - axial.mean(dim=0)
    axial = axial * plane.std() / axial.std().clamp(min=1e-6) if new[2] > 1 else axial
    return (plane[:, None] + axial).reshape(1, prod(new), -1)


def _resample(values: Tensor, sizes: Sequence[int], first: int, matrix: Callable[[int, int], Tensor]) -> Tensor:
    """Return values with the axes from `first` on of these sizes, through a matrix [new, old] where one differs."""
    for axis, size in enumerate(sizes, start=first):
        if values.shape[axis] != size:
            product = torch.tensordot(matrix(values.shape[axis], size), values, dims=([1], [axis]))
            values = product.movedim(0, axis)
    return values
