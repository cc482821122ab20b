"""Networks of timm and MONAI, called as our own are.

Shapes: B images, C channels, S spatial axes, F outputs of a classifier, K of a segmentation.
"""

from typing import Any

import timm
from torch import Tensor, nn


class TimmClassifier(nn.Module):
    """A network of timm as encoder and a linear head; the encoder's tensors have timm's names."""

    def __init__(self, name: str, channels: int, num_outputs: int) -> None:
        super().__init__()
        encoder: Any = timm.create_model(name, pretrained=False, in_chans=channels, num_classes=0)
        self.encoder = encoder
        self.head = nn.Linear(encoder.num_features, num_outputs)

    def forward(self, images: Tensor, drop_path_scale: Tensor | None = None) -> Tensor:
        """Return logits [B, F] of images [B, C, *S]; `drop_path_scale` is for transformer blocks and is not used."""
        return self.head(self.encoder(images))


class MonaiNetwork(nn.Module):
    """A whole network of MONAI, which has its own head."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, drop_path_scale: Tensor | None = None) -> Tensor:
        """Return logits [B, F] or [B, K, *S] of images [B, C, *S]; `drop_path_scale` is not used."""
        return self.network(images)
