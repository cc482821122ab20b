"""The Vision Transformer of every task, for images and volumes; blocks and parameter names are timm's.

Shapes: B batch, C channels, S spatial axes, N patches, V visible patches, D width.
"""

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from selfmae.errors import UserError
from selfmae.options import ModelOptions


class Features(NamedTuple):
    """What the encoder made of a batch."""

    tokens: Tensor  # [B, 1 + N, D] (or [B, 1 + V, D]): class token, if there is one, first; after the final norm
    hidden: list[Tensor]  # outputs of the blocks asked for, in that order, same shape, without the norm


class PatchEmbed(nn.Module):
    """Linear projection of patches, stored as the convolution weight [D, C, *patch] that timm and MONAI use."""

    def __init__(self, channels: int, patch: Sequence[int], width: int) -> None:
        super().__init__()
        conv: Any = {2: nn.Conv2d, 3: nn.Conv3d}[len(patch)]
        self.proj = conv(channels, width, tuple(patch), tuple(patch))
        nn.init.xavier_uniform_(self.proj.weight.view(width, -1))
        nn.init.zeros_(self.proj.bias)

    def forward(self, patches: Tensor) -> Tensor:
        """Return tokens [B, N, D] of patches [B, N, C * prod(patch)]."""
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class Encoder(nn.Module):
    """ViT with a class token, pre-norm blocks and a final norm (Dosovitskiy et al. 2021).

    `class_token` False leaves the class token out, as MONAI's UNETR does. Positions are fixed sine-cosine in
    pre-training (a buffer [1, N, D]; none is added to the class token) and learnable in fine-tuning, starting from the
    same values ([1, 1 + N, D]; zero for the class token).
    """

    def __init__(self, options: ModelOptions, channels: int, crop: Sequence[int], learn_positions: bool = True) -> None:
        super().__init__()
        self.patch = tuple(options.patch)
        self.grid = grid_of(crop, self.patch)
        self.width = options.width
        self.patch_embed = PatchEmbed(channels, self.patch, options.width)
        self.num_prefix = int(options.class_token)  # tokens before those of the patches
        self.cls_token = nn.Parameter(torch.zeros(1, 1, options.width)) if options.class_token else None
        positions = sincos_positions(self.grid, options.width)[None]
        if learn_positions:
            self.pos_embed = nn.Parameter(F.pad(positions, (0, 0, self.num_prefix, 0)))
        else:
            self.register_buffer("pos_embed", positions)
        self.blocks = make_blocks(options.width, options.depth, options.heads, options.mlp_ratio, options.norm_eps)
        self.norm = nn.LayerNorm(options.width, eps=options.norm_eps)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02)

    @property
    def num_patches(self) -> int:
        """N of the crop this encoder was made for."""
        return prod(self.grid)

    def forward(
        self,
        images: Tensor,
        visible: Tensor | None = None,
        out_indices: Sequence[int] = (),
        drop_path_scale: Tensor | None = None,
    ) -> Features:
        """Encode images [B, C, *S]; `visible` [B, V] names the only patches that are used; the others are never read.

        `out_indices` are the blocks, counted from 0, whose output is returned too; `drop_path_scale` see `run_blocks`.
        """
        patches = patchify(images, self.patch)
        positions = self.pos_embed[:, -self.num_patches :]
        if visible is not None:
            patches = take(patches, visible)
            positions = take(positions.expand(len(images), -1, -1), visible)
        tokens = self.patch_embed(patches) + positions
        if self.cls_token is not None:
            first: Tensor = self.cls_token
            if self.pos_embed.shape[1] > self.num_patches:
                first = first + self.pos_embed[:, :1]
            tokens = torch.cat([first.expand(images.shape[0], -1, -1), tokens], dim=1)
        tokens, hidden = run_blocks(self.blocks, tokens, out_indices, drop_path_scale)
        return Features(self.norm(tokens), hidden)


