"""What DICOM files say of themselves without their pixels: of which kind each is, and where its slices lie.

Values that may tell who a person is are kept only to tell patients apart.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from pydicom import Dataset, config, dcmread
from pydicom.misc import is_dicom
from pydicom.uid import UID

from selfmae.data.dicom.grid import GROUPS, Slice, slices_in, text_of
from selfmae.errors import UserError

config.settings.reading_validation_mode = config.IGNORE  # its warnings would print values, of whatever tag

RADIOGRAPHS = ("CR", "DX", "MG", "PX", "IO", "RG", "RF", "XA")  # projections, even where they have a position
RECONSTRUCTED = "1.2.840.10008.5.1.4.1.1.13.1."  # volumes of these modalities: rotational angiography, tomosynthesis
STANDARD = "1.2.840.10008."  # how UIDs of the standard begin
OTHERS = ("RTDOSE", "RTPLAN", "PR", "KO", "SR", "REG")  # not images, though some have pixels
PERSONAL = (
    *("PatientName", "PatientID", "OtherPatientIDs", "PatientBirthDate", "PatientAddress", "PatientTelephoneNumbers"),
    *("AccessionNumber", "ReferringPhysicianName", "InstitutionName", "StudyDate"),
)
# Of these, what a path may well hold, since exports name their folders so.
NAMING = ("PatientName", "PatientID", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # also the beginning of its kinds with several frames
NOBODY = re.compile(r"(anon|anonymous|anonymi[sz]ed|unknown|none|n/?a|0+)?", re.IGNORECASE)
SHORTEST_NAME = 3  # letters: shorter parts of a name are in many paths
TAGS = [
    *(*PERSONAL, *NAMING, *GROUPS, "PatientIdentityRemoved", "BurnedInAnnotation", "SOPClassUID", "Modality"),
    *("SeriesNumber", "ImageType", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "ImagePositionPatient"),
    *("ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "SegmentSequence"),
    *("StructureSetROISequence", "ROIContourSequence"),
    *("ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence"),
]
MAX_HEADERS = 100_000  # in memory, about 1.5 kB each


@dataclass(frozen=True, slots=True)
class Header:
    """What one file says of itself; `patient`, `study` and `series` tell files apart and are shown nowhere."""

    path: Path
    kind: str  # "volume" (slices that lie in a body), "picture", "seg", "rtstruct", "localiser", "other" or "broken"
    patient: str = field(default="", repr=False)
    study: str = field(default="", repr=False)
    series: str = field(default="", repr=False)
    number: int = 0  # of the series
    modality: str = ""
    num_colours: int = 1
    slices: tuple[Slice, ...] = ()  # of a volume
    structures: tuple[str, ...] = ()  # of a mask: the names of what is marked, sorted
    drawn_on: tuple[str, ...] = field(default=(), repr=False)  # of a mask: the series that it refers to
    identifying: tuple[str, ...] = ()  # the filled tags that may identify a person
    in_path: tuple[str, ...] = ()  # the tags whose value stands in the path of the image
    burned_in: str = ""  # why text may stand in the pixels
    error: str = ""  # why a file is broken, as a sentence


def header_of(path: Path) -> Header | None:
    """Return the header of a file, None where it is no DICOM; it is kept until the file changes."""
    status = path.stat()
    return _read_header(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=MAX_HEADERS)
def _read_header(path: Path, size: int, changed_ns: int) -> Header | None:
    try:
        if path.suffix.lower() != ".dcm" and not is_dicom(path):
            return None
    except OSError:
        return None
    try:
        return _as_header(dcmread(path, stop_before_pixels=True, specific_tags=TAGS), path)
    except Exception as error:  # pydicom raises many kinds for files that are damaged
        said = f"{path} could not be read as DICOM ({' '.join(str(error).split())}): copy it again or remove it."
        return Header(path, "broken", error=said)


def _as_header(content: Dataset, path: Path) -> Header:
    kind = _kind_of(content)
    if kind == "other" and _is_cut_off(content):
        return Header(path, "broken", error=f"{path} ends within its DICOM header: copy it again or remove it.")
    series = text_of(content, "SeriesInstanceUID")
    try:
        slices = slices_in(content, path) if kind == "volume" else ()
    except UserError as error:
        return Header(path, "broken", series=series, error=str(error))
    image = path.parent if len(slices) == 1 else path
    removed = text_of(content, "PatientIdentityRemoved") == "YES"  # then none of these tags tells who it is
    return Header(
        path,
        kind,
        _patient_of(content),
        text_of(content, "StudyInstanceUID"),
        series,
        number=int(content.get("SeriesNumber") or 0),
        modality=text_of(content, "Modality"),
        num_colours=int(content.get("SamplesPerPixel") or 1),
        slices=slices,
        structures=structures_of(content),
        drawn_on=_drawn_on(content) if kind in ("seg", "rtstruct") else (),
        identifying=tuple(name for name in PERSONAL if not removed and text_of(content, name).strip("^ ")),
        in_path=tuple(name for name in NAMING if not removed and _stands_in(image, content, name)),
        burned_in=_burned_in(content),
    )


def _is_cut_off(content: Dataset) -> bool:
    """Return whether a file without a size should be an image, or says half what it is; pydicom reads what is there."""
    storage = UID(content.get("SOPClassUID") or content.file_meta.get("MediaStorageSOPClassUID") or "")
    unknown = storage.name == storage and storage[: len(STANDARD)] == STANDARD[: len(storage)]
    return not content.get("Rows") and (unknown or storage.name.endswith("Image Storage"))


def _kind_of(content: Dataset) -> str:
    modality, storage = text_of(content, "Modality"), text_of(content, "SOPClassUID")
    if modality in ("SEG", "RTSTRUCT"):
        return modality.lower()
    if not content.get("Rows") or modality in OTHERS:
        return "other"
    if "LOCALIZER" in (content.get("ImageType") or ()):
        return "localiser"
    has_position = bool(content.get("ImagePositionPatient") and content.get("ImageOrientationPatient"))
    projected = modality in RADIOGRAPHS and not storage.startswith(RECONSTRUCTED)
    if projected or not (has_position or content.get(GROUPS[0])):
        return "picture"
    return "other" if content.get("SamplesPerPixel") == 3 else "volume"  # coloured slices are fusions for the eye


def structures_of(content: Dataset) -> tuple[str, ...]:
    """Return the names of what a mask marks, sorted; a point or an open line marks nothing."""
    return tuple(sorted({*segments_of(content).values(), *regions_of(content).values()}))


def segments_of(content: Dataset) -> dict[int, str]:
    """Return the name of each segment of a SEG by its number."""
    return {
        int(item.SegmentNumber): text_of(item, "SegmentLabel") or f"segment {item.SegmentNumber}"
        for item in content.get("SegmentSequence") or []
    }


def regions_of(content: Dataset) -> dict[int, str]:
    """Return the name of each region of an RTSTRUCT that has closed contours, by its index among all regions."""
    names = {int(item.ROINumber): text_of(item, "ROIName") for item in content.get("StructureSetROISequence") or []}
    return {
        index: names.get(int(region.ReferencedROINumber)) or f"region {region.ReferencedROINumber}"
        for index, region in enumerate(content.get("ROIContourSequence") or [])
        if any(is_closed(contour) for contour in region.get("ContourSequence") or [])
    }


def is_closed(contour: Dataset) -> bool:
    """Return whether a contour of an RTSTRUCT has an inside."""
    return text_of(contour, "ContourGeometricType").startswith("CLOSED_PLANAR")


def _drawn_on(content: Dataset) -> tuple[str, ...]:
    """Return the series that a SEG, or an RTSTRUCT by its studies, refers to."""
    frames = content.get("ReferencedFrameOfReferenceSequence") or []
    studies = [study for frame in frames for study in frame.get("RTReferencedStudySequence") or []]
    series = [item for study in studies for item in study.get("RTReferencedSeriesSequence") or []]
    series += content.get("ReferencedSeriesSequence") or []
    return tuple({text_of(item, "SeriesInstanceUID") for item in series})


def _patient_of(content: Dataset) -> str:
    """Return what is equal for all files of a patient (id, or else name and birth date), "" where nobody is named."""
    patient, name = (text_of(content, tag).strip("^ _-") for tag in ("PatientID", "PatientName"))
    if not NOBODY.fullmatch(patient):
        return patient
    return "" if NOBODY.fullmatch(name) else f"{name}\0{text_of(content, 'PatientBirthDate')}"


def _burned_in(content: Dataset) -> str:
    said = text_of(content, "BurnedInAnnotation")
    if said in ("YES", "NO"):
        return "BurnedInAnnotation YES" if said == "YES" else ""
    if text_of(content, "SOPClassUID").startswith(SECONDARY_CAPTURE):
        return "a secondary capture without BurnedInAnnotation NO"
    return "ultrasound without BurnedInAnnotation NO" if text_of(content, "Modality") in ("US", "IVUS") else ""


def _stands_in(path: Path, content: Dataset, name: str) -> bool:
    """Return whether a value, or for a name one of its parts, is a word of the path."""
    value = text_of(content, name)
    parts = [part for part in re.split(r"[\^=\s]+", value) if len(part) >= SHORTEST_NAME]
    wanted = parts if name == "PatientName" else [value] * bool(value)
    found = [part for part in wanted if part.casefold() in str(path).casefold()]  # fast, and almost always empty
    return any(re.search(rf"(?<![^\W_]){re.escape(part)}(?![^\W_])", str(path), re.IGNORECASE) for part in found)
