"""nnU-Net raw data, version 2."""

import json
from pathlib import Path

import pytest

from selfmae.data.sources import read_source
from selfmae.errors import UserError

CONTENT = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "b": 2, "a": 1},
    "file_ending": ".nii.gz",
}


def write(folder: Path, **changes: object) -> None:
    for place in ("imagesTr", "imagesTs", "labelsTr"):
        (folder / place).mkdir()
    for name in ("imagesTr/x_0001", "imagesTr/x_0000", "imagesTs/y_0000", "imagesTs/y_0001", "labelsTr/x"):
        (folder / f"{name}.nii.gz").touch()
    (folder / "dataset.json").write_text(json.dumps(CONTENT | changes))


def test_channels_are_joined_in_order(tmp_path: Path) -> None:
    write(tmp_path)
    cases = read_source(str(tmp_path))
    assert (cases.layout, cases.channels) == ("nnunet", ("T1", "T2"))
    assert [path.name for path in cases.cases[0].images] == ["x_0000.nii.gz", "x_0001.nii.gz"]
    assert [(case.id, case.split, case.target) for case in cases.cases] == [
        ("x", "", tmp_path / "labelsTr" / "x.nii.gz"),
        ("y", "unlabelled", None),
    ]


def test_labels_are_sorted_by_value_without_the_background(tmp_path: Path) -> None:
    write(tmp_path)
    labels = read_source(str(tmp_path)).labels
    assert (labels.kind, labels.names, labels.values) == ("mask", ("a", "b"), (1, 2))


def test_regions_are_named_in_a_note_and_their_values_are_labels(tmp_path: Path) -> None:
    write(tmp_path, labels={"background": 0, "whole": [1, 2], "core": [2]})
    cases = read_source(str(tmp_path))
    assert (cases.labels.names, cases.labels.values) == (("label_1", "label_2"), (1, 2))
    assert "Regions are not learned by themselves (whole [1, 2], core [2]): give them as target.regions." in cases.notes


def test_without_any_label_file_the_cases_are_the_same(tmp_path: Path) -> None:
    write(tmp_path)
    before = read_source(str(tmp_path))
    (tmp_path / "labelsTr" / "x.nii.gz").unlink()
    after = read_source(str(tmp_path))
    assert after.cases == before.cases
    assert "None of the 1 label files is there: only pre-training is possible." in after.notes


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"channel_names": ["T1", "T2"]}, "must have the keys channel_names, labels, file_ending, the first two with"),
        (
            {"channel_names": {"0": "T1"}},
            "must hold X_0000 for every image X, but x_0001.nii.gz is none of these: .* or correct channel_names",
        ),
        ({"channel_names": None}, "the first two with names and numbers, but they are lists or values: correct it"),
        ({"labels": {"background": 0}}, "must name labels as .* but names none above 0: correct it"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, changes: dict[str, object], text: str) -> None:
    write(tmp_path, **changes)
    with pytest.raises(UserError, match=text):
        read_source(str(tmp_path))


def test_an_image_without_a_channel_in_its_name_is_an_error(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "imagesTr" / "z.nii.gz").touch()
    with pytest.raises(UserError, match=r"must hold X_0000, X_0001 for every image X, but z.nii.gz is none of these"):
        read_source(str(tmp_path))


def test_a_damaged_list_is_an_error(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "dataset.json").write_text('{"channel_names": ')
    with pytest.raises(UserError, match="is not valid JSON"):
        read_source(str(tmp_path))


def write_version_1(folder: Path) -> None:
    write(folder)
    training = [{"image": "./imagesTr/x.nii.gz", "label": "./labelsTr/x.nii.gz"}]
    content = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "2": "b", "1": "a"}}
    (folder / "dataset.json").write_text(json.dumps(content | {"training": training, "test": ["./imagesTs/y.nii.gz"]}))


def test_version_1_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    write_version_1(tmp_path / "1")
    (tmp_path / "2").mkdir()
    write(tmp_path / "2")
    old, new = read_source(str(tmp_path / "1")), read_source(str(tmp_path / "2"))
    assert (old.layout, old.labels, old.channels, old.notes) == (new.layout, new.labels, new.channels, new.notes)
    assert [case.id for case in old.cases] == [case.id for case in new.cases]


def test_a_decathlon_with_four_digits_is_none(tmp_path: Path) -> None:
    write_version_1(tmp_path)
    file = tmp_path / "dataset.json"
    file.write_text(file.read_text().replace("/x.nii", "/x_0000.nii"))
    (tmp_path / "labelsTr" / "x_0000.nii.gz").touch()
    (tmp_path / "imagesTs" / "y.nii.gz").touch()
    assert read_source(str(tmp_path)).layout == "msd"


def test_names_that_tell_patients_are_used(tmp_path: Path) -> None:
    write(tmp_path)
    for file in [*tmp_path.glob("images*/*"), *tmp_path.glob("labelsTr/*")]:
        file.rename(file.with_name(f"patient_3_{file.name}"))
    assert {case.patient for case in read_source(str(tmp_path)).cases} == {"patient_3"}


def test_a_list_that_lacks_its_channels_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"note": ["channel_names"], "labels": {"a": 1}}))
    with pytest.raises(UserError, match="but lacks channel_names, file_ending: correct it"):
        read_source(str(tmp_path))


def test_channels_of_one_name_are_told_apart_by_their_number(tmp_path: Path) -> None:
    write(tmp_path, channel_names={"0": "MRI", "1": "MRI"})
    cases = read_source(str(tmp_path))
    assert cases.channels == ("MRI 0000", "MRI 0001")
    assert "Some channels have the same name; their number tells them apart: MRI 0000, MRI 0001." in cases.notes
