"""DICOM SEG and RTSTRUCT as masks on the grid of the image series that they were drawn on.

Neither file tells the grid of a mask, nor which number a structure has in other files. So the path of such a mask says
both: its file, the way from there to its image, and the values of the structures that the file names, these in the
order of the alphabet: SEG/1.dcm/../../CT/1,3 (`mask_path` makes it, `split_mask_path` takes it apart).
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.pixels import iter_pixels

from selfmae.data.dicom_grid import LPS_TO_RAS, OFF_GRID, SAME_ANGLE, Grid, read_grid
from selfmae.data.dicom_slices import frames_of, group_of, read_dataset, require_decoder, text_of
from selfmae.errors import UserError

VALUES = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
HALF_VOXEL = 0.5

Frame = tuple[int, int, np.ndarray]  # value, number of the slice, and where [rows, columns] the structure is


def mask_path(file: Path, image: Path, values: Sequence[int]) -> Path:
    """Return the path of a mask: `values` are rising, one for each of `names_in(file)`."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    text = ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return file / os.path.relpath(image, file) / text


def split_mask_path(path: Path) -> tuple[Path, Path, list[int]]:
    """Return the file of a mask, its image, and the values of its structures."""
    file = next((place for place in path.parents if place.is_file()), path)
    if file == path or not VALUES.fullmatch(path.name):
        return path, path, []
    runs = [[int(end) for end in run.split("-")] for run in path.name.split(",")]
    return file, Path(os.path.normpath(path.parent)), [value for run in runs for value in range(run[0], run[-1] + 1)]


def names_in(file: Path) -> list[str]:
    """Return the names of the structures in a SEG or RTSTRUCT, sorted; those without closed contours are left out."""
    content = read_dataset(file)
    found = _contours_of(content) if _is_rtstruct(content) else _segments_of(content)
    return sorted(set(found.values() if isinstance(found, dict) else (name for name, _ in found)))


def series_of(file: Path) -> set[str]:
    """Return the SeriesInstanceUID of each series that a SEG or RTSTRUCT refers to."""
    content = read_dataset(file)
    series = [*(content.get("ReferencedSeriesSequence") or [])]
    for frame in content.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            series += study.get("RTReferencedSeriesSequence") or []
    return {text_of(item, "SeriesInstanceUID") for item in series}


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
    names = names_in(file)
    if len(names) != len(values):
        raise UserError(
            f"The mask {file} held {len(values)} structures when its folder was read, and now {len(names)}."
        )
    grid, numbers = read_grid(image), dict(zip(names, values, strict=True))
    content = dcmread(file)
    if _is_rtstruct(content):
        return _paint(lambda: _draw_contours(content, grid, numbers, file), grid), grid.affine
    return _paint(_frames_of_segments(content, grid, numbers, file), grid), grid.affine


