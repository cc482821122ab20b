"""Segmentation networks of MONAI for images and volumes, as large as in their papers, or with other `model.features`.

Letters: B images, C channels, S spatial size, K outputs.
"""

from importlib.util import find_spec
from typing import Any

import torch
from monai.networks.nets import UNETR, AttentionUnet, SegResNet, SwinUNETR
from torch import Tensor, nn

from selfmae.errors import UserError
from selfmae.models.planned_unet import PlannedUNet
from selfmae.networks.dynunet import plan_topology
from selfmae.networks.registry import FEATURES, HALVINGS
from selfmae.options import Recipe

WITH_EINOPS = ("swinunetr", "monai-unetr")


class Segmenter(nn.Module):
    """A network of MONAI that is called as UNETR is."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, drop_path_scale: Tensor | None = None) -> Tensor:
        """Return logits [B, K, *S] of images [B, C, *S].

        `drop_path_scale` is for our transformer blocks and plays no part.
        """
        return self.network(images)


def build_segmenter(recipe: Recipe) -> nn.Module:
    """Return the network that `model.network` names, with random weights."""
    name, crop = recipe.model.network, recipe.data.crop
    if name in WITH_EINOPS and find_spec("einops") is None:
        raise UserError(f'model.network {name} needs einops: run `pip install "selfmae[baselines]"`.')
    features = recipe.model.features or FEATURES[name]
    channels, num_outputs = len(recipe.data.channels), recipe.target.num_outputs
    if name == "dynunet":
        topology = plan_topology(crop, recipe.data.spacing_mm)
        return PlannedUNet(topology, channels, num_outputs, features)
    shared: dict[str, Any] = {"spatial_dims": len(crop), "in_channels": channels, "out_channels": num_outputs}
    if name == "attentionunet":
        strides = (2,) * HALVINGS[name]
        widths = [features * 2**level for level in range(len(strides) + 1)]
        return Segmenter(AttentionUnet(**shared, channels=widths, strides=strides))
    if name == "swinunetr":
        with torch.device("cpu"):  # it cannot be built without memory (device "meta"), as the forecast would
            return Segmenter(SwinUNETR(**shared, feature_size=features))
    if name == "segresnet":
        return Segmenter(SegResNet(**shared, init_filters=features))
    return Segmenter(_monai_unetr(recipe, features, shared))


def _monai_unetr(recipe: Recipe, features: int, shared: dict[str, Any]) -> nn.Module:
    """Return MONAI's UNETR of the recipe's width and heads; patch 16 and 12 blocks are its own."""
    model = recipe.model
    network = UNETR(
        **shared,
        img_size=recipe.data.crop,
        feature_size=features,
        hidden_size=model.width,
        mlp_dim=round(model.width * model.mlp_ratio),
        num_heads=model.heads,
    )
    for block in network.vit.blocks:
        # It never attends to a context: parameters that no loss reaches would only wait in every optimiser.
        block.norm_cross_attn = block.cross_attn = nn.Identity()
    return network
