"""Volumes to look through on the page: small NIfTI files as text, and the viewer (NiiVue) that shows them offline."""

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import nibabel as nib
import numpy as np

from selfmae.report.pictures import LABEL_COLORS, Arrays

MAX_BYTES = 8_000_000  # of all volumes of a page
PARTS = ("image", "truth", "predicted")


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
    colors = [LABEL_COLORS[place % len(LABEL_COLORS)] for place in range(len(names))]
    channels = {
        channel: [0, *(int(color[1 + 2 * place : 3 + 2 * place], 16) for color in colors)]
        for place, channel in enumerate("RGB")
    }
    return {**channels, "A": [0, *[255] * len(names)], "labels": ["", *names]}
