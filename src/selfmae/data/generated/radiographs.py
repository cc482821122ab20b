"""Generated chest radiographs with findings that go together, subtle enough that a small model does not find them all.

Positions are relative: `column` -1..1 from the image's left (the patient's right), `row` 0..1 from the top.
Brightness is 0 (air) to about 1 (bone) before exposure.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import ndimage

FINDINGS = ("cardiomegaly", "effusion", "consolidation", "nodule", "pneumothorax")
LARGE_HEART = 0.5  # heart to thorax width from which a heart is called enlarged


@dataclass(frozen=True)
class Chest:
    """What all images of one patient share; causes are about normal with deviation 1."""

    width: float  # half the thorax, in columns
    heart_ratio: float  # heart to thorax width
    domes: tuple[float, float]  # rows of the diaphragm, image left and right
    rib_spacing: float
    bulk: float  # thickness of soft tissue
    failure: float  # cause of a large heart and of effusion
    infection: float  # cause of consolidation and, less, of effusion

    @classmethod
    def draw(cls, rng: Generator) -> "Chest":
        """Draw one patient: a failing heart is larger, a broad person has a higher diaphragm."""
        bulk, failure, infection = np.clip(rng.normal(0, 1, 3), -2.2, 2.2)
        base = 0.76 - 0.02 * bulk + 0.025 * rng.normal()
        return cls(
            width=float(0.72 + 0.03 * bulk + np.clip(rng.normal(0, 0.055), -0.12, 0.12)),
            heart_ratio=float(0.475 + 0.027 * failure + 0.029 * rng.normal()),
            domes=(float(base), float(base + 0.03 + 0.01 * rng.normal())),
            rib_spacing=float(rng.uniform(0.085, 0.11)),
            bulk=float(bulk),
            failure=float(failure),
            infection=float(infection),
        )


@dataclass(frozen=True)
class View:
    """One exposure of a chest: coordinates as the patient stood, and where the lungs are."""

    row: np.ndarray
    column: np.ndarray
    outward: tuple[np.ndarray, np.ndarray]  # for each lung 0 at the midline, 1 at the chest wall
    lungs: tuple[np.ndarray, np.ndarray]  # 0..1, soft-edged


def draw_radiograph(
    rng: Generator, chest: Chest, size: tuple[int, int], clarity: float = 1.0
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Draw an image, uint8 [rows, columns], and its findings, 0 or 1; `clarity` multiplies their contrast."""
    # Independent streams: a finding changes nothing but itself.
    stance, film, *streams = rng.spawn(2 + len(FINDINGS))
    findings = _draw_findings(rng, chest)
    view = _stand(stance, chest, size)
    shadow, vessels = _thorax(view, chest), _vessels(stance, view)
    present = {name: stream for name, stream, found in zip(FINDINGS, streams, findings, strict=True) if found}
    if "pneumothorax" in present:
        shadow, vessels = _collapse(present["pneumothorax"], view, shadow, vessels, clarity)
    shadow = shadow + vessels
    for name, draw in (("effusion", _effusion), ("consolidation", _consolidation), ("nodule", _nodule)):
        if name in present:
            side = int(present[name].integers(2))
            shadow = shadow + clarity * draw(present[name], view, chest, side) * view.lungs[side]
    return _expose(film, shadow), findings


def _draw_findings(rng: Generator, chest: Chest) -> tuple[int, ...]:
    """Draw the findings from the patient's causes, so that they go together."""
    logits = {
        "effusion": -1.0 + 1.5 * chest.failure + 0.8 * chest.infection,
        "consolidation": -0.9 + 1.5 * chest.infection,
        "nodule": -0.7,
        "pneumothorax": -1.1 - 0.4 * chest.failure,
    }
    drawn = {name: int(rng.random() < 1 / (1 + np.exp(-logit))) for name, logit in logits.items()}
    return (int(chest.heart_ratio > LARGE_HEART), *(drawn[name] for name in FINDINGS[1:]))


def _stand(rng: Generator, chest: Chest, size: tuple[int, int]) -> View:
    """Position the patient before the detector: shifted, leaning, nearer or farther, breathing in more or less."""
    row, column = np.meshgrid(*((np.arange(extent) + 0.5) / extent for extent in size), indexing="ij")
    row, column = row - 0.5 - rng.normal(0, 0.015), 2 * column - 1 - rng.normal(0, 0.03)
    lean, zoom, breath = rng.normal(0, 0.03), rng.normal(1, 0.05), rng.normal(0, 0.02)
    row, column = 0.5 + (row + 0.5 * lean * column) / zoom, (column - 2 * lean * row) / zoom
    # The chest wall closes over the apex of the lungs and is widest at two thirds of the height.
    wall = chest.width * np.sqrt(np.clip(1 - ((row - 0.68) / 0.6) ** 2, 0.02, None))
    outward = (-column / wall, column / wall)
    lungs = tuple(
        _soft(0.97 - out, 0.04)
        * _soft(out - 0.13, 0.05)
        * _soft(row - 0.11, 0.02)
        * _soft(dome + breath + 0.33 * (out - 0.45) ** 2 - row, 0.008)
        for out, dome in zip(outward, chest.domes, strict=True)
    )
    return View(row, column, outward, (lungs[0], lungs[1]))


def _soft(distance: np.ndarray, width: float) -> np.ndarray:
    """Return a soft step: 0 where `distance` is far below zero, 1 far above."""
    return 0.5 + 0.5 * np.tanh(distance / width)


