"""Generated abdomens whose organs depend on each other in position, size and texture, so that context can be learned.

Positions are relative: x left to right, y back to front, z foot to head (RAS), each -1..1 whatever the volume's size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import ndimage

ORGANS = ("liver", "spleen", "right kidney", "left kidney", "aorta", "pancreas")  # mask values 1..6
Position = Sequence[float] | np.ndarray  # x, y, z
AIR, FAT, MUSCLE, LUNG = -1000.0, -100.0, 55.0, -820.0  # HU


@dataclass(frozen=True)
class Build:
    """What all organs of one body have in common, each value about -1..1."""

    bulk: float  # wide body, thick fat
    depth: float  # round rather than flat body
    roll: float  # lying turned about the long axis
    curve: float  # sideways bend of the spine
    growth: float  # large liver and spleen, which push kidneys and pancreas down
    disease: float  # darker, coarser liver and spleen
    contrast: float  # how far the contrast agent has come: aorta, kidneys, liver and spleen brighten together
    breath: float  # organs and diaphragm high or low

    @classmethod
    def draw(cls, rng: Generator) -> "Build":
        """Draw each value independently from a normal of deviation 0.6, clipped at -1.2 and 1.2."""
        return cls(*(float(value) for value in np.clip(rng.normal(0, 0.6, 8), -1.2, 1.2)))


@dataclass(frozen=True)
class Style:
    """How hard it is to tell the organs from each other and from what surrounds them."""

    hu: tuple[float, ...]  # mean intensity of each organ
    swell: float  # how large all organs but the liver are
    body: tuple[float, float]  # half the width and depth of the body; 1 fills the frame
    bone: float  # HU
    cava: float  # HU of the vena cava next to the aorta, above the aorta's


LIFELIKE = Style((68, 66, 74, 74, 84, 60), 1.0, (0.85, 0.72), 250.0, -18.0)
# Found by trying: each organ has an intensity that little else has, and is large enough to be found in few steps.
PLAIN = Style((90, 120, 150, 150, 180, 215), 1.4, (0.98, 0.88), 700.0, -120.0)


@dataclass(frozen=True)
class Canvas:
    """A volume being painted: intensity in HU, mask, and the body's own bent coordinates."""

    axes: tuple[np.ndarray, np.ndarray, np.ndarray]  # x, y, z of every voxel
    hu: np.ndarray
    mask: np.ndarray
    cavity: np.ndarray  # where organs may lie

    def paint(self, where: np.ndarray, hu: float | np.ndarray, label: int = 0) -> None:
        """Give the voxels `where` inside the cavity this intensity and this label."""
        inside = where & self.cavity
        self.hu[inside] = hu[inside] if isinstance(hu, np.ndarray) else hu
        self.mask[inside] = label

    def ellipsoid(self, centre: Position, radii: Position, turn: float = 0.0) -> np.ndarray:
        """Return the voxels of an ellipsoid turned by `turn` radians about z."""
        x, y, z = (axis - float(position) for axis, position in zip(self.axes, centre, strict=True))
        x, y = turned(x, y, turn) if turn else (x, y)
        a, b, c = (float(radius) for radius in radii)
        return (x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 < 1


def draw_volume(
    rng: Generator, size: tuple[int, int, int], num_channels: int, style: Style = LIFELIKE
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one body: the image, int16 [*S, C], and its mask, uint8 [*S]."""
    build = Build.draw(rng)
    canvas = _body(rng, build, size, style)
    _bowel(rng, canvas, build)
    _organs(rng, canvas, build, style)
    x, y, z = canvas.axes
    dome = 0.86 + 0.12 * build.breath - 1.1 * ((np.abs(x) - 0.4) ** 2 + (y - 0.05) ** 2)  # of the diaphragm
    canvas.paint((z > dome) & (np.abs(x) > 0.14), LUNG)
    clean = ndimage.gaussian_filter(canvas.hu, 0.4, mode="nearest")  # partial volume at the borders
    return np.stack([_acquire(rng, clean, channel) for channel in range(num_channels)], axis=-1), canvas.mask


def smooth_field(rng: Generator, size: tuple[int, ...], num_waves: int) -> np.ndarray:
    """Return smooth noise of about unit deviation with fewer than `num_waves` half waves along each axis."""
    field = rng.standard_normal((num_waves,) * len(size), dtype=np.float32)
    for extent in size:
        waves = np.cos(np.pi * np.outer(np.arange(num_waves), np.arange(extent) + 0.5) / extent).astype(np.float32)
        # Each pass turns the first axis into the last one. Not a matrix product: its last bit may depend on threads.
        field = np.einsum("k...,kn->...n", field, waves)
    return np.clip(field / field.std(), -3, 3)


def turned(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates seen from axes that are turned by `angle` radians."""
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _body(rng: Generator, build: Build, size: tuple[int, int, int], style: Style) -> Canvas:
    """Bend the coordinates and paint skin, fat, muscle and spine."""
    x, y, z = np.meshgrid(*((np.arange(n, dtype=np.float32) * 2 + 1) / n - 1 for n in size), indexing="ij")
    x = x - float(rng.normal(0, 0.03)) - 0.08 * build.curve * np.sin(np.pi * (z + 0.3))
    y = y - float(rng.normal(0, 0.03))
    x, y = turned(x, y, 0.16 * build.roll)
    x = x / (style.body[0] + 0.07 * build.bulk)
    y = y / (style.body[1] + 0.05 * build.bulk + 0.07 * build.depth)
    hull = np.sqrt(x**2 + y**2 + 0.15 * x**2 * y**2)  # 1 at the skin
    # The skin stays smooth; what lies inside is bent a little for each person.
    x, y, z = (axis + 0.035 * smooth_field(rng, size, 5) for axis in (x, y, z))
    fat, wall = 0.11 + 0.06 * build.bulk, 0.09
    hu = np.where(hull < 1, np.float32(FAT), np.float32(AIR))
    muscle = (hull < 1 - fat) & (hull > 1 - fat - wall)
    back = (np.abs(np.abs(x) - 0.2) < 0.13) & (np.abs(y + 0.68) < 0.13)
    hu[muscle | (back & (hull < 1 - fat))] = MUSCLE
    hu[muscle & (np.cos(11 * (z + 0.5 * y)) > 0.75) & (z > -0.3)] = style.bone  # ribs
    spine = (x / 0.15) ** 2 + ((y + 0.5) / 0.17) ** 2 < 1
    hu[spine] = np.where(np.cos(9 * z) > -0.75, style.bone, 90.0)[spine]  # vertebrae and discs
    cavity = (hull < 1 - fat - wall) & ~spine & ~back
    return Canvas((x, y, z), hu, np.zeros(size, np.uint8), cavity)


def _bowel(rng: Generator, canvas: Canvas, build: Build) -> None:
    """Paint stomach and bowel loops: organ-like in intensity, never in the mask."""
    stomach = canvas.ellipsoid((-0.35, 0.3, 0.35 + 0.08 * build.breath), (0.28, 0.26, 0.3), 0.4)
    canvas.paint(stomach, rng.uniform(35, 80))
    for _ in range(16):
        centre = rng.uniform((-0.65, -0.1, -1.1), (0.65, 0.6, -0.05))
        canvas.paint(canvas.ellipsoid(centre, rng.uniform(0.12, 0.26, 3), rng.uniform(0, 3)), rng.uniform(25, 95))
    # One blob among the organs looks like them in size, too.
    centre = rng.uniform((-0.3, -0.2, -0.4), (0.3, 0.4, 0.6))
    canvas.paint(canvas.ellipsoid(centre, rng.uniform(0.1, 0.18, 3)), rng.uniform(40, 90))


def _organs(rng: Generator, canvas: Canvas, build: Build, style: Style) -> None:
    """Paint the organs; the later of two that overlap wins."""
    size = canvas.hu.shape
    grain = smooth_field(rng, size, 14) * (7 + 5 * build.disease)  # liver and spleen share texture and its strength
    # The ranges of intensities overlap; their order follows disease and contrast agent.
    hu = np.array(style.hu, np.float32) + np.array((-14, -11, 0, 0, 0, -4)) * build.disease
    hu = hu + np.array((9, 12, 20, 20, 28, 7)) * build.contrast + rng.normal(0, 4, len(ORGANS))
    jitter = rng.normal(0, 0.02, (len(ORGANS), 3))
    large = 1 + 0.17 * build.growth + 0.03 * rng.normal()
    spleen = style.swell * (1 + 0.2 * build.growth + 0.06 * rng.normal())
    up, down = 0.1 * build.breath, 0.22 * build.growth

    position = jitter[0] + (0.36, 0.05, 0.4 + up)
    liver = canvas.ellipsoid(position, np.array((0.4, 0.6, 0.42)) * large)
    liver |= canvas.ellipsoid(position + np.array((-0.35, 0.22, 0.02)), np.array((0.36, 0.26, 0.2)) * large, -0.3)
    canvas.paint(liver, hu[0] + grain, 1)
    position = jitter[1] + (-0.56, -0.22, 0.38 + up)
    canvas.paint(canvas.ellipsoid(position, np.array((0.15, 0.32, 0.28)) * spleen, -0.4), hu[1] + grain, 2)
    kidney = np.array((0.15, 0.2, 0.28)) * style.swell * (1 + 0.1 * build.bulk + 0.04 * rng.normal())
    for index, side, level in ((2, 1, -0.3 - down), (3, -1, -0.17 - 0.7 * down)):
        position = jitter[index] + (0.44 * side, -0.3, level + up)
        canvas.paint(canvas.ellipsoid(position, kidney, 0.5 * side), hu[index], index + 1)
        canvas.paint(canvas.ellipsoid(position - (0.08 * side, 0, 0), kidney * 0.35), -40.0)  # fat of the renal pelvis
    x, y, _ = canvas.axes
    canvas.paint(_pancreas(canvas, jitter[5] + (0, 0, up - 0.5 * down), 0.11 * style.swell), hu[5], 6)
    # In small volumes the thin organs are at least about two voxels wide.
    vessel = max(0.085 * style.swell + 0.012 * build.bulk, 2.2 / min(size[:2]))
    canvas.paint((x + 0.1) ** 2 + (y + 0.2) ** 2 < vessel**2, hu[4], 5)
    canvas.paint((x - 0.13) ** 2 + (y + 0.17) ** 2 < (1.1 * vessel) ** 2, hu[4] + style.cava)  # vena cava: a distractor


def _pancreas(canvas: Canvas, shift: np.ndarray, thickness: float) -> np.ndarray:
    """Return a thin arched tube from before the vena cava to the hilum of the spleen."""
    x, y, z = (axis - float(offset) for axis, offset in zip(canvas.axes, shift, strict=True))
    along = np.clip((0.22 - x) / 0.62, 0, 1)  # 0 at the head, 1 at the tail
    gaps = x - 0.22 + 0.62 * along, y - 0.02 - 0.16 * np.sin(np.pi * along) + 0.08 * along, z + 0.02 - 0.22 * along
    radius = np.maximum(thickness - 0.03 * along, 2.2 / min(canvas.hu.shape))
    return gaps[0] ** 2 + gaps[1] ** 2 + gaps[2] ** 2 < radius**2


def _acquire(rng: Generator, clean: np.ndarray, channel: int) -> np.ndarray:
    """Return what a scanner would store for one channel, int16: 0 in HU, the others different contrasts of 0..1000."""
    size = clean.shape
    noise = rng.standard_normal(size, dtype=np.float32)
    bias = smooth_field(rng, size, 3)
    if channel == 0:
        gain, offset = rng.normal(1, 0.05), rng.normal(0, 6)
        body = (clean > -900) * (bias * 8 + offset)
        return np.clip(np.where(clean > -200, clean * gain, clean) + body + 18 * noise, -1024, 1500).astype(np.int16)
    tissue = np.clip((clean + 180) / 480, 0, 1)  # 0 air, 0.15 fat, about 0.5 organs, 0.9 bone
    # Odd channels rise and fall with tissue (fluid-weighted), even ones only rise, each steeper than the one before.
    shown = np.sin(np.pi * tissue) ** (channel + 1) if channel % 2 else tissue ** (1 / channel)
    return np.clip(1000 * shown * (1 + 0.12 * bias) + 40 * noise, 0, 2000).astype(np.int16)
