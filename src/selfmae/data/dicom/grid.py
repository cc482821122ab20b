"""Positions of DICOM slices, in one file each or as frames of one file, and the grid that they form."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset

from selfmae.errors import UserError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's first two axes point the other way
POSITION_GROUPS = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@dataclass(frozen=True, slots=True)
class Slice:
    """Where one slice lies, in DICOM's coordinates (mm, LPS)."""

    path: Path
    frame: int  # of the file, from 0
    instance: str  # SOPInstanceUID
    shape: tuple[int, int]  # rows, columns
    position: tuple[float, ...]  # of the centre of the first voxel
    orientation: tuple[float, ...]  # the direction along a row (three numbers), then that down a column
    spacing_mm: tuple[float, ...]  # between rows, between columns
    thickness_mm: float  # 0 where the file does not say


@dataclass(frozen=True)
class Grid:
    """The slices of a series in the order of the third axis, and where their voxels lie."""

    slices: tuple[Slice, ...]
    affine: np.ndarray  # [4, 4] from voxels (column, row, slice) to mm, RAS

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the numbers of columns, rows and slices."""
        return *self.slices[0].shape[::-1], len(self.slices)

    def to_voxels(self, points_mm: np.ndarray) -> np.ndarray:
        """Return points [N, 3] in DICOM's mm (LPS) as voxels (column, row, slice), which may lie between centres."""
        affine = LPS_TO_RAS @ self.affine
        return np.linalg.solve(affine[:3, :3], (points_mm - affine[:3, 3]).T).T


def text_of(content: Dataset, name: str) -> str:
    """Return a value as text, "" where there is none."""
    value = content.get(name)
    return "" if value is None else str(value).strip()


def slices_in(content: Dataset, path: Path) -> tuple[Slice, ...]:
    """Return where the frames of a file lie: by the file itself, or by functional groups (DICOM PS3.3, C.7.6.16)."""
    num_frames = int(content.get("NumberOfFrames") or 1)
    if num_frames == 1 and content.get("ImagePositionPatient"):
        return (_slice_of(content, content, path, 0),)
    frames = []
    for frame in range(num_frames):
        merged = Dataset()
        for name in POSITION_GROUPS:
            group = group_of(content, frame, name)
            if group is None:
                raise UserError(
                    f"{path} does not say where its frames lie (no {name}), so it is no volume: convert it to NIfTI, "
                    "or remove it."
                )
            merged.update(group)
        frames.append(_slice_of(content, merged, path, frame))
    return tuple(frames)


def group_of(content: Dataset, frame: int, name: str) -> Dataset | None:
    """Return a functional group of one frame, or else the group shared by all frames, or else None."""
    shared, own = (content.get(groups) or [] for groups in GROUPS)
    for groups in (*own[frame : frame + 1], *shared[:1]):
        if groups.get(name):
            return groups.get(name)[0]
    return None


def _slice_of(content: Dataset, position: Dataset, path: Path, frame: int) -> Slice:
    """Return one slice of a file; `position` holds the tags that say where it lies."""
    return Slice(
        path=path,
        frame=frame,
        instance=text_of(content, "SOPInstanceUID"),
        shape=(int(content.Rows), int(content.Columns)),
        position=_numbers(position, "ImagePositionPatient", 3, path),
        orientation=_numbers(position, "ImageOrientationPatient", 6, path),
        spacing_mm=_numbers(position, "PixelSpacing", 2, path),
        thickness_mm=abs(float(position.get("SpacingBetweenSlices") or position.get("SliceThickness") or 0)),
    )


def _numbers(content: Dataset, name: str, count: int, path: Path) -> tuple[float, ...]:
    value = content.get(name)
    numbers = () if value is None else tuple(np.ravel(np.asarray(value, dtype=float)).tolist())  # one is no list
    if len(numbers) != count or (name == "PixelSpacing" and min(numbers) <= 0):
        raise UserError(
            f"{path} must hold {count} numbers in {name} to say where its slice lies, but has {list(numbers)}: "
            "correct the header or remove the file."
        )
    return numbers


def order_slices(slices: Sequence[Slice]) -> list[Slice]:
    """Return each slice once (copies have the same SOPInstanceUID), along the normal of their planes."""
    once = {(item.instance or item.path, item.frame): item for item in reversed(slices)}
    return sorted(once.values(), key=lambda item: float(np.dot(item.position, normal_of(item))))


def normal_of(item: Slice) -> np.ndarray:
    """Return the direction [3] that is at right angles to a slice."""
    return np.cross(item.orientation[:3], item.orientation[3:])


def grid_of(ordered: Sequence[Slice]) -> Grid:
    """Return the grid of ordered slices, the step between them being the mean one."""
    first = ordered[0]
    if len(ordered) > 1:
        step = np.subtract(ordered[-1].position, first.position) / (len(ordered) - 1)
    elif first.thickness_mm:
        step = normal_of(first) * first.thickness_mm
    else:
        raise UserError(f"{first.path} is the only slice of its series and says not how thick it is: remove it.")
    across = np.multiply(first.orientation[:3], first.spacing_mm[1])
    down = np.multiply(first.orientation[3:], first.spacing_mm[0])
    affine = np.eye(4)
    affine[:3] = np.column_stack((across, down, step, first.position))
    return Grid(tuple(ordered), LPS_TO_RAS @ affine)
