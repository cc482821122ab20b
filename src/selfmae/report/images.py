"""Pictures of the page as data URIs: reconstructions, and slices with contours."""

import base64
import gzip
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patheffects import withStroke

from selfmae.errors import UserError
from selfmae.results.run_folder import RunFolder
from selfmae.results.training_run import TrainingRun

LABEL_COLORS = ("#ffb000", "#22c1f0", "#ff5fa2", "#8ee000", "#b388ff", "#ff7043", "#00d0a0", "#f5f06a")
TILE_PIXELS = 360  # longer side of a picture with contours
LARGEST_PNG = 64  # pixels a side; larger pictures are JPEG, which the eye cannot tell at this quality
DPI = 100
PNG: dict[str, Any] = {"Software": None}  # no version of matplotlib in the bytes
JPEG: dict[str, Any] = {"quality": 90, "subsampling": 0}  # thin coloured lines keep their colour

Arrays = Mapping[str, np.ndarray]


MAX_BYTES = 8_000_000  # of all volumes of a page
PARTS = ("image", "truth", "predicted")


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


def reconstructions(run: RunFolder) -> Gallery | None:
    """Return originals, masked images and reconstructions of the first pre-training that saved them."""
    arrays = first_arrays(run.pretrainings, "reconstructions.npz", ("original", "masked", "reconstructed", "ratios"))
    if arrays is None:
        return None
    rows = [("Original", _row(arrays["original"]))]
    for index, ratio in enumerate(arrays["ratios"]):
        share = f"{100 * ratio:g} %"
        rows += [
            (f"{share} hidden", _row(arrays["masked"][index])),
            (f"{share} filled in", _row(arrays["reconstructed"][index])),
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
    return data_uri(buffer.getvalue(), "image/jpeg")


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


def first_arrays(runs: Sequence[TrainingRun], name: str, keys: Sequence[str]) -> Arrays | None:
    """Return the arrays of the first run that has this file of figures."""
    paths = [run.folder / "figures" / name for run in runs]
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


def volume_of(arrays: Arrays) -> Volume | None:
    """Return the volume among the arrays of an example, None if it has none."""
    if "volume_affine" not in arrays:
        return None
    return Volume(*(_nifti(arrays[f"volume_{part}"], arrays["volume_affine"]) for part in PARTS))


def _nifti(array: np.ndarray, affine: np.ndarray) -> str:
    content = nib.Nifti1Image(array.astype(np.uint8), affine).to_bytes()
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def within_budget(volumes: Sequence[Volume | None]) -> list[Volume | None]:
    """Return the volumes in order, None from the first one on with which they would exceed `MAX_BYTES`."""
    kept: list[Volume | None] = []
    room = MAX_BYTES
    for volume in volumes:
        room -= volume.num_bytes if volume else 0
        kept.append(volume if room >= 0 else None)
    return kept


def viewer() -> str:
    """Return the viewer's program, compressed with gzip, as base64."""
    return base64.b64encode(files("selfmae.report").joinpath("niivue.js.gz").read_bytes()).decode()


def label_colors(names: Sequence[str]) -> dict[str, list[int] | list[str]]:
    """Return the viewer's colour table: the background is clear, labels have the colours of their contours."""
    colors = [LABEL_COLORS[index % len(LABEL_COLORS)] for index in range(len(names))]
    channels = {
        channel: [0, *(int(color[1 + 2 * index : 3 + 2 * index], 16) for color in colors)]
        for index, channel in enumerate("RGB")
    }
    return {**channels, "A": [0, *[255] * len(names)], "labels": ["", *names]}
