"""What a sample shows: a random crop, mirrored, scaled and turned.

Every draw is a pure function of a NumPy generator, so that the same draw gives the same view on every machine and after
every restart; `data.sampling` takes what a view shows.

Shapes: S spatial axes. Coordinates are voxel indices; volumes turn in the plane of their first two axes (axial, since
volumes are stored as RAS), in millimetres.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import exp, log, radians

import numpy as np

from selfmae.augment._draws import happens, rising_problems
from selfmae.options import Recipe, Section, number


@dataclass(frozen=True)
class Options(Section):
    """How crops are drawn and changed."""

    flip_axes: tuple[int, ...] = ()  # axes that may be mirrored, each with probability `flip`
    flip: float = number(0.5, at_least=0, at_most=1)
    min_scale: float = number(1.0, above=0, at_most=1)  # smallest share of the image in a random resized crop
    foreground: float = number(0.0, at_least=0, at_most=1)  # share of crops on a label; in pre-training, on tissue
    rotate_degrees: float = number(0.0, at_least=0, at_most=180)  # largest rotation, of the first two axes (axial)
    rotate_probability: float = number(1.0, at_least=0, at_most=1)
    zoom: float = number(0.0, at_least=0, below=1)  # largest relative change of size
    zoom_range: tuple[float, ...] = number((), above=0)  # instead of `zoom`: (0.7, 1.4) shows 0.7 to 1.4 times as much
    zoom_probability: float = number(1.0, at_least=0, at_most=1)
    quarter_turns: float = number(0.0, at_least=0, at_most=1)  # probability of one to three, in the same plane


@dataclass(frozen=True)
class View:
    """A crop of a padded image and its change: `scale` and `angle` map positions in the crop to those in the image."""

    crop: tuple[int, ...]  # size of what comes out
    corner: tuple[int, ...]  # of the crop
    flips: tuple[bool, ...]
    centre: tuple[float, ...] = ()  # position of the crop's middle, where it is scaled or turned
    scale: tuple[float, ...] = field(default=())  # voxels of the image per voxel of the crop; () is a plain slice
    angle: float = 0.0  # radians
    aspect: float = 1.0  # voxel of the first axis by one of the second, in mm: turned bodies keep their form
    turns: int = 0  # quarters, after all else


def problems(stage: str, options: Options, recipe: Recipe) -> Iterator[str]:
    """Yield what does not fit the axes and the shape of the crop, or excludes each other."""
    key, crop = f"{stage}.augment.spatial", recipe.data.crop
    if any(not 0 <= axis < len(crop) for axis in options.flip_axes):
        yield f"{key}.flip_axes {list(options.flip_axes)} must name axes from 0 to {len(crop) - 1}"
    if options.foreground and options.min_scale < 1:
        yield f"{key}.foreground means nothing with {key}.min_scale below 1: set one of them only"
    if options.zoom_range:
        yield from rising_problems(f"{key}.zoom_range", options.zoom_range)
    if options.zoom_range and options.zoom:
        yield f"{key}.zoom_range means nothing with {key}.zoom above 0: set one of them only"
    if options.quarter_turns and crop[0] != crop[1]:
        yield f"{key}.quarter_turns needs a data.crop with two equal first axes, but it is {list(crop)}"


def draw_corner(
    shape: Sequence[int],
    crop: Sequence[int],
    rng: np.random.Generator,
    coordinates: np.ndarray | None,
    foreground: float,
) -> tuple[int, ...]:
    """Return the lower corner of a random crop in a volume of `shape` [*S], drawn evenly over all positions.

    With probability `foreground` the crop is centred, as far as the border allows, on a voxel of the table
    `coordinates` (of `data.preparation.store`): first a label among those present, then one of its voxels, so that
    small organs are seen as often as large ones.
    """
    room = [max(0, have - want) for have, want in zip(shape, crop, strict=True)]
    even = tuple(int(rng.integers(extent + 1)) for extent in room)
    if coordinates is None or rng.random() >= foreground:
        return even
    voxel = draw_voxel(coordinates, rng)
    if voxel is None:
        return even
    centre = np.unravel_index(voxel, tuple(shape))
    return tuple(min(max(0, int(at) - want // 2), extent) for at, want, extent in zip(centre, crop, room, strict=True))


def draw_voxel(table: np.ndarray, rng: np.random.Generator) -> int | None:
    """Draw a row of a table of voxels evenly, then one of its voxels (a flat index); None if the table is empty.

    A row holds the number of its voxels, then the voxels.
    """
    filled = np.flatnonzero(table[:, 0])
    if not len(filled):
        return None
    row = table[rng.choice(filled)]
    return int(row[1 + rng.integers(int(row[0]))])


def middle_corner(shape: Sequence[int], crop: Sequence[int]) -> tuple[int, ...]:
    """Return the lower corner of the crop in the middle."""
    return tuple(max(0, have - want) // 2 for have, want in zip(shape, crop, strict=True))


def draw_view(
    shape: Sequence[int],
    crop: Sequence[int],
    corner: Sequence[int],
    options: Options,
    rng: np.random.Generator,
    spacing_mm: Sequence[float] = (),
) -> View:
    """Draw how the crop at `corner` of an image [*S] is changed; random resized crops have a corner of their own.

    Without `spacing_mm` voxels are taken to be as long on the first axis as on the second.
    """
    flips = tuple(axis in options.flip_axes and bool(rng.random() < options.flip) for axis in range(len(crop)))
    view = View(tuple(crop), tuple(corner), flips, aspect=spacing_mm[0] / spacing_mm[1] if spacing_mm else 1.0)
    zooms = bool(options.zoom or options.zoom_range) and happens(options.zoom_probability, rng)
    rotates = options.rotate_degrees > 0 and happens(options.rotate_probability, rng)
    if options.min_scale < 1 or zooms or rotates:
        scale, centre = np.ones(len(crop)), np.add(corner, np.subtract(crop, 1) / 2)
        if options.min_scale < 1:
            scale, centre = _draw_part(np.maximum(shape, crop), crop, options.min_scale, rng)
        if zooms:
            scale = scale * _draw_zoom(options, rng)
        largest = options.rotate_degrees
        angle = radians(rng.uniform(-largest, largest)) if rotates else 0.0
        view = replace(view, centre=tuple(centre), scale=tuple(scale), angle=angle)
    if options.quarter_turns and rng.random() < options.quarter_turns:
        view = replace(view, turns=int(rng.integers(1, 4)))
    return view


def _draw_zoom(options: Options, rng: np.random.Generator) -> float:
    """Draw voxels of the image per voxel of the crop, evenly over the range."""
    if options.zoom_range:
        low, high = options.zoom_range
        return rng.uniform(low, high)
    return 1 + rng.uniform(-options.zoom, options.zoom)


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
