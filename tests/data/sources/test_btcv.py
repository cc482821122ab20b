"""BTCV by its file names: the organs and the split of the paper."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from selfmae.data.sources import btcv, read_source
from selfmae.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (*btcv.TRAIN, *btcv.TEST):
        for place, name in (("imagesTr", "img"), ("labelsTr", "label")):
            (tmp_path / place).mkdir(exist_ok=True)
            (tmp_path / place / f"{name}{number}.nii.gz").touch()
    return tmp_path


def test_the_split_is_that_of_transunet(folder: Path) -> None:
    cases = read_source(str(folder))
    assert cases.layout == "btcv"
    assert Counter(case.split for case in cases.cases) == {"": 18, "test": 12}
    assert not set(btcv.TRAIN) & set(btcv.TEST)
    case = next(case for case in cases.cases if case.id == "img0008")
    assert (case.split, case.target) == ("test", folder / "labelsTr" / "label0008.nii.gz")


def test_the_labels_are_the_thirteen_organs(folder: Path) -> None:
    labels = read_source(str(folder)).labels
    assert dict(zip(labels.values, labels.names, strict=True))[6] == "liver"
    assert labels.values == tuple(range(1, 14))


def test_scans_without_a_place_in_the_split_are_unlabelled(folder: Path) -> None:
    (folder / "imagesTr" / "img0061.nii.gz").touch()
    (folder / "imagesTs").mkdir()
    (folder / "imagesTs" / "img0070.nii.gz").touch()
    unlabelled = [case.id for case in read_source(str(folder)).cases if case.target is None]
    assert unlabelled == ["img0061", "img0070"]


def test_missing_scans_are_an_error_that_names_them_all(folder: Path) -> None:
    numbers = ("0005", "0006", "0007", "0009", "0010", "0001", "0040")
    for number in numbers:
        (folder / "imagesTr" / f"img{number}.nii.gz").unlink()
    with pytest.raises(
        UserError, match=r"BTCV has 30 labelled scans, but .* lacks 7 of their files \(.*\): copy them"
    ) as caught:
        read_source(str(folder))
    assert all(f"img{number}" in str(caught.value) for number in numbers)


def test_missing_masks_are_named_by_the_same_sentence(folder: Path) -> None:
    (folder / "imagesTr" / "img0001.nii.gz").unlink()
    (folder / "labelsTr" / "label0005.nii.gz").unlink()
    with pytest.raises(UserError) as caught:
        read_source(str(folder))
    assert str(caught.value) == (
        f"BTCV has 30 labelled scans, but {folder} lacks 2 of their files (img0001, label0005.nii.gz): copy them to "
        "imagesTr and labelsTr, or read the folder with --as paired and a split of your own."
    )


def test_the_folders_of_the_archive_are_known_too(folder: Path) -> None:
    for old, new in (("imagesTr", "Training/img"), ("labelsTr", "Training/label")):
        (folder / new).parent.mkdir(exist_ok=True)
        (folder / old).rename(folder / new)
    (folder / "Testing" / "img").mkdir(parents=True)
    (folder / "Testing" / "img" / "img0061.nii.gz").touch()
    cases = read_source(str(folder))
    assert Counter(case.split for case in cases.cases) == {"": 18, "test": 12, "unlabelled": 1}
    assert cases.cases[0].target == folder / "Training" / "label" / "label0001.nii.gz"


def test_a_folder_without_masks_can_be_pre_trained_on(folder: Path) -> None:
    shutil.rmtree(folder / "labelsTr")
    assert len(read_source(str(folder)).cases) == 30
