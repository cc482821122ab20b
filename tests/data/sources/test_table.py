"""Tables of images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfmae.data.case import Cases, Labels
from selfmae.data.sources import read_source
from selfmae.data.sources.table import read_rows
from selfmae.errors import UserError


def draw(*files: Path, value: int = 0, colour: bool = False) -> None:
    array = np.full((4, 4, 3) if colour else (4, 4), value, np.uint8)
    if colour:
        array[..., 0] += 9  # or it would be gray
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(file)


def read(folder: Path, text: str, name: str = "list.csv") -> Cases:
    """Write a table whose images are a.png, b.png, ... beside it, and read it."""
    for letter in "abc":
        draw(folder / f"{letter}.png")
    (folder / name).write_text(text, encoding="utf-8")
    return read_source(str(folder / name))


def targets(cases: Cases) -> list[object]:
    return [case.target for case in cases.cases]


def test_columns_of_0_and_1_are_findings(tmp_path: Path) -> None:
    cases = read(tmp_path, "image,age,sex,Mass,Edema\na.png,1,M,1,0\nb.png,0,F,0.0,1.0\n")
    assert cases.labels == Labels("multilabel", ("Mass", "Edema"))
    assert targets(cases) == [(1.0, 0.0), (0.0, 1.0)]
    assert cases.channels == ("gray",)
    assert "Not taken as labels: the column 'age'." in cases.notes


def test_metadata_of_0_and_1_is_no_finding(tmp_path: Path) -> None:
    header = "image,Patient Gender,Follow-up #,View Position,Unnamed: 0,Mass"
    cases = read(tmp_path, f"{header}\na.png,0,1,1,0,1\nb.png,1,0,0,1,0\n")
    assert cases.labels.names == ("Mass",)
    assert "'Patient Gender', 'Follow-up #', 'View Position', 'Unnamed: 0'" in cases.notes[1]


def test_a_binary_label_is_one_finding(tmp_path: Path) -> None:
    assert read(tmp_path, "image,label\na.png,1\nb.png,0\n").labels == Labels("multilabel", ("label",))


def test_text_labels_are_ignored_beside_columns_of_0_and_1(tmp_path: Path) -> None:
    cases = read(tmp_path, "image,Finding Labels,Mass\na.png,Mass|Edema,1\nb.png,No Finding,0\n")
    assert cases.labels.names == ("Mass",)
    assert "Not taken as labels: the column 'Finding Labels'." in cases.notes


def test_a_list_of_findings_is_taken_apart(tmp_path: Path) -> None:
    cases = read(tmp_path, "Image Index,Finding Labels\na.png,Mass|Edema\nb.png,No Finding\nc.png,\n")
    assert cases.labels == Labels("multilabel", ("Edema", "Mass"))
    assert targets(cases) == [(1.0, 1.0), (0.0, 0.0), None]


def test_exclusive_texts_are_classes(tmp_path: Path) -> None:
    cases = read(tmp_path, "file,diagnosis\na.png,nevus\nb.png,melanoma\nc.png,\n")
    assert cases.labels == Labels("multiclass", ("melanoma", "nevus"))
    assert targets(cases) == [(0.0, 1.0), (1.0, 0.0), None]


def test_classes_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    assert read(tmp_path, "path,class\na.png,10\nb.png,2\nc.png,0\n").labels == Labels("multiclass", ("0", "2", "10"))


def test_a_row_without_findings_is_unlabelled(tmp_path: Path) -> None:
    assert targets(read(tmp_path, "image,x,y\na.png,,\nb.png,0,1\n")) == [None, (0.0, 1.0)]


def test_a_row_with_some_findings_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"all findings or none, but 1 rows lack some \(lines 3\)"):
        read(tmp_path, "image,x,y\na.png,1,0\nb.png,,1\n")


def test_uncertain_findings_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has -1 \(uncertain\) in Edema: write 0 or 1"):
        read(tmp_path, "image,Mass,Edema\na.png,1,0\nb.png,0,-1.0\n")


def test_without_labels_images_are_unlabelled(tmp_path: Path) -> None:
    cases = read(tmp_path, "image,age\na.png,55\n")
    assert cases.labels.names == ()
    assert targets(cases) == [None]
    assert cases.notes[0] == (
        "No column of labels was found ('age': by name and values none of them): call one of classes label, one of "
        "mask files mask, or write each finding as 0 and 1 in a column of its own."
    )


def test_patients_and_splits_are_read(tmp_path: Path) -> None:
    text = "image,Patient ID,split\na.png,7,Training\nb.png,7,valid\nc.png,8,test\n"
    assert [(case.patient, case.split) for case in read(tmp_path, text).cases] == [
        ("7", "train"),
        ("7", "val"),
        ("8", "test"),
    ]


def test_without_patients_each_image_is_one_and_this_is_said(tmp_path: Path) -> None:
    cases = read(tmp_path, "image\na.png\n")
    assert cases.cases[0].patient == "a"
    assert "each image counts as a patient of its own" in cases.notes[-1]


@pytest.mark.parametrize(
    ("header", "chosen"),
    [("split,patient_split", "split"), ("patient_split,official_split", "patient_split"), ("my_split,x", "my_split")],
)
def test_one_split_column_is_chosen_and_named(tmp_path: Path, header: str, chosen: str) -> None:
    values = ",".join("train" if name == chosen else "val" for name in header.split(","))
    cases = read(tmp_path, f"image,{header}\na.png,{values}\n")
    assert cases.cases[0].split == "train"
    assert f"The split is taken from the column '{chosen}'" in cases.notes[0]


def test_two_equal_split_columns_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2 columns that could be the split \(split_a, split_b\)"):
        read(tmp_path, "image,split_a,split_b\na.png,train,test\n")


def test_unknown_splits_are_listed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'split' of .* must hold train, val and test, but has 'holdout', 'x'"):
        read(tmp_path, "image,split\na.png,holdout\nb.png,x\nc.png,train\n")


@pytest.mark.parametrize("place", ["a1.png", "images/a1.png", "deep/below/a1.png"])
def test_images_are_found_beside_the_table_and_below(tmp_path: Path, place: str) -> None:
    draw(tmp_path / place)
    assert read(tmp_path, "image\na1.png\n").cases[0].images == (tmp_path / place,)


def test_names_without_ending_are_found(tmp_path: Path) -> None:
    assert read(tmp_path, "image\na\n").cases[0].images == (tmp_path / "a.png",)


def test_a_name_that_fits_two_files_is_an_error(tmp_path: Path) -> None:
    draw(tmp_path / "x/a1.png", tmp_path / "y/a1.png")
    with pytest.raises(UserError, match=r"The image 'a1.png' could be .*x/a1.png, .*y/a1.png"):
        read(tmp_path, "image\na1.png\n")


def test_equal_names_in_folders_get_ids_with_the_folder(tmp_path: Path) -> None:
    draw(tmp_path / "x/front.png", tmp_path / "y/front.png")
    cases = read(tmp_path, "image\nx/front.png\ny/front.png\n")
    assert [case.id for case in cases.cases] == ["x_front", "y_front"]


def test_all_missing_images_are_one_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lists 4 files that are not there \(p.png, q.png, r.png and 1 more\)"):
        read(tmp_path, "image\na.png\np.png\nq.png\nr.png\ns.png\n")


def test_masks_give_their_own_values_as_labels(tmp_path: Path) -> None:
    draw(tmp_path / "masks/a.png", value=3)
    cases = read(tmp_path, "image,mask\na.png,masks/a.png\nb.png,\n")
    assert cases.labels == Labels("mask", ("label_3",), (3,))
    assert targets(cases) == [tmp_path / "masks/a.png", None]


def test_without_any_mask_file_all_are_unlabelled(tmp_path: Path) -> None:
    cases = read(tmp_path, "image,mask\na.png,masks/a.png\n")
    assert (cases.labels, targets(cases)) == (Labels("mask", ()), [None])
    assert "None of the 1 mask files is there: all cases are unlabelled." in cases.notes


def test_a_missing_mask_is_an_error(tmp_path: Path) -> None:
    draw(tmp_path / "masks/a.png", value=3)
    with pytest.raises(UserError, match=r"lists 1 files that are not there \(masks/b.png\)"):
        read(tmp_path, "image,mask\na.png,masks/a.png\nb.png,masks/b.png\n")


@pytest.mark.parametrize(("name", "mark"), [("list.tsv", "\t"), ("list.csv", ";")])
def test_other_separators_and_a_byte_order_mark_are_read(tmp_path: Path, name: str, mark: str) -> None:
    cases = read(tmp_path, "\ufeffimage,Mass,note\na.png,1,x\n".replace(",", mark), name)
    assert cases.labels.names == ("Mass",)


def test_colour_images_have_three_channels(tmp_path: Path) -> None:
    draw(tmp_path / "rgb.png", colour=True)
    assert read(tmp_path, "image\nrgb.png\n").channels == ("red", "green", "blue")


def test_a_folder_with_one_table_of_images_is_a_source(tmp_path: Path) -> None:
    read(tmp_path, "image,Mass\na.png,1\n")
    (tmp_path / "scores.csv").write_text("metric,value\nauc,1\n")
    assert read_source(str(tmp_path)).layout == "table"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("picture,Mass\na,1\n", "must name its image files in a column .* has the columns picture, Mass"),
        ("image,Mass\n", "has a header but no row"),
        ("image,Mass\na.png,1,0\n", r"more values than columns in 1 rows \(lines 2\)"),
        ("image,Mass\n,1\n", r"The column 'image' of .* is empty in 1 rows \(lines 2\)"),
        ("image,patient\na.png,\n", r"The column 'patient' of .* is empty in 1 rows \(lines 2\)"),
    ],
)
def test_a_wrong_table_is_an_error(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(tmp_path, text)


def test_a_table_in_another_encoding_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes("image,note\na.png,Größe\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"list.csv must be text in UTF-8"):
        read_source(str(tmp_path / "list.csv"))


def test_real_chest_radiographs(real_data: Path) -> None:
    cases = read_source(str(real_data / "cxr14_256"))
    assert (len(cases.part("train")), len(cases.part("val")), len(cases.labels.names)) == (698, 115, 14)
    assert cases.cases[0].target == (0, 0, 1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0)
    assert cases.cases[0].patient == "61"
    assert "'patient_split_70_10_20', not from the column 'official_split'" in cases.notes[0]


@pytest.mark.parametrize(("no", "yes"), [("False", "True"), ("no", "YES"), ("0.0", "1")])
def test_findings_may_be_written_as_words(tmp_path: Path, no: str, yes: str) -> None:
    found = read(tmp_path, f"image,Mass\na.png,{no}\nb.png,{yes}\nc.png,\n")
    assert [case.target for case in found.cases] == [(0.0,), (1.0,), None]


@pytest.mark.parametrize("value", ["2", "0.5", "x"])
def test_one_odd_value_of_a_finding_is_an_error(tmp_path: Path, value: str) -> None:
    with pytest.raises(UserError, match=rf"the column 'Mass' of .* has '{value}' in 1 rows \(lines 4\): write 0 or 1"):
        read(tmp_path, f"image,Mass,Edema\na.png,0,0\nb.png,1,1\nc.png,{value},0\n")


def test_a_column_of_counts_is_no_finding_and_named(tmp_path: Path) -> None:
    draw(tmp_path / "d.png")
    found = read(tmp_path, "image,Mass,lesions\na.png,0,0\nb.png,1,1\nc.png,0,2\nd.png,0,3\n")
    assert found.labels.names == ("Mass",)
    assert "Not taken as labels: the column 'lesions'." in found.notes


def test_rows_that_repeat_one_word_by_word_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 1 more than once"):
        read(tmp_path, "image,Mass,age\na.png,0,5\na.png,0,5\nb.png,1,7\n")


def test_rows_of_several_readers_that_disagree_are_an_error(tmp_path: Path) -> None:
    rows = "a.png,R1,1,0\na.png,R2,1,0\nb.png,R1,0,1\nb.png,R2,0,0\nb.png,R3,0,0\n"
    with pytest.raises(UserError) as caught:
        read(tmp_path, f"image,rad_id,Mass,No finding\n{rows}")
    assert "gives 1 of them several with different labels (first: b.png, lines 4, 5)" in str(caught.value)
    assert "write one row for each, for example with the findings that most of its readers" in str(caught.value)
    assert targets(read(tmp_path, f"image,rad_id,Mass,No finding\n{rows[:26]}")) == [(1.0, 0.0)]  # they agree


def test_a_column_named_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,edema,edema\na.png,1,0\n")
    with pytest.raises(UserError, match=r"t\.csv must name each column differently, but has edema more than once"):
        read_rows(tmp_path / "t.csv")
