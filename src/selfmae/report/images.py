"""Pictures of the page as data URIs: reconstructions, and the best, median and worst test case of every init."""

import base64
import gzip
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from io import BytesIO
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
import matplotlib.style
import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patheffects import withStroke

from selfmae.errors import UserError
from selfmae.report.tables import Table, case_measures, case_value
from selfmae.results.formatting import number
from selfmae.results.run_folder import RunFolder
from selfmae.results.training_run import Row, TrainingRun

LABEL_COLORS = ("#ffb000", "#22c1f0", "#ff5fa2", "#8ee000", "#b388ff", "#ff7043", "#00d0a0", "#f5f06a")
TILE_PIXELS = 360  # longer side of a picture with contours
LARGEST_PNG = 64  # pixels a side; larger pictures are JPEG, which the eye cannot tell at this quality
DPI = 100
PNG: dict[str, Any] = {"Software": None}  # no version of matplotlib in the bytes
JPEG: dict[str, Any] = {"quality": 90, "subsampling": 0}  # thin coloured lines keep their colour
RANKS = ("worst", "median", "best")
PLANES = {"axial": "axial", "coronal": "coronal", "sagittal": "sagittal", "picture": ""}  # name in the file: title
MAX_BYTES = 8_000_000  # of all volumes of a page

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Gallery:
    """Rows of pictures (data URIs) under column titles; `ratio` is the share of hidden patches in training."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]  # title and pictures
    ratio: float


@dataclass(frozen=True)
class Volume:
    """An image and its two label maps as `.nii.gz` in base64."""

    image: str
    truth: str
    predicted: str

    @property
    def num_bytes(self) -> int:
        """Return how much room it takes on the page."""
        return len(self.image) + len(self.truth) + len(self.predicted)


@dataclass(frozen=True)
class Example:
    """One case as one training saw it: the pictures with their titles, probabilities of labels, a volume to turn."""

    title: str
    pictures: tuple[tuple[str, str], ...]
    labels: Table
    volume: Volume | None


@dataclass(frozen=True)
class _Candidate:
    """A case that a training saved."""

    rank: str
    score: float
    training: TrainingRun
    row: Row
    arrays: Arrays


def reconstructions(run: RunFolder) -> Gallery | None:
    """Return originals, masked images and reconstructions of the first pre-training that saved them."""
    paths = [training.folder / "figures" / "reconstructions.npz" for training in run.pretrainings]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None
    arrays = _read_arrays(path, ("original", "masked", "reconstructed", "ratios"))
    rows = [("Original", arrays["original"])]
    for index, ratio in enumerate(arrays["ratios"]):
        rows.append((f"{100 * ratio:g} % hidden", arrays["masked"][index]))
        rows.append((f"{100 * ratio:g} % filled in", arrays["reconstructed"][index]))
    pictures = tuple((title, tuple(map(gray_picture, tiles))) for title, tiles in rows)
    return Gallery(tuple(map(str, arrays["ids"])), pictures, float(arrays["ratio"]))


def _read_arrays(path: Path, keys: Sequence[str] = ()) -> Arrays:
    """Return the arrays of a file of figures, which must have these keys; raise `UserError` otherwise."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        for key in keys:
            arrays[key]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} must hold arrays (NPZ) as this version writes them, but could not be read ({error}): delete it, "
            "and the report is made without these pictures."
        ) from error
    return arrays


def gray_picture(shades: np.ndarray) -> str:
    """Return a picture [H, W] uint8 as a data URI, pixel by pixel."""
    buffer, kind = BytesIO(), "png" if max(shades.shape) <= LARGEST_PNG else "jpeg"
    more: dict[str, Any] = {"metadata": PNG} if kind == "png" else {"pil_kwargs": JPEG}
    imsave(buffer, np.stack([shades] * 3, axis=-1), format=kind, **more)
    return _data_uri(buffer, kind)


def contour_picture(
    shades: np.ndarray,
    truth: np.ndarray | None = None,
    predicted: np.ndarray | None = None,
    pixel_mm: Sequence[float] | np.ndarray = (1.0, 1.0),
) -> str:
    """Return a picture [H, W] uint8 with dashed contours of the true and solid ones of the predicted layers [K, H, W].

    Layers hold 1 + the index of a label, which decides the colour; pixels are drawn as high and wide as they are.
    """
    height, width = shades.shape
    sides = np.array([width * pixel_mm[1], height * pixel_mm[0]])
    with matplotlib.style.context("default"):
        figure = Figure(figsize=tuple(sides * TILE_PIXELS / sides.max() / DPI), dpi=DPI)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.imshow(shades, cmap="gray", vmin=0, vmax=255, aspect="auto")
        for layers, line in ((predicted, "solid"), (truth, "dashed")):
            for layer in () if layers is None else layers:
                _draw_contours(axes, layer, line)
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        buffer = BytesIO()
        figure.savefig(buffer, format="jpeg", dpi=DPI, pil_kwargs=JPEG)
    return _data_uri(buffer, "jpeg")


def _draw_contours(axes: Axes, layer: np.ndarray, line: str) -> None:
    """Draw the outline of every label of a layer [H, W]."""
    height, width = layer.shape
    points = 1.6 if line == "solid" else 1.4
    for index in np.unique(layer[layer > 0]):
        # A margin closes the contours of labels that touch the border.
        inside = np.pad(layer == index, 1).astype(float)
        color = LABEL_COLORS[(int(index) - 1) % len(LABEL_COLORS)] if line == "solid" else "white"
        lines = axes.contour(
            np.arange(-1, width + 1), np.arange(-1, height + 1), inside, [0.5], colors=color, linewidths=points,
            linestyles=line,
        )  # fmt: skip
        lines.set_path_effects([withStroke(linewidth=points + 1.2, foreground="black", alpha=0.6)])


