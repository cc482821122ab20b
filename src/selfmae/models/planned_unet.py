"""The network of nnU-Net (Isensee et al. 2021), as MONAI's `DynUNet`, with strides planned from crop and spacing.

Letters: B images, C channels, S spatial size, K outputs.
"""

from collections.abc import Sequence

from monai.networks.nets import DynUNet
from torch import Tensor

LARGEST = {2: 512, 3: 320}  # features of the coarsest resolutions, by number of axes


class PlannedUNet(DynUNet):
    """U-Net whose resolutions also learn on their own: in training all but the two coarsest give logits.

    The blocks are MONAI's and so is what they compute; MONAI's forward pass holds each of them twice, under two names,
    which no weight file can. `strides` and `kernels` of each resolution are given finest first; the first stride is 1.
    """

    def __init__(
        self,
        strides: Sequence[Sequence[int]],
        kernels: Sequence[Sequence[int]],
        channels: int,
        num_outputs: int,
        features: int,
    ) -> None:
        num_axes, num_levels = len(strides[0]), len(strides)
        num_extra = num_levels - 3  # nnU-Net gives the coarsest of its decoder's outputs no weight
        super().__init__(
            spatial_dims=num_axes,
            in_channels=channels,
            out_channels=num_outputs,
            kernel_size=kernels,
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=[min(features * 2**level, LARGEST[num_axes]) for level in range(num_levels)],
            deep_supervision=num_extra > 0,
            deep_supr_num=max(1, num_extra),
            trans_bias=True,
        )
        self.num_extra = num_extra
        del self.skip_layers

    def forward(self, images: Tensor, drop_path_scale: Tensor | None = None) -> Tensor | list[Tensor]:
        """Return logits [B, K, *S] of images [B, C, *S]; in training also those of coarser resolutions, finest first.

        `drop_path_scale` is for transformer blocks and plays no part.
        """
        states = [self.input_block(images)]
        for block in self.downsamples:
            states.append(block(states[-1]))
        out = self.bottleneck(states[-1])
        decoded = []
        for block, state in zip(self.upsamples, reversed(states), strict=True):
            out = block(out, state)
            decoded.append(out)
        logits: Tensor = self.output_block(out)
        if not self.training or not self.num_extra:
            return logits
        coarser = reversed(decoded[-1 - self.num_extra : -1])
        heads = self.deep_supervision_heads
        return [logits, *(head(state) for head, state in zip(heads, coarser, strict=True))]
