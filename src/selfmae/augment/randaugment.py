"""RandAugment (Cubuk et al. 2020) of pictures, as timm's "rand-mX-mstd0.5-inc1": two random changes, once per draw.

The changes are timm's; what it draws from the global random state is drawn here, so that it follows from the draw.
Shapes: C channels, H and W sides of a picture.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from PIL import Image

from selfmae.options import DataOptions, Recipe, Section, number

NUM_CHANGES, PROBABILITY, DEVIATION = 2, 0.5, 0.5  # timm's defaults, and its "mstd0.5"
STRONGEST = 10.0  # magnitude of a whole strength
WHEN = "prepared"
SCALED = ("percentile", "window", "range")  # of data.intensity: values between 0 and 1
RESAMPLING = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)

# The argument of each change at a strength from 0 to 1 with a sign, which some of them ignore; None takes none.
CHANGES: dict[str, Callable[[float], float] | None] = {
    "AutoContrast": None,
    "Equalize": None,
    "Invert": None,
    "Rotate": lambda signed: 30 * signed,  # degrees
    "PosterizeIncreasing": lambda signed: 4 - int(4 * abs(signed)),  # bits that are kept
    "SolarizeIncreasing": lambda signed: 256 - int(256 * abs(signed)),  # values from here on are inverted
    "SolarizeAdd": lambda signed: int(110 * abs(signed)),  # added to values below 128
    "ColorIncreasing": lambda signed: max(0.1, 1 + 0.9 * signed),
    "ContrastIncreasing": lambda signed: max(0.1, 1 + 0.9 * signed),
    "BrightnessIncreasing": lambda signed: max(0.1, 1 + 0.9 * signed),
    "SharpnessIncreasing": lambda signed: max(0.1, 1 + 0.9 * signed),
    "ShearX": lambda signed: 0.3 * signed,
    "ShearY": lambda signed: 0.3 * signed,
    "TranslateXRel": lambda signed: 0.45 * signed,  # of the side
    "TranslateYRel": lambda signed: 0.45 * signed,
}


@dataclass(frozen=True)
class Options(Section):
    """How strong the changes are."""

    magnitude: float = number(0.0, at_least=0, at_most=10)  # X of timm's "rand-mX-mstd0.5-inc1"; 0 changes nothing


@dataclass(frozen=True)
class Change:
    """One change with its argument, and how it resamples where it moves pixels."""

    name: str
    arguments: tuple[float, ...]
    resampling: Image.Resampling


def problems(stage: str, options: Options, recipe: Recipe) -> Iterator[str]:
    """Yield why a recipe cannot have it: it is for 2-D images with labels, whose values lie between 0 and 1."""
    if not options.magnitude:
        return
    key = f"{stage}.augment.randaugment.magnitude"
    if stage == "pretrain" or recipe.target.kind == "mask" or len(recipe.data.crop) != 2:
        yield f"{key} is for fine-tuning on 2-D images with multilabel or multiclass targets: set it to 0"
    elif recipe.data.intensity not in SCALED:
        yield (
            f"{key} needs data.intensity {', '.join(SCALED[:-1])} or {SCALED[-1]}, whose values lie between 0 and 1, "
            f"but it is {recipe.data.intensity}"
        )


def apply(image: np.ndarray, options: Options, data: DataOptions, rng: np.random.Generator) -> np.ndarray:
    """Return an image [C, H, W] changed, float32 from 0 to 1 in steps of 1/255.

    What comes from outside is `data.mean`.
    """
    if not options.magnitude:
        return image
    return change_picture(image, draw_changes(options.magnitude, rng), data.mean)


def draw_changes(magnitude: float, rng: np.random.Generator) -> list[Change]:
    """Draw none to two changes of a strength around `magnitude` (0 to 10)."""
    changes = []
    for name in map(str, rng.choice(list(CHANGES), NUM_CHANGES)):
        if rng.random() < PROBABILITY:
            strength = float(np.clip(rng.normal(magnitude, DEVIATION), 0, STRONGEST)) / STRONGEST
            argument = CHANGES[name]
            arguments = (argument(strength if rng.random() < 0.5 else -strength),) if argument else ()
            changes.append(Change(name, arguments, RESAMPLING[int(rng.integers(len(RESAMPLING)))]))
    return changes


def change_picture(image: np.ndarray, changes: list[Change], fill: float) -> np.ndarray:
    """Return the picture after these changes; three channels are changed as colours, others each on its own."""
    from timm.data.auto_augment import NAME_TO_OP

    pixels = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    pictures = [np.moveaxis(pixels, 0, -1)] if len(pixels) == 3 else list(pixels)
    shade, changed = min(255, round(255 * fill)), []
    for values in pictures:
        picture = Image.fromarray(values)
        colour = shade if picture.mode == "L" else (shade,) * 3
        for change in changes:
            operation = cast(Callable[..., Image.Image], NAME_TO_OP[change.name])
            picture = operation(picture, *change.arguments, fillcolor=colour, resample=change.resampling)
        changed.append(np.asarray(picture))
    together = np.moveaxis(changed[0], -1, 0) if len(pixels) == 3 else np.stack(changed)
    return together.astype(np.float32) / 255
