"""From the slices of a DICOM series to one grid: order, affine, and what is wrong with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selfmae.data.dicom_headers import find_headers, headers_in, slices_of
from selfmae.data.dicom_slices import Slice
from selfmae.errors import UserError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's first two axes point the other way
SAME_ANGLE = 1e-3  # of direction cosines, which some files give with four digits
SAME_PLACE_MM = 1e-3
MISSING = 1.5  # gaps between slices, in usual gaps: a slice fits between
OFF_GRID = 0.1  # voxels that a slice may lie off an even grid: positions are often rounded to 0.1 mm
MOST_TILT_DEGREES = 0.5  # below this a stack of 200 mm leans by less than 2 mm

# code: severity, what mends it (the form of `doctor.REMEDIES`)
REMEDIES = {
    "mixed_series": ("error", "move the slices that do not belong there into folders of their own, or remove them"),
    "repeated_slices": ("error", "keep one image of each position, for example one time, echo or b-value"),
    "missing_slices": ("error", "copy the whole series again, or remove it"),
    "uneven_slices": ("error", "resample the series to even slices, for example with dcm2niix, or remove it"),
    "duplicate_slices": ("warning", "remove the copies; each slice is used once"),
    "gantry_tilt": ("warning", "shapes lean in the voxel grid: correct the tilt, for example with dcm2niix"),
    "several_series": ("note", "nothing: each series is an image of its own"),
    "burned_in": ("warning", "look at the images: text in the pixels may name a person, and figures would show it"),
    "identifying_tags": (
        "warning",
        "none of these is copied into any output, but PatientID is (in the names of cases): replace it by a code if it "
        "identifies a person",
    ),
}


@dataclass(frozen=True)
class Grid:
    """The slices of a series in the order of the third axis, and where their voxels lie."""

    slices: tuple[Slice, ...]
    affine: np.ndarray  # [4, 4] from voxels (column, row, slice) to mm, RAS

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the numbers of columns, rows and slices."""
        rows, columns = self.slices[0].shape
        return columns, rows, len(self.slices)


def read_grid(path: Path) -> Grid:
    """Return the grid of the series that a path names; raise `UserError` where its slices make none."""
    slices = slices_of(find_headers(path))
    if not slices:
        raise UserError(f"{path} must be a DICOM series with positions to be a volume, but is a picture without any.")
    for code, cause in check_slices(slices, path):
        severity, fix = REMEDIES[code]
        if severity == "error":
            raise UserError(f"{cause[0].upper()}{cause[1:]}: {fix}.")
    ordered = order_slices(slices)
    return Grid(tuple(ordered), affine_of(ordered))


def check_series(path: Path) -> list[tuple[str, str]]:
    """Return a code (see `REMEDIES`) and a cause for everything to know of the image that a path names."""
    headers = find_headers(path)
    found = check_slices(slices_of(headers), path)
    if not path.is_file():
        series = {header.series for header in headers_in(headers[0].path.parent) if header.kind == "volume"}
        if len(series) > 1:
            found.append(("several_series", f"the folder {headers[0].path.parent} holds {len(series)} series"))
    if any(header.burned_in for header in headers):
        found.append(("burned_in", f"{path} has BurnedInAnnotation YES: text is part of the pixels"))
    names = sorted({name for header in headers for name in header.identifying})
    if names:
        found.append(("identifying_tags", f"{path} has tags that may identify a person ({', '.join(names)})"))
    return found


def check_slices(slices: Sequence[Slice], path: Path) -> list[tuple[str, str]]:
    """Return code and cause for what keeps slices from being one even stack."""
    different = _differing(slices)
    if different:
        return [("mixed_series", f"the slices of the series {path} differ in {' and '.join(different)}")]
    ordered = order_slices(slices)
    found = []
    if len(ordered) < len(slices):
        copies = len(slices) - len(ordered)
        found.append(("duplicate_slices", f"the series {path} holds {copies} slices twice (equal SOPInstanceUID)"))
    if len(ordered) > 1:
        found += _check_steps(ordered, path)
    return found


def order_slices(slices: Sequence[Slice]) -> list[Slice]:
    """Return each slice once (copies have the same SOPInstanceUID), along the normal of their planes."""
    once = {(item.instance, item.frame): item for item in reversed(slices)}
    return sorted(once.values(), key=lambda item: float(np.dot(item.position, _normal(item))))


def affine_of(ordered: Sequence[Slice]) -> np.ndarray:
    """Return the affine [4, 4] from voxels (column, row, slice) to mm in RAS, the step being the mean one."""
    first = ordered[0]
    if len(ordered) > 1:
        step = np.subtract(ordered[-1].position, first.position) / (len(ordered) - 1)
    elif first.thickness_mm:
        step = _normal(first) * first.thickness_mm
    else:
        raise UserError(f"{first.path} is the only slice of its series and says not how thick it is: remove it.")
    affine = np.eye(4)
    affine[:3, 0] = np.multiply(first.orientation[:3], first.spacing_mm[1])
    affine[:3, 1] = np.multiply(first.orientation[3:], first.spacing_mm[0])
    affine[:3, 2] = step
    affine[:3, 3] = first.position
    placed: np.ndarray = LPS_TO_RAS @ affine
    return placed


def _normal(item: Slice) -> np.ndarray:
    return np.cross(item.orientation[:3], item.orientation[3:])


def _differing(slices: Sequence[Slice]) -> list[str]:
    first = slices[0] if slices else None
    return [
        name
        for name, key in (("size", "shape"), ("orientation", "orientation"), ("pixel spacing", "spacing_mm"))
        if any(np.abs(np.subtract(getattr(item, key), getattr(first, key))).max() > SAME_ANGLE for item in slices)
    ]


def _check_steps(ordered: Sequence[Slice], path: Path) -> list[tuple[str, str]]:
    """Look at the positions of two slices or more."""
    positions = np.array([item.position for item in ordered])
    normal = _normal(ordered[0])
    depths = positions @ normal
    gaps = np.diff(depths)
    if gaps.min() < SAME_PLACE_MM:
        places = int((gaps >= SAME_PLACE_MM).sum()) + 1
        return [("repeated_slices", f"the series {path} has {len(ordered)} slices at {places} positions only")]
    usual = float(np.median(gaps))
    wide = np.flatnonzero(gaps > MISSING * usual)
    if wide.size:
        lacking = int(np.round(gaps[wide] / usual).sum()) - len(wide)
        where = f"{gaps[wide[0]]:.4g} mm behind slice {wide[0] + 1} where {usual:.4g} mm are usual"
        return [("missing_slices", f"the series {path} lacks {max(1, lacking)} slices ({where})")]
    affine = LPS_TO_RAS @ affine_of(ordered)
    voxels = np.linalg.solve(affine[:3, :3], (positions - positions[0]).T).T
    off = float(np.abs(voxels - np.outer(np.arange(len(ordered)), [0, 0, 1])).max())
    if off > OFF_GRID:
        return [("uneven_slices", f"the slices of the series {path} lie up to {off:.2g} voxels off an even grid")]
    step = affine[:3, 2]
    tilt = float(np.degrees(np.arccos(min(1.0, step @ normal / np.linalg.norm(step)))))
    if tilt > MOST_TILT_DEGREES:
        return [("gantry_tilt", f"the slices of the series {path} are stacked at {tilt:.2g} degrees to their normal")]
    return []
