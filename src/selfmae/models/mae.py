"""Masked autoencoder: a ViT sees a few patches, a small decoder predicts the hidden ones (He et al. 2021).

Shapes: B batch, C channels, S spatial axes, N patches, V visible and H hidden patches, P = C * prod(patch).
"""

from collections.abc import Sequence
from math import prod
from typing import Protocol

import torch
from torch import Tensor, nn

from selfmae.errors import UserError
from selfmae.models.vit import (
    Encoder,
    init_linear,
    make_blocks,
    num_visible,
    patchify,
    run_blocks,
    sincos_positions,
    take,
    unpatchify,
)
from selfmae.options import ModelOptions


class MaskOptions(Protocol):
    """What decides the autoencoder besides its encoder; `methods.mae.Options` explains each."""

    @property
    def ratio(self) -> float: ...
    @property
    def target(self) -> str: ...
    @property
    def decoder_width(self) -> int: ...
    @property
    def decoder_depth(self) -> int: ...
    @property
    def decoder_heads(self) -> int: ...


class Decoder(nn.Module):
    """Predicts the values of hidden patches from the encoder's tokens of the visible ones."""

    pos_embed: Tensor

    def __init__(self, options: MaskOptions, width: int, grid: Sequence[int], num_values: int) -> None:
        super().__init__()
        inner = options.decoder_width
        self.embed = nn.Linear(width, inner)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, inner))
        self.register_buffer("pos_embed", sincos_positions(grid, inner)[None])
        self.blocks = make_blocks(inner, options.decoder_depth, options.decoder_heads)
        self.norm = nn.LayerNorm(inner, eps=1e-6)
        self.pred = nn.Linear(inner, num_values)
        self.embed.apply(init_linear)
        self.pred.apply(init_linear)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """Return predictions [B, H, P] from tokens [B, 1 + V, D], patch indices [B, V] and [B, H].

        The class token may be missing. Only hidden patches are projected to pixels: the loss uses nothing else.
        """
        tokens = self.embed(tokens)
        positions = self.pos_embed.expand(len(tokens), -1, -1)
        prefix = tokens.shape[1] - visible.shape[1]
        seen = tokens[:, prefix:] + take(positions, visible)
        guesses = self.mask_token + take(positions, hidden)
        tokens = torch.cat([tokens[:, :prefix], seen, guesses.to(seen)], dim=1)
        tokens, _ = run_blocks(self.blocks, tokens)
        return self.pred(self.norm(tokens[:, -hidden.shape[1] :]))