def _thorax(view: View, chest: Chest) -> np.ndarray:
    """Return the shadow of body, lungs, heart, spine, ribs and collar bones."""
    row, column, air = view.row, view.column, view.lungs[0] + view.lungs[1]
    out = np.maximum(*view.outward)
    shoulders = chest.width * 1.18 + 0.02 * chest.bulk + 0.25 * np.exp(-(((row - 0.25) / 0.15) ** 2))
    neck = _soft(row - 0.1 + 0.1 * _soft(0.25 - np.abs(column), 0.05), 0.03)
    body = _soft(shoulders - np.abs(column), 0.04) * neck
    heart_width = chest.heart_ratio * chest.width
    level = (row - chest.domes[1] + 0.13) / 0.2
    heart = ((column - 0.06 * level) / heart_width - 0.22) ** 2 + level**2
    arch = ((column - 0.06) / 0.17) ** 2 + ((row - 0.34) / 0.1) ** 2
    ribs = np.clip(np.cos(2 * np.pi * (row - 0.14 * out**2) / chest.rib_spacing), 0, 1) ** 2 * (out < 1.05)
    collar = np.exp(-(((row - 0.17 + 0.09 * np.abs(column)) / 0.014) ** 2)) * (np.abs(column) < 0.75)
    shadow = body * (0.62 + 0.03 * chest.bulk) - 0.42 * air * (1 - 0.35 * np.clip(out, 0, 1) ** 2)
    shadow = shadow + air * (0.3 * _soft(1 - heart, 0.1) + 0.2 * _soft(1 - arch, 0.2))
    shadow = shadow + body * (0.13 * _soft(0.1 - np.abs(column), 0.03) + 0.05 * ribs + 0.07 * collar)
    return shadow + 0.08 * body * _soft(row - 0.8, 0.05)


def _vessels(rng: Generator, view: View) -> np.ndarray:
    """Return the lung markings, dense at the hila, among them vessels seen end-on that look like small nodules."""
    grain = rng.normal(0, 1, view.row.shape)
    smooth = ndimage.gaussian_filter(grain, 0.018 * view.row.shape[0], mode="nearest")
    marks = smooth / smooth.std() * 0.032
    shadow = np.zeros_like(view.row)
    for lung, out in zip(view.lungs, view.outward, strict=True):
        hilum = np.exp(-(((out - 0.25) / 0.2) ** 2) - ((view.row - 0.47) / 0.12) ** 2)
        shadow += lung * (marks * (0.5 + np.exp(-2 * np.clip(out, 0, 1))) + 0.11 * hilum)
        for _ in range(rng.integers(0, 3)):
            shadow += lung * _spot(view, out, rng.uniform(0.25, 0.6), rng.uniform(0.35, 0.7), 0.018) * 0.12
    return shadow


def _spot(view: View, out: np.ndarray, position: float, row: float, radius: float) -> np.ndarray:
    """Return a round spot of height 1 in one lung; its radius is a fraction of the image's height."""
    return np.exp(-(((out - position) * 0.36) ** 2 + (view.row - row) ** 2) / (2 * radius**2))


def _effusion(rng: Generator, view: View, chest: Chest, side: int) -> np.ndarray:
    """Return fluid that fills the angle between diaphragm and chest wall, higher at the wall."""
    height = rng.uniform(-0.05, 0.1)
    level = chest.domes[side] + 0.05 - height - 0.14 * np.clip(view.outward[side], 0, 1.2) ** 3
    return rng.uniform(0.08, 0.2) * _soft(view.row - level, 0.03)


def _consolidation(rng: Generator, view: View, chest: Chest, side: int) -> np.ndarray:
    """Return a cloudy patch in the middle or lower zone."""
    position, row = rng.uniform(0.35, 0.75), rng.uniform(0.4, chest.domes[side] - 0.08)
    patch = _spot(view, view.outward[side], position, row, rng.uniform(0.05, 0.1))
    cloud = ndimage.gaussian_filter(rng.normal(0, 1, view.row.shape), 0.035 * view.row.shape[0], mode="nearest")
    return rng.uniform(0.11, 0.23) * patch * np.clip(1 + 0.5 * cloud / cloud.std(), 0, 2)


def _nodule(rng: Generator, view: View, chest: Chest, side: int) -> np.ndarray:
    """Return a round spot, larger than a vessel seen end-on."""
    position, row = rng.uniform(0.3, 0.85), rng.uniform(0.25, chest.domes[side] - 0.05)
    return rng.uniform(0.2, 0.38) * _spot(view, view.outward[side], position, row, rng.uniform(0.034, 0.05))


def _collapse(
    rng: Generator, view: View, shadow: np.ndarray, vessels: np.ndarray, clarity: float
) -> tuple[np.ndarray, np.ndarray]:
    """Free a rim of one lung, wider at the apex, from its markings, and draw the line of the pleura."""
    side = int(rng.integers(2))
    gap = view.outward[side] - (0.97 - rng.uniform(0.12, 0.3) * np.clip(1.6 - 1.6 * view.row, 0.2, 1.3))
    rim = _soft(gap, 0.04) * view.lungs[side]
    line = np.exp(-((gap / 0.035) ** 2)) * view.lungs[side]
    return shadow - clarity * 0.07 * rim + clarity * 0.06 * line, vessels * (1 - rim)


def _expose(rng: Generator, shadow: np.ndarray) -> np.ndarray:
    """Return the picture of one exposure, uint8; one in twenty hangs the wrong way round."""
    noisy = shadow * rng.normal(1, 0.06) + rng.normal(0, 0.025) + 0.03 * rng.normal(0, 1, shadow.shape)
    picture = np.clip(noisy / 0.95, 0, 1) ** np.exp(rng.normal(0, 0.12))
    picture = picture[:, ::-1] if rng.random() < 0.05 else picture
    return np.ascontiguousarray(np.round(255 * picture).astype(np.uint8))
