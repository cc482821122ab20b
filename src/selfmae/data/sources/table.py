"""A CSV or TSV table with one case a row, and columns with usual names for its patient, split and labels."""

import csv
import gzip
import io
import json
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from selfmae.data.case import SPLITS, Case, Cases, Labels
from selfmae.data.dicom.series import headers_in, is_series
from selfmae.data.files import is_image, may_be_dicom, stem_of
from selfmae.data.sources import _files
from selfmae.data.sources._columns import Columns, Row, Target, find_columns, image_columns, read_targets
from selfmae.errors import UserError, first_of

ORDER = 30
EXPECTS = "a .csv or .tsv file, or a folder with exactly one, that has a column image, path, file, filename or image_id"
SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
WORDS = ({"false": "0", "true": "1"}, {"no": "0", "yes": "1"})


def recognises(path: Path) -> bool:
    """Return whether this is a table, or a folder with exactly one table of images."""
    return len(_tables_in(path)) == 1 if path.is_dir() else path.name.lower().endswith(SUFFIXES)


def read(path: Path) -> Cases:
    """Return one case for each row (see `find_columns` for the columns, `_find_files` for relative paths)."""
    table = path if path.is_file() else _tables_in(path)[0]
    rows = read_rows(table)
    columns = find_columns(rows, table)
    if columns.kind != "mask":
        _check_settled(rows, [name for name in (*columns.images, columns.id) if name], columns.labels, table)
    used = (*columns.images, *columns.labels, columns.id, columns.patient, columns.split, columns.fold)
    rows, joined = _join_rows(rows, columns.images, [name for name in used if name])
    for name in columns.images:
        _check_filled([row[name] for row in rows], name, table)
    listed = [row[name] for row in rows for name in columns.images]
    files, width = _find_files(listed, table, ("images",), anywhere=True), len(columns.images)
    images = [tuple(files[start : start + width]) for start in range(0, len(files), width)]
    notes = [*columns.notes, *([joined] if joined else [])]
    targets: Sequence[Target | Path]
    if columns.kind == "mask":
        labels, targets, lacking = _read_masks([row[columns.labels[0]] for row in rows], table)
        notes += lacking
    else:
        labels, targets = read_targets(rows, columns, table)
    written = [_files.study_of([Path(row[name]) for name in columns.images]) for row in rows]
    ids = [row[columns.id] for row in rows] if columns.id else _files.ids_of(written)
    said: list[str] = []
    if columns.patient:
        patients = [row[columns.patient] for row in rows]
        _check_filled(patients, columns.patient, table)
    else:
        who = "No column names patients, and file names do not identify them"
        patients, *said = _files.patients_of(ids, images, who)
    splits, noted = _splits(rows, columns, table)
    cases = tuple(Case(*field) for field in zip(ids, patients, images, targets, splits, strict=True))
    channels = columns.images if len(columns.images) > 1 else _files.channels_of(images)
    return Cases(path, "table", cases, labels, channels, (*notes, *noted, *said))


def _tables_in(folder: Path) -> list[Path]:
    tables = (path for path in sorted(folder.iterdir()) if path.name.lower().endswith(SUFFIXES) and path.is_file())
    return [table for table in tables if image_columns(_first_row(table), table)]


def _first_row(table: Path) -> list[Row]:
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
    text = _files.read_text(table)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text.partition("\n")[0]), restval="")
    header = [name for name in reader.fieldnames or () if name]
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise UserError(
            f"{table} must name each column differently, but has {first_of(repeated)} more than once: rename or "
            "remove the repeats.",
            "damaged_list",
        )
    rows: list[Row] = [{key: value.strip() if key else value for key, value in row.items()} for row in reader]
    if not rows:
        raise UserError(f"{table} has a header but no row: list one image a row.", "damaged_list")
    if long := [line for line, row in enumerate(rows, start=2) if None in row]:
        raise UserError(
            f"{table} has more values than columns in {len(long)} rows (lines {first_of(long)}): "
            "put texts that hold a separator in quotes.",
            "damaged_list",
        )
    values = {name: {row[name].lower() for row in rows} - {""} for name in rows[0]}
    # 0 and 1 in columns that hold true and false, or yes and no, alone.
    meanings = {name: next((words for words in WORDS if values[name] <= set(words)), {}) for name in values}
    return [{name: meanings[name].get(value.lower(), value) for name, value in row.items()} for row in rows]


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _join_rows(rows: Sequence[Row], images: Sequence[str], used: Sequence[str]) -> tuple[list[Row], str]:
    """Return the rows, those of one image joined that agree in `used` and differ elsewhere, and a sentence on it."""
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


