"""The pixels of DICOM files: series as volumes, single frames as pictures, SEG and RTSTRUCT as masks of a series.

Volumes hold real values (RescaleSlope and RescaleIntercept applied, HU for CT). A radiograph is what its window or VOI
LUT shows, and a picture whose stored values rise from white to black (MONOCHROME1) is inverted; in a volume both speak
of the display only, so its values stay.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, get_decoder, iter_pixels

from selfmae.data.dicom import series
from selfmae.data.dicom.grid import Grid, Slice, group_of, slices_in, text_of
from selfmae.data.dicom.headers import RADIOGRAPHS, header_of, is_closed, regions_of, segments_of, structures_of
from selfmae.data.dicom.series import find_headers, is_series, split_mask_path
from selfmae.errors import UserError

HALF_VOXEL = 0.5

Frame = tuple[int, int, np.ndarray]  # value, number of the slice, and where [rows, columns] it is


def is_dicom(path: Path) -> bool:
    """Return whether a path names a DICOM image or mask (see `series`); reads from the disk."""
    file = next((item for item in (path, *path.parents) if item.is_file()), None)
    return header_of(file) is not None if file else is_series(path) or path.suffix.lower() == ".dcm"


def is_volume(path: Path) -> bool:
    """Return whether a path names slices that lie in a body, not a picture."""
    return find_headers(path)[0].kind == "volume"


def files_of(path: Path) -> list[Path]:
    """Return all files that an image or mask is read from; a folder is taken whole, so that no header need be read."""
    if path.is_file():
        return [path]
    if path.is_dir():
        return sorted(item for item in path.iterdir() if item.is_file())
    if is_series(path):
        return [header.path for header in series.name_images(series.headers_in(path.parent)).get(path, ())]
    file, image, _ = split_mask_path(path)
    return [file, *files_of(image)] if file.is_file() else []


class Slices:
    """The voxels of a series, [X, Y, Z] float32, which nibabel takes for an array: an index reads what it names."""

    dtype = np.dtype(np.float32)
    ndim = 3

    def __init__(self, grid: Grid) -> None:
        self.grid, self.shape = grid, grid.shape
        self._file: tuple[Path, Dataset, np.ndarray] | None = None  # the last one read: it may hold many slices

    def __getitem__(self, index: tuple[slice, slice, slice]) -> np.ndarray:
        return np.stack([self._read(item) for item in self.grid.slices[index[2]]], axis=2)[index[:2]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:, :, :].astype(dtype or self.dtype, copy=False)

    def _read(self, item: Slice) -> np.ndarray:
        if self._file is None or self._file[0] != item.path:
            read = dcmread(item.path)
            self._file = item.path, read, _decode(read, item.path)
        _, content, pixels = self._file
        # Each slice has its own rescaling: in PET, slices differ in it.
        how = group_of(content, item.frame, "PixelValueTransformationSequence") or content
        slope, intercept = float(how.get("RescaleSlope") or 1), float(how.get("RescaleIntercept") or 0)
        plane = pixels[item.frame] if pixels.ndim == 3 else pixels
        return (plane.astype(np.float32) * np.float32(slope) + np.float32(intercept)).T


def load_picture(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return a picture [H, W] or [H, W, 3], and the spacing of rows and columns in mm, () where it has none."""
    header = find_headers(path)[0]
    if header.kind != "picture":
        raise UserError(f"{path} must be an image, but is DICOM of another kind ({header.kind}): remove it.")
    content = dcmread(header.path)
    pixels = _decode(content, header.path)
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
            width = float(np.ravel(content.get("WindowWidth") or 0)[0])
            if content.get("VOILUTSequence") or (width >= 1 and content.get("WindowCenter") is not None):
                pixels = apply_voi_lut(pixels, content)
    if content.PhotometricInterpretation == "MONOCHROME1":
        pixels = pixels.astype(np.float32)
        pixels = pixels.max() + pixels.min() - pixels
    spacing = content.get("PixelSpacing") or content.get("ImagerPixelSpacing") or ()
    return pixels, tuple(float(step) for step in spacing)


def _decode(content: Dataset, path: Path) -> np.ndarray:
    """Return the stored values: [rows, columns], frames first and colours last where there are any."""
    _require_decoder(content, path)
    try:
        return content.pixel_array
    except Exception as error:  # decoders raise many kinds for files that are damaged
        reason = " ".join(str(error).split())
        other = " or save it uncompressed" if content.file_meta.TransferSyntaxUID.is_compressed else ""
        raise UserError(f"The pixels of {path} could not be read ({reason}): copy the file again{other}.") from error


def _require_decoder(content: Dataset, path: Path) -> None:
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


