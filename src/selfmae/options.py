"""Options of a recipe: frozen values with defaults, ranges, meaning and unit; `recipe.py` builds them.

Options of a single method or augmentation stand in its own file (`methods/`, `augment/`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from math import inf, isfinite
from typing import Any, ClassVar, Literal


class Section:
    """A section of a recipe; a key that it does not know is an error."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}


@dataclass(frozen=True)
class Range:
    """The values that a number, or each number of a tuple, may have; all must be finite."""

    at_least: float = -inf
    above: float = -inf
    at_most: float = inf
    below: float = inf

    def holds(self, value: float) -> bool:
        """Return whether a value lies in the range; NaN never does."""
        return isfinite(value) and self.at_least <= value <= self.at_most and self.above < value < self.below

    def __str__(self) -> str:
        """Return the range as the end of "but must be ..."."""
        ends = [f"{name.replace('_', ' ')} {limit}" for name, limit in vars(self).items() if isfinite(limit)]
        has_low = isfinite(max(self.at_least, self.above))
        return " and ".join(ends if has_low else ["a finite number", *ends])


def number(*default: Any, **limits: float) -> Any:
    """Return a dataclass field with a `Range` of these limits, and with a default where one is given."""
    metadata = {"range": Range(**limits)}
    return field(default=default[0], metadata=metadata) if default else field(metadata=metadata)


def range_problems(section: Any, prefix: str = "") -> Iterator[str]:
    """Yield a clause for each value of a section, and of those below it, that lies outside its range."""
    if isinstance(section, Mapping):
        values, ranges = dict(section), {}
    else:
        values = {item.name: getattr(section, item.name) for item in fields(section)}
        ranges = {item.name: item.metadata.get("range") for item in fields(section)}
    for name, value in values.items():
        if is_dataclass(value) or (isinstance(value, Mapping) and any(map(is_dataclass, value.values()))):
            yield from range_problems(value, "" if name == "methods" else f"{prefix}{name}.")
        elif (limits := ranges.get(name)) is not None:
            wrong = [item for item in (value if isinstance(value, tuple) else (value,)) if not limits.holds(item)]
            yield from (f"{prefix}{name} is {item}, but must be {limits}" for item in wrong[:1])


@dataclass(frozen=True)
class DataOptions(Section):
    """Where the images come from, how they are prepared, and what one sample shows."""

    source: str
    channels: tuple[str, ...] = ()  # names of the image channels, in order
    layout: str = ""  # a reader of data/sources; "" asks each reader whether the source is its own
    patient_pattern: str = ""  # regex that finds the patient in a case's id: its first group, or all that matches
    splits: str = ""  # a table with the columns id, patient, split that overrides the source's own
    test_fraction: float = number(0.2, at_least=0, below=1)  # of the patients, drawn where the source has no test part
    val_fraction: float = number(0.15, at_least=0, below=1)  # of the part that chooses the checkpoint; 0: no such part
    split_seed: int = 0  # of these draws; the seeds of a run share one split
    split: Literal["patients", "monai"] = "patients"  # "monai": train and test as MONAI's CrossValidation draws them
    fraction: float = number(1.0, above=0, at_most=1)  # of the training patients whose labels are used, drawn per seed
    labels: int = number(
        0, at_least=0
    )  # training patients whose labels are used, drawn per seed; 0: as `fraction` says
    unlabelled: str = ""  # a further folder, table or archive, whose images join for pre-training; its labels do not
    pretrain_on: tuple[Literal["train", "unlabelled"], ...] = ("train", "unlabelled")  # never val or test
    size: tuple[int, ...] = ()  # every image is resized to this (may exceed `crop`); () keeps sizes
    spacing_mm: tuple[float, ...] = ()  # every image is resampled to this (segmentation); () keeps spacings
    interpolation: Literal["linear", "spline"] = "linear"  # of images; "spline" is cubic (order 3)
    mask_interpolation: Literal["nearest", "linear"] = "nearest"  # "linear": each label on its own, the largest wins
    align: Literal["edges", "origin"] = "edges"  # what spacing_mm keeps: the field of view, or the first voxel (MONAI)
    anisotropy: float = 3.0  # spacings whose ratio exceeds this: nearest along the coarse axis (nnU-Net); 0 never
    intensity: Literal["zscore", "zscore_nonzero", "percentile", "window", "range"] = "percentile"
    normalise_crops: bool = False  # z-scores of each crop in training, of the whole image in prediction
    window: tuple[float, ...] = ()  # for "window": the two values that become 0 and 1
    mean: float = number(0.0)  # subtracted after the intensity step
    std: float = number(1.0, above=0)  # divides what is left
    equalise: bool = False  # histogram equalisation (radiographs), before the intensity step
    crop_foreground: bool = False  # keep the box of what is above the image's lowest value; no label is read
    crop: tuple[int, ...] = number((), above=0)  # what one sample shows, in voxels after preparation
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
class ModelOptions(Section):
    """The network and its size. Widths 192, 384, 768, 1024 are ViT-Ti, S, B, L.

    Networks other than `vit` and `unetr` take `features` alone (`dynunet` also residual; `monai_unetr` also width,
    heads and mlp_ratio).
    """

    patch: tuple[int, ...]
    width: int = number(768, at_least=1)
    depth: int = number(12, at_least=1)
    heads: int = number(12, at_least=1)
    mlp_ratio: float = number(4.0, above=0)
    class_token: bool = True  # False: patches only, as in MONAI's UNETR; a classifier then averages them
    norm_eps: float = number(1e-6, above=0, below=1)  # of the encoder's layer norms; 1e-6 in timm, 1e-5 in MONAI
    decoder_features: int = number(16, at_least=1)  # channels of UNETR's finest level
    out_indices: tuple[int, ...] = ()  # blocks, counted from 0, whose output feeds UNETR; () spreads them evenly
    out_norm: Literal["none", "instance"] = "none"  # of what feeds UNETR; the paper and MONAI have none
    network: str = ""  # a file of networks/; "" is dynunet for masks, vit for labels of whole images
    features: int = number(0, at_least=0)  # channels of the finest level; 0 has as many as the network's paper
    residual: bool = False  # of dynunet: blocks with a residual connection


