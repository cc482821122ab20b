"""Random views of an image, once per draw: where to look, how it is mirrored, scaled and turned.

Every draw is a pure function of a NumPy generator, so that the same draw gives the same view on every machine and after
every restart; `data.sampling.samples` takes what a view shows.

Shapes: S spatial axes. Places are voxel indices; volumes turn in the plane of their first two axes, in millimetres.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import exp, log, radians

import numpy as np
import torch
from torch import Tensor

from selfmae.data.case import Case
from selfmae.data.memory import image_threads
from selfmae.data.preparation.store import draw_place
from selfmae.options import AugmentOptions
from selfmae.seeds import derive, generator

Sample = dict[str, Tensor]
AHEAD = 3  # batches prepared before they are asked for


@dataclass(frozen=True)
class View:
    """A crop of a padded image and its change: `scale` and `angle` map places of the crop to places of the image."""

    crop: tuple[int, ...]  # size of what comes out
    corner: tuple[int, ...]  # of the crop
    flips: tuple[bool, ...]
    centre: tuple[float, ...] = ()  # place of the crop's middle, where it is scaled or turned
    scale: tuple[float, ...] = field(default=())  # voxels of the image per voxel of the crop; () is a plain slice
    angle: float = 0.0  # radians
    aspect: float = 1.0  # voxel of the first axis by one of the second, in mm: turned bodies keep their form
    turns: int = 0  # quarters, after all else


@dataclass(frozen=True)
class Draw:
    """One look at one case: `seed` decides crop, augmentation, mask and DropPath."""

    case: Case
    seed: int


def draw_corner(
    shape: Sequence[int], crop: Sequence[int], rng: np.random.Generator, places: np.ndarray | None, foreground: float
) -> tuple[int, ...]:
    """Return the lower corner of a random crop in a volume of `shape` [*S], drawn evenly over all places.

    With probability `foreground` the crop is centred, as far as the border allows, on a voxel of the table `places`
    (of `data.preparation.places`): first a label among those present, then one of its voxels, so that small organs are
    seen as often as large ones.
    """
    room = [max(0, have - want) for have, want in zip(shape, crop, strict=True)]
    even = tuple(int(rng.integers(extent + 1)) for extent in room)
    if places is None or rng.random() >= foreground:
        return even
    place = draw_place(places, rng)
    if place is None:
        return even
    centre = np.unravel_index(place, tuple(shape))
    return tuple(min(max(0, int(at) - want // 2), extent) for at, want, extent in zip(centre, crop, room, strict=True))


def middle_corner(shape: Sequence[int], crop: Sequence[int]) -> tuple[int, ...]:
    """Return the lower corner of the crop in the middle."""
    return tuple(max(0, have - want) // 2 for have, want in zip(shape, crop, strict=True))


def draw_view(
    shape: Sequence[int],
    crop: Sequence[int],
    corner: Sequence[int],
    options: AugmentOptions,
    rng: np.random.Generator,
    spacing_mm: Sequence[float] = (),
) -> View:
    """Draw how the crop at `corner` of an image [*S] is changed; random resized crops take the place of the corner.

    Without `spacing_mm` voxels are taken to be as long on the first axis as on the second.
    """
    flips = tuple(axis in options.flip_axes and bool(rng.random() < options.flip) for axis in range(len(crop)))
    view = View(tuple(crop), tuple(corner), flips, aspect=spacing_mm[0] / spacing_mm[1] if spacing_mm else 1.0)
    if options.min_scale < 1 or options.rotate_degrees or options.zoom:
        view = _draw_warp(view, shape, options, rng)
    if options.quarter_turns and rng.random() < options.quarter_turns:
        view = replace(view, turns=int(rng.integers(1, 4)))
    return view


def _draw_warp(view: View, shape: Sequence[int], options: AugmentOptions, rng: np.random.Generator) -> View:
    """Return the view scaled and turned."""
    crop, corner = view.crop, view.corner
    scale, centre = np.ones(len(crop)), np.add(corner, np.subtract(crop, 1) / 2)
    if options.min_scale < 1:
        scale, centre = _draw_part(np.maximum(shape, crop), crop, options.min_scale, rng)
    if options.zoom:
        scale = scale * (1 + rng.uniform(-options.zoom, options.zoom))
    angle = radians(rng.uniform(-options.rotate_degrees, options.rotate_degrees)) if options.rotate_degrees else 0.0
    return replace(view, centre=tuple(centre), scale=tuple(scale), angle=angle)


def _draw_part(
    whole: np.ndarray, crop: Sequence[int], min_scale: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw scale and centre of a random resized crop: share and aspect as in torchvision, even over where it fits."""
    num_axes = len(crop)
    side = rng.uniform(min_scale, 1) ** (1 / num_axes)
    aspect = exp(rng.uniform(log(3 / 4), log(4 / 3)) / 2)
    share = np.minimum(side * np.array([*[1.0] * (num_axes - 2), 1 / aspect, aspect]), 1)
    shift = rng.uniform(-1, 1, num_axes) * (1 - share) * whole / 2
    return share * whole / crop, (whole - 1) / 2 + shift


def draw_at(cases: Sequence[Case], seed: int, place: int, crops_per_case: int = 1) -> Draw:
    """Return the draw at this place of the stream: every epoch shows every case once, in a new order.

    A case is shown `crops_per_case` times in succession, each time with other changes.
    """
    epoch, index = divmod(place // crops_per_case, len(cases))
    return Draw(cases[int(_order(len(cases), seed, epoch)[index])], derive(seed, "draw", place))


@lru_cache(maxsize=4)
def _order(num_cases: int, seed: int, epoch: int) -> np.ndarray:
    return generator(seed, "order", epoch).permutation(num_cases)


def collate(samples: Sequence[Sample]) -> Sample:
    """Stack samples to a batch: every value [*] becomes [B, *]."""
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def stream(
    make: Callable[[Draw], Sample], batches: Iterable[Sequence[Draw]], num_threads: int
) -> Generator[Sample, None, None]:
    """Yield the samples of each batch of draws, collated, made ahead of time by `num_threads` threads.

    The batches are the same for any number of threads. An error in a thread is raised here, in place of its batch.
    """

    def gather(samples: Sequence[Future[Sample]]) -> Sample:
        return collate([sample.result() for sample in samples])

    ready: deque[Future[Sample]] = deque()
    with image_threads(num_threads) as pool:
        for draws in batches:
            # Queued behind its samples, so that no thread waits here for a sample that none has begun.
            ready.append(pool.submit(gather, [pool.submit(make, draw) for draw in draws]))
            if len(ready) > AHEAD:
                yield ready.popleft().result()
        while ready:
            yield ready.popleft().result()
