"""What is wrong with the slices of a DICOM series, and that no such series is read as if it were whole."""

import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pydicom
import pytest

from selfmae.data.dicom.series import REMEDIES, check_series
from selfmae.data.files.images import read_image
from selfmae.errors import UserError


def write_at(dicom: ModuleType, folder: Path, depths: list[float], lean: float = 0, **tags: object) -> Path:
    """Write one slice for each depth; `lean` moves each along its columns, in mm for each mm of depth."""
    volume = np.arange(len(depths) * 35, dtype=np.int16).reshape(-1, 5, 7)
    dicom.write_series(folder, [(0.0, lean * depth, depth) for depth in depths], volume, **tags)
    return folder


def error_of(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_image([folder])
    return str(caught.value)


def test_an_even_series_has_no_finding(dicom: ModuleType, tmp_path: Path) -> None:
    assert check_series(write_at(dicom, tmp_path / "s", [0, 2, 4, 6])) == []


def test_positions_may_be_rounded(dicom: ModuleType, tmp_path: Path) -> None:
    folder = write_at(dicom, tmp_path / "s", [0, 0.6, 1.3, 1.9, 2.5])
    assert check_series(folder) == []
    assert read_image([folder]).spacing_mm[2] == pytest.approx(0.625)


def test_missing_slices_are_counted_and_stop_the_reading(dicom: ModuleType, tmp_path: Path) -> None:
    folder = write_at(dicom, tmp_path / "s", [0, 2, 8, 10, 14, 16, 18])
    cause = f"series {folder} lacks slices (3 by the gaps: 6 mm after slice 2 where 2 mm are usual)"
    assert check_series(folder) == [("missing_slices", f"the {cause}")]
    assert error_of(folder) == f"The {cause}: copy the whole series again, or remove it."


def test_uneven_slices_stop_the_reading(dicom: ModuleType, tmp_path: Path) -> None:
    folder = write_at(dicom, tmp_path / "s", [0, 2, 4.8, 6.8])
    assert [code for code, _ in check_series(folder)] == ["uneven_slices"]
    assert "lie up to 0.12 voxels off an even grid: resample the series" in error_of(folder)


def test_slices_that_jump_sideways_are_uneven(dicom: ModuleType, tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "s", [(0, 0, 0), (3, 0, 2), (0, 0, 4), (0, 0, 6)])
    assert [code for code, _ in check_series(tmp_path / "s")] == ["uneven_slices"]


def test_slices_at_the_same_place_stop_the_reading(dicom: ModuleType, tmp_path: Path) -> None:
    folder = write_at(dicom, tmp_path / "s", [0, 0, 2, 2, 4, 4])
    assert check_series(folder) == [("repeated_slices", f"the series {folder} has 6 slices at 3 positions only")]
    assert "6 slices at 3 positions only: keep one image of each position" in error_of(folder)


def test_a_copied_slice_is_used_once(dicom: ModuleType, tmp_path: Path) -> None:
    folder = write_at(dicom, tmp_path / "s", [0, 2, 4])
    (folder / "copy").write_bytes((folder / "IM003").read_bytes())
    assert check_series(folder) == [
        ("duplicate_slices", f"the series {folder} holds copies of slices (1, with equal SOPInstanceUID)")
    ]
    assert read_image([folder]).array.shape == (1, 7, 5, 3)


@pytest.mark.parametrize(("degrees", "found"), [(0.3, []), (10, ["gantry_tilt"])])
def test_a_tilted_gantry_is_told_by_its_angle(
    dicom: ModuleType, tmp_path: Path, degrees: float, found: list[str]
) -> None:
    folder = write_at(dicom, tmp_path / "s", [0, 2, 4], lean=math.tan(math.radians(degrees)))
    findings = check_series(folder)
    assert [code for code, _ in findings] == found
    assert all("stacked at 10 degrees to their normal" in cause for _, cause in findings)
    assert read_image([folder]).affine is not None


@pytest.mark.parametrize(
    ("tags", "what"),
    [
        ({"PixelSpacing": [0.5, 0.8]}, "pixel spacing"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "orientation"),
        ({"Rows": 7, "Columns": 5}, "size"),
    ],
)
def test_slices_of_another_kind_are_a_mixed_series(
    dicom: ModuleType, tmp_path: Path, tags: dict[str, object], what: str
) -> None:
    folder = write_at(dicom, tmp_path / "s", [0, 2, 4])
    content = pydicom.dcmread(folder / "IM003")
    content.update({pydicom.datadict.tag_for_keyword(name): content[name] for name in tags})
    for name, value in tags.items():
        setattr(content, name, value)
    content.save_as(folder / "IM003")
    assert check_series(folder) == [("mixed_series", f"the slices of the series {folder} differ in {what}")]
    assert f"differ in {what}: move the slices that do not belong there" in error_of(folder)


def test_several_series_in_a_folder_are_noted(dicom: ModuleType, tmp_path: Path) -> None:
    folder = write_at(dicom, tmp_path / "s", [0, 2, 4])
    for file in write_at(dicom, tmp_path / "t", [0, 2], SeriesInstanceUID="1.2.4").iterdir():
        file.rename(folder / f"other{file.name}")
    assert check_series(folder / "series-1") == [("several_series", f"the folder {folder} holds 2 series")]
    assert REMEDIES["several_series"][0] == "note"


def test_two_modalities_under_one_uid_are_a_mixed_series(dicom: ModuleType, tmp_path: Path) -> None:
    folder = write_at(dicom, tmp_path / "s", [0, 2, 4])
    content = pydicom.dcmread(folder / "IM003")
    content.Modality = "PT"
    content.save_as(folder / "IM003")
    assert check_series(folder) == [("mixed_series", f"the slices of the series {folder} differ in modality")]
    assert "differ in modality: move the slices that do not belong there" in error_of(folder)


def test_frames_without_a_place_are_said(dicom: ModuleType, tmp_path: Path) -> None:
    tags = dicom.seg_tags([], [dicom.item(), dicom.item()]) | {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}
    dicom.write_file(tmp_path / "s" / "a.dcm", "CT", np.zeros((2, 4, 4), dtype=np.int16), **tags)
    assert "a.dcm does not say where its frames lie (no PlanePositionSequence)" in error_of(tmp_path / "s" / "a.dcm")
