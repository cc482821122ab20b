"""What a machine affords: sizes of crops and of the model on a CPU and on a GPU."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """What a machine affords. Widths are those of ViT-Ti, S and B."""

    name: str
    voxels: int  # of one crop
    pixels: int  # side of a 2-D image
    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    features: int
    patches: tuple[int, int]  # along an axis of a whole image, and of a whole volume


CPU = Budget("a CPU", 48**3, 64, 192, 6, 3, 96, 4, 8, (8, 4))
GPU = Budget("a GPU", 96**3, 224, 768, 12, 12, 384, 8, 16, (14, 6))
