"""DICOM files that a table names or that lie in folders of classes, or of images and masks: pictures, and volumes."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from selfmae.data.case import Cases
from selfmae.data.files.images import read_image
from selfmae.data.sources import read_source

PIXELS = np.arange(20, dtype=np.uint16).reshape(4, 5)


def write(dicom: ModuleType, *files: Path, patient: str = "", **tags: object) -> None:
    """Write radiographs, each of a study of its own; without `patient`, also of a patient of its own."""
    for file in files:
        own = {"PatientID": patient or f"P{file.stem}", "StudyInstanceUID": f"1.2.{sum(file.name.encode())}"}
        dicom.write_file(file, "DX", PIXELS, **own, **tags)


def read(folder: Path, text: str) -> Cases:
    (folder / "labels.csv").write_text(text)
    return read_source(str(folder))


def test_ids_of_images_find_files_of_any_ending_below(dicom: ModuleType, tmp_path: Path) -> None:
    write(dicom, tmp_path / "train" / "a1.dicom", tmp_path / "train" / "b2.dicom")
    found = read(tmp_path, "image_id,Edema,Mass\na1,0,1\nb2,1,0\n")
    assert (found.layout, found.labels.names, found.channels) == ("table", ("Edema", "Mass"), ("gray",))
    assert [(case.id, case.images[0].name, case.target) for case in found.cases] == [
        ("a1", "a1.dicom", (0.0, 1.0)),
        ("b2", "b2.dicom", (1.0, 0.0)),
    ]


def test_uids_are_ids_with_all_their_dots(dicom: ModuleType, tmp_path: Path) -> None:
    write(dicom, tmp_path / "s" / "1.2.3.4.dcm", tmp_path / "s" / "1.2.3.5.dcm")
    found = read(tmp_path, "ImageId,Pneumothorax\n1.2.3.4,0\n1.2.3.5,1\n")
    assert [case.id for case in found.cases] == ["1.2.3.4", "1.2.3.5"]


def test_rows_of_boxes_are_one_image(dicom: ModuleType, tmp_path: Path) -> None:
    write(dicom, tmp_path / "x" / "p1.dcm", tmp_path / "x" / "p2.dcm")
    found = read(tmp_path, "patientId,x,y,width,height,Target\np1,1,2,3,4,1\np1,5,6,7,8,1\np2,,,,,0\n")
    assert [(case.id, case.patient, case.target) for case in found.cases] == [
        ("p1", "p1", (1.0,)),
        ("p2", "p2", (0.0,)),
    ]
    assert any(note.startswith("1 rows repeat an image with the same labels") for note in found.notes)


def test_patients_are_told_by_headers_where_no_column_names_them(dicom: ModuleType, tmp_path: Path) -> None:
    write(dicom, tmp_path / "a.dcm", tmp_path / "c.dcm", patient="SECRET")
    write(dicom, tmp_path / "b.dcm")
    found = read(tmp_path, "path,Mass\na.dcm,0\nb.dcm,1\nc.dcm,1\n")
    assert [case.patient for case in found.cases] == ["a", "b", "a"]
    assert "Patients are taken from the DICOM headers: 2 in 3 images." in found.notes
    assert "SECRET" not in repr(found)


def test_a_table_of_patients_beside_other_images_stays_out(tmp_path: Path) -> None:
    for name in ("images/a.png", "masks/a.png"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / name)
    assert read(tmp_path, "patient_id,split\na,train\n").layout == "paired"


def test_a_series_is_named_by_its_folder(dicom: ModuleType, tmp_path: Path) -> None:
    volume = dicom.write_series(tmp_path / "scans" / "a")
    dicom.write_series(tmp_path / "scans" / "b", SeriesInstanceUID="1.2.4")
    found = read(tmp_path, "path,class\nscans/a,benign\nscans/b,malignant\n")
    assert [case.id for case in found.cases] == ["a", "b"]
    assert read_image(found.cases[0].images).array.size == volume.size
    assert found.labels.names == ("benign", "malignant")


@pytest.mark.parametrize("parts", [(), ("train",)])
def test_folders_that_hold_several_patients_are_classes(dicom: ModuleType, tmp_path: Path, parts: tuple[str]) -> None:
    write(dicom, *(tmp_path.joinpath(*parts, kind, f"{kind}{place}.dcm") for kind in ("no", "yes") for place in (1, 2)))
    found = read_source(str(tmp_path))
    assert (found.layout, found.labels.names) == ("classfolders", ("no", "yes"))
    assert len({case.patient for case in found.cases}) == 4


def test_folders_of_one_patient_each_are_no_classes(dicom: ModuleType, tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        write(dicom, tmp_path / name / "1.dcm", tmp_path / name / "2.dcm", patient=name)
    found = read_source(str(tmp_path))
    assert (found.layout, len(found.cases)) == ("dicom", 4)
    assert read_source(str(tmp_path), "classfolders").labels.names == ("p1", "p2")


@pytest.mark.parametrize(("image", "mask"), [("images/{}.dcm", "masks/{}.png"), ("{}.dcm", "{}_seg.png")])
def test_radiographs_are_paired_with_masks(dicom: ModuleType, tmp_path: Path, image: str, mask: str) -> None:
    for name in "ab":
        write(dicom, tmp_path / image.format(name))
        (tmp_path / mask.format(name)).parent.mkdir(exist_ok=True)
        Image.fromarray(np.eye(4, 5, dtype=np.uint8)).save(tmp_path / mask.format(name))
    found = read_source(str(tmp_path))
    assert (found.layout, found.labels.values) == ("paired", (1,))
    assert [(case.id, case.target) for case in found.cases] == [(name, tmp_path / mask.format(name)) for name in "ab"]
