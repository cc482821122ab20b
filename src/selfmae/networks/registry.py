"""What the networks other than the Vision Transformer are for, and which crops they can take."""

from collections.abc import Sequence
from math import ceil

from selfmae.networks.dynunet import _fit_dynunet

VIT = "vit"
CLASSIFIERS = ("resnet50", "densenet121")
SEGMENTERS = ("dynunet", "attentionunet", "swinunetr", "segresnet", "monai-unetr")

# The self pre-training of a network, which is also the name of the initialization that it gives; other networks have
# none.
PRETRAININGS = {VIT: "mae", "resnet50": "moco", "densenet121": "moco"}
SELF_PRETRAINED = tuple(dict.fromkeys(PRETRAININGS.values()))
EQUAL = "scratch+"  # the initialization: scratch with the compute of self pre-training as more steps

HALVINGS = {"resnet50": 5, "densenet121": 5, "attentionunet": 4, "swinunetr": 5, "segresnet": 3, "monai-unetr": 4}
FEATURES = {"dynunet": 32, "attentionunet": 16, "swinunetr": 48, "segresnet": 32, "monai-unetr": 16}  # of the papers
FEATURE_STEPS = {"swinunetr": 12, "segresnet": 8}  # heads of the first stage times two halves; groups of a norm


def fit_crop(network: str, crop: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the smallest crop, at least as large on every axis, that the network can take."""
    if network == VIT:
        return tuple(crop)
    if network in CLASSIFIERS:
        return tuple(max(2 ** HALVINGS[network], extent) for extent in crop)
    if network == "dynunet":
        return _fit_dynunet(crop, spacing_mm)
    multiple = 2 ** HALVINGS[network]
    fitted = [ceil(extent / multiple) * multiple for extent in crop]
    if all(extent == multiple for extent in fitted):
        fitted[0] *= 2  # norms of the coarsest features need more than one voxel
    return tuple(fitted)


def steps_of(network: str, patch: Sequence[int]) -> tuple[int, ...]:
    """Return the granularity of the crop on each axis: one patch, or the total stride of the network."""
    return tuple(patch) if network == VIT else tuple(max(step, 2 ** HALVINGS.get(network, 5)) for step in patch)
