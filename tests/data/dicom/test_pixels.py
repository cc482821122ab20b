"""DICOM images: the same voxels and places as SimpleITK's, pictures, and a sentence for what cannot be read."""

import tracemalloc
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.data import get_testdata_file

from selfmae.data.dicom.pixels import files_of, is_dicom
from selfmae.data.dicom.series import mask_path
from selfmae.data.doctor.survey import survey
from selfmae.data.files.images import read_image
from selfmae.data.files.masks import mask_suffix, read_mask, write_mask
from selfmae.data.sources import read_source
from selfmae.errors import UserError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# A row's direction, a column's direction, and the step between slices: axial, coronal, sagittal, oblique, feet first.
TURNS = {
    "axial": ((1, 0, 0, 0, 1, 0), (0, 0, 2.5)),
    "downwards": ((1, 0, 0, 0, 1, 0), (0, 0, -2.5)),
    "coronal": ((1, 0, 0, 0, 0, -1), (0, 2, 0)),
    "sagittal": ((0, 1, 0, 0, 0, -1), (-3, 0, 0)),
    "oblique": ((0.8, 0.6, 0, -0.6, 0.8, 0), (0, 0, 1.5)),
    "prone": ((-1, 0, 0, 0, -1, 0), (0, 0, 2)),
}


def write_turned(dicom: ModuleType, folder: Path, name: str) -> np.ndarray:
    orientation, step = TURNS[name]
    positions = [np.add(dicom.ORIGIN, np.multiply(step, place)) for place in range(dicom.SHAPE[0])]
    stored: np.ndarray = dicom.write_series(folder, positions, ImageOrientationPatient=orientation)
    return stored


def as_nifti(folder: Path) -> Path:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    SimpleITK.WriteImage(reader.Execute(), str(folder.parent / "itk.nii.gz"))
    return folder.parent / "itk.nii.gz"


@pytest.mark.parametrize("name", TURNS)
def test_voxels_and_places_are_those_of_simpleitk(dicom: ModuleType, tmp_path: Path, name: str) -> None:
    write_turned(dicom, tmp_path / "s", name)
    ours, itk = read_image([tmp_path / "s"]), read_image([as_nifti(tmp_path / "s")])
    assert np.array_equal(ours.array, itk.array)
    assert ours.affine is not None
    assert np.allclose(ours.affine, itk.affine, atol=1e-4)
    assert ours.spacing_mm == pytest.approx(itk.spacing_mm, abs=1e-5)


def test_values_are_rescaled_and_axes_canonical(dicom: ModuleType, tmp_path: Path) -> None:
    stored = dicom.write_series(tmp_path / "s")
    image = read_image([tmp_path / "s"])
    # DICOM's columns run to the left and rows to the back; ours run to the right and front.
    assert np.array_equal(image.array[0], (2.0 * stored - 1024)[:, ::-1, ::-1].transpose(2, 1, 0))
    assert image.spacing_mm == (0.75, 0.5, 2.5)


def test_each_slice_has_its_own_rescaling(dicom: ModuleType, tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "s")
    content = pydicom.dcmread(tmp_path / "s" / "IM004")
    before = read_image([tmp_path / "s"]).array[0]
    content.RescaleSlope, content.RescaleIntercept = 4, -2048
    content.save_as(tmp_path / "s" / "IM004")
    after = read_image([tmp_path / "s"]).array[0]
    assert np.array_equal(after[:, :, 0], before[:, :, 0] * 2)
    assert np.array_equal(after[:, :, 1:], before[:, :, 1:])


def test_one_series_of_several_in_a_folder_is_named_by_its_number(dicom: ModuleType, tmp_path: Path) -> None:
    first = dicom.write_series(tmp_path / "one", SeriesNumber=7)
    dicom.write_series(tmp_path / "two", SeriesInstanceUID="1.2.4", volume=first[:2] + 100)
    for file in (tmp_path / "two").iterdir():
        file.rename(tmp_path / "one" / f"other{file.name}")
    assert read_image([tmp_path / "one" / "series-1"]).array.shape == (1, 7, 5, 2)
    assert read_image([tmp_path / "one" / "series-2"]).array.shape == (1, 7, 5, 4)
    with pytest.raises(UserError, match=r"one holds 2 DICOM images \(.*one/series-1, .*one/series-2\), but one was"):
        read_image([tmp_path / "one"])


