"""Tables with several images a row, ids, folds, and tables that are packed."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfmae.data.case import Cases
from selfmae.data.sources import read_source
from selfmae.errors import UserError


def read(folder: Path, text: str, name: str = "list.csv") -> Cases:
    """Write a table beside six images, and read it."""
    for stem in ("a_t1", "a_t2", "b_t1", "b_t2", "c_t1", "c_t2"):
        Image.fromarray(np.full((4, 4), 1, np.uint8)).save(folder / f"{stem}.png")
    content = text.encode()
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return read_source(str(folder))


def files(cases: Cases) -> list[list[str]]:
    return [[file.stem for file in case.images] for case in cases.cases]


@pytest.mark.parametrize("header", ["image_2,image_1", "Image 10,image 2", "t2,t1", "flair,adc"])
def test_columns_of_images_are_channels(tmp_path: Path, header: str) -> None:
    cases = read(tmp_path, f"{header},Mass\na_t2.png,a_t1.png,1\nb_t2.png,b_t1.png,0\n")
    second, first = header.split(",")
    numbered = "mage" in header
    assert cases.channels == ((first, second) if numbered else (second, first))
    assert files(cases) == ([["a_t1", "a_t2"], ["b_t1", "b_t2"]] if numbered else [["a_t2", "a_t1"], ["b_t2", "b_t1"]])
    assert [case.id for case in cases.cases] == ["a", "b"]
    assert cases.labels.names == ("Mass",)


def test_the_order_of_channels_is_said(tmp_path: Path) -> None:
    said = "The channels of an image are the columns 't1', 't2', in this order."
    assert said in read(tmp_path, "t1,t2\na_t1.png,a_t2.png\n").notes


def test_a_mask_is_no_channel(tmp_path: Path) -> None:
    cases = read(tmp_path, "t1,t2,mask\na_t1.png,a_t2.png,b_t1.png\n")
    assert (cases.channels, cases.labels.kind) == (("t1", "t2"), "mask")
    assert cases.cases[0].target == tmp_path / "b_t1.png"


def test_a_column_of_a_usual_name_is_the_only_image(tmp_path: Path) -> None:
    cases = read(tmp_path, "image,thumbnail\na_t1.png,a_t2.png\nb_t1.png,b_t2.png\n")
    assert files(cases) == [["a_t1"], ["b_t1"]]


def test_a_row_that_lacks_a_channel_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The column 'image_2' of .* is empty in 1 rows \(lines 3\)"):
        read(tmp_path, "image_1,image_2\na_t1.png,a_t2.png\nb_t1.png,\n")


def test_a_column_of_ids_names_the_cases(tmp_path: Path) -> None:
    assert [case.id for case in read(tmp_path, "ID,image\n7,a_t1.png\n8,b_t1.png\n").cases] == ["7", "8"]


@pytest.mark.parametrize("values", ["7,7", "x/7,x/8", "7,"])
def test_ids_that_repeat_lack_or_hold_folders_name_no_case(tmp_path: Path, values: str) -> None:
    first, second = values.split(",")
    cases = read(tmp_path, f"id,image\n{first},a_t1.png\n{second},b_t1.png\n")
    assert [case.id for case in cases.cases] == ["a_t1", "b_t1"]


def test_the_first_fold_is_val(tmp_path: Path) -> None:
    cases = read(tmp_path, "image,fold,Mass\na_t1.png,2,1\nb_t1.png,1,0\nc_t1.png,,1\n")
    assert [case.split for case in cases.cases] == ["train", "val", "train"]
    assert "Fold 1 of the column 'fold' is the val part; data.splits can say otherwise." in cases.notes


def test_a_split_goes_before_folds(tmp_path: Path) -> None:
    cases = read(tmp_path, "image,fold,split\na_t1.png,0,train\nb_t1.png,1,test\n")
    assert [case.split for case in cases.cases] == ["train", "test"]


def test_a_fold_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"The column 'fold' of .* must hold the number of each row's fold, but has 'x'"
    ):
        read(tmp_path, "image,fold\na_t1.png,x\n")


@pytest.mark.parametrize(("name", "mark"), [("list.csv.gz", ","), ("list.tsv.gz", "\t"), ("list.tsv", "\t")])
def test_packed_tables_are_read(tmp_path: Path, name: str, mark: str) -> None:
    cases = read(tmp_path, "image,Mass\na_t1.png,1\n".replace(",", mark), name)
    assert (cases.layout, cases.cases[0].target) == ("table", (1.0,))


def test_a_packed_table_that_is_damaged_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(b"image,Mass\n" * 9)[:-9])
    with pytest.raises(UserError, match=r"list\.csv\.gz could not be unpacked .*: the file is damaged; copy it again"):
        read_source(str(tmp_path / "list.csv.gz"))


def test_patients_are_told_by_names_where_no_column_does(tmp_path: Path) -> None:
    cases = read(tmp_path, "id,image\npatient_1_x,a_t1.png\npatient_1_y,b_t1.png\n")
    assert [case.patient for case in cases.cases] == ["patient_1", "patient_1"]
    assert "Patients are taken from the names (as patient_1): 1 in 2 images." in cases.notes
