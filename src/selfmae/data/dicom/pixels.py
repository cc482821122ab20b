"""The pixels of DICOM images: series as volumes, single frames as pictures.

Volumes hold real values (RescaleSlope and RescaleIntercept applied, HU for CT). A radiograph is what its window or VOI
LUT shows, and a picture whose stored values rise from white to black (MONOCHROME1) is inverted; in a volume both speak
of the display only, so its values stay.
"""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, get_decoder

from selfmae.data.dicom.checks import read_grid
from selfmae.data.dicom.grid import Grid, Slice, group_of
from selfmae.data.dicom.headers import RADIOGRAPHS, header_of
from selfmae.data.dicom.series import find_headers, headers_in, is_series, name_images, split_mask_path
from selfmae.errors import UserError


def is_dicom(path: Path) -> bool:
    """Return whether a path names a DICOM image or mask (`dicom_series`); reads from the disk."""
    file = next((item for item in (path, *path.parents) if item.is_file()), None)
    if file:
        return header_of(file) is not None
    return is_series(path) or path.suffix.lower() == ".dcm"


def is_volume(path: Path) -> bool:
    """Return whether a path names slices that lie in a body, not a picture."""
    return find_headers(path)[0].kind == "volume"


def files_of(path: Path) -> list[Path]:
    """Return all files that an image or mask is read from: if one changes, so may the image.

    A folder is taken whole, so that no header needs to be read; a mask has its own file and those of its image. Where
    there are none, the list is empty.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        return sorted(item for item in path.iterdir() if item.is_file())
    if is_series(path):
        return [header.path for header in name_images(headers_in(path.parent)).get(path, ())]
    file, image, _ = split_mask_path(path)
    return [file, *files_of(image)] if file.is_file() else []


class Slices:
    """The voxels of a series, [X, Y, Z] float32, of which an index reads only the slices it names.

    nibabel takes it for an array, so that a volume need not be in memory twice to be brought into another order.
    """

    dtype = np.dtype(np.float32)
    ndim = 3

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.shape = grid.shape
        self._file: tuple[Path, Dataset, np.ndarray] | None = None  # the last one read: it may hold many slices

    def __getitem__(self, index: tuple[slice, slice, slice]) -> np.ndarray:
        """Return a part of the volume."""
        return np.stack([self._read(item) for item in self.grid.slices[index[2]]], axis=2)[index[:2]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the whole volume."""
        return self[:, :, :].astype(dtype or self.dtype, copy=False)

    def _read(self, item: Slice) -> np.ndarray:
        if self._file is None or self._file[0] != item.path:
            read = dcmread(item.path)
            self._file = item.path, read, _decode(read, item.path)
        _, content, pixels = self._file
        # Each slice has its own rescaling: in PET, slices differ in it.
        how: Any = group_of(content, item.frame, "PixelValueTransformationSequence") or content
        slope, intercept = float(how.get("RescaleSlope") or 1), float(how.get("RescaleIntercept") or 0)
        plane = pixels[item.frame] if pixels.ndim == 3 else pixels
        scaled: np.ndarray = plane.astype(np.float32) * np.float32(slope) + np.float32(intercept)
        return scaled.T


def load_series(path: Path) -> tuple[Slices, np.ndarray]:
    """Return a volume [X, Y, Z] whose slices are read when asked for, and its affine [4, 4] to mm in RAS."""
    grid = read_grid(path)
    return Slices(grid), grid.affine


def load_picture(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return a picture [H, W] or [H, W, 3], and the spacing of rows and columns in mm, () where it has none."""
    header = find_headers(path)[0]
    if header.kind != "picture":
        raise UserError(f"{path} must be an image, but is DICOM of another kind ({header.kind}): remove it.")
    file = header.path
    content = dcmread(file)
    pixels = _decode(content, file)
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
        if header.modality in RADIOGRAPHS:  # the first of several windows or VOI LUTs; one without a width is none
            widths = np.ravel(content.get("WindowWidth") or 0)
            has_lut = content.get("VOILUTSequence")
            if has_lut or (float(widths[0]) >= 1 and content.get("WindowCenter") is not None):
                pixels = apply_voi_lut(pixels, content)
    if content.PhotometricInterpretation == "MONOCHROME1":
        pixels = pixels.astype(np.float32)
        pixels = pixels.max() + pixels.min() - pixels
    spacing = content.get("PixelSpacing") or content.get("ImagerPixelSpacing") or ()
    return pixels, tuple(float(step) for step in spacing)


def _decode(content: Dataset, path: Path) -> np.ndarray:
    """Return the stored values: [rows, columns], frames first and colours last where there are any."""
    require_decoder(content, path)
    try:
        pixels: np.ndarray = content.pixel_array
    except Exception as error:  # decoders raise many kinds for files that are damaged
        reason = " ".join(str(error).split())
        other = " or save it uncompressed" if content.file_meta.TransferSyntaxUID.is_compressed else ""
        raise UserError(f"The pixels of {path} could not be read ({reason}): copy the file again{other}.") from error
    return pixels


def require_decoder(content: Dataset, path: Path) -> None:
    """Raise `UserError` where the pixels are compressed in a way that nothing installed can read."""
    syntax = content.file_meta.TransferSyntaxUID
    try:
        readable = not syntax.is_compressed or get_decoder(syntax).is_available
    except NotImplementedError:  # a film, or a way of compressing that pydicom does not know
        raise UserError(
            f"The pixels of {path} are compressed ({syntax.name}) in a way that cannot be read: save it uncompressed."
        ) from None
    if not readable:
        raise UserError(
            f"The pixels of {path} are compressed ({syntax.name}), which needs a decoder: pip install 'selfmae[dicom]'."
        )