def test_frames_in_files_of_their_own_are_one_series(dicom: ModuleType, tmp_path: Path) -> None:
    """As an enhanced CT may be sent: no place in the file itself, one frame in the functional groups."""
    stored = dicom.write_series(tmp_path / "s")
    for place, plane in enumerate(stored):
        frame = dicom.item(
            PlanePositionSequence=[dicom.item(ImagePositionPatient=[*dicom.ORIGIN[:2], 30 + 2.5 * place])],
            PixelValueTransformationSequence=[dicom.item(RescaleSlope=2, RescaleIntercept=-1024)],
        )
        tags = dicom.seg_tags([], [frame]) | {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}
        dicom.write_file(tmp_path / "t" / f"{9 - place}", "CT", plane[None], **tags)
    one, other = read_image([tmp_path / "s"]), read_image([tmp_path / "t"])
    assert np.array_equal(one.array, other.array)
    assert np.array_equal(one.affine, other.affine)


def test_slices_without_a_uid_are_all_kept(dicom: ModuleType, tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "s")
    for file in (tmp_path / "s").iterdir():
        content = pydicom.dcmread(file)
        content.SOPInstanceUID = content.SeriesInstanceUID = ""
        content.save_as(file)
    assert read_image([tmp_path / "s"]).array.shape == (1, 7, 5, 4)


def test_a_volume_in_one_file_is_the_series_of_its_frames(dicom: ModuleType, tmp_path: Path) -> None:
    stored = dicom.write_series(tmp_path / "s")
    places = [
        dicom.item(
            PlanePositionSequence=[dicom.item(ImagePositionPatient=[*dicom.ORIGIN[:2], 30 + 2.5 * place])],
            PixelValueTransformationSequence=[dicom.item(RescaleSlope=2, RescaleIntercept=-1024)],
        )
        for place in (2, 0, 3, 1)
    ]
    tags = dicom.seg_tags([], places) | {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}
    file = dicom.write_file(tmp_path / "many.dcm", "CT", stored[[2, 0, 3, 1]], **tags)
    one, many = read_image([tmp_path / "s"]), read_image([file])
    assert np.array_equal(one.array, many.array)
    assert one.affine is not None
    assert np.allclose(one.affine, many.affine)


def test_a_single_slice_is_as_thick_as_it_says(dicom: ModuleType, tmp_path: Path) -> None:
    one = np.ones((1, 5, 7), dtype=np.int16)
    dicom.write_series(tmp_path / "s", volume=one)
    assert read_image([tmp_path / "s"]).spacing_mm == (0.75, 0.5, 2.5)
    dicom.write_series(tmp_path / "t", volume=one, SliceThickness=None)
    with pytest.raises(UserError, match=r"IM004 is the only slice of its series and says not how thick it is"):
        read_image([tmp_path / "t"])


