"""The Medical Segmentation Decathlon layout."""

import json
from pathlib import Path
from typing import Any

import pytest

from selfmae.data.case import Labels
from selfmae.data.sources import read_source
from selfmae.errors import UserError

LABELS = {"0": "background", "2": "Posterior", "1": "Anterior"}


def write(folder: Path, num: int = 2, **changes: Any) -> Path:
    names = [f"c{place}.nii.gz" for place in range(num)]
    training = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir()
        for name in names:
            (folder / kind / name).touch()
    content = {"labels": LABELS, "modality": {"1": "T2", "0": "T1"}, "training": training} | changes
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def test_cases_have_stem_mask_and_no_split(tmp_path: Path) -> None:
    cases = read_source(str(write(tmp_path)))
    case = cases.cases[1]
    assert (case.id, case.patient, case.split) == ("c1", "c1", "")
    assert case.images == (tmp_path / "imagesTr/c1.nii.gz",)
    assert case.target == tmp_path / "labelsTr/c1.nii.gz"


def test_labels_and_channels_are_ordered_by_number_without_the_background(tmp_path: Path) -> None:
    cases = read_source(str(write(tmp_path)))
    assert cases.labels == Labels("mask", ("Anterior", "Posterior"), (1, 2))
    assert cases.channels == ("T1", "T2")


def test_labels_may_be_written_name_first(tmp_path: Path) -> None:
    cases = read_source(str(write(tmp_path, labels={"background": 0, "Anterior": 1})))
    assert cases.labels == Labels("mask", ("Anterior",), (1,))


def test_the_file_itself_is_a_source(tmp_path: Path) -> None:
    assert len(read_source(str(write(tmp_path) / "dataset.json")).cases) == 2


def test_test_images_have_no_target(tmp_path: Path) -> None:
    write(tmp_path, test=["./imagesTs/t.nii.gz"])
    (tmp_path / "imagesTs").mkdir()
    (tmp_path / "imagesTs/t.nii.gz").touch()
    case = read_source(str(tmp_path)).cases[-1]
    assert (case.id, case.target, case.split) == ("t", None, "unlabelled")


def test_a_validation_list_and_labelled_test_images_give_a_split(tmp_path: Path) -> None:
    entries = [{"image": f"imagesTr/c{place}.nii.gz", "label": f"labelsTr/c{place}.nii.gz"} for place in range(3)]
    write(tmp_path, 3, training=entries[:1], validation=entries[1:2], test=entries[2:])
    assert [case.split for case in read_source(str(tmp_path)).cases] == ["train", "val", "test"]


def test_all_missing_files_are_one_error(tmp_path: Path) -> None:
    write(tmp_path, 5)
    for name in ("imagesTr/c0", "imagesTr/c1", "imagesTr/c2", "labelsTr/c4"):
        (tmp_path / f"{name}.nii.gz").unlink()
    with pytest.raises(UserError, match=r"lists 4 files that are not there \(.*c0.nii.gz, .* and 1 more\)"):
        read_source(str(tmp_path))


def test_without_any_label_file_the_cases_are_the_same(tmp_path: Path) -> None:
    write(tmp_path)
    before = read_source(str(tmp_path))
    for file in (tmp_path / "labelsTr").iterdir():
        file.unlink()
    cases = read_source(str(tmp_path))
    assert cases.cases == before.cases
    assert "None of the 2 label files is there: only pre-training is possible." in cases.notes


def test_images_beside_the_list_are_mentioned(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "imagesTr/extra.nii.gz").touch()
    (tmp_path / "imagesTr/._c0.nii.gz").touch()
    assert "1 images are not on the list and left out" in read_source(str(tmp_path)).notes[-1]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"training": [{"image": "imagesTr/c0.nii.gz"}]}, "must list training cases as"),
        ({"training": {}}, "lacks a list under training"),
        ({"labels": {"background": "zero"}}, "The labels of .*dataset.json must look like"),
        ({"labels": ["a"]}, "The labels of .*dataset.json must look like"),
        ({"modality": "MRI"}, 'The modality of .* must look like {"0": "MRI"}, but is "MRI"'),
    ],
)
def test_a_wrong_list_is_named(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        read_source(str(write(tmp_path, **changes)))


@pytest.mark.parametrize("labels", [{"1": "tumour", "2": "tumour"}, {"tumour": 1, "oedema": 1}])
def test_labels_that_share_a_name_or_a_value_are_an_error(tmp_path: Path, labels: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"must have one name for each value, .*: give each its own name and value"):
        read_source(str(write(tmp_path, labels=labels)))


def test_channels_of_one_name_are_told_apart_by_their_number(tmp_path: Path) -> None:
    cases = read_source(str(write(tmp_path, modality={"0": "MRI", "2": "CT", "1": "MRI"})))
    assert cases.channels == ("MRI 0000", "MRI 0001", "CT")
    assert "Some channels have the same name; their number tells them apart: MRI 0000, MRI 0001, CT." in cases.notes


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"training": [], "labels": {}}')
    with pytest.raises(
        UserError, match="must have the keys labels, modality and training, but lacks modality: add them"
    ):
        read_source(str(tmp_path))


def test_damaged_json_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"training": [}')
    with pytest.raises(UserError, match=r"dataset.json is not valid JSON"):
        read_source(str(tmp_path))


def test_real_hippocampus(real_data: Path) -> None:
    cases = read_source(str(real_data / "Task04_Hippocampus"))
    assert len(cases.cases) == 200
    assert cases.labels == Labels("mask", ("Anterior", "Posterior"), (1, 2))
    assert cases.channels == ("MRI",)
