"""Which DICOM files are one image or mask, and how paths name them.

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

from selfmae.data.dicom.grid import Slice
from selfmae.data.dicom.headers import Header, header_of
from selfmae.errors import UserError, first_of

ONE_OF_SEVERAL = re.compile(r"series-[1-9]\d*")
VALUES = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")


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
    """Return the headers of each image among these files by its path (see above).

    A broken file that does not tell its series may belong to any in its folder, so all of them have its header too.
    """
    folders: dict[Path, list[Header]] = defaultdict(list)
    for header in headers:
        folders[header.path.parent].append(header)
    named: dict[Path, tuple[Header, ...]] = {}
    for folder, inside in folders.items():
        series: dict[str, list[Header]] = defaultdict(list)
        for header in inside:
            if len(header.slices) == 1 or (header.kind == "broken" and header.series):
                series[header.series].append(header)
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
    for header in headers:
        if header.error:
            raise UserError(header.error)
    return headers


def mask_path(file: Path, image: Path, values: Sequence[int]) -> Path:
    """Return the path of a mask: `values` are rising, one for each structure that the file names."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    text = ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return file / os.path.relpath(image, file) / text


def split_mask_path(path: Path) -> tuple[Path, Path, list[int]]:
    """Return the file of a mask, its image, and the values of its structures; [] where a path names no such mask."""
    file = next((parent for parent in path.parents if parent.is_file()), path)
    if file == path or not VALUES.fullmatch(path.name):
        return path, path, []
    runs = [[int(end) for end in run.split("-")] for run in path.name.split(",")]
    return file, Path(os.path.normpath(path.parent)), [value for run in runs for value in range(run[0], run[-1] + 1)]


def slices_of(headers: Sequence[Header]) -> list[Slice]:
    """Return all slices of these files in the order of the files; pictures have none."""
    return [item for header in headers for item in header.slices]