def test_a_radiograph_is_a_picture_with_its_spacing(dicom: ModuleType, tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    file = dicom.write_file(tmp_path / "x.dcm", "DX", pixels, PixelSpacing=[0.2, 0.1])
    image = read_image([file])
    assert np.array_equal(image.array[0], pixels)
    assert (image.spacing_mm, image.affine) == ((0.2, 0.1), None)


def test_a_radiograph_may_give_the_spacing_at_its_detector(dicom: ModuleType, tmp_path: Path) -> None:
    pixels = np.zeros((3, 4), dtype=np.uint8)
    assert read_image(
        [dicom.write_file(tmp_path / "a.dcm", "CR", pixels, ImagerPixelSpacing=[0.3, 0.4])]
    ).spacing_mm == (0.3, 0.4)
    assert read_image([dicom.write_file(tmp_path / "b.dcm", "CR", pixels)]).spacing_mm == ()


def test_a_radiograph_that_is_white_at_zero_is_inverted(dicom: ModuleType, tmp_path: Path) -> None:
    pixels = np.array([[40000, 50000], [60000, 65535]], dtype=np.uint16)
    file = dicom.write_file(tmp_path / "x.dcm", "CR", pixels, PhotometricInterpretation="MONOCHROME1")
    assert read_image([file]).array[0].tolist() == [[65535, 55535], [45535, 40000]]


def test_a_radiograph_is_what_its_window_shows(dicom: ModuleType, tmp_path: Path) -> None:
    pixels = np.array([[0, 900], [1500, 4000]], dtype=np.uint16)
    window = {"WindowCenter": [1500, 7], "WindowWidth": [1001, 9], "BitsStored": 12, "HighBit": 11}
    seen = read_image([dicom.write_file(tmp_path / "x.dcm", "DX", pixels, **window)]).array[0]
    assert seen.tolist() == [[0, 0], [pytest.approx(4095 / 2, abs=3), 4095]]
    inverted = dicom.write_file(tmp_path / "y.dcm", "DX", pixels, **window, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(read_image([inverted]).array[0], 4095 - seen)


@pytest.mark.parametrize(("modality", "width"), [("DX", 0), ("DX", None), ("CT", 100)])
def test_without_a_window_or_off_radiographs_values_stay(
    dicom: ModuleType, tmp_path: Path, modality: str, width: int | None
) -> None:
    pixels = np.array([[0, 1000], [1500, 4000]], dtype=np.uint16)
    file = dicom.write_file(tmp_path / "x.dcm", modality, pixels, WindowCenter=1500, WindowWidth=width)
    assert np.array_equal(read_image([file]).array[0], pixels)


def test_a_series_that_is_shown_inverted_keeps_its_values(dicom: ModuleType, tmp_path: Path) -> None:
    stored = dicom.write_series(tmp_path / "s", PhotometricInterpretation="MONOCHROME1")
    assert read_image([tmp_path / "s"]).array.max() == 2 * stored.max() - 1024


def test_colours_are_channels(dicom: ModuleType, tmp_path: Path) -> None:
    pixels = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    assert np.array_equal(
        read_image([dicom.write_file(tmp_path / "x.dcm", "XC", pixels)]).array, pixels.transpose(2, 0, 1)
    )


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "JPEG2000.dcm", "CT_small.dcm", "MR_small_bigendian.dcm"])
def test_real_files_have_the_values_that_simpleitk_reads(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a"
    file.write_bytes(Path(str(get_testdata_file(name))).read_bytes())
    wanted = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))[0]
    found = read_image([tmp_path]).array[0]
    affine = pydicom.dcmread(file).get("ImageOrientationPatient")
    if affine is None:  # a picture
        assert np.array_equal(found, wanted)
    else:
        assert sorted(found.ravel()) == sorted(wanted.ravel().astype(np.float32))


def test_a_predicted_mask_is_nifti_on_the_grid_of_the_series(dicom: ModuleType, tmp_path: Path) -> None:
    write_turned(dicom, tmp_path / "s", "oblique")
    image = read_image([tmp_path / "s"])
    mask = (image.array[0] > -900).astype(np.uint8) * 3
    assert mask_suffix(tmp_path / "s") == ".nii.gz"
    write_mask(mask, tmp_path / "mask.nii.gz", like=tmp_path / "s")
    read = read_mask(tmp_path / "mask.nii.gz")
    itk = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(as_nifti(tmp_path / "s"))))
    written = SimpleITK.ReadImage(str(tmp_path / "mask.nii.gz"))
    assert np.array_equal(read.array, mask)
    assert np.allclose(read.affine, image.affine, atol=1e-4)
    assert np.array_equal(SimpleITK.GetArrayFromImage(written), (itk > -900) * 3)


