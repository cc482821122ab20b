"""Masks: whole numbers of one channel, written in a type that holds them."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from selfmae.data.files.masks import read_mask, write_mask
from selfmae.errors import UserError

AFFINE = np.diag([1.5, 2.0, 3.0, 1.0])
VOLUME = np.arange(2 * 3 * 4).reshape(2, 3, 4)
PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def save_nifti(path: Path, array: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


def save_picture(path: Path, array: np.ndarray) -> Path:
    Picture.fromarray(array).save(path)
    return path


def test_whole_numbers_saved_as_fractions_are_a_mask(tmp_path: Path) -> None:
    mask = read_mask(save_nifti(tmp_path / "a.nii", VOLUME.astype(np.float32)))
    assert np.issubdtype(mask.array.dtype, np.integer)
    np.testing.assert_array_equal(mask.array, VOLUME)
    assert mask.spacing_mm == (1.5, 2.0, 3.0)


@pytest.mark.parametrize("value", [0.5, np.nan])
def test_fractions_are_no_mask(tmp_path: Path, value: float) -> None:
    array = VOLUME.astype(np.float32)
    array[0, 0, 0] = value
    with pytest.raises(UserError, match=r"a\.nii holds fractions \(or NaN\), but masks hold whole numbers"):
        read_mask(save_nifti(tmp_path / "a.nii", array))


def test_a_mask_has_one_channel(tmp_path: Path) -> None:
    array = VOLUME[..., None].astype(np.int16)
    np.testing.assert_array_equal(read_mask(save_nifti(tmp_path / "a.nii", array)).array, VOLUME)
    with pytest.raises(UserError, match="has 2 channels, but a mask has one with a number for each label"):
        read_mask(save_nifti(tmp_path / "b.nii", np.concatenate([array, array], axis=-1)))


@pytest.mark.parametrize(("largest", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (60000, np.uint16)])
def test_large_labels_are_written_in_a_type_that_holds_them(tmp_path: Path, largest: int, dtype: type) -> None:
    for name, array in (("a.nii.gz", VOLUME), ("a.png", PIXELS)):
        like = (
            save_nifti(tmp_path / name, array.astype(np.int16))
            if name == "a.nii.gz"
            else save_picture(tmp_path / name, array)
        )
        labels = np.where(array > 3, largest, 0)
        write_mask(labels, tmp_path / f"mask-{name}", like=like)
        mask = read_mask(tmp_path / f"mask-{name}").array
        assert mask.dtype == dtype
        np.testing.assert_array_equal(mask, labels)


def test_a_written_mask_leaves_no_part_behind(tmp_path: Path) -> None:
    like = save_nifti(tmp_path / "a.nii", VOLUME.astype(np.int16))
    write_mask(VOLUME, tmp_path / "mask.nii.gz", like=like)
    assert {path.name for path in tmp_path.iterdir()} == {"a.nii", "mask.nii.gz"}


def test_a_missing_mask_is_called_a_mask(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The mask .*none\.png was expected"):
        read_mask(tmp_path / "none.png")


def test_a_label_beyond_32_bits_is_an_error(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), 2**33 + 5), np.eye(4), dtype="int64"), tmp_path / "big.nii")
    with pytest.raises(UserError, match=r"big\.nii could not be read: .* values from 8589934597 to .*smaller numbers"):
        read_mask(tmp_path / "big.nii")
