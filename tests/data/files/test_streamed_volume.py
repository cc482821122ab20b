"""Voxels of NRRD and MetaImage files, slab by slab: as SimpleITK reads them, and never a part of a damaged file."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from selfmae.data.files.images import read_image
from selfmae.data.files.volumes import find_voxels, load_itk
from selfmae.errors import UserError

FILES = list(product((".nrrd", ".mha", ".mhd"), (False, True)))


def write(path: Path, packed: bool, kind: int = SimpleITK.sitkFloat32) -> np.ndarray:
    """Write noise as an image; return it as [Z, Y, X]."""
    array = np.random.default_rng(0).normal(size=(40, 30, 20)) * 1000
    image = SimpleITK.Cast(SimpleITK.GetImageFromArray(array), kind)
    SimpleITK.WriteImage(image, str(path), packed)
    return SimpleITK.GetArrayFromImage(image)


@pytest.mark.parametrize(("ending", "packed"), FILES)
@pytest.mark.parametrize("kind", [SimpleITK.sitkFloat32, SimpleITK.sitkInt16, SimpleITK.sitkUInt8])
def test_slabs_in_any_order_are_those_of_the_whole(tmp_path: Path, ending: str, packed: bool, kind: int) -> None:
    whole = write(tmp_path / f"a{ending}", packed, kind)
    assert find_voxels(tmp_path / f"a{ending}")
    streamed_volume = load_itk(tmp_path / f"a{ending}").dataobj
    for first, last in ((0, 3), (3, 9), (30, 40), (5, 6), (0, 40)):
        part = streamed_volume[2:7, :, first:last]
        assert part.dtype == whole.dtype
        assert np.array_equal(part, whole[first:last, :, 2:7].transpose(2, 1, 0))


@pytest.mark.parametrize(("ending", "packed"), FILES)
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_file_that_ends_too_soon_is_not_read(tmp_path: Path, ending: str, packed: bool, part: float) -> None:
    write(tmp_path / f"a{ending}", packed)
    file = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[: int(part * file.stat().st_size)])
    with pytest.raises(UserError, match=r"a\.\w+ could not be read \(it ends within its voxels\)"):
        read_image([tmp_path / f"a{ending}"])


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_a_packed_file_with_other_bytes_is_not_read(tmp_path: Path, ending: str) -> None:
    write(tmp_path / f"a{ending}", packed=True)
    content = bytearray((tmp_path / f"a{ending}").read_bytes())
    content[-2] ^= 255  # of the check sum
    (tmp_path / f"a{ending}").write_bytes(bytes(content))
    with pytest.raises(UserError, match="could not be read"):
        read_image([tmp_path / f"a{ending}"])


def test_bytes_in_the_other_order_are_turned(tmp_path: Path) -> None:
    numbers = np.arange(24, dtype=">i2")
    header = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 4 3 2\nendian: big\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(header + numbers.tobytes())
    assert np.array_equal(np.sort(read_image([tmp_path / "a.nrrd"]).array.ravel()), np.arange(24))


@pytest.mark.parametrize("lines", ["encoding: ascii\n", "encoding: raw\nbyte skip: 2\n"])
def test_what_is_not_one_stretch_of_numbers_is_left_to_itk(tmp_path: Path, lines: str) -> None:
    text = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\n{lines}\n1 2 3 4 5 6 7 8\n"
    (tmp_path / "a.nrrd").write_text(text)
    assert find_voxels(tmp_path / "a.nrrd") is None
    ours = np.sort(read_image([tmp_path / "a.nrrd"]).array.ravel())
    assert np.array_equal(
        ours, np.sort(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.nrrd"))).ravel())
    )


def test_what_itk_says_names_no_address(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\ntype: short\n")
    with pytest.raises(UserError) as error:
        read_image([tmp_path / "a.nrrd"])
    assert "0x" not in str(error.value)
    assert "[nrrd]" not in str(error.value)
