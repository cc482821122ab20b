"""Folders named by class."""

from pathlib import Path

import numpy as np
from PIL import Image

from selfmae.data.case import Labels
from selfmae.data.sources import classfolders, read_source


def draw(folder: Path, *names: str) -> str:
    for name in names:
        file = folder / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(file)
    return str(folder)


def test_folders_are_classes(tmp_path: Path) -> None:
    cases = read_source(draw(tmp_path, "nevus/1", "melanoma/2"))
    assert cases.labels == Labels("multiclass", ("melanoma", "nevus"))
    assert [(case.id, case.target, case.split) for case in cases.cases] == [
        ("2", (1.0, 0.0), ""),
        ("1", (0.0, 1.0), ""),
    ]


def test_folders_above_the_classes_are_the_split(tmp_path: Path) -> None:
    cases = read_source(draw(tmp_path, "train/a/1", "Valid/b/2", "test/b/3", "extra/c/4"))
    assert {case.id: case.split for case in cases.cases} == {"1": "train", "2": "val", "3": "test"}
    assert cases.labels.names == ("a", "b")


def test_a_folder_unlabelled_beside_the_classes_is_no_class(tmp_path: Path) -> None:
    cases = read_source(draw(tmp_path, "a/1", "b/2", "unlabelled/3"))
    assert cases.labels.names == ("a", "b")
    assert [(case.target, case.split) for case in cases.cases if case.id == "3"] == [(None, "unlabelled")]


def test_repeated_file_names_get_ids_with_folders(tmp_path: Path) -> None:
    cases = read_source(draw(tmp_path, "train/a/1", "train/b/1", "test/a/1"))
    assert sorted(case.id for case in cases.cases) == ["test_a_1", "train_a_1", "train_b_1"]


def test_classes_and_the_lack_of_patients_are_said(tmp_path: Path) -> None:
    cases = read_source(draw(tmp_path, "a/1", "b/2"))
    assert cases.notes[0] == "The classes are the names of the folders: a, b."
    assert "each image counts as a patient of its own" in cases.notes[1]


def test_a_single_folder_of_images_is_no_set_of_classes(tmp_path: Path) -> None:
    draw(tmp_path, "a/1", ".hidden/2")
    (tmp_path / "empty").mkdir()
    assert not classfolders.recognises(tmp_path)


def test_images_outside_the_folders_of_classes_are_said(tmp_path: Path) -> None:
    cases = read_source(draw(tmp_path, "train/a/1", "train/b/2", "test/a/3", "extra/a/4", "train/a/deep/5", ".x/6"))
    assert len(cases.cases) == 3
    said = "2 images lie outside the folders of the classes and are left out (extra/a/4.png, train/a/deep/5.png)."
    assert said in cases.notes