def load_mask(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask [X, Y, Z] uint8 that a path names (see `series`) and the affine [4, 4] of its image."""
    file, image, values = split_mask_path(path)
    if not values:
        raise UserError(
            f"The mask {path} is DICOM and needs the series that it was drawn on: give the folder that holds both as "
            "source, or convert it to NIfTI."
        )
    content = dcmread(file)
    names = structures_of(content)
    if len(names) != len(values):
        raise UserError(
            f"The mask {file} held {len(values)} structures when its folder was read, and now {len(names)}: "
            "start the command again."
        )
    grid, numbers = series.read_grid(image), dict(zip(names, values, strict=True))
    draw = _draw_contours if text_of(content, "Modality") == "RTSTRUCT" else _draw_segments
    return _paint(partial(draw, content, grid, numbers, file), grid), grid.affine


def _paint(frames: Callable[[], Iterator[Frame]], grid: Grid) -> np.ndarray:
    """Return the mask [X, Y, Z], smaller structures over larger ones: a tumour stays visible in its organ."""
    sizes = np.zeros(256, dtype=np.int64)
    for value, _, inside in frames():
        sizes[value] += int(inside.sum())
    rank = np.empty(256, dtype=np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(256)
    rank[0] = -1
    mask = np.zeros(grid.shape, dtype=np.uint8)  # each frame is drawn anew, so that one at a time is in memory
    for value, index, inside in frames():
        plane = mask[:, :, index].T  # a view
        plane[inside & (rank[plane] < rank[value])] = value
    return mask


def _draw_segments(content: Dataset, grid: Grid, numbers: Mapping[str, int], file: Path) -> Iterator[Frame]:
    """Yield the frames of a SEG, each with the slice that lies where it lies."""
    kind = text_of(content, "SegmentationType")
    if kind not in ("BINARY", "LABELMAP"):
        raise UserError(
            f"The mask {file} is a {kind} segmentation, but masks are BINARY or LABELMAP: save it as BINARY."
        )
    _require_decoder(content, file)
    indices = [_slice_index(frame, grid, file) for frame in slices_in(content, file)]
    names = segments_of(content)
    for frame, stored in enumerate(_stored_frames(content)):
        if kind == "BINARY":
            group = group_of(content, frame, "SegmentIdentificationSequence")
            parts = [(int(group.ReferencedSegmentNumber) if group else 0, stored > 0)]
        else:
            parts = [(number, stored == number) for number in np.unique(stored[stored > 0]).tolist()]
        for number, inside in parts:
            if number not in names:
                raise UserError(
                    f"The mask {file} uses the segment {number}, but names only {sorted(names)}: export it again."
                )
            yield numbers[names[number]], indices[frame], inside


def _stored_frames(content: Dataset) -> Iterator[np.ndarray]:
    """Yield the stored values [rows, columns] of each frame, one at a time in memory."""
    if content.file_meta.TransferSyntaxUID.is_compressed or content.BitsAllocated != 1:
        yield from iter_pixels(content)
        return
    # Single bits follow each other without a gap: a frame may begin within a byte, which iter_pixels does not see.
    packed, size = np.frombuffer(content.PixelData, dtype=np.uint8), content.Rows * content.Columns
    num_frames = int(content.get("NumberOfFrames") or 1)
    if 8 * packed.size < num_frames * size:
        raise UserError(f"The mask {content.filename} ends within its {num_frames} frames: copy it again.")
    for frame in range(num_frames):
        first, last = frame * size, (frame + 1) * size
        bits = np.unpackbits(packed[first // 8 : -(-last // 8)], bitorder="little")
        yield bits[first % 8 : first % 8 + size].reshape(content.Rows, content.Columns)


def _slice_index(frame: Slice, grid: Grid, file: Path) -> int:
    """Return the number of the slice that a frame lies on; raise where it lies on none."""
    voxel, first = grid.to_voxels(np.array([frame.position]))[0], grid.slices[0]
    index = round(float(voxel[2]))
    if not (
        frame.shape == first.shape
        and 0 <= index < len(grid.slices)
        and np.abs(voxel - [0, 0, index]).max() <= series.OFF_GRID
        and np.abs(np.subtract(frame.orientation, first.orientation)).max() <= series.SAME_ANGLE
        and np.allclose(frame.spacing_mm, first.spacing_mm, rtol=series.SAME_ANGLE)
    ):
        raise UserError(
            f"The mask {file} must lie on the grid of its image series, but frame {frame.frame + 1} lies on none "
            f"of the slices in {first.path.parent}: export it on the grid of the series, or resample it to NIfTI."
        )
    return index


def _draw_contours(content: Dataset, grid: Grid, numbers: Mapping[str, int], file: Path) -> Iterator[Frame]:
    """Yield the regions of an RTSTRUCT, slice by slice."""
    for region, name in regions_of(content).items():
        planes: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(grid.slices[0].shape, dtype=bool))
        for contour in content.ROIContourSequence[region].ContourSequence:
            if is_closed(contour):
                index, inside = _fill(contour, grid, f"{name!r} in {file}")
                planes[index] ^= inside  # what lies inside an odd number of contours: one in another is a hole
        for index, inside in planes.items():
            yield numbers[name], index, inside


def _fill(contour: Dataset, grid: Grid, what: str) -> tuple[int, np.ndarray]:
    """Return the number of the slice that a contour lies on, and the voxels whose centres it holds."""
    voxels = grid.to_voxels(np.reshape(np.array(contour.ContourData, dtype=float), (-1, 3)))
    index = round(float(voxels[:, 2].mean()))
    if np.abs(voxels[:, 2] - index).max() > HALF_VOXEL or not 0 <= index < len(grid.slices):
        raise UserError(
            f"The contours of {what} must lie on the slices of its image series, but one does not: export them for "
            f"the series in {grid.slices[0].path.parent}."
        )
    return index, fill_contour(voxels[:, :2], grid.slices[0].shape)


def fill_contour(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return which voxel centres [rows, columns] lie inside a closed contour [N, 2] of (column, row): even-odd rule."""
    (x, y), (next_x, next_y) = points.T, np.roll(points, -1, axis=0).T
    rows = np.arange(shape[0])[:, None]
    row, edge = np.nonzero((y <= rows) != (next_y <= rows))
    crossing = x[edge] + (row - y[edge]) * (next_x - x)[edge] / (next_y - y)[edge]
    turns = np.zeros((shape[0], shape[1] + 1), dtype=np.int64)
    np.add.at(turns, (row, np.clip(np.ceil(crossing), 0, shape[1]).astype(int)), 1)
    return np.cumsum(turns[:, :-1], axis=1) % 2 == 1
