"""One folder per case, as BraTS has it, and class folders that must not be taken for it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfmae.data.case import Cases
from selfmae.data.sources import read_source
from selfmae.errors import UserError

BRATS = ("BraTS20_Training_001", "BraTS20_Training_002")


def draw(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4) % 3).save(file)


def brats(folder: Path, *kinds: str, mark: str = "_") -> None:
    draw(folder, *(f"{case}/{case}{mark}{kind}" for case in BRATS for kind in kinds))


def stems(cases: Cases) -> list[list[str]]:
    return [[file.stem for file in case.images] for case in cases.cases]


@pytest.mark.parametrize("mark", ["_", "-", "."])
def test_kinds_are_channels_in_a_stated_order(tmp_path: Path, mark: str) -> None:
    brats(tmp_path, "t2", "t1ce", "seg", "t1", "flair", mark=mark)
    cases = read_source(str(tmp_path))
    assert (cases.layout, cases.channels) == ("paired", ("flair", "t1", "t1ce", "t2"))
    assert stems(cases) == [[f"{name}{mark}{kind}" for kind in cases.channels] for name in BRATS]
    assert [case.target for case in cases.cases] == [tmp_path / name / f"{name}{mark}seg.png" for name in BRATS]
    assert [case.patient for case in cases.cases] == list(BRATS)
    assert "The channels are the files of each folder in this order: flair, t1, t1ce, t2." in cases.notes


def test_files_without_the_name_of_their_folder_are_told_by_the_masks(tmp_path: Path) -> None:
    draw(tmp_path, "a/ct", "a/label", "b/ct", "b/label", "c/ct")
    cases = read_source(str(tmp_path))
    assert [(case.id, case.target is not None) for case in cases.cases] == [("a", True), ("b", True), ("c", False)]
    assert (cases.channels, cases.labels.values) == (("gray",), (1, 2))


def test_the_odd_mask_of_brats_2020_is_found(tmp_path: Path) -> None:
    brats(tmp_path, "t1", "flair")
    draw(tmp_path, f"{BRATS[0]}/W39_1998.09.19_Segm", f"{BRATS[1]}/{BRATS[1]}_seg")
    assert all(case.target for case in read_source(str(tmp_path)).cases)


def test_a_kind_that_some_lack_is_left_out_and_said(tmp_path: Path) -> None:
    brats(tmp_path, "t1", "t2")
    draw(tmp_path, f"{BRATS[0]}/{BRATS[0]}_flair")
    cases = read_source(str(tmp_path))
    assert cases.channels == ("t1", "t2")
    assert "Not every case has flair: left out." in cases.notes


def test_folders_may_lie_one_level_deeper(tmp_path: Path) -> None:
    for grade in ("HGG", "LGG"):
        brats(tmp_path / grade, "t1", "t2")
    cases = read_source(str(tmp_path))
    assert [case.id for case in cases.cases] == [f"{grade}_{name}" for grade in ("HGG", "LGG") for name in BRATS]


def test_two_masks_of_a_case_are_an_error(tmp_path: Path) -> None:
    brats(tmp_path, "t1", "seg", "mask")
    with pytest.raises(UserError, match=r"must have one mask, but .*_001 has 2 \(.*_mask.png, .*_seg.png\): keep one"):
        read_source(str(tmp_path))


def test_two_files_of_one_kind_are_an_error(tmp_path: Path) -> None:
    brats(tmp_path, "t1", "seg")
    (tmp_path / BRATS[0] / f"{BRATS[0]}_t1.nii.gz").touch()
    with pytest.raises(UserError, match=r"_001 must have one file of each kind, but .*_t1.* is another of one: remove"):
        read_source(str(tmp_path))


@pytest.mark.parametrize(
    "names",
    [
        ("cat/1", "cat/2", "dog/1", "dog/2"),
        ("cat/cat_1", "cat/cat_2", "dog/dog_1", "dog/dog_2"),
        ("cat/a", "cat/b", "dog/a", "dog/b"),
        ("benign/benign (1)", "benign/benign (1)_mask", "normal/normal (1)", "normal/normal (1)_mask"),
    ],
)
def test_folders_of_classes_stay_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    draw(tmp_path, *names)
    assert read_source(str(tmp_path)).layout == "classfolders"
