"""Options that runs share: frozen values with their defaults, meaning and unit. Only `recipe.py` builds them."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal


class Section:
    """A section of a recipe; a key that it does not know is an error."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}


@dataclass(frozen=True)
class DataOptions(Section):
    """Where the images come from, how they are prepared, and what one sample shows."""

    source: str
    channels: tuple[str, ...] = ()  # names of the image channels, in order
    layout: str = ""  # a reader of data/sources; "" lets each reader look whether the source is its own
    patient_pattern: str = ""  # regex that finds the patient in a case's id: its first group, or all that matches
    splits: str = ""  # a table with the columns id, patient, split that overrides the source's own
    test_fraction: float = 0.2  # of the patients, drawn where the source has no test part
    val_fraction: float = 0.15  # the same for the part that chooses the checkpoint; 0: none, the last weights are kept
    split_seed: int = 0  # of these draws; the seeds of a run share one split
    split: Literal["patients", "monai"] = "patients"  # "monai": train and test as MONAI's CrossValidation draws them
    fraction: float = 1.0  # of the training patients whose labels are used; each seed draws its own
    pretrain_on: tuple[Literal["train", "unlabelled"], ...] = ("train", "unlabelled")  # never val or test
    size: tuple[int, ...] = ()  # every image is resized to this (classification; may exceed `crop`); () keeps sizes
    spacing_mm: tuple[float, ...] = ()  # every image is resampled to this (segmentation); () keeps spacings
    interpolation: Literal["linear", "spline"] = "linear"  # of images; "spline" is cubic (order 3)
    mask_interpolation: Literal["nearest", "linear"] = "nearest"  # "linear": each label on its own, the largest wins
    anisotropy: float = 3.0  # spacings whose ratio exceeds this: nearest along the coarse axis (nnU-Net); 0 never
    intensity: Literal["zscore", "zscore_nonzero", "percentile", "window", "range"] = "percentile"
    normalise_crops: bool = False  # z-scores of each crop in training, of the whole image in prediction
    window: tuple[float, ...] = ()  # for "window": the two values that become 0 and 1
    mean: float = 0.0  # subtracted after the intensity step
    std: float = 1.0  # divides what is left
    equalise: bool = False  # histogram equalisation (radiographs), before the intensity step
    crop_foreground: bool = False  # keep the box of what is above the image's lowest value; no label is asked
    crop: tuple[int, ...] = ()  # what one sample shows, in voxels after preparation
    cache: str = ""  # folder of the prepared images; "" is the user's cache folder
    licence: str = ""  # of the images, as their provider names it; weight files repeat it


@dataclass(frozen=True)
class TargetOptions(Section):
    """What is learned: the labels of the source, or overlapping regions made of them."""

    kind: Literal["mask", "multilabel", "multiclass"]
    names: tuple[str, ...]  # without the background
    values: tuple[int, ...] = ()  # masks: the number of each name in the files
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)  # name: mask values; {} learns the labels
    report: tuple[str, ...] = ()  # masks: names whose scores make the metrics and the verdict; () is all

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of what a model predicts, without the background."""
        return tuple(self.regions) or self.names

    @property
    def reported_names(self) -> tuple[str, ...]:
        """Names whose scores make the metrics."""
        return self.report or self.output_names

    @property
    def num_outputs(self) -> int:
        """Channels of the model's output: exclusive mask labels have one more, the background."""
        return len(self.output_names) + (self.kind == "mask" and not self.regions)


@dataclass(frozen=True)
class AugmentOptions(Section):
    """Random changes of a training sample; each is a pure function of the draw."""

    flip_axes: tuple[int, ...] = ()  # axes that may be mirrored, each with probability `flip`
    flip: float = 0.5
    min_scale: float = 1.0  # smallest share of the whole image that a random resized crop shows (classification)
    foreground: float = 0.0  # share of crops centred on a labelled voxel; in pre-training on one that is not air
    rotate_degrees: float = 0.0  # largest rotation in the plane of the first two axes (axial in volumes)
    zoom: float = 0.0  # largest relative change of size
    intensity: float = 0.0  # largest relative change of contrast and shift of brightness
    quarter_turns: float = 0.0  # probability of one to three quarter turns in the plane of the first two axes
    gain: float = 0.0  # largest relative change of all values, with probability `shading`
    offset: float = 0.0  # largest shift of all values, with probability `shading`
    shading: float = 1.0
    blur: float = 0.0  # probability of a Gaussian blur of 0.1 to 2 pixels in 224 (Chen et al. 2020)
    rand_augment: float = 0.0  # pictures with findings or classes: X of timm's "rand-mX-mstd0.5-inc1"; 0 has none
    swap_sides: bool = True  # where left and right are mirrored, so are the labels of the two sides


