"""Image files: every format, every orientation, and masks that go back where they came from."""

import os
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from selfmae.data.files import is_image, stem_of, suffix_of
from selfmae.data.files.images import read_image, read_spacing, with_channels
from selfmae.data.files.masks import mask_suffix, read_mask, write_mask
from selfmae.errors import UserError

ORIENTATIONS = [
    np.array([[axis, sign] for axis, sign in zip(axes, signs, strict=True)])
    for axes in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]
AFFINE = np.array([[1.5, 0, 0, -10], [0, 2.0, 0, 5], [0, 0, 3.0, 7], [0, 0, 0, 1]])
VOLUME = np.arange(2 * 3 * 4).reshape(2, 3, 4)


def load(path: Path) -> Any:
    return nib.load(path)


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def save_turned(path: Path, orientation: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(VOLUME.astype(np.int16), AFFINE).as_reoriented(orientation), path)
    return path


def save_picture(path: Path, array: np.ndarray) -> Path:
    Picture.fromarray(array).save(path)
    return path


def test_there_are_forty_eight_orientations() -> None:
    assert len(ORIENTATIONS) == 48


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=lambda o: "".join(nib.orientations.ornt2axcodes(o)))
def test_a_volume_is_read_alike_and_its_mask_written_back_in_every_orientation(
    tmp_path: Path, orientation: np.ndarray
) -> None:
    path = save_turned(tmp_path / "a.nii", orientation)
    image = read_image((path,))
    np.testing.assert_array_equal(image.array[0], VOLUME)
    assert image.affine is not None
    np.testing.assert_allclose(image.affine, AFFINE)
    assert image.spacing_mm == (1.5, 2.0, 3.0)
    write_mask(VOLUME, tmp_path / "mask.nii.gz", like=path)
    own, mask = load(path), load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj), np.asanyarray(own.dataobj))
    np.testing.assert_array_equal(mask.affine, own.affine)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz").array, VOLUME)


def test_an_oblique_volume_keeps_its_grid(tmp_path: Path) -> None:
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = AFFINE.copy()
    affine[:3, :3] = turn @ np.diag([-1.5, -2, 3])
    path = save_nifti(tmp_path / "a.nii.gz", VOLUME.astype(np.float32), affine)
    assert read_image((path,)).spacing_mm == pytest.approx((1.5, 2.0, 3.0), abs=1e-5)
    write_mask(read_image((path,)).array[0].astype(int), tmp_path / "mask.nii.gz", like=path)
    mask = load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(mask.affine, load(path).affine)
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj), VOLUME)


def test_scaled_values_of_the_image_do_not_scale_its_mask(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VOLUME.astype(np.int16), AFFINE)
    image.header.set_slope_inter(2.0, -5.0)
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_array_equal(read_image((tmp_path / "a.nii",)).array[0], 2 * VOLUME - 5)
    write_mask(VOLUME, tmp_path / "mask.nii", like=tmp_path / "a.nii")
    np.testing.assert_array_equal(load(tmp_path / "mask.nii").get_fdata(), VOLUME)


def test_channels_of_a_volume_lie_on_its_fourth_axis(tmp_path: Path) -> None:
    array = np.stack([VOLUME, VOLUME + 100], axis=-1).astype(np.int16)
    image = read_image((save_nifti(tmp_path / "a.nii", array),))
    np.testing.assert_array_equal(image.array, np.stack([VOLUME, VOLUME + 100]))
    write_mask(VOLUME, tmp_path / "mask.nii", like=tmp_path / "a.nii")
    assert load(tmp_path / "mask.nii").shape == (2, 3, 4)


def test_an_empty_fourth_axis_of_five_is_left_out(tmp_path: Path) -> None:
    array = np.stack([VOLUME, VOLUME + 100], axis=-1)[:, :, :, None].astype(np.int16)
    assert read_image((save_nifti(tmp_path / "a.nii", array),)).array.shape == (2, 2, 3, 4)


def test_several_files_are_channels(tmp_path: Path) -> None:
    paths = [save_nifti(tmp_path / f"{place}.nii", (VOLUME + place).astype(np.int16)) for place in range(3)]
    np.testing.assert_array_equal(read_image(paths).array, np.stack([VOLUME + place for place in range(3)]))