def test_a_mask_of_a_radiograph_is_png(dicom: ModuleType, tmp_path: Path) -> None:
    file = dicom.write_file(tmp_path / "x.dcm", "DX", np.zeros((3, 4), dtype=np.uint8))
    assert mask_suffix(file) == ".png"
    write_mask(np.eye(3, 4), tmp_path / "m.png", like=file)
    assert np.array_equal(read_mask(tmp_path / "m.png").array, np.eye(3, 4))


def test_dicom_is_known_by_its_mark_not_its_name(dicom: ModuleType, tmp_path: Path) -> None:
    assert is_dicom(dicom.write_file(tmp_path / "IM1", "DX", np.zeros((2, 2), dtype=np.uint8)))
    (tmp_path / "IM2").write_bytes(bytes(200))
    assert not is_dicom(tmp_path / "IM2")
    assert is_dicom(tmp_path)
    assert is_dicom(tmp_path / "series-3")
    assert not is_dicom(tmp_path / "missing")


def test_what_an_image_is_read_from_are_all_its_files(dicom: ModuleType, tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "s")
    slices = sorted((tmp_path / "s").iterdir())
    seg = dicom.write_seg(tmp_path / "seg.dcm", {"a": np.ones(dicom.SHAPE, dtype=bool)})
    assert files_of(tmp_path / "s") == slices
    assert files_of(mask_path(seg, tmp_path / "s", [1])) == [seg, *slices]
    assert files_of(slices[0]) == [slices[0]]
    assert files_of(tmp_path / "none.nii.gz") == []


def test_one_of_several_series_is_read_from_its_own_files(dicom: ModuleType, tmp_path: Path) -> None:
    dicom.write_series(tmp_path)
    own = dicom.write_file(tmp_path / "x", "MR", np.ones((5, 7), dtype=np.uint8), **dicom.place_tags((0, 0, 0)),
        SeriesInstanceUID="1.2.4", SeriesNumber=1)  # fmt: skip
    assert files_of(tmp_path / "series-1") == [own]
    assert len(files_of(tmp_path / "series-2")) == 4
    assert files_of(tmp_path / "series-3") == []


def test_a_header_is_read_again_when_its_file_changes(dicom: ModuleType, tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "s")
    assert read_image([tmp_path / "s"]).spacing_mm == (0.75, 0.5, 2.5)
    for file in (tmp_path / "s").iterdir():
        content = pydicom.dcmread(file)
        content.PixelSpacing = [1, 1.25]
        content.save_as(file)
    assert read_image([tmp_path / "s"]).spacing_mm == (1.25, 1, 2.5)


def test_headers_are_read_once_for_all_who_ask(
    dicom: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def count(path: Path, **more: Any) -> pydicom.Dataset:
        read.append(path)
        return pydicom.dcmread(path, **more)

    monkeypatch.setattr("selfmae.data.dicom.headers.dcmread", count)
    dicom.write_series(tmp_path / "s")
    cases = read_source(str(tmp_path)).cases
    survey(cases, masks=True)
    write_mask(np.zeros((7, 5, 4)), tmp_path / "mask.nii.gz", like=tmp_path / "s")
    assert sorted(read) == sorted((tmp_path / "s").iterdir())


def test_what_is_no_image_cannot_be_read_as_one(dicom: ModuleType, tmp_path: Path) -> None:
    file = dicom.write_rtstruct(tmp_path / "rt.dcm", {})
    with pytest.raises(UserError, match=r"rt\.dcm must be an image, but is DICOM of another kind \(rtstruct\)"):
        read_image([file])


def test_what_is_not_there_is_said(dicom: ModuleType, tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "s")
    with pytest.raises(UserError, match=r"The image .*a\.dcm was expected, but there is no such file"):
        read_image([tmp_path / "a.dcm"])
    with pytest.raises(UserError, match=r"The DICOM image .*s/series-9 was expected, but no file there belongs to it"):
        read_image([tmp_path / "s" / "series-9"])


def test_several_pictures_in_a_folder_are_several_images(dicom: ModuleType, tmp_path: Path) -> None:
    for name in "ab":
        dicom.write_file(tmp_path / name, "DX", np.zeros((2, 2), dtype=np.uint8))
    with pytest.raises(UserError, match=r"holds 2 DICOM images \(.*\), but one was asked for: name one of them"):
        read_image([tmp_path])


def test_a_film_is_no_image(dicom: ModuleType, tmp_path: Path) -> None:
    file = dicom.write_file(tmp_path / "film.dcm", "XA", np.zeros((6, 4, 4), dtype=np.uint8))
    with pytest.raises(UserError, match=r"film\.dcm is a film of 6 frames, but an image is a single picture"):
        read_image([file])


def test_cut_off_pixels_name_the_file(dicom: ModuleType, tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "s")
    file = tmp_path / "s" / "IM002"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"The pixels of .*s/IM002 could not be read \(.*\): copy the file again"):
        read_image([tmp_path / "s"])