@dataclass(frozen=True)
class ModelOptions(Section):
    """The encoder, and what stands on it. Widths 192, 384, 768, 1024 are ViT-Ti, S, B, L."""

    patch: tuple[int, ...]
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    class_token: bool = True  # False: patches only, as in MONAI's UNETR; a classifier then averages them
    norm_eps: float = 1e-6  # of the encoder's layer norms, as in timm and He et al.; MONAI's models have 1e-5
    decoder_features: int = 16  # channels of UNETR's finest level
    out_indices: tuple[int, ...] = ()  # blocks, counted from 0, whose output feeds UNETR; () spreads them evenly
    out_norm: Literal["none", "instance"] = "none"  # of what feeds UNETR; the paper and MONAI have none
    # Others than the ViT are baselines from timm and MONAI: all above plays no part in them (MONAI's
    # UNETR has width, heads and mlp_ratio), nor do layer_decay and drop_path of `fit`.
    network: Literal[
        "vit", "resnet50", "densenet121", "dynunet", "attentionunet", "swinunetr", "segresnet", "monai-unetr"
    ] = "vit"
    features: int = 0  # channels of such a segmentation network's finest level; 0 has as many as its paper


@dataclass(frozen=True)
class InitOptions(Section):
    """What pre-training starts from, and how the weights of another model become the encoder's."""

    pretrain: str = "scratch"  # scratch, imagenet, timm:NAME, mae:DIR or a file of weights
    inflate: Literal["mean", "centre"] = "mean"  # 2-D patch weights in volumes: spread over the depth, or in its middle
    positions: Literal["fresh", "factorised"] = "fresh"  # of 2-D weights in volumes: sine-cosine, or in-plane + axial
    partial: bool = False  # True: initialize even where tensors of the encoder are missing or do not fit


@dataclass(frozen=True)
class MaskOptions(Section):
    """What the autoencoder must fill in (He et al. 2021)."""

    ratio: float = 0.75  # share of hidden patches, between 0 and 1
    target: Literal["patch", "channel", "raw"] = "patch"  # normalise the target per patch, per channel of it, or not
    decoder_width: int = 384
    decoder_depth: int = 8
    decoder_heads: int = 12


@dataclass(frozen=True)
class MocoOptions(Section):
    """How a convolutional classifier of pictures is self pre-trained (MoCo v2, Chen et al. 2020)."""

    temperature: float = 0.2  # of the similarities
    momentum: float = 0.999  # what the slow copy keeps of itself at each step
    queue: int = 65536  # keys of other pictures that a query is compared with


@dataclass(frozen=True)
class ProbeOptions(Section):
    """Looks at the encoder during pre-training that choose the checkpoint (`tasks/probe.py`)."""

    every: int = 0  # steps between looks; 0 never looks and keeps the last weights
    kind: Literal["reconstruction", "labels"] = "reconstruction"  # of val images; or a linear read-out on train labels
    patience: int = 0  # looks without a better score before stopping; 0 never stops early

    @property
    def ends_early(self) -> bool:
        """Return whether pre-training may take fewer steps than planned."""
        return bool(self.every and self.patience)


@dataclass(frozen=True)
class OptimOptions(Section):
    """One optimisation: linear warm-up, half-cosine to zero."""

    steps: int
    batch: int  # samples of one optimiser step, over all devices
    lr: float
    optimizer: Literal["adamw", "sgd"] = "adamw"  # "sgd": momentum 0.9; `betas` play no part in it
    warmup_steps: int = 0
    weight_decay: float = 0.05
    decay_tokens: bool = False  # True: class and mask token and learnable positions are decayed too
    betas: tuple[float, float] = (0.9, 0.95)
    layer_decay: float = 1.0  # learning-rate factor from one block to the one below it
    drop_path: float = 0.0  # probability of skipping the last block's branches; linear from 0 at the first
    clip: float = 0.0  # largest gradient norm; 0 does not clip
    crops_per_case: int = 1  # successive samples that show one case: a batch of 24 with 4 shows 6 cases
    accumulate: int = 1  # forward passes that share one optimiser step (each sees batch / accumulate samples)
    validate_every: int = 0  # steps between looks at the validation part; 0 looks only at the end
    patience: int = 0  # looks without a better score before stopping; 0 never stops early
    augment: AugmentOptions = field(default_factory=AugmentOptions)


@dataclass(frozen=True)
class PredictOptions(Section):
    """Sliding-window prediction, and the grid and unit in which masks are scored."""

    overlap: float = 0.5  # share of a window that its neighbour covers too
    blend: Literal["constant", "gaussian"] = "gaussian"
    grid: Literal["file", "prepared"] = "file"  # of scores; predicted masks are always on the file's
    distances: Literal["mm", "voxels"] = "mm"


@dataclass(frozen=True)
class DeviceOptions(Section):
    """Where and in which number format a run computes."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = 1
    shard: bool = False  # share out weights and optimiser state over the devices (FSDP), where one cannot hold them
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"


@dataclass(frozen=True)
class Recipe(Section):
    """Everything that decides a run's result; equal recipes on equal files give equal weights."""

    data: DataOptions
    target: TargetOptions
    model: ModelOptions
    pretrain: OptimOptions
    fit: OptimOptions
    mask: MaskOptions = field(default_factory=MaskOptions)
    moco: MocoOptions = field(default_factory=MocoOptions)
    init: InitOptions = field(default_factory=InitOptions)
    probe: ProbeOptions = field(default_factory=ProbeOptions)
    predict: PredictOptions = field(default_factory=PredictOptions)
    device: DeviceOptions = field(default_factory=DeviceOptions)
    seed: int = 0  # of initial weights, order, augmentation and masks
