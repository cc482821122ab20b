"""UNETR (Hatamizadeh et al. 2022): a convolutional decoder on the hidden states of a ViT.

For a patch of 16 on every axis this is MONAI's `UNETR` layer for layer; other powers of two, different on each axis
too, get as many levels as the longest patch axis has halvings, and short axes join at the coarse levels only.
"""

from collections.abc import Sequence

from monai.networks.blocks.dynunet_block import UnetOutBlock, UnetResBlock, get_conv_layer
from monai.networks.blocks.unetr_block import UnetrBasicBlock, UnetrUpBlock
from torch import Tensor, nn
from torch.nn import functional as F

from selfmae.errors import UserError
from selfmae.models.vit import Encoder
from selfmae.options import ModelOptions

Stride = tuple[int, ...]


class SkipBlock(nn.Module):
    """Brings a hidden state of the ViT from the patch grid up to one level (MONAI's `UnetrPrUpBlock`)."""

    def __init__(self, width: int, features: int, strides: Sequence[Stride]) -> None:
        super().__init__()
        first, *others = strides
        num_axes = len(first)
        self.transp_conv_init = _upsample(width, features, first)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                _upsample(features, features, stride),
                UnetResBlock(num_axes, features, features, kernel_size=3, stride=1, norm_name="instance"),
            )
            for stride in others
        )

    def forward(self, grid: Tensor) -> Tensor:
        """Return features [B, features, *S at the level] of a hidden state [B, width, *grid]."""
        out = self.transp_conv_init(grid)
        for block in self.blocks:
            out = block(out)
        return out


class UNETR(nn.Module):
    """ViT encoder, skip paths from evenly spread blocks, and a convolutional decoder to full resolution."""

    def __init__(self, options: ModelOptions, channels: int, crop: Sequence[int], num_outputs: int) -> None:
        super().__init__()
        self.encoder = Encoder(options, channels, crop)
        self.out_norm = options.out_norm
        strides = level_strides(options.patch)
        num_levels, num_axes, base = len(strides), len(crop), options.decoder_features
        self.out_indices = options.out_indices or tuple(
            options.depth * (i + 1) // num_levels for i in range(num_levels - 1)
        )
        if len(self.out_indices) != num_levels - 1 or any(not 0 <= index < options.depth for index in self.out_indices):
            raise UserError(
                f"model.out_indices {list(self.out_indices)} must name {num_levels - 1} of the blocks 0 to "
                f"{options.depth - 1} "
                f"for model.patch {list(options.patch)}: name as many, or leave it empty."
            )
        self.input_skip = UnetrBasicBlock(
            num_axes, channels, base, kernel_size=3, stride=1, norm_name="instance", res_block=True
        )
        # Level j has base * 2^j features; a skip path climbs from the patch grid through the strides above its level.
        self.skip_connections = nn.ModuleList(
            SkipBlock(options.width, base * 2**level, strides[: level - 1 : -1]) for level in range(1, num_levels)
        )
        self.ups = nn.ModuleList(
            UnetrUpBlock(
                num_axes,
                options.width if level == num_levels - 1 else base * 2 ** (level + 1),
                base * 2**level,
                kernel_size=3,
                upsample_kernel_size=strides[level],
                norm_name="instance",
                res_block=True,
            )
            for level in range(num_levels)
        )
        self.out = UnetOutBlock(num_axes, base, num_outputs)

    def forward(self, images: Tensor, drop_path_scale: Tensor | None = None) -> Tensor:
        """Return logits [B, num_outputs, *S] of images [B, C, *S]; `drop_path_scale` is DropPath as in `run_blocks`."""
        features = self.encoder(images, out_indices=self.out_indices, drop_path_scale=drop_path_scale)
        skip_connections = [self.input_skip(images)]
        skip_connections += [
            block(self._as_grid(state)) for block, state in zip(self.skip_connections, features.hidden, strict=True)
        ]
        out = self._as_grid(features.tokens)
        for up, lateral in zip(reversed(self.ups), reversed(skip_connections), strict=True):
            out = up(out, lateral)
        return self.out(out)

    def _as_grid(self, tokens: Tensor) -> Tensor:
        """Return tokens [B, 1 + N, D] without the class token as a feature map [B, D, *grid].

        The hidden states of a pre-trained ViT are up to ten times as large as those of a new one, most of it the same
        for all tokens (measured on Hippocampus, LOG.md), and drown the decoder's other path. `out_norm` "instance"
        gives every channel mean 0 and deviation 1 over the patches of an image, as the decoder does after each layer.
        """
        grid = tokens[:, self.encoder.num_prefix :].transpose(1, 2).reshape(tokens.shape[0], -1, *self.encoder.grid)
        return F.instance_norm(grid) if self.out_norm == "instance" else grid


def level_strides(patch: Sequence[int]) -> list[Stride]:
    """Return the up-sampling stride of each axis from level j + 1 to level j, finest level (0) first.

    Axes with shorter patches are up-sampled at the coarse levels only, so that the finest level keeps them whole.
    """
    if any(step < 1 or step & (step - 1) for step in patch) or max(patch) == 1:
        raise UserError(f"model.patch {list(patch)} must be powers of two for UNETR, at least one of them above 1.")
    halvings = [step.bit_length() - 1 for step in patch]
    num_levels = max(halvings)
    return [tuple(2 if level >= num_levels - count else 1 for count in halvings) for level in range(num_levels)]


def _upsample(inputs: int, outputs: int, stride: Stride) -> nn.Module:
    return get_conv_layer(
        len(stride), inputs, outputs, kernel_size=stride, stride=stride, conv_only=True, is_transposed=True
    )
