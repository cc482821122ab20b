"""Pictures of the page as PNG data URIs: reconstructions, and example predictions with contours."""

import base64
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patheffects import withStroke

from selfmae.errors import UserError
from selfmae.report.results import Cell, Results

LABEL_COLORS = ("#ffb000", "#22c1f0", "#ff5fa2", "#8ee000", "#b388ff", "#ff7043", "#00d0a0", "#f5f06a")
MAX_CASES = 4
TILE_PIXELS = 360  # longer side of a picture with contours
DPI = 100
PNG: dict[str, Any] = {"Software": None}  # no version of matplotlib in the bytes

Stacks = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Gallery:
    """Rows of pictures (data URIs, "" where there is none) under column titles."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]  # title and pictures
    ratio: float | None = None  # share of hidden patches, of reconstructions


def reconstructions(results: Results) -> Gallery | None:
    """Return originals, masked images and reconstructions of the first pre-training that saved them."""
    stacks = _first(results.pretrained, "reconstructions.npz")
    if stacks is None:
        return None
    ids = [str(name) for name in stacks["ids"][:MAX_CASES]]
    originals = stacks["original"]
    # All three pictures of a case share the grey scale of its original, so they can be compared.
    rows = tuple(
        (name.capitalize(), tuple(gray_png(window(stacks[name][i], originals[i])) for i in range(len(ids))))
        for name in ("original", "masked", "reconstructed")
    )
    return Gallery(tuple(ids), rows, float(stacks["ratio"]) if "ratio" in stacks else None)


def predictions(results: Results) -> Gallery | None:
    """Return for a few test cases the slice, and its contours by the first cell of each start that saved them."""
    found = {start: _first(results.cells_of(start), "predictions.npz") for start in results.starts}
    stacks = {start: content for start, content in found.items() if content is not None}
    if not stacks:
        return None
    first = next(iter(stacks.values()))
    rows = []
    for place, case in enumerate(first["ids"][:MAX_CASES]):
        image = window(first["image"][place])
        tiles = [_tile_of(content, case, image) for content in stacks.values()]
        rows.append((str(case), (contour_png(image, None, None), *tiles)))
    return Gallery(("Image", *stacks), tuple(rows))


def gray_png(picture: np.ndarray) -> str:
    """Return a picture [H, W] with values 0..1 as a PNG data URI, pixel by pixel."""
    buffer = BytesIO()
    shades = (np.nan_to_num(picture).clip(0, 1) * 255).round().astype(np.uint8)
    imsave(buffer, np.stack([shades] * 3, axis=-1), format="png", metadata=PNG)
    return _data_uri(buffer)


def contour_png(image: np.ndarray, truth: np.ndarray | None, predicted: np.ndarray | None) -> str:
    """Return an image [H, W] with values 0..1, dashed contours of the true and solid ones of the predicted labels."""
    height, width = image.shape
    scale = TILE_PIXELS / max(height, width) / DPI
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(width * scale, height * scale), dpi=DPI)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, aspect="auto")
        for labels, width_points, line in ((predicted, 1.6, "solid"), (truth, 1.4, "dashed")):
            for place in np.unique(labels[labels > 0]) if labels is not None else ():
                # A margin closes the contours of labels that touch the border.
                inside = np.pad(labels == place, 1).astype(float)
                axis_x, axis_y = np.arange(-1, width + 1), np.arange(-1, height + 1)
                color = LABEL_COLORS[(int(place) - 1) % len(LABEL_COLORS)] if line == "solid" else "white"
                lines = axes.contour(
                    axis_x, axis_y, inside, [0.5], colors=color, linewidths=width_points, linestyles=line
                )
                lines.set_path_effects([withStroke(linewidth=width_points + 1.2, foreground="black", alpha=0.6)])
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, metadata=PNG)
    return _data_uri(buffer)


def window(image: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Return intensities as 0..1 between the 0.5th and 99.5th percentile of the image, or of a reference."""
    image = np.nan_to_num(np.asarray(image, dtype=np.float64))
    low, high = np.percentile(image if reference is None else np.nan_to_num(reference), (0.5, 99.5))
    return ((image - low) / max(high - low, 1e-9)).clip(0, 1)


def _tile_of(stacks: Stacks, case: str, image: np.ndarray) -> str:
    """Return the picture of a case in one start's file, "" if the file shows other cases."""
    places = np.flatnonzero(stacks["ids"] == case)
    return contour_png(image, stacks["truth"][places[0]], stacks["predicted"][places[0]]) if len(places) else ""


def _first(cells: Sequence[Cell], name: str) -> Stacks | None:
    """Return the arrays of the first cell that has this file of figures."""
    paths = [cell.folder / "figures" / name for cell in cells]
    return next((_read(path) for path in paths if path.is_file()), None)


def _read(path: Path) -> Stacks:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} must hold arrays (NPZ), but could not be read ({error}): delete it, and the report is made "
            "without these pictures."
        ) from error


def _data_uri(buffer: BytesIO) -> str:
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
