"""NumPy archives as images, and what readers say that is not for users."""

from pathlib import Path

import numpy as np
import pytest

from selfmae.data.files import is_image
from selfmae.data.files.images import read_image
from selfmae.data.files.masks import mask_suffix, read_mask, write_mask
from selfmae.errors import UserError

VOLUME = np.arange(24).reshape(2, 3, 4)


def test_an_archive_of_one_array_is_an_image_or_a_mask(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", anything=VOLUME)
    assert is_image(tmp_path / "a.npz")
    np.testing.assert_array_equal(read_image((tmp_path / "a.npz",)).array, VOLUME[None])
    np.testing.assert_array_equal(read_mask(tmp_path / "a.npz").array, VOLUME)


def test_channels_come_first_in_an_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", np.stack([VOLUME, VOLUME + 1]))
    np.testing.assert_array_equal(read_image((tmp_path / "a.npz",)).array, np.stack([VOLUME, VOLUME + 1]))


def test_the_mask_of_an_archive_is_an_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", VOLUME)
    assert mask_suffix(tmp_path / "a.npz") == ".npy"
    write_mask(VOLUME, tmp_path / "mask.npy", like=tmp_path / "a.npz")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.npy").array, VOLUME)


def test_an_archive_of_several_arrays_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=VOLUME, mask=VOLUME)
    with pytest.raises(
        UserError, match=r"a\.npz could not be read \(it holds 2 arrays \(image, mask\), but an image is"
    ):
        read_image((tmp_path / "a.npz",))


def test_an_archive_of_a_line_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", np.arange(3))
    with pytest.raises(UserError, match=r"it has 1 axes, not \[H, W\], \[D, H, W\] or \[C, D, H, W\]"):
        read_image((tmp_path / "a.npz",))


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_a_damaged_volume_is_named_without_the_readers_own_source_code(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no volume")
    with pytest.raises(UserError, match=r"could not be read \(Unable to determine ImageIO reader") as error:
        read_image((tmp_path / name,))
    assert "cxx" not in str(error.value)
