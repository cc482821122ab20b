"""The slices of DICOM files: where each lies, be it a file of its own or one frame of many in a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.pixels import get_decoder

from selfmae.errors import UserError

PLACES = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")


@dataclass(frozen=True)
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


def has_mark(path: Path) -> bool:
    """Return whether the file is DICOM by the letters that each such file has behind 128 bytes."""
    try:
        with path.open("rb") as file:
            file.seek(128)
            return file.read(4) == b"DICM"
    except OSError:
        return False


def read_dataset(path: Path, *tags: str) -> Dataset:
    """Return what a file holds without its pixels, of these tags only if any are given."""
    try:
        return dcmread(path, stop_before_pixels=True, specific_tags=list(tags) or None)
    except FileNotFoundError:
        raise
    except Exception as error:  # pydicom raises many kinds for files that are damaged
        raise UserError(
            f"{path} could not be read as DICOM ({' '.join(str(error).split())}): copy it again or remove it."
        ) from error


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


def frames_of(content: Dataset, path: Path) -> list[Slice]:
    """Return where each frame of a file lies by its functional groups (DICOM PS3.3, C.7.6.16)."""
    frames = []
    for place in range(int(content.get("NumberOfFrames") or 1)):
        merged = Dataset()
        for name in PLACES:
            group = group_of(content, place, name)
            if group is None:
                raise UserError(
                    f"{path} does not say where its frames lie (no {name}), so it is no volume: convert it to NIfTI, "
                    "or remove it."
                )
            merged.update(group)
        frames.append(slice_of(content, merged, path, place))
    return frames


def group_of(content: Dataset, frame: int, name: str) -> Dataset | None:
    """Return a functional group of one frame, or else that of all frames, or else None."""
    own = content.get("PerFrameFunctionalGroupsSequence") or []
    shared = content.get("SharedFunctionalGroupsSequence") or []
    for groups in (*own[frame : frame + 1], *shared[:1]):
        if groups.get(name):
            found: Dataset = groups.get(name)[0]
            return found
    return None


def slice_of(content: Dataset, place: Dataset, path: Path, frame: int) -> Slice:
    """Return one slice of a file; `place` holds the tags that say where it lies."""
    return Slice(
        path=path,
        frame=frame,
        instance=text_of(content, "SOPInstanceUID"),
        shape=(int(content.Rows), int(content.Columns)),
        position=_numbers(place, "ImagePositionPatient", 3, path),
        orientation=_numbers(place, "ImageOrientationPatient", 6, path),
        spacing_mm=_numbers(place, "PixelSpacing", 2, path),
        thickness_mm=abs(float(place.get("SpacingBetweenSlices") or place.get("SliceThickness") or 0)),
    )


def _numbers(content: Dataset, name: str, count: int, path: Path) -> tuple[float, ...]:
    value: Any = content.get(name)
    numbers = tuple(float(number) for number in value) if value else ()
    if len(numbers) != count or (name == "PixelSpacing" and min(numbers) <= 0):
        raise UserError(
            f"{path} must hold {count} numbers in {name} to say where its slice lies, but has {list(numbers)}: "
            "correct the header or remove the file."
        )
    return numbers


def text_of(content: Dataset, name: str) -> str:
    """Return a value as text, "" where there is none."""
    value = content.get(name)
    return "" if value is None else str(value).strip()
