"""Data that cannot be used: exit code 2, one sentence, and no file written."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

Call = Callable[..., int]
Line = Callable[[], str]
FIRST = "phantom_000.nii.gz"


def load(path: Path) -> Any:
    return nib.load(path)


def missing_source(source: Path) -> None:
    shutil.rmtree(source)


def empty_folder(source: Path) -> None:
    shutil.rmtree(source)
    source.mkdir()


def no_label_for_an_image(source: Path) -> None:
    (source / "labelsTr" / FIRST).unlink()


def no_image_for_a_label(source: Path) -> None:
    (source / "imagesTr" / FIRST).unlink()


def unpaired_mask(source: Path) -> None:
    (source / "dataset.json").unlink()
    (source / "imagesTr" / FIRST).unlink()


def truncated(source: Path) -> None:
    path = source / "imagesTr" / FIRST
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:2000]))


def damaged(source: Path) -> None:
    (source / "imagesTr" / FIRST).write_bytes(b"no NIfTI at all")


def change(path: Path, edit: Callable[[np.ndarray], np.ndarray], dtype: type = np.float32) -> None:
    image = load(path)
    nib.save(nib.Nifti1Image(edit(np.asanyarray(image.dataobj).astype(dtype)), image.affine), path)


def not_a_number(source: Path) -> None:
    def edit(array: np.ndarray) -> np.ndarray:
        array[3, 3, 3] = np.nan
        return array

    change(source / "imagesTr" / FIRST, edit)


def other_shape(source: Path) -> None:
    change(source / "labelsTr" / FIRST, lambda array: array[:-1], np.uint8)


def unknown_value(source: Path) -> None:
    def edit(array: np.ndarray) -> np.ndarray:
        array[0, 0, 0] = 99
        return array

    change(source / "labelsTr" / FIRST, edit, np.uint8)


def fractions(source: Path) -> None:
    change(source / "labelsTr" / FIRST, lambda array: array * 0.5)


def moved_mask(source: Path) -> None:
    path = source / "labelsTr" / FIRST
    image = load(path)
    affine = image.affine.copy()
    affine[0, 3] += 6
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), affine), path)


def two_channels(source: Path) -> None:
    change(source / "imagesTr" / FIRST, lambda array: np.stack([array, array], axis=-1))


def broken_list(source: Path) -> None:
    file = source / "dataset.json"
    file.write_text(file.read_text()[:-20])


DATA = [
    (missing_source, "was expected, but there is no such file or folder: check the path."),
    (empty_folder, "is empty, but was expected to hold a data set: check the path."),
    (no_label_for_an_image, f"labelsTr/{FIRST}"),
    (no_image_for_a_label, f"imagesTr/{FIRST}"),
    (unpaired_mask, f"must have an image of the same name, but 1 have none ({FIRST}): add the images or rename"),
    (truncated, f"imagesTr/{FIRST} could not be read ("),
    (damaged, f"imagesTr/{FIRST} could not be read ("),
    (not_a_number, f"imagesTr/{FIRST} has 1 voxels that are not finite (NaN or infinite): replace these values"),
    (other_shape, "image and mask of phantom_000 differ in size (16x16x16 against 15x16x16, "),
    (moved_mask, "image and mask of phantom_000 differ in origin (voxels lie up to 4 voxels apart, 0.001 are allowed"),
    (two_channels, "the image of phantom_000 has 2 channels, most have 1 channels: convert the image or remove"),
    (unknown_value, f"labelsTr/{FIRST} is no label: declare the value as a label, or set it to 0 in the mask."),
    (fractions, f"The mask {{source}}/labelsTr/{FIRST} holds fractions (or NaN), but masks hold whole numbers"),
    (broken_list, "dataset.json is not valid JSON ("),
]


@pytest.fixture
def source(volumes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(volumes, tmp_path / "set"))


@pytest.mark.parametrize(("spoil", "text"), DATA, ids=[spoil.__name__ for spoil, _ in DATA])
def test_bad_data_is_one_sentence_and_no_file(
    tmp_path: Path,
    source: Path,
    call: Call,
    small_volumes: list[str],
    error_line: Line,
    spoil: Callable[[Path], None],
    text: str,
) -> None:
    spoil(source)
    assert call("run", source, "--out", tmp_path / "out", *small_volumes) == 2
    assert text.format(source=source) in error_line()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
@pytest.mark.parametrize(
    ("spoil", "text"), [(truncated, "could not be read ("), (not_a_number, "not finite (NaN or infinite)")]
)
def test_the_stages_alone_look_at_the_data_too(
    tmp_path: Path,
    source: Path,
    volume_recipe: Path,
    call: Call,
    error_line: Line,
    command: str,
    spoil: Callable[[Path], None],
    text: str,
) -> None:
    spoil(source)
    words = ("--set", f"data.source={source}", "--out", tmp_path / "out")
    assert call(command, volume_recipe, *words) == 2
    assert text in error_line()
    assert not (tmp_path / "out").exists()
