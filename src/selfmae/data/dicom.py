"""The pixels of DICOM images: series as volumes, single frames as pictures.

Volumes hold real values (RescaleSlope and RescaleIntercept applied, HU for CT). A picture whose stored values rise from
white to black (MONOCHROME1) is inverted; in a volume that tag speaks of the display only, so its values stay.
"""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_color_lut, apply_modality_lut

from selfmae.data.dicom_grid import read_grid
from selfmae.data.dicom_headers import find_headers, is_series
from selfmae.data.dicom_masks import split_mask_path
from selfmae.data.dicom_slices import Slice, group_of, has_mark, require_decoder
from selfmae.errors import UserError


def is_dicom(path: Path) -> bool:
    """Return whether a path names a DICOM image (`dicom_headers`) or mask (`dicom_masks`): a look at the disk."""
    file = next((place for place in (path, *path.parents) if place.is_file()), None)
    if file:
        return has_mark(file)
    return is_series(path) or path.suffix.lower() == ".dcm"


def is_volume(path: Path) -> bool:
    """Return whether a path names slices that lie in a body, not a picture."""
    return find_headers(path)[0].kind == "volume"


def files_of(path: Path) -> list[Path]:
    """Return all files that an image or mask may be read from: if one changes, so may the image.

    For a series these are all files of its folder, so that no header needs to be read; for a mask, its own file and
    those of its image. Where there are none, the list is empty.
    """
    if is_series(path):
        folder = path if path.is_dir() else path.parent
        return sorted(item for item in folder.iterdir() if item.is_file())
    if path.is_file():
        return [path]
    file, image, _ = split_mask_path(path)
    return [file, *files_of(image)] if file.is_file() else []


def load_series(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a volume [X, Y, Z] float32 and its affine [4, 4] to mm in RAS."""
    grid = read_grid(path)
    volume = np.empty(grid.shape, dtype=np.float32)
    loaded: Path | None = None
    for place, item in enumerate(grid.slices):
        if item.path != loaded:  # else a frame of the same file
            loaded, content = item.path, dcmread(item.path)
            pixels = _decode(content, item.path)
        plane = pixels[item.frame] if pixels.ndim == 3 else pixels
        volume[:, :, place] = _rescale(plane, content, item).T
    return volume, grid.affine


def load_picture(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return a picture [H, W] or [H, W, 3], and the spacing of rows and columns in mm, () where it has none."""
    header = find_headers(path)
    if len(header) > 1:
        raise UserError(f"{path} holds {len(header)} DICOM pictures, but one image is one of them: name its file.")
    content = dcmread(header[0].path)
    pixels = _decode(content, header[0].path)
    colour = content.get("SamplesPerPixel") == 3
    if pixels.ndim != 2 + colour:
        raise UserError(
            f"{path} is a film of {pixels.shape[0]} frames, but an image is a single picture or a volume: take single "
            "frames out of it, or remove it."
        )
    if content.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, content)
        pixels = (pixels / 257 if pixels.dtype == np.uint16 else pixels).astype(np.uint8)
    elif not colour:
        pixels = apply_modality_lut(pixels, content)
    if content.PhotometricInterpretation == "MONOCHROME1":
        pixels = pixels.astype(np.float32)
        pixels = pixels.max() + pixels.min() - pixels
    spacing = content.get("PixelSpacing") or content.get("ImagerPixelSpacing") or ()
    return pixels, tuple(float(step) for step in spacing)


def _rescale(plane: np.ndarray, content: Dataset, item: Slice) -> np.ndarray:
    """Return the real values of one slice: its own rescaling, since that of PET differs between slices."""
    how: Any = group_of(content, item.frame, "PixelValueTransformationSequence") or content
    slope, intercept = float(how.get("RescaleSlope") or 1), float(how.get("RescaleIntercept") or 0)
    scaled: np.ndarray = plane.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    return scaled


def _decode(content: Dataset, path: Path) -> np.ndarray:
    """Return the stored values: [rows, columns], with frames in front and colours behind where there are any."""
    require_decoder(content, path)
    try:
        pixels: np.ndarray = content.pixel_array
    except Exception as error:  # decoders raise many kinds for files that are damaged
        reason = " ".join(str(error).split())
        raise UserError(f"The pixels of {path} could not be read ({reason}): copy the file again.") from error
    return pixels