def _check_settled(rows: Sequence[Row], names: Sequence[str], labels: Sequence[str], table: Path) -> None:
    """Raise where rows of equal `names` have different labels, as of several readers: who is right, we cannot know."""
    found: dict[tuple[str, ...], dict[tuple[str, ...], int]] = defaultdict(dict)
    for line, row in enumerate(rows, start=2):
        found[tuple(row[name] for name in names)].setdefault(tuple(row[name] for name in labels), line)
    if unsettled := {image[0]: list(lines.values()) for image, lines in found.items() if len(lines) > 1}:
        name, lines = next(iter(unsettled.items()))
        raise UserError(
            f"Each image must have one row, but {table} gives {len(unsettled)} of them several with different labels "
            f"(first: {name}, lines {first_of(lines)}), as several readers do: write one row for each, for example "
            "with the findings that most of its readers marked.",
            "duplicate_row",
        )


def _find_files(written: Sequence[str], table: Path, folders: Sequence[str], anywhere: bool) -> list[Path]:
    """Return the file or DICOM series of each name: next to the table, in `folders` there, or by name anywhere."""
    parents = [table.parent, *(table.parent / folder for folder in folders)]
    found = [next((parent / name for parent in parents if _is_there(parent / name)), None) for name in written]
    if anywhere and None in found:
        others = _find_below(table.parent, [name for name, path in zip(written, found, strict=True) if not path])
        found = [path or next(others) for path in found]
    if missing := [name for name, path in zip(written, found, strict=True) if path is None]:
        remedy = f"put them into the folder of the table, or into {' or '.join(folders)}/ there."
        raise _files.missing_files(table, missing, remedy)
    return [path for path in found if path is not None]


def _is_there(path: Path) -> bool:
    return path.is_file() or (is_series(path) and bool(headers_in(path if path.is_dir() else path.parent)))


def _find_below(folder: Path, names: Sequence[str]) -> Iterator[Path | None]:
    """Yield the image file of each name below a folder; names may lack the ending."""
    index: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if is_image(path) or may_be_dicom(path):
            for name in {path.name, stem_of(path)}:
                index.setdefault(name, []).append(path)
    for name in names:
        paths = index.get(Path(name).name, [])
        if len(paths) > 1:
            raise UserError(
                f"The image {name!r} could be {first_of(paths)}: write its path relative to the table.", "missing_file"
            )
        yield paths[0] if paths else None


def _read_masks(written: Sequence[str], table: Path) -> tuple[Labels, list[Path | None], list[str]]:
    """Return labels, mask files and notes; without any mask file the images are of use all the same."""
    named = [name for name in written if name]
    files = [table.parent / folder / name for folder in ("", "masks", "labels") for name in named]
    if not any(file.is_file() for file in files):
        note = f"None of the {len(named)} mask files is there: all cases are unlabelled."
        return Labels("mask", ()), [None] * len(written), [note]
    found = dict(zip(named, _find_files(named, table, ("masks", "labels"), anywhere=False), strict=True))
    labels = _labels_in_json(table) or _files.labels_of(list(found.values()))
    return labels, [found.get(name) for name in written], []


def _labels_in_json(table: Path) -> Labels | None:
    """Return the labels that labels.json in the folder of a table names, as {"liver": 1}; None without such a file."""
    file = table.parent / "labels.json"
    if not file.is_file():
        return None
    try:
        named = {str(name): int(value) for name, value in json.loads(file.read_text()).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f'{file} must name labels as {{"liver": 1}}, but does not ({error}): correct it.', "damaged_list"
        ) from error
    return _files.mask_labels(named)


def _splits(rows: Sequence[Row], columns: Columns, table: Path) -> tuple[list[str], list[str]]:
    """Return the part of each row, and a sentence where folds decide it: the first fold is val."""
    if columns.fold:
        texts, name = [row[columns.fold] for row in rows], columns.fold
        if wrong := sorted({text for text in texts if text and not text.isdigit()}):
            raise UserError(
                f"The column {name!r} of {table} must hold the number of each row's fold, but has "
                f"{first_of(map(repr, wrong), 5)}: correct the values, or name the column split.",
                "unknown_split",
            )
        first = min((int(text) for text in texts if text), default=-1)
        splits = ["val" if text and int(text) == first else "train" for text in texts]
        return splits, [f"Fold {first} of the column {name!r} is the val part; data.splits can say otherwise."]
    if not columns.split:
        return [""] * len(rows), []
    known = {split: split for split in SPLITS} | _files.SPLIT_NAMES
    texts = [row[columns.split].lower() for row in rows]
    if wrong := sorted(set(texts) - set(known)):
        raise UserError(
            f"The column {columns.split!r} of {table} must hold train, val and test, but has "
            f"{first_of(map(repr, wrong), 5)}: correct the values, or rename a column that is no split.",
            "unknown_split",
        )
    return [known[text] for text in texts], []


def _check_filled(values: Sequence[str], name: str, table: Path) -> None:
    if empty := [line for line, value in enumerate(values, start=2) if not value]:
        raise UserError(
            f"The column {name!r} of {table} is empty in {len(empty)} rows (lines {first_of(empty)}): fill it.",
            "empty_value",
        )
