"""DICOM SEG and RTSTRUCT as masks on the grid of the image series that they were drawn on (paths: `dicom_series`)."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.pixels import iter_pixels

from selfmae.data.dicom.checks import OFF_GRID, SAME_ANGLE, read_grid
from selfmae.data.dicom.grid import Grid, Slice, group_of, slices_in, text_of
from selfmae.data.dicom.headers import is_closed, regions_of, segments_of, structures_of
from selfmae.data.dicom.pixels import require_decoder
from selfmae.data.dicom.series import split_mask_path
from selfmae.errors import UserError

HALF_VOXEL = 0.5

Frame = tuple[int, int, np.ndarray]  # value, number of the slice, and where [rows, columns] it is


def load_mask(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask [X, Y, Z] uint8 of such a path and the affine [4, 4] of its image.

    Where structures overlap, the smaller one is drawn over the larger: a tumour stays visible in its organ.
    """
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
    grid, numbers = read_grid(image), dict(zip(names, values, strict=True))
    draw = _contour_frames if text_of(content, "Modality") == "RTSTRUCT" else _segment_frames
    return _paint(draw(content, grid, numbers, file), grid), grid.affine


def _paint(frames: Callable[[], Iterator[Frame]], grid: Grid) -> np.ndarray:
    """Return the mask [X, Y, Z]; the frames are gone through twice, so that one at a time is in memory."""
    sizes = np.zeros(256, dtype=np.int64)
    for value, _, inside in frames():
        sizes[value] += int(inside.sum())
    rank = np.empty(256, dtype=np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(256)
    rank[0] = -1
    mask = np.zeros(grid.shape, dtype=np.uint8)
    for value, index, inside in frames():
        plane = mask[:, :, index].T  # a view
        plane[inside & (rank[plane] < rank[value])] = value
    return mask


def _segment_frames(
    content: Dataset, grid: Grid, numbers: Mapping[str, int], file: Path
) -> Callable[[], Iterator[Frame]]:
    """Return an iterator over the frames of a SEG, each put on the slice that lies where it lies."""
    kind = text_of(content, "SegmentationType")
    if kind not in ("BINARY", "LABELMAP"):
        raise UserError(
            f"The mask {file} is a {kind} segmentation, but masks are BINARY or LABELMAP: save it as BINARY."
        )
    require_decoder(content, file)
    indices = [_slice_index(frame, grid, file) for frame in slices_in(content, file)]
    names = segments_of(content)

    def frames() -> Iterator[Frame]:
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

    return frames


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
    fits = frame.shape == first.shape and 0 <= index < len(grid.slices)
    fits &= bool(np.abs(voxel - [0, 0, index]).max() <= OFF_GRID)
    fits &= bool(np.abs(np.subtract(frame.orientation, first.orientation)).max() <= SAME_ANGLE)
    fits &= bool(np.allclose(frame.spacing_mm, first.spacing_mm, rtol=SAME_ANGLE))
    if not fits:
        raise UserError(
            f"The mask {file} must lie on the grid of its image series, but frame {frame.frame + 1} lies on none "
            f"of the slices in {first.path.parent}: export it on the grid of the series, or resample it to NIfTI."
        )
    return index


def _contour_frames(
    content: Dataset, grid: Grid, numbers: Mapping[str, int], file: Path
) -> Callable[[], Iterator[Frame]]:
    """Return an iterator over the regions of an RTSTRUCT, slice by slice."""

    def frames() -> Iterator[Frame]:
        for region, name in regions_of(content).items():
            planes: dict[int, np.ndarray] = {}
            for contour in content.ROIContourSequence[region].ContourSequence:
                if is_closed(contour):
                    index, inside = _fill(contour, grid, f"{name!r} in {file}")
                    # What lies inside an odd number of contours: a contour in a contour is a hole.
                    planes[index] = planes[index] ^ inside if index in planes else inside
            for index, inside in planes.items():
                yield numbers[name], index, inside

    return frames


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
    inside: np.ndarray = np.cumsum(turns[:, :-1], axis=1) % 2 == 1
    return inside
