"""ChestX-ray14 as NIH ships it: the table Data_Entry_2017, the official lists, images anywhere (Wang et al. 2017)."""

import csv
from dataclasses import replace
from pathlib import Path

from selfmae.data.case import Case, Cases, Labels, patients_of
from selfmae.data.sources._files import channels_of, missing_files, read_text
from selfmae.errors import UserError, first_of

ORDER = 15
EXPECTS = "a folder with Data_Entry_2017*.csv, train_val_list.txt and test_list.txt (NIH ChestX-ray14)"
TABLE = "Data_Entry_2017*.csv*"
# Official list files and their part of the split; "" is drawn into train and val by patient.
LISTS = {"train_val_list": "", "train_official": "train", "val_official": "val"}
LISTS |= {"test_list": "test", "test_official": "test"}
FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"),
    *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"),
)
COLUMNS = ("Image Index", "Finding Labels", "Patient ID")


def recognises(path: Path) -> bool:
    """Return whether the folder holds the table."""
    return path.is_dir() and any(path.glob(TABLE))


def read(path: Path) -> Cases:
    """Return all listed images with the official split; raise one `UserError` that counts the missing images."""
    entries = read_entries(path)
    files = {file.name: file for file in sorted(path.rglob("*.png"))}
    names = [str(entry.images[0]) for entry in entries]
    if missing := [name for name in names if name not in files]:
        remedy = "unpack the archives images_001 to images_012 into the folder, or take the rows out of the table."
        raise missing_files(path, missing, remedy, "images")
    cases = tuple(replace(entry, images=(files[name],)) for entry, name in zip(entries, names, strict=True))
    notes = [f"The split is the official one; the table has {len(patients_of(cases))} patients"]
    notes[0] += " (Zhou et al. 2023 print 32,717)." if len(cases) == 112_120 else "."
    if unlisted := sum(case.split == "unused" for case in cases):
        notes.append(f"{unlisted} images are in no list and are left out.")
    channels = channels_of(case.images for case in cases)
    if absent := len(_read_lists(path).keys() - set(names)):
        notes.append(f"{absent} images of the lists are in no row of the table and are left out.")
    return Cases(path, "chestxray14", cases, Labels("multilabel", FINDINGS), channels, tuple(notes))


def read_entries(path: Path) -> list[Case]:
    """Return the rows of the table as cases whose image is its name alone; "unused" are those in no official list."""
    tables = sorted(path.glob(TABLE))
    if len(tables) != 1:
        raise UserError(
            f"{path} must hold one table {TABLE}, but holds {len(tables)} ({first_of(tables)}): keep one.",
            "damaged_list",
        )
    splits = _read_lists(path)
    rows = list(csv.DictReader(read_text(tables[0]).splitlines(), restval=""))
    lacking = [name for name in COLUMNS if rows and name not in rows[0]]
    if lacking or not rows:
        raise UserError(
            f"{tables[0]} must have rows with the columns {', '.join(COLUMNS)}: download it again.", "damaged_list"
        )
    if short := [line for line, row in enumerate(rows, start=2) if not all(row[name] for name in COLUMNS)]:
        raise UserError(
            f"{tables[0]} lacks {' or '.join(COLUMNS)} in {len(short)} rows (lines {first_of(short)}): download it "
            "again, or complete the rows.",
            "damaged_list",
        )
    images = [Path(row["Image Index"]) for row in rows]
    entries = [
        Case(image.stem, row["Patient ID"], (image,), _findings(row, tables[0]), splits.get(str(image), "unused"))
        for image, row in zip(images, rows, strict=True)
    ]
    if "test" in splits.values() and not any(entry.split == "test" for entry in entries):
        raise UserError(
            f"{tables[0]} has no row of an image of the official test list: complete the table, or read it with "
            "--as table.",
            "damaged_list",
        )
    return entries


def _findings(row: dict[str, str], table: Path) -> tuple[float, ...]:
    present = set(row["Finding Labels"].split("|")) - {"No Finding"}
    if unknown := sorted(present.difference(FINDINGS)):
        raise UserError(
            f"{table} names the finding {unknown[0]!r} for {row['Image Index']}, but ChestX-ray14 has "
            f"{', '.join(FINDINGS)}: correct the row.",
            "unknown_label",
        )
    return tuple(float(name in present) for name in FINDINGS)


def _read_lists(path: Path) -> dict[str, str]:
    """Return the part of each listed image; an image in two parts is an error."""
    found = {path / f"{name}.txt{ending}": part for name, part in LISTS.items() for ending in ("", ".gz")}
    present = {file: part for file, part in found.items() if file.is_file()}
    if not {"test"} <= set(present.values()) or len(present) < 2:
        raise UserError(
            f"{path} must hold the official lists train_val_list.txt and test_list.txt, but holds "
            f"{first_of([file.name for file in present]) or 'none'}: download them from NIH.",
            "missing_file",
        )
    splits: dict[str, str] = {}
    for file, part in present.items():
        names = [line.split()[0] for line in read_text(file).splitlines() if line.strip()]
        if twice := [name for name in names if splits.get(name, part) != part]:
            raise UserError(
                f"{file} lists {len(twice)} images of another list too ({first_of(twice)}): keep one set.",
                "duplicate_row",
            )
        splits |= dict.fromkeys(names, part)
    return splits
