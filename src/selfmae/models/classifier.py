"""A linear head on the class token, or on the mean of the patches, for images and volumes."""

from collections.abc import Sequence

from torch import Tensor, nn

from selfmae.models.vit import Encoder
from selfmae.options import ModelOptions


class Classifier(nn.Module):
    """ViT encoder and one linear layer on its normed class token; without one, on the mean of its normed patches."""

    def __init__(self, options: ModelOptions, channels: int, crop: Sequence[int], num_outputs: int) -> None:
        super().__init__()
        self.encoder = Encoder(options, channels, crop)
        self.head = nn.Linear(options.width, num_outputs)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor, skip: Tensor | None = None) -> Tensor:
        """Return logits [B, F] of images [B, C, *S]; `skip` is DropPath as in `run_blocks`."""
        tokens = self.encoder(images, skip=skip).tokens
        return self.head(tokens[:, 0] if self.encoder.num_prefix else tokens.mean(dim=1))