class PathBlock(Block):
    """timm's block, whose branches can be scaled sample by sample: DropPath that was drawn beforehand."""

    def forward(self, tokens: Tensor, scales: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Return tokens [B, N, D] after attention and MLP; `scales` [B, 2] belong to the two, 0 leaves one out."""
        if scales is None:
            return cast(Tensor, super().forward(tokens))
        attention, mlp = scales[:, :, None, None].to(tokens).unbind(1)
        tokens = tokens + attention * self.ls1(self.attn(self.norm1(tokens)))
        return tokens + mlp * self.ls2(self.mlp(self.norm2(tokens)))


class Classifier(nn.Module):
    """ViT encoder and one linear layer on its normed class token; without one, on the mean of its normed patches."""

    def __init__(self, options: ModelOptions, channels: int, crop: Sequence[int], num_outputs: int) -> None:
        super().__init__()
        self.encoder = Encoder(options, channels, crop)
        self.head = nn.Linear(options.width, num_outputs)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor, drop_path_scale: Tensor | None = None) -> Tensor:
        """Return logits [B, F] of images [B, C, *S]; `drop_path_scale` is DropPath as in `run_blocks`."""
        tokens = self.encoder(images, drop_path_scale=drop_path_scale).tokens
        return self.head(tokens[:, 0] if self.encoder.num_prefix else tokens.mean(dim=1))


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Return the tokens [B, K, D] at `index` [B, K] of tokens [B, N, D]."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[2]))


def make_blocks(width: int, depth: int, heads: int, mlp_ratio: float = 4.0, eps: float = 1e-6) -> nn.ModuleList:
    """Return `depth` blocks with Xavier-uniform linear layers and zero biases, as He et al. 2021."""
    norm: Any = partial(nn.LayerNorm, eps=eps)
    blocks = nn.ModuleList(PathBlock(width, heads, mlp_ratio, qkv_bias=True, norm_layer=norm) for _ in range(depth))
    blocks.apply(init_linear)
    return blocks


def init_linear(module: nn.Module) -> None:
    """Give one linear layer Xavier-uniform weights and zero bias; other modules stay as they are."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def run_blocks(
    blocks: nn.ModuleList, tokens: Tensor, out_indices: Sequence[int] = (), drop_path_scale: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Send tokens [B, N, D] through the blocks; return the last output and those of `out_indices`, in their order.

    `drop_path_scale` [B, depth, 2] is DropPath decided beforehand (attention, MLP): 0 where a sample skips the branch,
    otherwise 1 / (1 - probability). It comes with the sample, so that a resumed run draws the same.
    """
    outputs = {}
    for number, block in enumerate(blocks):
        tokens = block(tokens, None if drop_path_scale is None else drop_path_scale[:, number])
        if number in out_indices:
            outputs[number] = tokens
    return tokens, [outputs[index] for index in out_indices]


def grid_of(size: Sequence[int], patch: Sequence[int]) -> tuple[int, ...]:
    """Return how many patches fit along each axis; raise `UserError` where the size is no multiple."""
    if len(size) != len(patch) or any(extent % step for extent, step in zip(size, patch, strict=True)):
        raise UserError(
            f"data.crop {list(size)} must be a multiple of model.patch {list(patch)} on every axis: change one of them."
        )
    return tuple(extent // step for extent, step in zip(size, patch, strict=True))


def patchify(images: Tensor, patch: Sequence[int]) -> Tensor:
    """Cut images [B, C, *S] into patches [B, N, P]; the values of a patch are in the order [C, *patch]."""
    grid = grid_of(images.shape[2:], patch)
    num_axes = len(grid)
    split = [extent for pair in zip(grid, patch, strict=True) for extent in pair]
    parts = images.reshape(*images.shape[:2], *split)
    order = [0, *range(2, 2 + 2 * num_axes, 2), 1, *range(3, 3 + 2 * num_axes, 2)]
    return parts.permute(order).reshape(images.shape[0], prod(grid), images.shape[1] * prod(patch))


def unpatchify(patches: Tensor, grid: Sequence[int], patch: Sequence[int]) -> Tensor:
    """Put patches [B, N, P] together again: images [B, C, *S]. The inverse of `patchify`."""
    num_axes = len(grid)
    channels = patches.shape[2] // prod(patch)
    parts = patches.reshape(patches.shape[0], *grid, channels, *patch)
    order = [0, 1 + num_axes]
    for axis in range(num_axes):
        order += [1 + axis, 2 + num_axes + axis]
    size = [extent * step for extent, step in zip(grid, patch, strict=True)]
    return parts.permute(order).reshape(patches.shape[0], channels, *size)


def sincos_positions(grid: Sequence[int], width: int) -> Tensor:
    """Return fixed sine-cosine positions [N, width], float32.

    Each of the n axes gets 2 * (width // 2n) values, frequencies 1 / 10000^(k / (width // 2n)); what is left is zero.
    2-D order as He et al. 2021: [sin w, cos w, sin h, cos h]; 3-D as Zhou et al. 2023: [sin h, cos h, sin w, ...].
    """
    num_axes = len(grid)
    share = width // (2 * num_axes)
    omega = 1.0 / 10000 ** (torch.arange(share, dtype=torch.float64) / share)
    coordinates = torch.meshgrid(*(torch.arange(extent, dtype=torch.float64) for extent in grid), indexing="ij")
    axes = reversed(coordinates) if num_axes == 2 else coordinates
    columns = []
    for coordinate in axes:
        angles = coordinate.reshape(-1, 1) * omega
        columns += [angles.sin(), angles.cos()]
    positions = torch.cat(columns, dim=1)
    return torch.nn.functional.pad(positions, (0, width - positions.shape[1])).float()


def num_visible(num_patches: int, ratio: float) -> int:
    """Return how many patches stay visible: the floor of N (1 - ratio), but at least one is seen and one hidden."""
    # 0.9 is no binary number: without the guard 20 * (1 - 0.9) would be 1.
    return min(max(1, int(num_patches * (1 - ratio) + 1e-6)), num_patches - 1)


def draw_visible(num_patches: int, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Return the order [N] of one image's patches: the first `num_visible` are seen, the others hidden."""
    order = rng.permutation(num_patches)
    count = num_visible(num_patches, ratio)
    return np.concatenate([np.sort(order[:count]), np.sort(order[count:])])
