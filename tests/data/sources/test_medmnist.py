"""MedMNIST archives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfmae.data.case import Labels
from selfmae.data.files.images import read_image
from selfmae.data.sources import read_source
from selfmae.errors import UserError


def write(folder: Path, shape: tuple[int, ...], labels: Any, **more: np.ndarray) -> str:
    images = np.arange(np.prod((len(labels), *shape)), dtype=np.uint8).reshape(len(labels), *shape)
    arrays = {"train_images": images, "train_labels": np.array(labels), "test_images": images[:1]}
    np.savez(folder / "set.npz", **(arrays | {"test_labels": np.array(labels[:1])} | more))
    return str(folder / "set.npz")


def test_each_image_is_a_case_of_its_part(tmp_path: Path) -> None:
    cases = read_source(write(tmp_path, (4, 4), [[0], [1], [1]]))
    assert [case.id for case in cases.cases] == ["train_00000", "train_00001", "train_00002", "test_00000"]
    assert [case.split for case in cases.cases] == ["train", "train", "train", "test"]
    assert cases.cases[1].images == (tmp_path / "set.npz/train_images/1",)
    assert "does not name patients" in cases.notes[0]


def test_paths_lead_to_the_images(tmp_path: Path) -> None:
    case = read_source(write(tmp_path, (4, 4), [[0], [1]])).cases[1]
    np.testing.assert_array_equal(read_image(case.images).array, np.arange(16, 32, dtype=np.float32).reshape(1, 4, 4))


def test_two_values_are_one_finding(tmp_path: Path) -> None:
    cases = read_source(write(tmp_path, (4, 4, 4), [[0], [1]]))
    assert cases.labels == Labels("multilabel", ("positive",))
    assert [case.target for case in cases.cases[:2]] == [(0.0,), (1.0,)]


def test_more_values_are_classes(tmp_path: Path) -> None:
    cases = read_source(write(tmp_path, (4, 4), [[2], [0], [7]]))
    assert cases.labels == Labels("multiclass", ("0", "2", "7"))
    assert cases.cases[0].target == (0.0, 1.0, 0.0)


def test_several_columns_are_findings(tmp_path: Path) -> None:
    cases = read_source(write(tmp_path, (4, 4), [[1, 0, 1], [0, 0, 0]]))
    assert cases.labels == Labels("multilabel", ("0", "1", "2"))
    assert cases.cases[0].target == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(("shape", "num_channels"), [((4, 5), 1), ((4, 5, 3), 3), ((4, 5, 6), 1)])
def test_channels_are_those_that_the_reader_finds(tmp_path: Path, shape: tuple[int, ...], num_channels: int) -> None:
    cases = read_source(write(tmp_path, shape, [[0], [1]]))
    assert len(cases.channels) == num_channels == len(read_image(cases.cases[0].images).array)


@pytest.mark.parametrize(
    ("shape", "labels", "more", "text"),
    [
        ((4, 4), [[0], [1]], {"test_labels": np.zeros((3, 1))}, "test part has 1 images and 3 labels"),
        ((4, 4), [[0], [1]], {"test_labels": np.zeros((1, 2))}, "the same columns in every part"),
        ((4, 4), [[0, 2], [1, 0]], {}, r"must hold 0 and 1, but .* has the values 0, 1, 2: write one column"),
        ((4,), [[0], [1]], {}, r"train_images has the shape \[2, 4\]"),
        ((4, 4), [[0], [1]], {"train_labels": np.array([None, 1])}, "could not be read .* damaged; copy it again"),
    ],
)
def test_a_wrong_archive_is_an_error(tmp_path: Path, shape: Any, labels: Any, more: Any, text: str) -> None:
    with pytest.raises(UserError, match=text):
        read_source(write(tmp_path, shape, labels, **more))


def test_a_file_that_is_no_archive_is_not_recognised(tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_text("no archive")
    with pytest.raises(UserError, match="none of the layouts"):
        read_source(str(tmp_path / "set.npz"))


def test_real_archives(real_data: Path) -> None:
    flat = read_source(str(real_data / "medmnist/pneumoniamnist_rebuilt.npz"))
    deep = read_source(str(real_data / "medmnist/adrenalmnist3d.npz"))
    for cases, sizes in ((flat, [4708, 524, 624]), (deep, [1188, 98, 298])):
        assert [len(cases.part(part)) for part in ("train", "val", "test")] == sizes
        assert (cases.labels, cases.channels) == (Labels("multilabel", ("positive",)), ("gray",))