def _data_uri(buffer: BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def examples(run: RunFolder) -> dict[str, list[Example]]:
    """Return for each initialization its worst, median and best test case, over all runs that saved pictures."""
    measures = case_measures(run)
    if not measures:
        return {}
    name, title, larger_is_worse = measures[0]
    sign = -1.0 if larger_is_worse else 1.0
    shown = {}
    for init in run.inits:
        candidates = [item for training in run.runs_of(init) for item in _candidates(training, name, sign)]
        if not candidates:
            continue
        values = [case_value(row, name) for training in run.runs_of(init) for row in training.rows]
        middle = median(sign * value for value in values if value is not None)
        medians = [item for item in candidates if item.rank == "median"]
        chosen = {
            "worst": min(candidates, key=lambda item: item.score),
            "median": min(medians, key=lambda item: abs(item.score - middle), default=None),
            "best": max(candidates, key=lambda item: item.score),
        }
        shown[init] = [_example(run, rank, title, sign, item) for rank, item in chosen.items() if item]
    return _limit(shown)


def _limit(shown: dict[str, list[Example]]) -> dict[str, list[Example]]:
    """Return the examples with as many volumes as the page has room for: first the worst case of every init."""
    order = [(init, index) for index in range(len(RANKS)) for init, found in shown.items() if index < len(found)]
    kept = dict(zip(order, within_budget([shown[init][index].volume for init, index in order]), strict=True))
    return {
        init: [replace(item, volume=kept[init, index]) for index, item in enumerate(found)]
        for init, found in shown.items()
    }


def within_budget(volumes: Sequence[Volume | None]) -> list[Volume | None]:
    """Return the volumes in order, None from the first one on with which they would exceed `MAX_BYTES`."""
    kept: list[Volume | None] = []
    room = MAX_BYTES
    for volume in volumes:
        room -= volume.num_bytes if volume else 0
        kept.append(volume if room >= 0 else None)
    return kept


def _candidates(training: TrainingRun, name: str, sign: float) -> Iterator[_Candidate]:
    """Yield the cases that a training saved and scored; larger scores are better."""
    path = training.folder / "figures" / "examples.npz"
    arrays = _read_arrays(path) if path.is_file() else {}
    rows = {row["id"]: row for row in training.rows}
    for rank in RANKS:
        row = rows.get(str(arrays.get(f"{rank}_id")))
        value = case_value(row, name) if row else None
        if row and value is not None:
            mine = {key.removeprefix(f"{rank}_"): array for key, array in arrays.items() if key.startswith(f"{rank}_")}
            yield _Candidate(rank, sign * value, training, row, mine)


def _example(run: RunFolder, rank: str, measure: str, sign: float, item: _Candidate) -> Example:
    arrays, training = item.arrays, item.training
    pictures = []
    for plane, title in PLANES.items():
        if f"{plane}_image" in arrays:
            image, mm = arrays[f"{plane}_image"], arrays[f"{plane}_mm"]
            picture = contour_picture(image, arrays.get(f"{plane}_truth"), arrays.get(f"{plane}_predicted"), mm)
            pictures.append((title, picture))
    score = number(sign * item.score)
    name = f"{rank.capitalize()}: {item.row['id']}, {measure} {score} (fold {training.fold}, seed {training.seed})"
    return Example(name, tuple(pictures), _label_table(run, item.row), volume_of(arrays))


def _label_table(run: RunFolder, row: Row) -> Table:
    """Return truth and probability of every label of a case, the true ones first."""
    found = [
        (name, float(row[f"truth_{name}"]) > 0.5, float(row[f"probability_{name}"]))
        for name in run.labels
        if row.get(f"truth_{name}") and row.get(f"probability_{name}")
    ]
    found.sort(key=lambda item: (not item[1], -item[2]))
    rows = tuple((name, "yes" if truth else "no", number(probability)) for name, truth, probability in found)
    return Table(("Label", "Truth", "Probability"), rows, num_words=2)


def volume_of(arrays: Arrays) -> Volume | None:
    """Return the volume among the arrays of an example, None if it has none."""
    if "volume_affine" not in arrays:
        return None
    texts = []
    for part in ("image", "truth", "predicted"):
        image = nib.Nifti1Image(arrays[f"volume_{part}"].astype(np.uint8), arrays["volume_affine"])
        texts.append(base64.b64encode(gzip.compress(image.to_bytes(), mtime=0)).decode())
    return Volume(*texts)


def viewer() -> str:
    """Return the viewer's program, compressed with gzip, as base64."""
    return base64.b64encode(files("selfmae.report").joinpath("niivue.js.gz").read_bytes()).decode()


def contour_colors(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the labels with the colours of their contours."""
    return list(zip(names, cycle(LABEL_COLORS), strict=False))


def label_colors(names: Sequence[str]) -> dict[str, list[int] | list[str]]:
    """Return the viewer's colour table: the background is clear, labels have the colours of their contours."""
    colors = (255 * to_rgba_array([color for _, color in contour_colors(names)])).round().astype(int)
    channels = {channel: [0, *column] for channel, column in zip("RGBA", colors.T.tolist(), strict=True)}
    return {**channels, "labels": ["", *names]}