def _paint(frames: Callable[[], Iterator[Frame]], grid: Grid) -> np.ndarray:
    """Return the mask [X, Y, Z]; the frames are gone through twice, so that one at a time is in memory."""
    sizes = np.zeros(256, dtype=np.int64)
    for value, _, inside in frames():
        sizes[value] += int(inside.sum())
    rank = np.empty(256, dtype=np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(256)
    rank[0] = -1
    mask = np.zeros(grid.shape, dtype=np.uint8)
    for value, place, inside in frames():
        plane = mask[:, :, place].T  # a view
        plane[inside & (rank[plane] < rank[value])] = value
    return mask


def _is_rtstruct(content: Dataset) -> bool:
    return text_of(content, "Modality") == "RTSTRUCT"


def _segments_of(content: Dataset) -> dict[int, str]:
    """Return the name of each segment by its number."""
    return {
        int(item.SegmentNumber): text_of(item, "SegmentLabel") or f"segment {item.SegmentNumber}"
        for item in content.get("SegmentSequence") or []
    }


def _frames_of_segments(
    content: Dataset, grid: Grid, numbers: dict[str, int], file: Path
) -> Callable[[], Iterator[Frame]]:
    """Return an iterator over the frames of a SEG, each put on the slice that lies where it lies."""
    kind = text_of(content, "SegmentationType")
    if kind not in ("BINARY", "LABELMAP"):
        raise UserError(
            f"The mask {file} is a {kind} segmentation, but masks are BINARY or LABELMAP: save it as BINARY."
        )
    require_decoder(content, file)
    places = _places_of(content, grid, file)
    names = _segments_of(content)

    def frames() -> Iterator[Frame]:
        for frame, stored in enumerate(iter_pixels(file)):
            if kind == "BINARY":
                group = group_of(content, frame, "SegmentIdentificationSequence")
                number = int(group.ReferencedSegmentNumber) if group else 0
                yield numbers[_name_of(number, names, file)], places[frame], stored > 0
            else:
                for number in np.unique(stored[stored > 0]).tolist():
                    yield numbers[_name_of(number, names, file)], places[frame], stored == number

    return frames


def _name_of(number: int, names: dict[int, str], file: Path) -> str:
    if number not in names:
        raise UserError(f"The mask {file} uses the segment {number}, but names only {sorted(names)}: export it again.")
    return names[number]


def _places_of(content: Dataset, grid: Grid, file: Path) -> list[int]:
    """Return the number of the slice that each frame lies on; raise where one lies on none."""
    places = []
    for frame in frames_of(content, file):
        voxel = _to_voxels(grid, np.array([frame.position]))[0]
        place = round(float(voxel[2]))
        first = grid.slices[0]
        fits = frame.shape == first.shape and 0 <= place < len(grid.slices)
        fits &= bool(np.abs(voxel - [0, 0, place]).max() <= OFF_GRID)
        fits &= bool(np.abs(np.subtract(frame.orientation, first.orientation)).max() <= SAME_ANGLE)
        fits &= bool(np.allclose(frame.spacing_mm, first.spacing_mm, rtol=SAME_ANGLE))
        if not fits:
            raise UserError(
                f"The mask {file} must lie on the grid of its image series, but frame {frame.frame + 1} lies on none of "
                f"the slices in {first.path.parent}: export it on the grid of the series, or resample it to NIfTI."
            )
        places.append(place)
    return places


def _to_voxels(grid: Grid, points_mm: np.ndarray) -> np.ndarray:
    """Return points [N, 3] in mm (LPS) as voxel numbers (column, row, slice)."""
    affine = LPS_TO_RAS @ grid.affine
    voxels: np.ndarray = np.linalg.solve(affine[:3, :3], (points_mm - affine[:3, 3]).T).T
    return voxels


def _contours_of(content: Dataset) -> list[tuple[str, list[np.ndarray]]]:
    """Return the name of each region that has closed contours, and their points [N, 3] in mm."""
    names = {int(item.ROINumber): text_of(item, "ROIName") for item in content.get("StructureSetROISequence") or []}
    regions = []
    for region in content.get("ROIContourSequence") or []:
        closed = [
            np.reshape(np.array(contour.ContourData, dtype=float), (-1, 3))
            for contour in region.get("ContourSequence") or []
            if text_of(contour, "ContourGeometricType").startswith("CLOSED_PLANAR")
        ]
        number = int(region.ReferencedROINumber)
        regions += [(names.get(number) or f"region {number}", closed)] if closed else []
    return regions


def _draw_contours(content: Dataset, grid: Grid, numbers: dict[str, int], file: Path) -> Iterator[Frame]:
    """Yield each region slice by slice; a voxel is inside if its centre is inside an odd number of contours."""
    for name, contours in _contours_of(content):
        planes: dict[int, np.ndarray] = {}
        for contour in contours:
            voxels = _to_voxels(grid, contour)
            place = round(float(voxels[:, 2].mean()))
            if np.abs(voxels[:, 2] - place).max() > HALF_VOXEL or not 0 <= place < len(grid.slices):
                raise UserError(
                    f"The contours of {name!r} in {file} must lie on the slices of its image series, but one does not: "
                    f"export them for the series in {grid.slices[0].path.parent}."
                )
            inside = fill_contour(voxels[:, :2], grid.slices[0].shape)
            planes[place] = planes[place] ^ inside if place in planes else inside
        for place, inside in planes.items():
            yield numbers[name], place, inside


def fill_contour(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return which voxel centres [rows, columns] lie inside a closed contour [N, 2] of (column, row): even-odd rule."""
    inside = np.zeros(shape, dtype=bool)
    columns = np.arange(shape[1])
    for (x, y), (next_x, next_y) in zip(points, np.roll(points, -1, axis=0), strict=True):
        low, high = sorted((y, next_y))
        rows = np.arange(max(0, int(np.ceil(low))), min(shape[0], int(np.ceil(high))))  # low <= row < high
        if rows.size:
            crossing = x + (rows - y) * (next_x - x) / (next_y - y)
            inside[rows] ^= columns > crossing[:, None]
    return inside
