"""What a DICOM file holds that may tell who a person is; none of its values is kept, but for telling patients apart."""

import re
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset

PERSONAL = (
    *("PatientName", "PatientID", "OtherPatientIDs", "PatientBirthDate", "PatientAddress", "PatientTelephoneNumbers"),
    *("AccessionNumber", "ReferringPhysicianName", "InstitutionName", "StudyDate"),
)
# Of these, what a path may well hold, since exports name their folders so.
NAMING = ("PatientName", "PatientID", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
TAGS = (*PERSONAL, *NAMING, "PatientIdentityRemoved", "BurnedInAnnotation", "SOPClassUID", "Modality")
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # also the beginning of its kinds with several frames
NOBODY = re.compile(r"(anon|anonymous|anonymi[sz]ed|unknown|none|n/?a|0+)?", re.IGNORECASE)
SHORTEST_NAME = 3  # letters: shorter parts of a name are in many paths


@dataclass(frozen=True, slots=True)
class Privacy:
    """Names of filled tags that may identify a person, of those whose value is in the path, and why text may show."""

    tags: tuple[str, ...]
    in_path: tuple[str, ...]
    burned_in: str  # "" where no text is to be expected in the pixels


def privacy_of(content: Dataset, path: Path) -> Privacy:
    """Return what to know of a file; `path` names its image. A file that says it is de-identified has no such tags."""
    if text_of(content, "PatientIdentityRemoved") == "YES":
        return Privacy((), (), _burned_in(content))
    tags = tuple(name for name in PERSONAL if text_of(content, name).strip("^ "))
    in_path = tuple(name for name in NAMING if _stands_in(path, content, name))
    return Privacy(tags, in_path, _burned_in(content))


def patient_of(content: Dataset) -> str:
    """Return what is equal for all files of a patient (id, or else name and birth date), "" where nobody is named."""
    patient, name = (text_of(content, tag).strip("^ _-") for tag in ("PatientID", "PatientName"))
    if not NOBODY.fullmatch(patient):
        return patient
    return "" if NOBODY.fullmatch(name) else f"{name}\0{text_of(content, 'PatientBirthDate')}"


def text_of(content: Dataset, name: str) -> str:
    """Return a value as text, "" where there is none."""
    value = content.get(name)
    return "" if value is None else str(value).strip()


def _burned_in(content: Dataset) -> str:
    said = text_of(content, "BurnedInAnnotation")
    if said == "YES":
        return "BurnedInAnnotation YES"
    if said != "NO" and text_of(content, "SOPClassUID").startswith(SECONDARY_CAPTURE):
        return "a secondary capture without BurnedInAnnotation NO"
    if said != "NO" and text_of(content, "Modality") in ("US", "IVUS"):
        return "ultrasound without BurnedInAnnotation NO"
    return ""


def _stands_in(path: Path, content: Dataset, name: str) -> bool:
    """Return whether a value, or for a name one of its parts, is a word of the path."""
    value = text_of(content, name)
    parts = [part for part in re.split(r"[\^=\s]+", value) if len(part) >= SHORTEST_NAME]
    wanted = parts if name == "PatientName" else [value] * bool(value)
    found = [part for part in wanted if part.casefold() in str(path).casefold()]  # fast, and almost always empty
    return any(re.search(rf"(?<![^\W_]){re.escape(part)}(?![^\W_])", str(path), re.IGNORECASE) for part in found)
