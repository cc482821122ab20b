"""The NIH reader: known answers of the real table and lists, and what is said of a folder that is not complete."""

import csv
import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfmae.data.sources import read_source
from selfmae.data.sources.chestxray14 import FINDINGS, read_entries
from selfmae.errors import UserError

HEADER = "Image Index,Finding Labels,Patient ID"
ROWS = ("1_000.png,Edema|Mass,1", "1_001.png,No Finding,1", "2_000.png,Hernia,2", "3_000.png,Nodule,3")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text("\n".join((HEADER, *ROWS)) + "\n")
    (tmp_path / "train_val_list.txt").write_text("1_000.png\n1_001.png\n")
    (tmp_path / "test_list.txt").write_text("2_000.png\n")
    for number, row in enumerate(ROWS):
        place = tmp_path / f"images_{number % 2 + 1:03d}" / "images"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(place / row.split(",")[0])
    return tmp_path


def test_table_and_lists_become_cases(folder: Path) -> None:
    cases = read_source(str(folder))
    assert cases.layout == "chestxray14"
    assert [(case.id, case.patient, case.split) for case in cases.cases] == [
        ("1_000", "1", ""),
        ("1_001", "1", ""),
        ("2_000", "2", "test"),
        ("3_000", "3", "unused"),
    ]
    found = {name for name, value in zip(FINDINGS, cases.cases[0].target or (), strict=True) if value}  # type: ignore[arg-type]
    assert found == {"Edema", "Mass"}
    assert cases.notes == (
        "The split is the official one; the table has 3 patients.",
        "1 images are in no list and are left out.",
    )


def test_missing_images_are_counted(folder: Path) -> None:
    for file in (folder / "images_001" / "images").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"lists 2 images that are not there \(1_000.png, 2_000.png\): unpack"):
        read_source(str(folder))


def test_missing_lists_are_an_error(folder: Path) -> None:
    (folder / "test_list.txt").unlink()
    with pytest.raises(
        UserError, match=r"must hold the official lists train_val_list.txt and test_list\.txt, but holds"
    ):
        read_source(str(folder))


def test_an_image_in_two_lists_is_an_error(folder: Path) -> None:
    (folder / "test_list.txt").write_text("1_000.png\n")
    with pytest.raises(UserError, match=r"lists 1 images of another list too \(1_000.png\): keep one set"):
        read_source(str(folder))


def test_an_unknown_finding_is_an_error(folder: Path) -> None:
    (folder / "Data_Entry_2017_v2020.csv").write_text(f"{HEADER}\n1_000.png,Cough,1\n")
    with pytest.raises(UserError, match=r"names the finding 'Cough' for 1_000\.png, but ChestX-ray14 has Atelectasis"):
        read_source(str(folder))


def test_a_table_that_lacks_listed_images_is_told_of(folder: Path) -> None:
    (folder / "test_list.txt").write_text("2_000.png\n9_000.png\n")
    assert "1 images of the lists are in no row of the table and are left out." in read_source(str(folder)).notes


def test_a_table_without_a_test_image_is_an_error(folder: Path) -> None:
    (folder / "test_list.txt").write_text("9_000.png\n")
    with pytest.raises(UserError, match=r"\.csv has no row of an image of the official test list: complete the table"):
        read_source(str(folder))


def test_rows_that_end_early_are_an_error(folder: Path) -> None:
    (folder / "Data_Entry_2017_v2020.csv").write_text("\n".join((HEADER, *ROWS[:2], "2_000.png,Hernia", "3_000.png")))
    with pytest.raises(UserError, match=r"lacks Image Index or .* in 2 rows \(lines 4, 5\): download it again, or"):
        read_source(str(folder))


@pytest.mark.parametrize("name", ["Data_Entry_2017_v2020.csv", "test_list.txt"])
def test_a_damaged_archive_is_an_error(folder: Path, name: str) -> None:
    (folder / name).rename(folder / f"{name}.gz")
    with pytest.raises(UserError, match=rf"{name}\.gz could not be unpacked .*: the file is damaged; copy it again"):
        read_source(str(folder))


def test_a_table_without_its_columns_is_an_error(folder: Path) -> None:
    (folder / "Data_Entry_2017_v2020.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="must have rows with the columns Image Index, Finding Labels, Patient ID"):
        read_source(str(folder))


def test_two_tables_are_an_error(folder: Path) -> None:
    (folder / "Data_Entry_2017.csv").write_text(HEADER)
    with pytest.raises(UserError, match="must hold one table Data_Entry_2017"):
        read_source(str(folder))


def test_the_real_table_and_lists_give_the_known_answers(real_data: Path) -> None:
    entries = read_entries(real_data / "cxr14_lists")
    assert len(entries) == 112_120
    assert Counter(entry.split for entry in entries) == {"train": 75_312, "val": 11_212, "test": 25_596}
    patients = {part: {entry.patient for entry in entries if entry.split == part} for part in ("train", "val", "test")}
    assert len(set.union(*patients.values())) == 30_805
    assert sum(map(len, patients.values())) == 30_805  # no patient in two parts
    with gzip.open(real_data / "cxr14_lists" / "Data_Entry_2017_v2020.csv.gz", "rt") as file:
        counts = Counter(name for row in csv.DictReader(file) for name in row["Finding Labels"].split("|"))
    del counts["No Finding"]
    assert dict(counts) == {name: sum(entry.target[i] for entry in entries) for i, name in enumerate(FINDINGS)}