def test_channels_of_other_sizes_are_an_error(tmp_path: Path) -> None:
    paths = [save_nifti(tmp_path / "a.nii", VOLUME.astype(np.int16))]
    paths.append(save_nifti(tmp_path / "b.nii", VOLUME[:1].astype(np.int16)))
    with pytest.raises(UserError) as error:
        read_image(paths)
    assert "but a.nii has [2, 3, 4] and b.nii [1, 3, 4]: resample one onto the other." in str(error.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_number_types_of_nifti_are_read_as_values(tmp_path: Path, dtype: type) -> None:
    image = read_image((save_nifti(tmp_path / "a.nii.gz", VOLUME.astype(dtype)),))
    assert image.array.dtype == np.float32
    np.testing.assert_array_equal(image.array[0], VOLUME)


PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp"])
def test_gray_pictures_keep_their_values(tmp_path: Path, suffix: str) -> None:
    image = read_image((save_picture(tmp_path / f"a{suffix}", PIXELS),))
    np.testing.assert_array_equal(image.array, PIXELS[None])
    assert (image.spacing_mm, image.affine) == ((), None)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_kept(tmp_path: Path, suffix: str) -> None:
    pixels = PIXELS.astype(np.uint16) * 250
    path = save_picture(tmp_path / f"a{suffix}", pixels)
    np.testing.assert_array_equal(read_image((path,)).array[0], pixels)
    np.testing.assert_array_equal(read_mask(path).array, pixels)


def test_colours_are_three_channels(tmp_path: Path) -> None:
    colours = np.stack([PIXELS, PIXELS + 1, PIXELS + 2], axis=-1)
    path = save_picture(tmp_path / "a.png", colours)
    np.testing.assert_array_equal(read_image((path,)).array, np.moveaxis(colours, -1, 0))


def test_transparency_is_left_out(tmp_path: Path) -> None:
    for channels in (2, 4):
        layers = np.stack([PIXELS] * channels, axis=-1)
        layers[..., -1] = 255
        save_picture(tmp_path / "a.png", layers)
        assert read_image((tmp_path / "a.png",)).array.shape == (channels - 1, 3, 4)


def save_palette(path: Path) -> Path:
    picture = Picture.fromarray((PIXELS // 20 % 3).astype(np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(path)
    return path


def test_a_palette_is_colours_in_an_image_and_labels_in_a_mask(tmp_path: Path) -> None:
    path = save_palette(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(path).array, PIXELS // 20 % 3)
    image = read_image((path,)).array
    np.testing.assert_array_equal(image[0], (PIXELS // 20 % 3 == 1) * 255)
    np.testing.assert_array_equal(image[1], (PIXELS // 20 % 3 == 2) * 255)


@pytest.mark.parametrize("array", [PIXELS, VOLUME])
def test_arrays_are_read_in_their_own_order(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    image = read_image((tmp_path / "a.npy",))
    np.testing.assert_array_equal(image.array[0], array)
    assert image.spacing_mm == ()
    write_mask(array, tmp_path / "mask.npy", like=tmp_path / "a.npy")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.npy").array, array)


def test_arrays_with_channels_have_them_first(tmp_path: Path) -> None:
    array = np.stack([VOLUME, VOLUME + 1])
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read_image((tmp_path / "a.npy",)).array, array)


def test_pickled_arrays_are_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"code": 1}]), allow_pickle=True)
    with pytest.raises(UserError, match=r"a\.npy could not be read \("):
        read_image((tmp_path / "a.npy",))


def test_members_of_an_archive_are_read_by_place(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "set.npz", gray=np.stack([PIXELS, PIXELS + 1]), colour=np.zeros((2, 3, 4, 3)), volume=VOLUME[None]
    )
    np.testing.assert_array_equal(read_image((tmp_path / "set.npz/gray/1",)).array[0], PIXELS + 1)
    assert read_image((tmp_path / "set.npz/colour/0",)).array.shape == (3, 3, 4)
    np.testing.assert_array_equal(read_image((tmp_path / "set.npz/volume/0",)).array[0], VOLUME)


def test_an_archive_that_changed_is_read_anew(tmp_path: Path) -> None:
    for value in (1, 2):
        np.savez(tmp_path / "set.npz", gray=np.full((1, 3, 4), value))
        os.utime(tmp_path / "set.npz", ns=(value * 10**9, value * 10**9))
        assert read_image((tmp_path / "set.npz/gray/0",)).array.max() == value


@pytest.mark.parametrize("member", ["gray/9", "none/0", "gray/x"])
def test_a_member_that_is_not_there_is_an_error(tmp_path: Path, member: str) -> None:
    np.savez(tmp_path / "set.npz", gray=np.zeros((1, 3, 4)))
    with pytest.raises(UserError, match=r"set\.npz.* could not be read"):
        read_image((tmp_path / "set.npz" / member,))


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.nii.gz", b"no nifti", "could not be read ("),
        ("a.png", b"no picture", "could not be read ("),
        ("a.npy", b"no array", "could not be read ("),
        ("a.txt", b"text", "is no image file that can be read: expected .nii, .nii.gz, .nrrd"),
        ("a.nii", None, "The image {path} was expected, but there is no such file: check the path."),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, name: str, content: bytes | None, text: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_image((path,))
    assert text.format(path=path) in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "suffix", "stem"),
    [("a.nii.gz", ".nii.gz", "a"), ("a.b.PNG", ".png", "a.b"), ("A.NII.GZ", ".nii.gz", "A"), ("7", "", "7")],
)
def test_endings_and_stems(name: str, suffix: str, stem: str) -> None:
    assert suffix_of(Path(name)) == suffix
    assert stem_of(Path(name)) == stem


@pytest.mark.parametrize(("name", "yes"), [("a.nii", True), ("a.JPG", True), (".a.nii", False), ("a.csv", False)])
def test_image_files_are_told_by_their_names(name: str, yes: bool) -> None:
    assert is_image(Path(name)) is yes


@pytest.mark.parametrize(
    ("name", "suffix"), [("a.nii", ".nii.gz"), ("a.nii.gz", ".nii.gz"), ("a.jpg", ".png"), ("a.npy", ".npy")]
)
def test_masks_have_an_ending_without_losses(name: str, suffix: str) -> None:
    assert mask_suffix(Path(name)) == suffix


def test_gray_pictures_have_as_many_channels_as_are_wanted(tmp_path: Path) -> None:
    gray = np.random.default_rng(0).integers(0, 255, (8, 9)).astype(np.uint8)
    for name, array in (("gray", gray), ("colour", np.stack([gray] * 3, -1))):
        Picture.fromarray(array).save(tmp_path / f"{name}.png")
        image = read_image([tmp_path / f"{name}.png"])
        assert np.array_equal(with_channels(image, 1).array, gray[None])
        assert np.array_equal(with_channels(image, 3).array, np.stack([gray] * 3))
    other = np.dstack([gray, gray, gray[::-1]])
    Picture.fromarray(other).save(tmp_path / "other.png")
    assert with_channels(read_image([tmp_path / "other.png"]), 1).array.shape == (3, 8, 9)


def test_a_file_of_several_pages_is_an_error(tmp_path: Path) -> None:
    pages = [Picture.fromarray(np.full((8, 9), page, np.uint8)) for page in range(5)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(UserError, match=r"a\.tif has 5 pages, but an image is a single picture: save each page"):
        read_image((tmp_path / "a.tif",))


@pytest.mark.parametrize(
    ("affine", "part"), [(np.diag([2.0, 2, 2, 1]), "spacing"), (np.eye(4) + 50 * np.eye(4, k=3), "origin")]
)
def test_channels_in_different_places_are_an_error(tmp_path: Path, affine: np.ndarray, part: str) -> None:
    for name, place in (("x", np.eye(4)), ("y", affine)):
        nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), place), tmp_path / f"{name}.nii")
    with pytest.raises(UserError, match=rf"x\.nii and .*y\.nii differ in {part} .*: correct the header") as error:
        read_image((tmp_path / "x.nii", tmp_path / "y.nii"))
    assert error.value.code == "place_differs"


def test_a_flat_nifti_is_told_what_to_become(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((8, 9), np.float32), np.eye(4)), tmp_path / "flat.nii")
    with pytest.raises(
        UserError, match=r"flat\.nii could not be read: expected a volume of 3 axes.*a third axis of 1\.$"
    ):
        read_image((tmp_path / "flat.nii",))


@pytest.mark.parametrize(("order", "spacing"), [("RAS", (1.0, 2.0, 3.0)), ("ASR", (3.0, 1.0, 2.0))])
def test_the_spacing_alone_is_that_of_the_image(tmp_path: Path, order: str, spacing: tuple[float, ...]) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ["RAS".index(axis) for axis in order]] * (1, 2, 3)
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6), np.float32), affine), tmp_path / "x.nii")
    assert read_spacing(tmp_path / "x.nii") == read_image((tmp_path / "x.nii",)).spacing_mm == spacing
