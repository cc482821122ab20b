"""Pictures of the page as data URIs: reconstructions, and slices with contours."""

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
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patheffects import withStroke

from selfmae.errors import UserError
from selfmae.report.results import Cell, Results

LABEL_COLORS = ("#ffb000", "#22c1f0", "#ff5fa2", "#8ee000", "#b388ff", "#ff7043", "#00d0a0", "#f5f06a")
TILE_PIXELS = 360  # longer side of a picture with contours
LARGEST_PNG = 64  # pixels a side; larger pictures are JPEG, which the eye cannot tell at this quality
DPI = 100
PNG: dict[str, Any] = {"Software": None}  # no version of matplotlib in the bytes
JPEG: dict[str, Any] = {"quality": 90, "subsampling": 0}  # thin coloured lines keep their colour

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Gallery:
    """Rows of pictures (data URIs) under column titles; `ratio` is the share of hidden patches in training."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]  # title and pictures
    ratio: float


def reconstructions(results: Results) -> Gallery | None:
    """Return originals, masked images and reconstructions of the first pre-training that saved them."""
    arrays = first_arrays(results.pretrained, "reconstructions.npz", ("original", "masked", "reconstructed", "ratios"))
    if arrays is None:
        return None
    rows = [("Original", _row(arrays["original"]))]
    for place, ratio in enumerate(arrays["ratios"]):
        share = f"{100 * ratio:g} %"
        rows += [
            (f"{share} hidden", _row(arrays["masked"][place])),
            (f"{share} filled in", _row(arrays["reconstructed"][place])),
        ]
    return Gallery(tuple(map(str, arrays["ids"])), tuple(rows), float(arrays["ratio"]))


def gray_picture(shades: np.ndarray) -> str:
    """Return a picture [H, W] uint8 as a data URI, pixel by pixel."""
    buffer, kind = BytesIO(), "png" if max(shades.shape) <= LARGEST_PNG else "jpeg"
    more: dict[str, Any] = {"metadata": PNG} if kind == "png" else {"pil_kwargs": JPEG}
    imsave(buffer, np.stack([shades] * 3, axis=-1), format=kind, **more)
    return data_uri(buffer.getvalue(), f"image/{kind}")


def contour_picture(
    shades: np.ndarray,
    truth: np.ndarray | None = None,
    predicted: np.ndarray | None = None,
    pixel_mm: Sequence[float] | np.ndarray = (1.0, 1.0),
) -> str:
    """Return a picture [H, W] uint8 with dashed contours of the true and solid ones of the predicted layers [K, H, W].

    Layers hold 1 + the place of a label, which decides the colour; pixels are drawn as high and wide as they are.
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
    return data_uri(buffer.getvalue(), "image/jpeg")


def _draw_contours(axes: Axes, layer: np.ndarray, line: str) -> None:
    """Draw the outline of every label of a layer [H, W]."""
    height, width = layer.shape
    points = 1.6 if line == "solid" else 1.4
    for place in np.unique(layer[layer > 0]):
        # A margin closes the contours of labels that touch the border.
        inside = np.pad(layer == place, 1).astype(float)
        color = LABEL_COLORS[(int(place) - 1) % len(LABEL_COLORS)] if line == "solid" else "white"
        lines = axes.contour(
            np.arange(-1, width + 1), np.arange(-1, height + 1), inside, [0.5], colors=color, linewidths=points,
            linestyles=line,
        )  # fmt: skip
        lines.set_path_effects([withStroke(linewidth=points + 1.2, foreground="black", alpha=0.6)])


def first_arrays(cells: Sequence[Cell], name: str, keys: Sequence[str]) -> Arrays | None:
    """Return the arrays of the first cell that has this file of figures."""
    paths = [cell.folder / "figures" / name for cell in cells]
    return next((read_arrays(path, keys) for path in paths if path.is_file()), None)


def read_arrays(path: Path, keys: Sequence[str] = ()) -> Arrays:
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


def _row(pictures: np.ndarray) -> tuple[str, ...]:
    return tuple(gray_picture(picture) for picture in pictures)


def data_uri(content: bytes, kind: str) -> str:
    """Return bytes as a data URI of a media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
