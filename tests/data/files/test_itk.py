"""NRRD and MHA: the same voxels and places as SimpleITK's own NIfTI, and masks that fit the image they belong to."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from selfmae.data.files.images import read_image
from selfmae.data.files.masks import mask_suffix, read_mask, write_mask
from selfmae.errors import UserError

TURNS = [np.eye(3), np.diag([-1.0, -1.0, 1.0]), np.eye(3)[[1, 2, 0]], np.eye(3)[[2, 1, 0]] * [1, 1, -1]]


def make(turn: np.ndarray) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6))
    image.SetSpacing((1.5, 2.0, 3.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    image.SetDirection(turn.ravel().tolist())
    return image


@pytest.mark.parametrize(("ending", "turn"), list(product([".nrrd", ".mha", ".mhd"], TURNS)))
def test_voxels_and_places_are_those_of_the_same_image_as_nifti(tmp_path: Path, ending: str, turn: np.ndarray) -> None:
    image = make(turn)
    for name in (f"a{ending}", "a.nii.gz"):
        SimpleITK.WriteImage(image, str(tmp_path / name))
    ours, nifti = read_image([tmp_path / f"a{ending}"]), read_image([tmp_path / "a.nii.gz"])
    assert np.array_equal(ours.array, nifti.array)
    assert ours.spacing_mm == pytest.approx(nifti.spacing_mm, abs=1e-5)
    assert ours.affine is not None
    assert np.allclose(ours.affine, nifti.affine, atol=1e-4)


@pytest.mark.parametrize(("ending", "turn"), list(product([".nrrd", ".mha", ".mhd", ".nii.gz"], TURNS)))
def test_a_mask_lies_on_the_grid_of_its_image(tmp_path: Path, ending: str, turn: np.ndarray) -> None:
    image = make(turn)
    SimpleITK.WriteImage(image, str(tmp_path / f"image{ending}"))
    mask = (read_image([tmp_path / f"image{ending}"]).array[0] > 40).astype(np.uint8) * 7
    path = tmp_path / f"mask{mask_suffix(tmp_path / f'image{ending}')}"
    write_mask(mask, path, like=tmp_path / f"image{ending}")
    written = SimpleITK.ReadImage(str(path))
    assert np.array_equal(SimpleITK.GetArrayFromImage(written), (SimpleITK.GetArrayFromImage(image) > 40) * 7)
    for found, wanted in zip(
        written.GetDirection() + written.GetOrigin(), image.GetDirection() + image.GetOrigin(), strict=True
    ):
        assert found == pytest.approx(wanted, abs=1e-4)
    assert np.array_equal(read_mask(path).array, mask)


def test_channels_come_first(tmp_path: Path) -> None:
    array = np.arange(2 * 3 * 4 * 2, dtype=np.float32).reshape(2, 3, 4, 2)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=True), str(tmp_path / "a.nrrd"))
    image = read_image([tmp_path / "a.nrrd"]).array
    assert image.shape == (2, 4, 3, 2)
    assert set(image[1].ravel()) == set(array[..., 1].ravel())


def test_long_integers_are_read(tmp_path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.Cast(make(np.eye(3)), SimpleITK.sitkInt64), str(tmp_path / "a.nrrd"))
    assert read_mask(tmp_path / "a.nrrd").array.max() == 119


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\ntype: short\n")
    with pytest.raises(UserError, match=r"a\.nrrd could not be read"):
        read_image([tmp_path / "a.nrrd"])
    SimpleITK.WriteImage(SimpleITK.Image(4, 4, SimpleITK.sitkUInt8), str(tmp_path / "b.mha"))
    with pytest.raises(UserError, match="it has 2 axes, not 3"):
        read_image([tmp_path / "b.mha"])