class MaskedAutoencoder(nn.Module):
    """Encoder and decoder of pre-training; the encoder is what fine-tuning keeps."""

    def __init__(self, model: ModelOptions, mask: MaskOptions, channels: int, crop: Sequence[int]) -> None:
        super().__init__()
        self.options = mask
        self.channels = channels
        self.encoder = Encoder(model, channels, crop, learn_positions=False)
        if self.encoder.num_patches < 2:
            raise UserError(
                f"data.crop {list(crop)} holds one patch of model.patch {list(model.patch)}, but a masked autoencoder "
                "needs a visible and a hidden one: make the crop larger or the patch smaller."
            )
        num_values = channels * prod(model.patch)
        self.decoder = Decoder(mask, model.width, self.encoder.grid, num_values)

    def forward(self, images: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
        """Return predicted and true values [B, H, P] of the hidden patches of images [B, C, *S].

        `order` [B, N] lists each image's patches, the visible ones first (`draw_visible`).
        """
        visible, hidden = self.split(order)
        truth = take(patchify(images, self.encoder.patch), hidden)
        return self._predict(images, visible, hidden), normalise(truth, self.options.target, self.channels)

    def reconstruct(self, images: Tensor, order: Tensor, ratio: float | None = None) -> tuple[Tensor, Tensor]:
        """Return images with the hidden patches empty (zero) and with them predicted, both [B, C, *S].

        `ratio` hides another share of the patches than in training. Predictions of normalised targets get the mean and
        spread of the visible patches around them (`_nearness`). The true values of hidden patches, which
        the usual MAE figures borrow here, are never read.
        """
        grid, patch, target = self.encoder.grid, self.encoder.patch, self.options.target
        visible, hidden = self.split(order, ratio)
        patches = patchify(images, patch)
        predicted = self._predict(images, visible, hidden).float()
        if target != "raw":
            shares = _nearness(grid, visible, hidden)
            mean, spread = (
                torch.einsum("bhv,bvgk->bhgk", shares, moment)
                for moment in _moments(take(patches, visible).float(), target, self.channels)
            )
            predicted = (_by_group(predicted, target, self.channels) * spread + mean).flatten(2)
        index = hidden[..., None].expand(-1, -1, patches.shape[2])
        empty = patches.scatter(1, index, 0.0)
        filled = patches.scatter(1, index, predicted.to(patches))
        return unpatchify(empty, grid, patch), unpatchify(filled, grid, patch)

    def split(self, order: Tensor, ratio: float | None = None) -> tuple[Tensor, Tensor]:
        """Return the visible [B, V] and hidden [B, H] indices of an order [B, N]."""
        count = num_visible(self.encoder.num_patches, self.options.ratio if ratio is None else ratio)
        return order[:, :count], order[:, count:]

    def _predict(self, images: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        return self.decoder(self.encoder(images, visible).tokens, visible, hidden)


def normalise(patches: Tensor, target: str, channels: int) -> Tensor:
    """Return patches [B, H, P] as targets: zero mean, unit population variance (+1e-6) per patch or per channel."""
    if target == "raw":
        return patches
    mean, spread = _moments(patches, target, channels)
    return ((_by_group(patches, target, channels) - mean) / spread).flatten(2)


def masked_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the mean squared error over hidden patches (He et al. 2021, eq. of section 3), computed in float32."""
    return (predicted.float() - truth.float()).square().mean()


def trivial_losses(model: MaskedAutoencoder, images: Tensor, order: Tensor) -> dict[str, Tensor]:
    """Return the loss of two guesses that need no model, to measure a model against.

    "mean_patch" fills in the mean of the image's visible patches, "neighbour_copy" the nearest visible patch, both
    normalised as the target is.
    """
    visible, hidden = model.split(order)
    target, channels, patches = model.options.target, model.channels, patchify(images, model.encoder.patch)
    truth, seen = (normalise(take(patches, positions), target, channels) for positions in (hidden, visible))
    nearest = _nearness(model.encoder.grid, visible, hidden).argmax(dim=2)
    guesses = {"mean_patch": seen.mean(dim=1, keepdim=True).expand_as(truth), "neighbour_copy": take(seen, nearest)}
    return {name: masked_loss(guess, truth) for name, guess in guesses.items()}


def _by_group(patches: Tensor, target: str, channels: int) -> Tensor:
    groups = channels if target == "channel" else 1
    return patches.reshape(*patches.shape[:2], groups, -1)


def _moments(patches: Tensor, target: str, channels: int) -> tuple[Tensor, Tensor]:
    groups = _by_group(patches, target, channels)
    variance, mean = torch.var_mean(groups, dim=-1, keepdim=True, correction=0)
    return mean, (variance + 1e-6).sqrt()


def _nearness(grid: Sequence[int], visible: Tensor, hidden: Tensor) -> Tensor:
    """Return the share [B, H, V] of each visible patch in what is expected of a hidden one; shares sum to 1.

    They fall with the distance as a Gaussian of one patch width; far from every visible patch the nearest one decides.
    """
    axes = [torch.arange(extent, device=hidden.device, dtype=torch.float32) for extent in grid]
    positions = torch.cartesian_prod(*axes).expand(len(hidden), -1, -1)
    return (-torch.cdist(take(positions, hidden), take(positions, visible)).square() / 2).softmax(dim=-1)
