"""DICOM SEG and RTSTRUCT: what was marked comes back on the grid of the image, and a sentence for what does not fit."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pydicom
import pytest
from matplotlib.path import Path as Outline

from selfmae.data.dicom.headers import Header, header_of
from selfmae.data.dicom.pixels import fill_contour
from selfmae.data.dicom.series import mask_path, split_mask_path
from selfmae.data.files.images import read_image
from selfmae.data.files.masks import read_mask
from selfmae.errors import UserError


@pytest.fixture
def series(dicom: ModuleType, tmp_path: Path) -> Path:
    dicom.write_series(tmp_path / "ct")
    return tmp_path / "ct"


def some(seed: int) -> np.ndarray:
    """Return a random mask [slices, rows, columns] with one empty slice."""
    mask: np.ndarray = np.random.default_rng(seed).random((4, 5, 7)) < 0.4
    mask[1] = False
    return mask


def canonical(array: np.ndarray) -> np.ndarray:
    return array[:, ::-1, ::-1].transpose(2, 1, 0)


def rectangle(low: tuple[float, float], high: tuple[float, float], place: float) -> np.ndarray:
    """Return a contour [4, 3] in mm around voxels from `low` to `high` (column, row)."""
    corners = np.array([(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])], dtype=float)
    return np.column_stack((corners * (0.75, 0.5) + (-10, 20), np.full(4, 30 + 2.5 * place)))


def header(file: Path) -> Header:
    found = header_of(file)
    assert found
    return found


def error_of(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_mask(path)
    return str(caught.value)


def test_a_seg_comes_back_on_the_grid_of_its_image(dicom: ModuleType, tmp_path: Path, series: Path) -> None:
    seg = dicom.write_seg(tmp_path / "seg.dcm", {"liver": some(0)})
    mask, image = read_mask(mask_path(seg, series, [5])), read_image([series])
    assert np.array_equal(mask.array, canonical(some(0)) * 5)
    assert np.array_equal(mask.affine, image.affine)
    assert mask.spacing_mm == image.spacing_mm


def test_values_follow_the_names_in_order_not_the_numbers_of_segments(
    dicom: ModuleType, tmp_path: Path, series: Path
) -> None:
    tumour = np.zeros(dicom.SHAPE, dtype=bool)
    tumour[2, 1:3, 1:3] = True
    spleen = ~tumour
    seg = dicom.write_seg(tmp_path / "seg.dcm", {"tumour": tumour, "spleen": spleen})
    assert header(seg).structures == ("spleen", "tumour")
    assert np.array_equal(read_mask(mask_path(seg, series, [2, 7])).array, canonical(2 * spleen + 7 * tumour))


@pytest.mark.parametrize("names", [("liver", "tumour"), ("tumour", "liver")])
def test_the_smaller_structure_is_drawn_on_top(
    dicom: ModuleType, tmp_path: Path, series: Path, names: tuple[str, str]
) -> None:
    masks = {"liver": np.ones(dicom.SHAPE, dtype=bool), "tumour": some(1)}
    seg = dicom.write_seg(tmp_path / "seg.dcm", {name: masks[name] for name in names})
    wanted = np.where(some(1), 2, 1)
    assert np.array_equal(read_mask(mask_path(seg, series, [1, 2])).array, canonical(wanted))


def test_a_label_map_holds_numbers_of_segments(dicom: ModuleType, tmp_path: Path, series: Path) -> None:
    frame = np.arange(35, dtype=np.uint8).reshape(1, 5, 7) % 3
    group = dicom.frame_group((*dicom.ORIGIN[:2], 35), 0)
    tags = dicom.seg_tags(["b", "a"], [group]) | {"SegmentationType": "LABELMAP"}
    seg = dicom.write_file(tmp_path / "seg.dcm", "SEG", frame, **tags)
    wanted = np.zeros(dicom.SHAPE, dtype=int)
    wanted[2] = np.array([0, 4, 3])[frame[0]]
    assert np.array_equal(read_mask(mask_path(seg, series, [3, 4])).array, canonical(wanted))


def test_a_seg_on_another_grid_is_an_error(dicom: ModuleType, tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "ct", [(-10, 20, 31 + 2.5 * place) for place in range(4)])
    seg = dicom.write_seg(tmp_path / "seg.dcm", {"liver": some(0)})
    text = error_of(mask_path(seg, tmp_path / "ct", [1]))
    assert "seg.dcm must lie on the grid of its image series, but frame 1 lies on none of the slices in" in text
    assert "export it on the grid of the series" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [("PixelSpacing", [0.5, 0.5]), ("ImageOrientationPatient", [0, 1, 0, 1, 0, 0])],
)
def test_a_seg_with_other_voxels_is_an_error(
    dicom: ModuleType, tmp_path: Path, series: Path, name: str, value: list[float]
) -> None:
    seg = dicom.write_seg(tmp_path / "seg.dcm", {"liver": some(0)})
    content = pydicom.dcmread(seg)
    shared = content.SharedFunctionalGroupsSequence[0]
    for group in (shared.PlaneOrientationSequence[0], shared.PixelMeasuresSequence[0]):
        if name in group:
            setattr(group, name, value)
    content.save_as(seg)
    assert "must lie on the grid of its image series" in error_of(mask_path(seg, series, [1]))


def test_a_fractional_seg_is_an_error(dicom: ModuleType, tmp_path: Path, series: Path) -> None:
    seg = dicom.write_seg(tmp_path / "seg.dcm", {"liver": some(0)}, SegmentationType="FRACTIONAL")
    assert "seg.dcm is a FRACTIONAL segmentation, but masks are BINARY" in error_of(mask_path(seg, series, [1]))


def test_a_seg_that_lacks_frames_is_an_error(dicom: ModuleType, tmp_path: Path, series: Path) -> None:
    seg = dicom.write_seg(tmp_path / "seg.dcm", {"liver": some(0)})
    content = pydicom.dcmread(seg)
    content.PixelData = content.PixelData[:2]
    content.save_as(seg)
    assert error_of(mask_path(seg, series, [1])).startswith(f"The mask {seg} ends within its ")


def test_a_segment_without_a_name_is_an_error(dicom: ModuleType, tmp_path: Path, series: Path) -> None:
    names = [dicom.item(SegmentNumber=9, SegmentLabel="spleen")]
    seg = dicom.write_seg(tmp_path / "seg.dcm", {"liver": some(0)}, SegmentSequence=names)
    assert "uses the segment 1, but names only [9]: export it again" in error_of(mask_path(seg, series, [1]))


def test_a_mask_that_changed_since_it_was_listed_is_an_error(dicom: ModuleType, tmp_path: Path, series: Path) -> None:
    seg = dicom.write_seg(tmp_path / "seg.dcm", {"liver": some(0)})
    text = "held 2 structures when its folder was read, and now 1: start the command again"
    assert text in error_of(mask_path(seg, series, [1, 2]))


def test_a_mask_without_its_series_is_an_error(dicom: ModuleType, tmp_path: Path) -> None:
    seg = dicom.write_seg(tmp_path / "seg.dcm", {"liver": some(0)})
    assert "is DICOM and needs the series that it was drawn on: give the folder that holds both" in error_of(seg)


def test_a_mask_of_a_radiograph_is_an_error(dicom: ModuleType, tmp_path: Path) -> None:
    file = dicom.write_file(tmp_path / "x.dcm", "DX", np.zeros((5, 7), dtype=np.uint8))
    seg = dicom.write_seg(tmp_path / "seg.dcm", {"liver": some(0)})
    assert "x.dcm must be a DICOM series with positions to be a volume" in error_of(mask_path(seg, file, [1]))


def test_a_rectangle_of_an_rtstruct_holds_the_voxels_whose_centres_it_holds(
    dicom: ModuleType, tmp_path: Path, series: Path
) -> None:
    file = dicom.write_rtstruct(tmp_path / "rt.dcm", {"GTV": [rectangle((0.6, 1.4), (4.4, 3.2), 2)]})
    wanted = np.zeros(dicom.SHAPE, dtype=int)
    wanted[2, 2:4, 1:5] = 1
    assert np.array_equal(read_mask(mask_path(file, series, [1])).array, canonical(wanted))


def test_a_contour_in_a_contour_is_a_hole(dicom: ModuleType, tmp_path: Path, series: Path) -> None:
    outer, inner = rectangle((-1, -1), (9, 9), 0), rectangle((1.5, 1.5), (4.5, 3.5), 0)
    file = dicom.write_rtstruct(tmp_path / "rt.dcm", {"wall": [outer, inner]})
    wanted = np.zeros(dicom.SHAPE, dtype=int)
    wanted[0] = 1
    wanted[0, 2:4, 2:5] = 0
    assert np.array_equal(read_mask(mask_path(file, series, [1])).array, canonical(wanted))


def test_regions_of_an_rtstruct_overlap_with_the_smaller_on_top(
    dicom: ModuleType, tmp_path: Path, series: Path
) -> None:
    regions = {"GTV": [rectangle((1.5, 1.5), (3.5, 3.5), 1)], "PTV": [rectangle((-1, -1), (9, 9), 1)]}
    file = dicom.write_rtstruct(tmp_path / "rt.dcm", regions)
    wanted = np.zeros(dicom.SHAPE, dtype=int)
    wanted[1] = 2
    wanted[1, 2:4, 2:4] = 1
    assert np.array_equal(read_mask(mask_path(file, series, [1, 2])).array, canonical(wanted))


def test_points_are_no_structure(dicom: ModuleType, tmp_path: Path) -> None:
    file = dicom.write_rtstruct(tmp_path / "rt.dcm", {"isocentre": [np.zeros((1, 3))]}, kind="POINT")
    assert header(file).structures == ()


@pytest.mark.parametrize("place", [-1, 4, 9])
def test_a_contour_outside_the_series_is_an_error(
    dicom: ModuleType, tmp_path: Path, series: Path, place: float
) -> None:
    file = dicom.write_rtstruct(tmp_path / "rt.dcm", {"GTV": [rectangle((1, 1), (3, 3), place)]})
    text = "The contours of 'GTV' in .*rt.dcm must lie on the slices of its image series, but one does not"
    with pytest.raises(UserError, match=text):
        read_mask(mask_path(file, series, [1]))


def test_a_contour_across_slices_is_an_error(dicom: ModuleType, tmp_path: Path, series: Path) -> None:
    contour = rectangle((1, 1), (3, 3), 1)
    contour[:2, 2] += 2.5
    file = dicom.write_rtstruct(tmp_path / "rt.dcm", {"GTV": [contour]})
    assert "must lie on the slices of its image series" in error_of(mask_path(file, series, [1]))


@pytest.mark.parametrize("seed", range(5))
def test_filling_agrees_with_counting_edges_and_with_matplotlib(seed: int) -> None:
    """The first polygon crosses itself; matplotlib is asked for one that does not."""
    points = np.random.default_rng(seed).uniform(-3, 15, size=(9, 2))
    rows, columns = np.mgrid[:11, :13]
    centres = np.column_stack((columns.ravel(), rows.ravel()))
    wanted = np.array([crosses_left(points, centre) % 2 == 1 for centre in centres]).reshape(11, 13)
    assert np.array_equal(fill_contour(points, (11, 13)), wanted)
    star = points[np.argsort(np.arctan2(*(points - points.mean(0)).T))]
    inside = Outline(star).contains_points(centres).reshape(11, 13)
    assert np.array_equal(fill_contour(star, (11, 13)), inside)


def crosses_left(points: np.ndarray, centre: np.ndarray) -> int:
    """Count the edges that a ray from `centre` to the left crosses, one by one."""
    count = 0
    for (x, y), (next_x, next_y) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if min(y, next_y) <= centre[1] < max(y, next_y):
            count += x + (centre[1] - y) * (next_x - x) / (next_y - y) <= centre[0]
    return count


@pytest.mark.parametrize("image", ["ct", "deep/er/ct", "ct/series-2", "study/seg.dcm"])
@pytest.mark.parametrize("values", [[1], [1, 2, 3], [1, 3, 4, 9], list(range(1, 200))])
def test_the_path_of_a_mask_tells_file_image_and_values(tmp_path: Path, image: str, values: list[int]) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "seg.dcm").touch()
    path = mask_path(tmp_path / "study" / "seg.dcm", tmp_path / image, values)
    assert split_mask_path(path) == (tmp_path / "study" / "seg.dcm", tmp_path / image, values)


def test_such_a_path_may_be_relative(dicom: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dicom.write_series(tmp_path / "set" / "ct")
    dicom.write_seg(tmp_path / "set" / "seg" / "a.dcm", {"liver": some(0)})
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = mask_path(Path("../set/seg/a.dcm"), Path("../set/ct"), [1])
    assert np.array_equal(read_mask(path).array, canonical(some(0)))


def test_a_mask_tells_the_series_that_it_belongs_to(dicom: ModuleType, tmp_path: Path) -> None:
    assert header(dicom.write_seg(tmp_path / "a", {"a": some(0)}, series="1.2.5")).drawn_on == ("1.2.5",)
    assert header(dicom.write_rtstruct(tmp_path / "b", {}, series="1.2.6")).drawn_on == ("1.2.6",)