def test_a_file_that_only_its_name_calls_dicom_is_said(dicom: ModuleType, tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "s")
    (tmp_path / "s" / "x.dcm").write_bytes(bytes(300))
    with pytest.raises(UserError, match=r"x\.dcm could not be read as DICOM \(.*\): copy it again or remove it"):
        read_image([tmp_path / "s"])


def test_a_header_of_the_wrong_kind_is_said(dicom: ModuleType, tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "s", PixelSpacing=[0.5])
    with pytest.raises(
        UserError, match=r"must hold 2 numbers in PixelSpacing .*, but has \[0\.5\]: correct the header"
    ):
        read_image([tmp_path / "s"])
    dicom.write_series(tmp_path / "t")
    file = tmp_path / "t" / "IM001"
    file.write_bytes(file.read_bytes().replace(b"DS\x04\x002.5 ", b"DS\x04\x002,5x"))
    with pytest.raises(UserError, match=r"IM001 could not be read as DICOM \(.*\): copy it again or remove it"):
        read_image([tmp_path / "t"])


def test_pixels_that_need_a_decoder_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfmae.data.dicom.pixels.get_decoder", lambda syntax: SimpleNamespace(is_available=False))
    with pytest.raises(
        UserError, match=r"are compressed \(JPEG.*\), which needs a decoder: pip install 'selfmae\[dicom"
    ):
        read_image([Path(str(get_testdata_file("JPEG-lossy.dcm")))])


def test_pixels_that_the_decoders_refuse_say_what_to_do() -> None:
    """A lossy JPEG of 12 bits, which neither Pillow nor GDCM decodes."""
    with pytest.raises(UserError, match=r"JPEG-lossy.dcm could not be read .*: copy the file again or save it uncompr"):
        read_image([Path(str(get_testdata_file("JPEG-lossy.dcm")))])


def test_jpeg_ls_is_decoded_or_says_what_to_install() -> None:
    file, same = (Path(str(get_testdata_file(name))) for name in ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"))
    if find_spec("gdcm"):
        assert np.array_equal(read_image([file]).array, read_image([same]).array)
        return
    with pytest.raises(
        UserError, match=r"\(JPEG-LS Lossless Image Compression\), which needs a decoder: pip install 'se"
    ):
        read_image([file])


def test_pixels_that_nothing_decodes_say_so(tmp_path: Path) -> None:
    content = pydicom.dcmread(str(get_testdata_file("JPEG-lossy.dcm")))
    content.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML  # a film, which pydicom has no decoder for
    content.save_as(tmp_path / "film.dcm")
    with pytest.raises(
        UserError, match=r"are compressed \(MPEG2.*\) in a way that cannot be read: save it uncompressed"
    ):
        read_image([tmp_path / "film.dcm"])


def test_a_series_is_not_in_memory_twice(dicom: ModuleType, tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "s", volume=np.zeros((40, 256, 256), dtype=np.int16))
    read_image([tmp_path / "s"])  # headers stay in memory
    tracemalloc.start()
    image = read_image([tmp_path / "s"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * image.array.nbytes
