"""ImageNet weights of timm's Vision Transformers, resampled to a recipe's patch, channels and crop."""

from collections.abc import Sequence

import timm

from selfmae.errors import UserError
from selfmae.models.weights import Weights
from selfmae.options import ModelOptions

# timm's ViTs supervised on ImageNet-1k (the smallest on ImageNet-21k first) by (width, depth, heads).
NAMES = {
    (192, 12, 3): "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    (384, 12, 6): "vit_small_patch16_224.augreg_in1k",
    (768, 12, 12): "vit_base_patch16_224.augreg_in1k",
}


def imagenet_weights(options: ModelOptions, channels: int, crop: Sequence[int]) -> Weights:
    """Return the encoder weights of the ViT of this size, supervised on ImageNet-1k; downloads them once.

    timm fits patch embedding (size, channels) and positions to the recipe. Raises `UserError` where there is no such
    ViT, the images are volumes, or the download fails.
    """
    if len(crop) != 2:
        raise UserError("--start imagenet is for 2-D images, but the recipe's are volumes: use scratch or mae:DIR.")
    name = NAMES.get((options.width, options.depth, options.heads))
    if name is None:
        sizes = ", ".join(f"{width}/{depth}/{heads}" for width, depth, heads in NAMES)
        raise UserError(
            f"--start imagenet has weights for model.width/depth/heads {sizes}, but the recipe has "
            f"{options.width}/{options.depth}/{options.heads}: set one of these."
        )
    try:
        model = timm.create_model(
            name,
            pretrained=True,
            num_classes=0,
            in_chans=channels,
            img_size=tuple(crop),
            patch_size=tuple(options.patch),
        )
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"The ImageNet weights {name} could not be downloaded ({' '.join(str(error).split())}): connect to "
            "the network once, or give the file of a ViT's weights as start."
        ) from error
    return dict(model.state_dict())
