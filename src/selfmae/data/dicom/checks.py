"""What is wrong with a DICOM image, and what to know before its pixels are shown: codes for the data doctor."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from selfmae.data.dicom.grid import Grid, Slice, grid_of, normal_of, order_slices
from selfmae.data.dicom.headers import Header
from selfmae.data.dicom.series import find_headers, headers_in, slices_of
from selfmae.errors import UserError

SAME_ANGLE = 1e-3  # of direction cosines, which some files give with four digits
SAME_POSITION_MM = 1e-3
MISSING = 1.5  # gaps between slices, in usual gaps: a slice fits between
OFF_GRID = 0.1  # voxels that a slice may lie off an even grid: positions are often rounded to 0.1 mm
MAX_TILT_DEGREES = 0.5  # below this a stack of 200 mm leans by less than 2 mm

# code: severity, what mends it (the form of `doctor.REMEDIES`)
REMEDIES = {
    "split_series": ("error", "move the slices together, or remove the copies"),
    "several_masks": ("error", "keep one of them, or join them to one"),
    "lonely_mask": ("error", "add the series, or remove the masks"),
    "mixed_series": ("error", "move the slices that do not belong there into folders of their own, or remove them"),
    "repeated_slices": ("error", "keep one image of each position, for example one time, echo or b-value"),
    "missing_slices": ("error", "copy the whole series again, or remove it"),
    "uneven_slices": ("error", "resample the series to even slices, for example with dcm2niix, or remove it"),
    "duplicate_slices": ("warning", "remove the copies; each slice is used once"),
    "gantry_tilt": ("warning", "shapes lean in the voxel grid: correct the tilt, for example with dcm2niix"),
    "several_series": ("note", "nothing: each series is a case of its own"),
    "burned_in_text": (
        "warning",
        "check the images: text in the pixels may name a person, and figures would show it",
    ),
    "identifying_path": ("warning", "rename these folders or files: paths and the ids made of them stand in outputs"),
    "identifying_tags": ("note", "nothing: no value of these tags is copied into any output"),
}


def read_grid(path: Path) -> Grid:
    """Return the grid of the series that a path names; raise `UserError` where its slices make none."""
    headers = find_headers(path)
    if not slices_of(headers):
        raise UserError(f"{path} must be a DICOM series with positions to be a volume, but is a picture without any.")
    for code, cause in _check_slices(headers, path):
        severity, fix = REMEDIES[code]
        if severity == "error":
            raise UserError(f"{cause[0].upper()}{cause[1:]}: {fix}.")
    return grid_of(order_slices(slices_of(headers)))


def check_series(path: Path) -> list[tuple[str, str]]:
    """Return a code (see `REMEDIES`) and a cause for everything to know of the image that a path names."""
    headers = find_headers(path)
    found = _check_slices(headers, path)
    if not path.exists():
        num_series = len({header.series for header in headers_in(path.parent) if len(header.slices) == 1})
        found.append(("several_series", f"the folder {path.parent} holds {num_series} series"))
    facts = [header.privacy for header in headers if header.privacy]
    burned_in = sorted({fact.burned_in for fact in facts} - {""})
    in_path = sorted({name for fact in facts for name in fact.in_path})
    tags = sorted({name for fact in facts for name in fact.tags})
    if burned_in:
        found.append(("burned_in_text", f"text may stand in the pixels of {path} ({', '.join(burned_in)})"))
    if in_path:
        found.append(("identifying_path", f"the path {path} contains the file's own {', '.join(in_path)}"))
    if tags:
        found.append(("identifying_tags", f"{path} has tags that may identify a person ({', '.join(tags)})"))
    return found


def _check_slices(headers: Sequence[Header], path: Path) -> list[tuple[str, str]]:
    """Return code and cause for what keeps slices from being one even stack."""
    slices = slices_of(headers)
    different = [
        name
        for name, key in (("size", "shape"), ("orientation", "orientation"), ("pixel spacing", "spacing_mm"))
        if any(np.abs(np.subtract(getattr(item, key), getattr(slices[0], key))).max() > SAME_ANGLE for item in slices)
    ]
    if len({header.modality for header in headers}) > 1:
        different.append("modality")
    if different:
        return [("mixed_series", f"the slices of the series {path} differ in {' and '.join(different)}")]
    ordered = order_slices(slices)
    found = []
    if len(ordered) < len(slices):
        copies = f"{len(slices) - len(ordered)}, with equal SOPInstanceUID"
        found.append(("duplicate_slices", f"the series {path} holds copies of slices ({copies})"))
    if len(ordered) > 1:
        found += _check_steps(ordered, path)
    return found


def _check_steps(ordered: Sequence[Slice], path: Path) -> list[tuple[str, str]]:
    """Return code and cause for uneven positions of two slices or more."""
    positions = np.array([item.position for item in ordered])
    normal = normal_of(ordered[0])
    depths = positions @ normal
    gaps = np.diff(depths)
    if gaps.min() < SAME_POSITION_MM:
        num_positions = int((gaps >= SAME_POSITION_MM).sum()) + 1
        return [("repeated_slices", f"the series {path} has {len(ordered)} slices at {num_positions} positions only")]
    usual = float(np.median(gaps))
    wide = np.flatnonzero(gaps > MISSING * usual)
    if wide.size:
        lacking = int(np.round(gaps[wide] / usual).sum()) - len(wide)
        where = f"{gaps[wide[0]]:.4g} mm after slice {wide[0] + 1} where {usual:.4g} mm are usual"
        return [("missing_slices", f"the series {path} lacks slices ({max(1, lacking)} by the gaps: {where})")]
    off = float(np.abs(grid_of(ordered).to_voxels(positions) - np.outer(np.arange(len(ordered)), [0, 0, 1])).max())
    if off > OFF_GRID:
        return [("uneven_slices", f"the slices of the series {path} lie up to {off:.2g} voxels off an even grid")]
    step = positions[-1] - positions[0]
    tilt = float(np.degrees(np.arccos(min(1.0, step @ normal / np.linalg.norm(step)))))
    if tilt > MAX_TILT_DEGREES:
        return [("gantry_tilt", f"the slices of the series {path} are stacked at {tilt:.2g} degrees to their normal")]
    return []
