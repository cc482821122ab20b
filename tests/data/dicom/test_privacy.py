"""What may tell who a patient is: found, named by the kind of tag, and never shown."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from selfmae.data.dicom.headers import header_of
from selfmae.data.dicom.series import REMEDIES, check_series

KNOWN = {"PatientIdentityRemoved": "NO", "PatientID": ""}
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"


def findings(dicom: ModuleType, folder: Path, **tags: object) -> dict[str, str]:
    """Return code and cause of what is found in a radiograph with these tags."""
    file = dicom.write_file(folder / "x.dcm", "DX", np.zeros((2, 2), dtype=np.uint8), **(KNOWN | tags))
    return dict(check_series(file))


def test_text_in_the_pixels_is_said(dicom: ModuleType, tmp_path: Path) -> None:
    cause = f"text may stand in the pixels of {tmp_path / 'x.dcm'} (BurnedInAnnotation YES)"
    assert findings(dicom, tmp_path, BurnedInAnnotation="YES")["burned_in_text"] == cause
    assert REMEDIES["burned_in_text"][0] == "warning"


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"SOPClassUID": SECONDARY}, "a secondary capture without BurnedInAnnotation NO"),
        ({"SOPClassUID": f"{SECONDARY}.4"}, "a secondary capture without BurnedInAnnotation NO"),
        ({"Modality": "US"}, "ultrasound without BurnedInAnnotation NO"),
        ({"BurnedInAnnotation": "YES", "PatientIdentityRemoved": "YES"}, "BurnedInAnnotation YES"),
    ],
)
def test_text_in_the_pixels_is_likely(dicom: ModuleType, tmp_path: Path, tags: dict[str, str], why: str) -> None:
    assert findings(dicom, tmp_path, **tags)["burned_in_text"].endswith(f"({why})")


@pytest.mark.parametrize("tags", [{"SOPClassUID": SECONDARY}, {"Modality": "US"}, {}])
def test_no_text_in_the_pixels_is_no_finding(dicom: ModuleType, tmp_path: Path, tags: dict[str, str]) -> None:
    assert "burned_in_text" not in findings(dicom, tmp_path, BurnedInAnnotation="NO", **tags)


def test_identifying_tags_are_named_and_their_values_are_not(dicom: ModuleType, tmp_path: Path) -> None:
    found = findings(dicom, tmp_path, PatientName="Doe^Jane", PatientBirthDate="19600101", ReferringPhysicianName="")
    cause = f"{tmp_path / 'x.dcm'} has tags that may identify a person (PatientBirthDate, PatientName)"
    assert found == {"identifying_tags": cause}
    assert REMEDIES["identifying_tags"] == ("note", "nothing: no value of these tags is copied into any output")


def test_what_was_de_identified_has_no_such_finding(dicom: ModuleType, tmp_path: Path) -> None:
    tags = {"PatientID": "x", "PatientName": "Doe^Jane", "PatientIdentityRemoved": "YES"}
    assert findings(dicom, tmp_path / "Doe", **tags) == {}


@pytest.mark.parametrize(
    ("place", "tags", "names"),
    [
        ("4711", {"PatientID": "4711"}, "PatientID"),
        ("scans/DOE_JANE_2019", {"PatientName": "Doe^Jane"}, "PatientName"),
        ("1.2.1", {}, "StudyInstanceUID"),
        ("a7/4711", {"AccessionNumber": "A7", "PatientID": "4711"}, "AccessionNumber, PatientID"),
    ],
)
def test_a_path_that_names_the_patient_is_said(
    dicom: ModuleType, tmp_path: Path, place: str, tags: dict[str, str], names: str
) -> None:
    found = findings(dicom, tmp_path / place, **tags)
    file = tmp_path / place / "x.dcm"
    assert found["identifying_path"] == f"the path {file} contains the file's own {names}"
    assert REMEDIES["identifying_path"][0] == "warning"


@pytest.mark.parametrize(
    ("place", "tags"), [("14711", {"PatientID": "4711"}), ("doernbecher", {"PatientName": "Doe^J"}), ("p", {})]
)
def test_parts_of_words_are_no_patient(dicom: ModuleType, tmp_path: Path, place: str, tags: dict[str, str]) -> None:
    assert "identifying_path" not in findings(dicom, tmp_path / place, **tags)


def test_the_name_of_a_slice_is_in_no_output_and_so_in_no_finding(dicom: ModuleType, tmp_path: Path) -> None:
    """The path of a series is its folder."""
    tags = KNOWN | {"PatientID": "4711"} | dicom.place_tags((0, 0, 0))
    dicom.write_file(tmp_path / "s" / "4711.dcm", "CT", np.zeros((2, 2), dtype=np.int16), **tags)
    assert [code for code, _ in check_series(tmp_path / "s")] == ["identifying_tags"]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"PatientID": "1", "PatientName": "A"}, {"PatientID": "1", "PatientName": "B"}, True),
        ({"PatientID": "1"}, {"PatientID": "2"}, False),
        ({"PatientName": "A^B", "PatientBirthDate": "1"}, {"PatientName": "A^B", "PatientBirthDate": "2"}, False),
        ({"PatientName": "A^B", "PatientID": "000"}, {"PatientName": "A^B", "PatientID": "Anonymous"}, True),
    ],
)
def test_patients_are_told_by_id_or_else_by_name_and_birth(
    dicom: ModuleType, tmp_path: Path, first: dict[str, str], second: dict[str, str], same: bool
) -> None:
    files = [
        dicom.write_file(tmp_path / str(place), "DX", np.zeros((2, 2), dtype=np.uint8), **(KNOWN | tags))
        for place, tags in enumerate((first, second))
    ]
    one, other = (header_of(file) for file in files)
    assert one
    assert other
    assert one.patient
    assert (one.patient == other.patient) is same


@pytest.mark.parametrize("name", ["Anonymous", "anonymised", "", "^", "unknown"])
def test_a_name_that_stands_for_nobody_tells_no_patient(dicom: ModuleType, tmp_path: Path, name: str) -> None:
    file = dicom.write_file(tmp_path / "x", "DX", np.zeros((2, 2), dtype=np.uint8), **KNOWN, PatientName=name)
    found = header_of(file)
    assert found
    assert found.patient == ""
