"""The network of nnU-Net (Isensee et al. 2021) of MONAI's blocks: strides and kernels are planned for crop and spacing.

Letters: B images, C channels, S spatial size, F features, K outputs.
"""

from collections.abc import Sequence

import torch
from monai.networks.nets import DynUNet
from torch import Tensor, nn

LARGEST = {2: 512, 3: 320}  # features of the coarsest resolutions, by number of axes


class UNetBody(nn.Module):
    """All of the U-Net but its output layers; it maps images to the features of each resolution of the decoder.

    Images of one slice, [B, C, X, Y, 1], are taken as 2-D where the body is.
    """

    def __init__(
        self,
        strides: Sequence[Sequence[int]],
        kernels: Sequence[Sequence[int]],
        channels: int,
        features: int,
        residual: bool = False,
    ) -> None:
        super().__init__()
        num_axes, num_levels = len(strides[0]), len(strides)
        self.num_axes, self.num_levels = num_axes, num_levels
        self.filters = [min(features * 2**level, LARGEST[num_axes]) for level in range(num_levels)]
        # MONAI's forward pass holds each block twice, under two names, which no weight file can: only its parts serve.
        whole = DynUNet(
            spatial_dims=num_axes,
            in_channels=channels,
            out_channels=1,
            kernel_size=kernels,
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=self.filters,
            res_block=residual,
            trans_bias=True,
        )
        self.input_block, self.downsamples, self.bottleneck = whole.input_block, whole.downsamples, whole.bottleneck
        self.upsamples = whole.upsamples

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return features [B, F, *S] of every resolution of the decoder, finest first, of images [B, C, *S]."""
        is_slice = images.ndim > self.num_axes + 2
        states = [self.input_block(images[..., 0] if is_slice else images)]
        for block in self.downsamples:
            states.append(block(states[-1]))
        out = self.bottleneck(states[-1])
        decoded: list[Tensor] = []
        for block, state in zip(self.upsamples, reversed(states), strict=True):
            out = block(out, state)
            decoded.insert(0, out[..., None] if is_slice else out)
        return decoded


class PlannedUNet(nn.Module):
    """U-Net whose resolutions also learn on their own: in training all but the two coarsest give logits.

    `strides` and `kernels` of each resolution are given finest first; the first stride is 1. Of all tensors the
    `encoder`, which self pre-training fills, holds those below the output layers.
    """

    def __init__(self, body: UNetBody, num_outputs: int) -> None:
        super().__init__()
        self.encoder = body
        num_heads = max(1, body.num_levels - 2)  # nnU-Net gives the coarsest of its decoder's outputs no weight
        self.heads = nn.ModuleList(output_layer(body, level, num_outputs) for level in range(num_heads))

    def forward(self, images: Tensor, drop_path_scale: Tensor | None = None) -> Tensor | list[Tensor]:
        """Return logits [B, K, *S] of images [B, C, *S]; in training also those of coarser resolutions, finest first.

        `drop_path_scale` is for transformer blocks and plays no part.
        """
        decoded = self.encoder(images)
        if not self.training or len(self.heads) == 1:
            return head_of(self.heads[0], decoded[0])
        return [head_of(head, features) for head, features in zip(self.heads, decoded, strict=False)]


def output_layer(body: UNetBody, level: int, num_outputs: int) -> nn.Module:
    """Return a new output layer, a convolution of single voxels, for a resolution of the decoder (0 is the finest)."""
    layer = nn.Conv2d if body.num_axes == 2 else nn.Conv3d
    head = layer(body.filters[level], num_outputs, kernel_size=1)
    nn.init.kaiming_normal_(head.weight, a=0.01)  # as MONAI's and nnU-Net's
    assert head.bias is not None
    nn.init.zeros_(head.bias)
    return head


def head_of(head: nn.Module, features: Tensor) -> Tensor:
    """Return outputs [B, K, *S] of an output layer; a 2-D one takes features of one slice too."""
    if isinstance(head, nn.Conv2d) and features.ndim == 5:
        out: Tensor = head(features[..., 0])[..., None]
    else:
        out = head(features)
    return out


class MaskedUNet(nn.Module):
    """A U-Net that fills in blocks of an image that were set to zero (masked image modelling, dense)."""

    def __init__(self, body: UNetBody, channels: int) -> None:
        super().__init__()
        self.encoder = body
        self.head = output_layer(body, 0, channels)

    def forward(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Return images [B, C, *S] filled in, float32, where `hidden` [B, 1, *S] is true; all voxels are predicted."""
        filled: Tensor = head_of(self.head, self.encoder(images.masked_fill(hidden, 0.0))[0])
        return filled.float()


def hidden_loss(filled: Tensor, images: Tensor, hidden: Tensor) -> Tensor:
    """Return the mean squared error over hidden voxels [B, 1, *S] of all channels, a scalar in float32."""
    squared = torch.square(filled - images.float()) * hidden
    return squared.sum() / (hidden.sum() * images.shape[1]).clamp(min=1)
