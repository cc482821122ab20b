"""DICOM files by their headers: which a folder holds, which of them are one image, and where each slice lies.

A DICOM image is named by a path: a file (a radiograph, or all slices in one file), a folder that holds one series of
slices, or FOLDER/UID, one of several series in a folder, where UID is its SeriesInstanceUID and no file of that name.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydicom import Dataset

from selfmae.data.dicom_slices import Slice, frames_of, has_mark, read_dataset, slice_of, text_of
from selfmae.errors import UserError

UID = re.compile(r"\d+(\.\d+)+")
RADIOGRAPHS = ("CR", "DX", "MG", "PX", "IO", "RG", "RF", "XA")  # projections, even where they have a position
# Not images, though some have pixels.
OTHERS = ("RTDOSE", "RTPLAN", "PR", "KO", "SR", "REG")
IDENTIFYING = (
    *("PatientName", "PatientBirthDate", "PatientAddress", "PatientTelephoneNumbers", "OtherPatientIDs"),
    "ReferringPhysicianName",
)
TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality"),
    *("ImageType", "PatientID", "PatientIdentityRemoved", "BurnedInAnnotation", "Rows", "Columns", "NumberOfFrames"),
    *("SamplesPerPixel", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "SharedFunctionalGroupsSequence", *IDENTIFYING),
)


@dataclass(frozen=True)
class Header:
    """What one file says of itself. Nothing that names a person is kept but the PatientID.

    `kind` is "volume" (slices that lie somewhere in a body), "picture", "seg", "rtstruct" or "other".
    """

    path: Path
    kind: str
    patient: str
    study: str
    series: str
    number: int  # of the series; 0 where the file does not say
    instance: str
    modality: str
    num_colours: int
    slice: Slice | None  # None where the frames of the file lie each for itself
    burned_in: bool
    identifying: tuple[str, ...]  # names of filled tags that may identify a person


def read_header(path: Path) -> Header:
    """Return the header of one file."""
    content = read_dataset(path, *TAGS)
    try:
        return _as_header(content, path)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} has a value of the wrong kind in its DICOM header ({error}): correct it.") from error


def headers_in(folder: Path) -> tuple[Header, ...]:
    """Return the headers of the DICOM files directly in a folder, by name; kept until files come or go."""
    return _headers_in(folder, folder.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _headers_in(folder: Path, changed_ns: int) -> tuple[Header, ...]:
    files = (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))
    headers = (read_header(path) for path in files if path.suffix.lower() == ".dcm" or has_mark(path))
    return tuple(header for header in headers if header.series)  # a DICOMDIR has none


def is_series(path: Path) -> bool:
    """Return whether a path is a folder or FOLDER/UID, whatever the folder holds."""
    return path.is_dir() or (bool(UID.fullmatch(path.name)) and not path.is_file() and path.parent.is_dir())


def find_headers(path: Path) -> tuple[Header, ...]:
    """Return the headers of the image that a path names (see above)."""
    if path.is_file():
        return (read_header(path),)
    if not is_series(path):
        raise FileNotFoundError(path)
    images = images_of(headers_in(path if path.is_dir() else path.parent))
    found = images if path.is_dir() else tuple(header for header in images if header.series == path.name)
    series = sorted({header.series for header in found})
    if not series:
        raise UserError(f"The DICOM series {path} was expected, but no file there belongs to it: check the path.")
    if len(series) > 1:
        names = ", ".join(series[:3])
        raise UserError(
            f"The folder {path} holds {len(series)} DICOM series ({names}), but one image is one series: name it as "
            f"{path / series[0]}, or give each a folder."
        )
    return found


def images_of(headers: Sequence[Header]) -> tuple[Header, ...]:
    """Return the slices among these files; where there are none, the pictures."""
    slices = tuple(header for header in headers if header.kind == "volume")
    return slices or tuple(header for header in headers if header.kind == "picture")


def slices_of(headers: Sequence[Header]) -> list[Slice]:
    """Return all slices of these files in the order of the files."""
    slices: list[Slice] = []
    for header in headers:
        slices += [header.slice] if header.slice else frames_of(read_dataset(header.path), header.path)
    return slices


def _as_header(content: Dataset, path: Path) -> Header:
    kind = _kind_of(content)
    several = int(content.get("NumberOfFrames") or 1) > 1 or not content.get("ImagePositionPatient")
    patient = text_of(content, "PatientID")
    return Header(
        path=path,
        kind=kind,
        patient=patient,
        study=text_of(content, "StudyInstanceUID"),
        series=text_of(content, "SeriesInstanceUID"),
        number=int(content.get("SeriesNumber") or 0),
        instance=text_of(content, "SOPInstanceUID"),
        modality=text_of(content, "Modality"),
        num_colours=int(content.get("SamplesPerPixel") or 1),
        slice=None if kind != "volume" or several else slice_of(content, content, path, 0),
        burned_in=text_of(content, "BurnedInAnnotation") == "YES",
        identifying=_identifying(content, patient),
    )


def _kind_of(content: Dataset) -> str:
    modality = text_of(content, "Modality")
    if modality in ("SEG", "RTSTRUCT"):
        return modality.lower()
    if not content.get("Rows") or modality in OTHERS or "LOCALIZER" in (content.get("ImageType") or ()):
        return "other"
    placed = bool(content.get("ImagePositionPatient") and content.get("ImageOrientationPatient"))
    framed = int(content.get("NumberOfFrames") or 1) > 1 and bool(content.get("SharedFunctionalGroupsSequence"))
    if not (placed or framed) or modality in RADIOGRAPHS:
        return "picture"
    return "other" if content.get("SamplesPerPixel") == 3 else "volume"  # coloured slices are fusions for the eye


def _identifying(content: Dataset, patient: str) -> tuple[str, ...]:
    """Return the names of filled tags, unless the file or its values say that they were made anonymous."""
    if text_of(content, "PatientIdentityRemoved") == "YES":
        return ()
    values = {name: text_of(content, name).strip("^ ") for name in IDENTIFYING}
    return tuple(name for name, value in values.items() if value not in ("", patient) and "anon" not in value.lower())