@dataclass(frozen=True)
class InitOptions(Section):
    """What pre-training starts from, and how the weights of another model become the encoder's."""

    pretrain: str = "scratch"  # scratch, imagenet, timm:NAME, mae:DIR or a file of weights
    inflate: Literal["mean", "centre"] = "mean"  # 2-D patch weights in volumes: spread over the depth, or in its middle
    positions: Literal["fresh", "factorised"] = "fresh"  # of 2-D weights in volumes: sine-cosine, or in-plane + axial
    partial: bool = False  # True: load even where tensors of the encoder are missing or do not fit


@dataclass(frozen=True)
class ProbeOptions(Section):
    """Validations of the encoder during pre-training that choose the checkpoint (`tasks/probe.py`)."""

    every: int = number(0, at_least=0)  # steps between validations; 0 has none and keeps the last weights
    kind: Literal["reconstruction", "labels"] = "reconstruction"  # of val images; or a linear read-out on train labels
    patience: int = number(0, at_least=0)  # validations without a better score before stopping; 0 never stops early

    @property
    def ends_early(self) -> bool:
        """Return whether pre-training may take fewer steps than planned."""
        return bool(self.every and self.patience)


@dataclass(frozen=True)
class OptimOptions(Section):
    """One optimisation: linear warm-up, half-cosine to zero."""

    steps: int = number(at_least=1)
    batch: int = number(at_least=1)  # samples of one optimiser step, over all devices
    lr: float = number(above=0)
    optimizer: Literal["adamw", "sgd"] = "adamw"  # "sgd": momentum 0.9; `betas` play no part in it
    loss: str = ""  # fine-tuning: a file of losses/; "" is the usual one of the target
    warmup_steps: int = number(0, at_least=0)
    weight_decay: float = number(0.05, at_least=0)
    decay_tokens: bool = False  # True: class and mask token and learnable positions are decayed too
    betas: tuple[float, float] = number((0.9, 0.95), at_least=0, below=1)
    layer_decay: float = number(1.0, above=0, at_most=1)  # learning-rate factor from one block to the one below it
    drop_path: float = number(0.0, at_least=0, below=1)  # probability of skipping the last block's branches; linear
    clip: float = number(0.0, at_least=0)  # largest gradient norm; 0 does not clip
    crops_per_case: int = number(1, at_least=1)  # successive samples of one case: a batch of 24 with 4 shows 6 cases
    accumulate: int = number(1, at_least=1)  # forward passes of one optimiser step (each sees batch / accumulate)
    validate_every: int = number(0, at_least=0)  # steps between validations; 0 validates only at the end
    patience: int = number(0, at_least=0)  # validations without a better score before stopping; 0 never stops early
    augment: Mapping[str, Any] = field(default_factory=dict)  # a section for each file of augment/


@dataclass(frozen=True)
class PredictOptions(Section):
    """Sliding-window prediction, and the grid and unit in which masks are scored."""

    overlap: float = number(0.5, at_least=0, below=1)  # share of a window that its neighbour covers too
    blend: Literal["constant", "gaussian"] = "gaussian"
    grid: Literal["file", "prepared"] = "file"  # of scores; predicted masks are always on the file's
    distances: Literal["mm", "voxels"] = "mm"
    mirror: bool = False  # average the predictions of all mirrored images, on the axes of fit.augment.spatial.flip_axes
    largest_component: Literal["never", "validation"] = "never"  # of a label: kept alone where it helps on validation


@dataclass(frozen=True)
class DeviceOptions(Section):
    """Where and in which number format a run computes."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = number(1, at_least=1)
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
    methods: Mapping[str, Any] = field(default_factory=dict)  # options of each method, in files a section of its name
    init: InitOptions = field(default_factory=InitOptions)
    probe: ProbeOptions = field(default_factory=ProbeOptions)
    predict: PredictOptions = field(default_factory=PredictOptions)
    device: DeviceOptions = field(default_factory=DeviceOptions)
    seed: int = 0  # of initial weights, order, augmentation and masks
