"""Images and masks paired by name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfmae.data.case import Cases, Labels
from selfmae.data.sources import read_source
from selfmae.errors import UserError


def draw(folder: Path, *names: str, values: tuple[int, ...] = (0, 1)) -> None:
    for name in names:
        file = folder / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.resize(np.array(values, np.uint8), (4, 64))).save(file)


def pairs(cases: Cases) -> dict[str, str | None]:
    return {case.id: case.target.stem if isinstance(case.target, Path) else None for case in cases.cases}


@pytest.mark.parametrize(("images", "masks"), [("images", "labels"), ("imagesTr", "labelsTr"), ("img", "Masks")])
def test_two_folders_are_paired_by_name(tmp_path: Path, images: str, masks: str) -> None:
    draw(tmp_path, f"{images}/a", f"{images}/b", f"{masks}/a")
    cases = read_source(str(tmp_path))
    assert cases.layout == "paired"
    assert pairs(cases) == {"a": "a", "b": None}


@pytest.mark.parametrize(
    ("image", "mask"),
    [("p1_0000", "p1"), ("p1_image", "p1_mask"), ("p1", "p1_seg"), ("p1_ct", "p1_gt"), ("img0001", "label0001")],
)
def test_usual_marks_of_image_and_mask_do_not_part_them(tmp_path: Path, image: str, mask: str) -> None:
    draw(tmp_path, f"images/{image}", f"masks/{mask}", f"images/other{image}")
    assert mask in pairs(read_source(str(tmp_path))).values()


def test_one_folder_holds_images_and_marked_masks(tmp_path: Path) -> None:
    draw(tmp_path, "a", "a_seg", "b", "b_mask", "c")
    assert pairs(read_source(str(tmp_path))) == {"a": "a_seg", "b": "b_mask", "c": None}


def test_images_that_lack_a_mask_are_named(tmp_path: Path) -> None:
    draw(tmp_path, "images/a", "images/b", "labels/a", "unlabelled/c")
    assert "Images without a mask count as unlabelled: 1 (b)." in read_source(str(tmp_path)).notes


def test_labels_are_the_values_in_all_masks(tmp_path: Path) -> None:
    draw(tmp_path, "images/a", "images/b")
    draw(tmp_path, "masks/a", values=(0, 1))
    draw(tmp_path, "masks/b", values=(0, 7))
    assert read_source(str(tmp_path)).labels == Labels("mask", ("label_1", "label_7"), (1, 7))


def test_a_black_and_white_mask_has_one_label(tmp_path: Path) -> None:
    draw(tmp_path, "images/a")
    draw(tmp_path, "masks/a", values=(0, 255))
    assert read_source(str(tmp_path)).labels == Labels("mask", ("label_255",), (255,))


def test_without_masks_all_are_unlabelled(tmp_path: Path) -> None:
    draw(tmp_path, "images/a", "images/b")
    cases = read_source(str(tmp_path))
    assert (cases.labels, pairs(cases)) == (Labels("mask", ()), {"a": None, "b": None})
    assert "There are no masks: all cases are unlabelled." in cases.notes


def test_masks_without_image_are_one_error(tmp_path: Path) -> None:
    draw(tmp_path, "images/a", "masks/a", "masks/x", "masks/y")
    with pytest.raises(UserError, match=r"2 have none \(x.png, y.png\): add the images"):
        read_source(str(tmp_path))


def test_two_masks_of_one_image_are_an_error(tmp_path: Path) -> None:
    draw(tmp_path, "images/a", "masks/a_gt", "masks/a_seg")
    with pytest.raises(UserError, match=r"a_seg.png fits a, which has a_gt.png: rename"):
        read_source(str(tmp_path))


def test_a_mask_that_fits_two_images_is_an_error(tmp_path: Path) -> None:
    draw(tmp_path, "images/a_ct", "images/a_mr", "masks/a")
    with pytest.raises(UserError, match=r"a.png fits a_ct, a_mr: rename"):
        read_source(str(tmp_path))


def test_numbered_files_are_the_channels_of_a_case(tmp_path: Path) -> None:
    draw(tmp_path, "images/a_0001", "images/a_0000", "images/b_0000", "images/b_0001", "masks/a")
    cases = read_source(str(tmp_path))
    assert [path.stem for path in cases.cases[0].images] == ["a_0000", "a_0001"]
    assert pairs(cases) == {"a": "a", "b": None}
    assert cases.channels == ("channel_0", "channel_1")


def test_numbered_cases_are_no_channels(tmp_path: Path) -> None:
    draw(tmp_path, "images/case_0000", "images/case_0001")
    assert set(pairs(read_source(str(tmp_path)))) == {"case_0000", "case_0001"}


def test_masks_named_like_their_images_show_that_numbers_are_no_channels(tmp_path: Path) -> None:
    names = ("a_0000", "a_0001", "b_0000", "b_0001")
    draw(tmp_path, *(f"{folder}/{name}" for folder in ("images", "masks") for name in names))
    assert pairs(read_source(str(tmp_path))) == {name: name for name in names}


def test_a_case_that_lacks_a_channel_is_an_error(tmp_path: Path) -> None:
    draw(tmp_path, "images/a_0000", "images/a_0001", "images/b_0000", "masks/a", "masks/b")
    with pytest.raises(UserError, match=r"channels 0000 to 0001, but 1 lack some \(b\)"):
        read_source(str(tmp_path))


def test_files_that_differ_in_their_endings_only_are_an_error(tmp_path: Path) -> None:
    draw(tmp_path, "images/a")
    (tmp_path / "images/a.nii.gz").touch()
    with pytest.raises(UserError, match=r"a.nii.gz and .*a.png differ in their endings only"):
        read_source(str(tmp_path))


def test_masks_that_are_images_are_an_error(tmp_path: Path) -> None:
    draw(tmp_path, "images/a")
    np.save(tmp_path / "images/b.npy", np.zeros((20, 20)))
    (tmp_path / "masks").mkdir()
    np.save(tmp_path / "masks/b.npy", np.arange(400).reshape(20, 20))
    with pytest.raises(UserError, match="masks holds 399 different ones: give masks, not images"):
        read_source(str(tmp_path))


def test_images_of_which_none_can_be_read_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_text("no picture")
    with pytest.raises(UserError, match=r"a.png could not be read"):
        read_source(str(tmp_path))


def test_an_unreadable_image_or_mask_is_left_to_the_survey(tmp_path: Path) -> None:
    draw(tmp_path, "images/b", "masks/b")
    for place in ("images/a.png", "masks/a.png"):
        (tmp_path / place).write_text("no picture")
    cases = read_source(str(tmp_path))
    assert (cases.channels, cases.labels.values) == (("gray",), (1,))


@pytest.mark.parametrize("apart", ["imagesTs", "unlabelled"])
def test_images_set_apart_are_unlabelled(tmp_path: Path, apart: str) -> None:
    draw(tmp_path, "imagesTr/a_0000", "imagesTr/b_0000", f"{apart}/c_0000", "labelsTr/a", "labelsTr/b")
    assert [(case.id, case.split) for case in read_source(str(tmp_path)).cases] == [
        ("a", ""),
        ("b", ""),
        ("c", "unlabelled"),
    ]


def test_patients_are_told_by_names(tmp_path: Path) -> None:
    draw(tmp_path, "images/patient_1_a", "images/patient_1_b", "images/patient_2_a")
    assert [case.patient for case in read_source(str(tmp_path)).cases] == ["patient_1", "patient_1", "patient_2"]


def test_folders_of_images_and_masks_are_no_classes(tmp_path: Path) -> None:
    draw(tmp_path, "images/a", "masks/a")
    assert read_source(str(tmp_path)).layout == "paired"
    with pytest.raises(UserError, match="is not in the layout asked for"):
        read_source(str(tmp_path), "classfolders")
