"""A tree of DICOM folders: series as cases, patients by their headers, masks by the series they refer to."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from selfmae.data.doctor.survey import survey
from selfmae.data.files.images import read_image
from selfmae.data.files.masks import read_mask
from selfmae.data.sources import dicom as layout
from selfmae.data.sources import read_source
from selfmae.errors import UserError


def mark(place: int) -> np.ndarray:
    """Return a mask [slices, rows, columns] of one row of voxels."""
    mask = np.zeros((4, 5, 7), dtype=bool)
    mask[place, place] = True
    return mask


@pytest.fixture
def source(dicom: ModuleType, tmp_path: Path) -> Path:
    """Return three patients, the second with two series, the first two with masks that name different structures."""
    root = tmp_path / "set"
    for number, (patient, series) in enumerate([("A 1", 1), ("B^2", 4), ("B^2", 5), ("C3", 1)], start=1):
        uid, tags = f"1.2.3.{number}", {"PatientID": patient, "StudyInstanceUID": f"1.5.{patient[-1]}"}
        dicom.write_series(root / patient[0] / f"s {series}", SeriesInstanceUID=uid, SeriesNumber=series, **tags)
    dicom.write_seg(root / "A" / "seg" / "1.dcm", {"tumour": mark(1), "liver": mark(0)}, "1.2.3.1")
    dicom.write_seg(root / "B" / "s 4" / "seg.dcm", {"tumour": mark(2)}, "1.2.3.2", SeriesInstanceUID="1.2.9")
    (root / "LICENSE").write_text("free")
    return root


def error_of(source: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_source(str(source))
    return str(caught.value)


def test_series_are_cases_and_patients_are_told_by_their_ids(source: Path) -> None:
    found = read_source(str(source))
    assert (found.layout, found.channels) == ("dicom", ("CT",))
    assert [case.id for case in found.cases] == ["A_s-1", "B_s-4", "B_s-5", "C_s-1"]
    assert [case.patient for case in found.cases] == ["A_s-1", "B_s-4", "B_s-4", "C_s-1"]
    assert [case.target is not None for case in found.cases] == [True, True, False, False]
    assert {case.split for case in found.cases} == {""}
    assert "Patients are taken from the DICOM headers: 3 in 4 images." in found.notes


def test_a_patient_in_two_places_of_the_tree_is_one(dicom: ModuleType, source: Path) -> None:
    dicom.write_series(source / "later" / "scan", PatientID="C3", SeriesInstanceUID="1.2.3.9")
    assert [case.patient for case in read_source(str(source)).cases][3:] == ["C_s-1", "C_s-1"]


def test_a_structure_has_one_value_in_all_masks(source: Path) -> None:
    found = read_source(str(source))
    assert dict(zip(found.labels.names, found.labels.values, strict=True)) == {"liver": 1, "tumour": 2}
    masks = [read_mask(case.target).array for case in found.cases if isinstance(case.target, Path)]
    assert [np.unique(mask).tolist() for mask in masks] == [[0, 1, 2], [0, 2]]


def test_the_survey_finds_nothing_wrong(source: Path) -> None:
    facts, findings = survey(read_source(str(source)).cases, masks=True)
    assert findings == []
    assert [dict(fact.mask_counts) for fact in facts if fact.mask_counts] == [{0: 126, 1: 7, 2: 7}, {0: 133, 2: 7}]


def test_a_source_without_masks_is_unlabelled(dicom: ModuleType, tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "s")
    found = read_source(str(tmp_path))
    assert (found.labels.names, found.cases[0].target) == ((), None)
    assert "There are no masks: all cases are unlabelled." in found.notes


def test_series_that_share_a_folder_are_cases_of_their_own(dicom: ModuleType, tmp_path: Path) -> None:
    for number in (1, 2):
        dicom.write_series(tmp_path / str(number), SeriesInstanceUID=f"1.2.{number}", SeriesNumber=number)
        for file in (tmp_path / str(number)).iterdir():
            file.rename(tmp_path / f"{number}{file.name}")
    cases = read_source(str(tmp_path)).cases
    assert [case.images for case in cases] == [(tmp_path / "series-1",), (tmp_path / "series-2",)]
    assert [case.id for case in cases] == ["series-1", "series-2"]
    assert [read_image(case.images).array.shape for case in cases] == [(1, 7, 5, 4)] * 2


def test_radiographs_are_cases_of_one_file(dicom: ModuleType, tmp_path: Path) -> None:
    for name in ("b.dcm", "a"):
        dicom.write_file(tmp_path / name, "DX", np.full((3, 4), len(name), dtype=np.uint8))
    found = read_source(str(tmp_path))
    assert [(case.id, case.images) for case in found.cases] == [
        ("a", (tmp_path / "a",)),
        ("b", (tmp_path / "b.dcm",)),
    ]
    assert found.channels == ("gray",)


def test_a_series_that_is_the_source_is_named_by_its_folder(
    dicom: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dicom.write_series(tmp_path / "scan")
    assert [case.id for case in read_source(str(tmp_path / "scan")).cases] == ["scan"]
    monkeypatch.chdir(tmp_path / "scan")
    assert [case.id for case in read_source(".").cases] == ["scan"]


def test_uids_in_the_tree_become_numbers(dicom: ModuleType, tmp_path: Path) -> None:
    """As archives have it: patient / study / series."""
    for series in ("1.3.6.1.9", "1.3.6.1.7"):
        dicom.write_series(tmp_path / "P-1" / "1.3.6.1.4" / series, SeriesInstanceUID=series)
    dicom.write_file(
        tmp_path / "P-2" / "1.3.6.1.4.5.dcm", "CT", np.zeros((2, 2), np.int16), **dicom.place_tags((0, 0, 0))
    )
    assert [case.id for case in read_source(str(tmp_path)).cases] == ["P-1_1_1", "P-1_1_2", "P-2"]


def test_who_names_nobody_is_told_by_the_study(dicom: ModuleType, tmp_path: Path) -> None:
    for number, study in enumerate(("1.9.1", "1.9.2", "1.9.2")):
        uids = {"SeriesInstanceUID": f"1.2.{number}", "StudyInstanceUID": study}
        dicom.write_series(tmp_path / str(number), PatientID="", **uids)
    found = read_source(str(tmp_path))
    assert [case.patient for case in found.cases] == ["0", "1", "1"]
    note = (
        "Patients are taken from the DICOM headers: 2 in 3 images. 3 images name no patient: each study counts as one."
    )
    assert note in found.notes


@pytest.mark.parametrize("num_bytes", [140, 330, 700])
def test_a_file_that_is_cut_off_is_a_finding_of_its_case(source: Path, num_bytes: int) -> None:
    """Within what tells of which kind the file is, within its header, within its pixels."""
    file = source / "B" / "s 4" / "IM002"
    assert len(file.read_bytes()) > 700
    file.write_bytes(file.read_bytes()[:num_bytes])
    found = read_source(str(source))
    assert [case.id for case in found.cases] == ["A_s-1", "B_s-4", "B_s-5", "C_s-1"]
    facts, findings = survey(found.cases, masks=True)
    assert [fact.id for fact in facts] == ["A_s-1", "B_s-5", "C_s-1"]
    assert [(finding.code, finding.cases) for finding in findings] == [("unreadable_image", ("B_s-4",))]
    assert "s 4/IM002 " in findings[0].cause
    assert findings[0].fix.startswith(("copy it again", "copy the file again"))


def test_a_series_whose_headers_say_not_where_it_lies_is_one_finding(dicom: ModuleType, source: Path) -> None:
    dicom.write_series(source / "D", PatientID="D4", SeriesInstanceUID="1.2.3.9", PixelSpacing=[0.5])
    facts, findings = survey(read_source(str(source)).cases, masks=True)
    assert len(facts) == 4
    assert [(finding.code, finding.cases) for finding in findings] == [("unreadable_image", ("D",))]
    assert "must hold 2 numbers in PixelSpacing to say where its slice lies, but has [0.5]" in findings[0].cause


def test_a_radiograph_that_cannot_be_read_is_a_finding(dicom: ModuleType, tmp_path: Path) -> None:
    dicom.write_file(tmp_path / "a", "DX", np.eye(4, dtype=np.uint8))
    (tmp_path / "b.dcm").write_text("no image")
    facts, findings = survey(read_source(str(tmp_path)).cases, masks=True)
    assert [fact.id for fact in facts] == ["a"]
    assert [(finding.code, finding.cases) for finding in findings] == [("unreadable_image", ("b",))]
    assert "b.dcm could not be read as DICOM (" in findings[0].cause


def test_other_kinds_of_images_are_left_out_and_said(dicom: ModuleType, source: Path) -> None:
    for number in range(9):
        uid = f"1.2.8.{number}"
        dicom.write_series(source / "pet" / str(number), Modality="PT", SeriesInstanceUID=uid, PatientID=f"D{number}")
    dicom.write_series(source / "scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesInstanceUID="1.2.7")
    found = read_source(str(source))
    assert len(found.cases) == 4
    assert "A run takes one kind of image, here CT volume; left out: 9 PT volume." in found.notes
    assert "4 DICOM files are localisers (scouts) and are left out." in found.notes


def test_what_is_no_scan_is_left_out_and_said(dicom: ModuleType, source: Path) -> None:
    dicom.write_file(source / "dose", "RTDOSE", np.zeros((2, 2), dtype=np.uint16))
    dicom.write_file(source / "report", "SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    notes = read_source(str(source)).notes
    assert "2 DICOM files are no scans (reports, doses, lists of files) and are left out." in notes


def test_a_seg_is_preferred_to_an_rtstruct(dicom: ModuleType, source: Path) -> None:
    dicom.write_rtstruct(source / "rt.dcm", {"other": [np.zeros((3, 3))]}, series="1.2.3.1")
    assert read_source(str(source)).labels.names == ("liver", "tumour")


def test_an_rtstruct_without_structures_is_no_mask(dicom: ModuleType, source: Path) -> None:
    dicom.write_rtstruct(source / "rt.dcm", {}, series="1.2.3.4")
    found = read_source(str(source))
    assert found.cases[3].target is None
    assert "1 masks hold no structure: their series count as unlabelled." in found.notes


def test_names_that_differ_in_capitals_are_said(dicom: ModuleType, source: Path) -> None:
    dicom.write_seg(source / "seg.dcm", {"Liver": mark(0)}, "1.2.3.4")
    found = read_source(str(source))
    assert "These names differ in capitals only and count as different labels: Liver, liver." in found.notes


def findings_of(source: Path) -> list[tuple[str, str, str]]:
    return [(finding.code, "".join(finding.cases), finding.cause) for finding in read_source(str(source)).findings]


def test_a_sound_source_has_no_problems(source: Path) -> None:
    assert findings_of(source) == []


def test_two_masks_of_one_series_are_a_problem_of_its_case(dicom: ModuleType, source: Path) -> None:
    dicom.write_seg(source / "again.dcm", {"liver": mark(0)}, "1.2.3.1")
    [(code, case, text)] = findings_of(source)
    assert code == "several_masks"
    assert case in {found.id for found in read_source(str(source)).cases}
    assert text.startswith(f"the series {case} has 2 masks ({source / 'again.dcm'}, ")


def test_a_mask_of_a_series_that_is_not_there_is_a_problem_of_no_case(dicom: ModuleType, source: Path) -> None:
    dicom.write_seg(source / "lonely.dcm", {"liver": mark(0)}, "1.2.99")
    text = f"the mask {source / 'lonely.dcm'} does not refer to one series of {source}"
    assert findings_of(source) == [("lonely_mask", "", text)]


def test_a_series_in_two_folders_is_a_problem_of_both_cases(dicom: ModuleType, source: Path) -> None:
    dicom.write_series(source / "copy", SeriesInstanceUID="1.2.3.4")
    found = findings_of(source)
    assert [code for code, _, _ in found] == ["split_series", "split_series"]
    assert "copy" in {case for _, case, _ in found}
    assert all(text.endswith(f"lie in {source / 'C' / 's 1'}, {source / 'copy'}") for _, _, text in found)


def test_more_names_than_a_mask_has_values_are_an_error(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MAX_LABELS", 1)
    assert "Masks can have 1 structures at most, but 2 names are used (liver, tumour)" in error_of(source)


def test_other_formats_are_not_taken_for_dicom(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "b").write_bytes(bytes(500))
    assert not layout.recognises(tmp_path)
    (tmp_path / "c").write_bytes(bytes(128) + b"DICM")
    assert layout.recognises(tmp_path)
    assert not layout.recognises(tmp_path / "c")
