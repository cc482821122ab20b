"""DICOM series: which files are one image or mask, how paths name them, and what is wrong with them.

An image is named by a path: a file (a radiograph, or all slices in one file), a folder that holds one series of slices,
or FOLDER/series-2, the second of several series in a folder by number and file name; there is no file of that name.
Neither SEG nor RTSTRUCT tells the grid of a mask, nor which number a structure has in other files. So the path of such
a mask says both: its file, the way from there to its image, and the values of the structures that the file names, these
in the order of the alphabet: SEG/1.dcm/../../CT/1,3 (`mask_path` makes it, `split_mask_path` takes it apart).
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from selfmae.data.dicom.grid import Grid, Slice, grid_of, normal_of, order_slices
from selfmae.data.dicom.headers import Header, header_of
from selfmae.errors import UserError, first_of

ONE_OF_SEVERAL = re.compile(r"series-[1-9]\d*")
VALUES = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
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
    "burned_in_text": ("warning", "check the images: text in the pixels may name a person, and figures would show it"),
    "identifying_path": ("warning", "rename these folders or files: paths and the ids made of them stand in outputs"),
    "identifying_tags": ("note", "nothing: no value of these tags is copied into any output"),
}


def is_series(path: Path) -> bool:
    """Return whether a path is a folder or FOLDER/series-N, whatever the folder holds."""
    return path.is_dir() or (bool(ONE_OF_SEVERAL.fullmatch(path.name)) and not path.exists() and path.parent.is_dir())


def stem_of_image(path: Path) -> str:
    """Return what files made from an image are called: dots are no ending in names of folders and in UIDs."""
    if path.is_file():
        return path.name.removesuffix(path.suffix) if path.suffix.lower() == ".dcm" else path.name
    return path.absolute().name if path.is_dir() else f"{path.parent.absolute().name}_{path.name}"


def headers_in(folder: Path) -> tuple[Header, ...]:
    """Return the headers of the DICOM files directly in a folder, by name."""
    files = (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))
    return tuple(header for path in files if (header := header_of(path)))


def name_images(headers: Iterable[Header]) -> dict[Path, tuple[Header, ...]]:
    """Return the headers of each image among these files by its path (see above)."""
    folders: dict[Path, list[Header]] = defaultdict(list)
    for header in headers:
        folders[header.path.parent].append(header)
    named: dict[Path, tuple[Header, ...]] = {}
    for folder, inside in folders.items():
        series: dict[str, list[Header]] = defaultdict(list)
        for header in inside:
            if len(header.slices) == 1 or (header.kind == "broken" and header.series):
                series[header.series].append(header)
        # A broken file that does not tell its series may belong to any in its folder.
        broken = [header for header in inside if header.kind == "broken" and not header.series]
        ordered = sorted(series.values(), key=lambda group: (group[0].number, group[0].path))
        for number, group in enumerate(ordered, start=1):
            named[folder / f"series-{number}" if len(ordered) > 1 else folder] = (*group, *broken)
        alone = [header for header in inside if header.kind == "picture" or len(header.slices) > 1]
        named |= {header.path: (header,) for header in (*alone, *(() if series else broken))}
    return named


def find_headers(path: Path) -> tuple[Header, ...]:
    """Return the headers of the image that a path names (see above); raise `UserError` where one cannot be read."""
    if path.is_file():
        header = header_of(path)
        headers: tuple[Header, ...] = (header,) if header else ()
    elif is_series(path):
        named = name_images(headers_in(path if path.is_dir() else path.parent))
        if path not in named and (not named or not path.is_dir()):
            raise UserError(f"The DICOM image {path} was expected, but no file there belongs to it: check the path.")
        if path not in named and len(named) > 1:
            raise UserError(
                f"The folder {path} holds {len(named)} DICOM images ({first_of(named)}), but one was asked for: "
                "name one of them."
            )
        headers = named.get(path) or next(iter(named.values()))
    else:
        raise FileNotFoundError(path)
    if error := next((header.error for header in headers if header.error), ""):
        raise UserError(error)
    return headers


def mask_path(file: Path, image: Path, values: Sequence[int]) -> Path:
    """Return the path of a mask: `values` are rising, one for each structure that the file names."""
    starts = [value for value in values if value - 1 not in values]
    ends = [value for value in values if value + 1 not in values]
    runs = [str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True)]
    return file / os.path.relpath(image, file) / ",".join(runs)


def split_mask_path(path: Path) -> tuple[Path, Path, list[int]]:
    """Return the file of a mask, its image, and the values of its structures; [] where a path names no such mask."""
    file = next((parent for parent in path.parents if parent.is_file()), path)
    if file == path or not VALUES.fullmatch(path.name):
        return path, path, []
    runs = [[int(end) for end in run.split("-")] for run in path.name.split(",")]
    return file, Path(os.path.normpath(path.parent)), [value for run in runs for value in range(run[0], run[-1] + 1)]


def read_grid(path: Path) -> Grid:
    """Return the grid of the series that a path names; raise `UserError` where its slices make none."""
    headers = find_headers(path)
    slices = [item for header in headers for item in header.slices]
    if not slices:
        raise UserError(f"{path} must be a DICOM series with positions to be a volume, but is a picture without any.")
    for code, cause in _check_slices(headers, slices, path):
        severity, fix = REMEDIES[code]
        if severity == "error":
            raise UserError(f"{cause[0].upper()}{cause[1:]}: {fix}.")
    return grid_of(order_slices(slices))


def check_series(path: Path) -> list[tuple[str, str]]:
    """Return a code (see `REMEDIES`) and a cause for everything to know of the image that a path names."""
    headers = find_headers(path)
    found = _check_slices(headers, [item for header in headers for item in header.slices], path)
    if not path.exists():
        num_series = len({header.series for header in headers_in(path.parent) if len(header.slices) == 1})
        found.append(("several_series", f"the folder {path.parent} holds {num_series} series"))
    if burned_in := sorted({header.burned_in for header in headers} - {""}):
        found.append(("burned_in_text", f"text may stand in the pixels of {path} ({', '.join(burned_in)})"))
    if in_path := sorted({name for header in headers for name in header.in_path}):
        found.append(("identifying_path", f"the path {path} contains the file's own {', '.join(in_path)}"))
    if tags := sorted({name for header in headers for name in header.identifying}):
        found.append(("identifying_tags", f"{path} has tags that may identify a person ({', '.join(tags)})"))
    return found


def _check_slices(headers: Sequence[Header], slices: Sequence[Slice], path: Path) -> list[tuple[str, str]]:
    """Return code and cause for what keeps slices from being one even stack."""
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
    found = _check_steps(ordered, path) if len(ordered) > 1 else []
    if len(ordered) < len(slices):
        copies = f"{len(slices) - len(ordered)}, with equal SOPInstanceUID"
        found.insert(0, ("duplicate_slices", f"the series {path} holds copies of slices ({copies})"))
    return found


def _check_steps(ordered: Sequence[Slice], path: Path) -> list[tuple[str, str]]:
    """Return code and cause for uneven positions of two slices or more."""
    positions, normal = np.array([item.position for item in ordered]), normal_of(ordered[0])
    gaps = np.diff(positions @ normal)
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
