"""Rows of a CSV or TSV file, plain or packed with gzip."""

import csv
import gzip
import io
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from selfmae.errors import UserError, first_of

WORDS = ({"false": "0", "true": "1"}, {"no": "0", "yes": "1"})
SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


Row = Mapping[str, str]


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
    long = [line for line, row in enumerate(rows, start=2) if None in row]
    if long:
        raise UserError(
            f"{table} has more values than columns in {len(long)} rows (lines {first_of(long)}): "
            "put texts that hold a separator in quotes.",
            "damaged_list",
        )
    # 0 and 1 in columns that hold true and false, or yes and no, alone.
    meanings: dict[str, dict[str, str]] = {}
    for name in rows[0]:
        values = {row[name].lower() for row in rows} - {""}
        meanings[name] = next((words for words in WORDS if values and values <= set(words)), {})
    return [{name: meanings[name].get(value.lower(), value) for name, value in row.items()} for row in rows]


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
    """Raise where rows of equal `names` have different labels, as of several readers: who is right, we cannot know."""
    found: dict[tuple[str, ...], dict[tuple[str, ...], int]] = defaultdict(dict)
    for line, row in enumerate(rows, start=2):
        found[tuple(row[name] for name in names)].setdefault(tuple(row[name] for name in labels), line)
    unsettled = {image[0]: list(lines.values()) for image, lines in found.items() if len(lines) > 1}
    if unsettled:
        name, lines = next(iter(unsettled.items()))
        raise UserError(
            f"Each image must have one row, but {table} gives {len(unsettled)} of them several with different labels "
            f"(first: {name}, lines {first_of(lines)}), as several readers do: write one row for each, for example "
            "with the findings that most of its readers marked.",
            "duplicate_row",
        )


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
