"""The size of a U-Net's samples: working resolution, crop, features and batch that the time for a training affords."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from selfmae.networks import fit_crop

MIN_STEPS = 2000  # that a training should have before its samples and its network grow (LOG.md, ACDC)
BATCH = {2: 8, 3: 2}  # of 2-D images or slices, and of volumes
FEATURES = (8, 16, 32)  # of the finest resolution; nnU-Net has 32
FACTORS = (8.0, 6.0, 4.0, 3.0, 2.5, 2.0, 1.5, 1.25, 1.0)  # pixels that become one, along each axis of the plane
MIN_SIDE = 96  # pixels of the longer side, however little time there is: 64 are too coarse for hearts (LOG.md)
SLICES = 3.0  # spacing of slices in units of that in the plane, from which a CPU trains on slices
COVER = 0.25  # share of the median image that a crop shows at least, as for nnU-Net's full resolution


@dataclass(frozen=True)
class Size:
    """What one sample shows: `factor` voxels along each resampled axis become one; `shape` is the image after that."""

    factor: float
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]  # after that too; () where it is not known
    crop: tuple[int, ...]
    features: int
    batch: int

    @property
    def is_slices(self) -> bool:
        """Return whether volumes are seen slice by slice."""
        return len(self.crop) == 3 and self.crop[2] == 1


def takes_slices(shape: Sequence[int], spacing_mm: Sequence[float]) -> bool:
    """Return whether slices of a volume are much thicker than its pixels, or look so where no spacing is known."""
    if len(shape) != 3:
        return False
    if spacing_mm:
        return spacing_mm[2] >= SLICES * max(spacing_mm[:2])
    return shape[2] * SLICES < min(shape[:2])


def list_sizes(
    shape: Sequence[int], spacing_mm: Sequence[float], max_voxels: int, max_side: int, by_slices: bool
) -> Iterator[Size]:
    """Yield sizes from the cheapest to the best: first a finer resolution, then more features.

    `shape` [*S] is the median image. In the plane a crop is the whole image, of at most `max_side` pixels a side; of
    volumes it has at most `max_voxels`, and the resolution is as coarse as it takes to show `COVER` of the image.
    """
    if len(shape) == 3 and not by_slices:
        factor = max(1.0, (COVER * prod(shape) / max_voxels) ** (1 / 3))
        for features in FEATURES:
            yield _make_size(factor, shape, spacing_mm, features, max_voxels, 3)
        return
    longest = max(shape[:2])
    coarsest = (longest / max_side,) if longest > FACTORS[0] * max_side else ()
    factors = [*coarsest, *(factor for factor in FACTORS if longest / factor >= min(MIN_SIDE, longest))]
    for factor in factors:
        if longest / factor <= max_side or factor == factors[0]:
            yield _make_size(factor, shape, spacing_mm, FEATURES[0], max_voxels, 2)
    finest = next((factor for factor in reversed(factors) if longest / factor <= max_side), factors[0])
    for features in FEATURES[1:]:
        yield _make_size(finest, shape, spacing_mm, features, max_voxels, 2)


def _make_size(
    factor: float, shape: Sequence[int], spacing_mm: Sequence[float], features: int, max_voxels: int, num_axes: int
) -> Size:
    scaled = tuple(max(1, round(extent / factor)) if axis < num_axes else extent for axis, extent in enumerate(shape))
    wanted = list(scaled)
    if num_axes < len(shape):
        wanted[2] = 1  # one slice
    elif num_axes == 3:
        while prod(wanted) > max_voxels:  # cut the longest axis: a crop is as near a cube as the image allows
            wanted[wanted.index(max(wanted))] -= 1
    pairs = enumerate(spacing_mm)
    resampled = tuple(round(step * factor, 4) if axis < num_axes else step for axis, step in pairs)
    return Size(factor, scaled, resampled, fit_crop("dynunet", wanted, resampled), features, BATCH[num_axes])


def choose_size(sizes: Sequence[Size], time_step: Callable[[Size], float], seconds: float) -> tuple[Size, float]:
    """Return the best size of which `MIN_STEPS` take at most `seconds`, else the cheapest; and its seconds."""
    chosen, pace = sizes[0], time_step(sizes[0])
    for size in sizes[1:]:
        if pace * MIN_STEPS > seconds:
            break  # the next ones take longer still
        next_pace = time_step(size)
        if next_pace * MIN_STEPS > seconds:
            break
        chosen, pace = size, next_pace
    return chosen, pace
