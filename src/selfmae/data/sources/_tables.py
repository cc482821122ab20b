"""Rows of a CSV or TSV file, plain or packed with gzip."""

import csv
import glob
import gzip
import io
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from selfmae.data.files.formats import is_image, may_be_dicom
from selfmae.errors import UserError, first_of

WORDS = ({"false": "0", "true": "1"}, {"no": "0", "yes": "1"})
SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


Row = Mapping[str, str]
IMAGE = ("image", "image_path", "path", "file", "file_path", "filename", "file_name", "image_index", "img")
IMAGE_IDS = ("image_id", "imageid", "sop_instance_uid", "sopinstanceuid")
MASK = ("mask", "mask_path", "label", "label_path", "segmentation", "seg")
PATIENT = ("patient", "patient_id", "patientid", "subject", "subject_id")


def first_row(table: Path) -> list[Row]:
    """Return the row below the header in a list, filled with ""; nothing of a table that cannot be read."""
    try:
        with gzip.open(table) if table.suffix.lower() == ".gz" else table.open("rb") as file:
            lines = [file.readline().decode("utf-8-sig", "replace") for _ in range(2)]
    except (OSError, EOFError, zlib.error):
        return []
    header, first = (next(csv.reader([line], delimiter=_delimiter(lines[0])), []) for line in lines)
    return [{name: value.strip() for name, value in zip_longest(header, first[: len(header)], fillvalue="")}]


def read_rows(table: Path) -> list[Row]:
    """Return the rows with values stripped of spaces."""
    text = read_text(table)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text.partition("\n")[0]), restval="")
    header = [name for name in reader.fieldnames or () if name]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise UserError(
            f"{table} must name each column differently, but has {first_of(repeated)} more than once: rename or "
            "remove the repeats.",
            "damaged_list",
        )
    rows: list[Row] = [{key: value.strip() if key else value for key, value in row.items()} for row in reader]
    if not rows:
        raise UserError(f"{table} has a header but no row: list one image a row.", "damaged_list")
    if not image_columns(rows, table):
        raise UserError(
            f"{table} must name its image files in a column image, path, file, filename or image_id, but has the "
            f"columns {first_of(reader.fieldnames or [], 8)}: rename the right one.",
            "damaged_list",
        )
    long = [place for place, row in enumerate(rows, start=2) if None in row]
    if long:
        raise UserError(
            f"{table} has more values than columns in {len(long)} rows (lines {first_of(long)}): "
            "put texts that hold a separator in quotes.",
            "damaged_list",
        )
    return _with_numbers(rows)


def join_rows(rows: Sequence[Row], images: Sequence[str], used: Sequence[str]) -> tuple[list[Row], str]:
    """Return the rows, those of one image joined, and a sentence on it: tables of boxes have one for each box.

    Rows are joined that agree in the columns that are `used` and differ in others; all else stays for the checks.
    """
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in images)].append(row)
    joined: list[Row] = []
    for group in groups.values():
        agree = len({tuple(row[name] for name in used) for row in group}) == 1
        differ = len({tuple(row.values()) for row in group}) == len(group)
        joined += group[:1] if agree and differ else group
    count = len(rows) - len(joined)
    said = f"{count} rows repeat an image with the same labels, for example once for each box: they were joined."
    return joined, said if count else ""


def check_settled(rows: Sequence[Row], names: Sequence[str], labels: Sequence[str], table: Path) -> None:
    """Raise where rows of equal `names` have different labels, as of several readers: not ours to say who is right."""
    lines: dict[tuple[str, ...], dict[tuple[str, ...], int]] = defaultdict(dict)
    for place, row in enumerate(rows, start=2):
        lines[tuple(row[name] for name in names)].setdefault(tuple(row[name] for name in labels), place)
    unsettled = {image[0]: list(places.values()) for image, places in lines.items() if len(places) > 1}
    if unsettled:
        name, places = next(iter(unsettled.items()))
        raise UserError(
            f"Each image must have one row, but {table} gives {len(unsettled)} of them several with different labels "
            f"(first: {name}, lines {first_of(places)}), as of several readers: write one row for each, for example "
            "with the findings that most of its readers marked.",
            "duplicate_row",
        )


def _with_numbers(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with 0 and 1 in columns that hold true and false, or yes and no, alone."""
    told: dict[str, dict[str, str]] = {}
    for name in rows[0]:
        values = {row[name].lower() for row in rows} - {""}
        told[name] = next((words for words in WORDS if values and values <= set(words)), {})
    return [{name: told[name].get(value.lower(), value) for name, value in row.items()} for row in rows]


def _delimiter(header: str) -> str:
    """Return the separator that occurs most often in the first line."""
    return max(",;\t", key=header.count)


def read_text(table: Path) -> str:
    """Return the text of a table or list, plain or packed with gzip."""
    try:
        content = table.read_bytes()
        return (gzip.decompress(content) if table.suffix.lower() == ".gz" else content).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{table} must be text in UTF-8, but is not ({error.reason}): save it as UTF-8.", "damaged_list"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{table} could not be unpacked ({error}): the file is damaged; copy it again.", "damaged_list"
        ) from error


def image_columns(rows: Sequence[Row], table: Path) -> tuple[str, ...]:
    """Return the column of a usual name, or image_1, image_2, ..., or all columns of image files that are no masks.

    Without any, a column of ids, where images below the table's folder have these names (VinDr), or DICOM files the
    names of patients (RSNA).
    """
    names = [name for name in rows[0] if name] if rows else []
    named = named_column(names, IMAGE)
    numbered = {name: int(match[1]) for name in names if (match := re.fullmatch(r"(?i)(?:image|img)[ _-]?(\d+)", name))}
    if named or numbered:
        return (named,) if named else tuple(sorted(numbered, key=lambda name: numbered[name]))
    others = [name for name in names if named_column([name], MASK) == ""]
    found = tuple(name for name in others if holds_images(rows, name))
    for usual, dicom_only in ((IMAGE_IDS, False), (PATIENT, True)) if rows and not found else ():
        ids = named_column(names, usual)
        if ids and _is_stem(rows[0][ids], table.parent, dicom_only):
            return (ids,)
    return found


def _is_stem(name: str, folder: Path, dicom_only: bool) -> bool:
    """Return whether an image file of this name, without its ending, lies in the folder or below."""
    files = folder.rglob(f"{glob.escape(name)}.*") if name and "/" not in name else ()
    return any(may_be_dicom(file) or (is_image(file) and not dicom_only) for file in files)


def named_column(names: Iterable[str], usual: Sequence[str]) -> str:
    """Return the column with the first of the usual names, whatever its case, spaces or dashes."""
    plain = {re.sub(r"[\s-]+", "_", name.strip().lower()): name for name in reversed(list(names))}
    return next((plain[name] for name in usual if name in plain), "")


def values_of(rows: Sequence[Row], name: str) -> set[str]:
    """Return the distinct values of a column without the empty one; 1.0 is 1."""
    return {re.sub(r"^(-?\d+)\.0+$", r"\1", value) for value in {row[name] for row in rows}} - {""}


def holds_images(rows: Sequence[Row], name: str) -> bool:
    """Return whether all values of a column are names of image files."""
    values = values_of(rows, name)
    return bool(values) and all(is_image(Path(value)) or may_be_dicom(Path(value)) for value in values)
