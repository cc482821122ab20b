"""A CSV or TSV table with one image a row, and columns with usual names for its patient, split and labels."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from selfmae.data.case import SPLITS, Case, Cases, Labels
from selfmae.data.images import is_image, stem_of
from selfmae.data.sources._columns import Columns, Row, Target, find_columns, image_column, read_targets
from selfmae.data.sources._files import SPLIT_NAMES, channels_of, first_few, ids_of, labels_of
from selfmae.errors import UserError

ORDER = 30
EXPECTS = "a .csv or .tsv file, or a folder with exactly one, that has a column image, path, file or filename"
SUFFIXES = (".csv", ".tsv")


def recognises(path: Path) -> bool:
    """Return whether this is a table, or a folder with exactly one table of images."""
    return len(_tables_in(path)) == 1 if path.is_dir() else path.suffix.lower() in SUFFIXES


def read(path: Path) -> Cases:
    """Return one case for each row (see `find_columns` for the columns, `_find_files` for relative paths)."""
    table = path if path.is_file() else _tables_in(path)[0]
    rows = _read_rows(table)
    columns = find_columns(rows, table)
    written = [row[columns.image] for row in rows]
    images = _find_files(written, table, ("images",), anywhere=True)
    notes = list(columns.notes)
    targets: Sequence[Target | Path]
    if columns.kind == "mask":
        labels, targets, said = _read_masks([row[columns.labels[0]] for row in rows], table)
        notes += said
    else:
        labels, targets = read_targets(rows, columns, table)
    ids = ids_of([Path(name) for name in written])
    patients = [row[columns.patient] for row in rows] if columns.patient else ids
    _check_filled(patients, columns.patient, table)
    fields = zip(ids, patients, [(image,) for image in images], targets, _splits(rows, columns, table), strict=True)
    cases = tuple(Case(*field) for field in fields)
    return Cases(path, "table", cases, labels, channels_of(case.images for case in cases), tuple(notes))


def _tables_in(folder: Path) -> list[Path]:
    tables = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file())
    return [table for table in tables if image_column(_header(table))]


def _header(table: Path) -> list[str]:
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        line = file.readline()
    return next(csv.reader([line], delimiter=_delimiter(line)), [])


def _delimiter(header: str) -> str:
    """Return the separator that occurs most often in the first line."""
    return max(",;\t", key=header.count)


def _read_rows(table: Path) -> list[Row]:
    """Return the rows with values stripped of spaces."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{table} must be text in UTF-8, but is not ({error.reason}): save it as UTF-8.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text.partition("\n")[0]), restval="")
    rows: list[Row] = [{key: value.strip() if key else value for key, value in row.items()} for row in reader]
    names = reader.fieldnames or []
    if not image_column(names):
        raise UserError(
            f"{table} must name its image files in a column image, path, file or filename, but has the columns "
            f"{first_few(names, 8)}: rename the right one."
        )
    if not rows:
        raise UserError(f"{table} has a header but no row: list one image a row.")
    long = [place for place, row in enumerate(rows, start=2) if None in row]
    if long:
        raise UserError(
            f"{table} has more values than columns in {len(long)} rows (lines {first_few(long)}): "
            "put texts that hold a separator in quotes."
        )
    return rows


def _find_files(written: Sequence[str], table: Path, folders: Sequence[str], anywhere: bool) -> list[Path]:
    """Return the file of each name: beside the table, in `folders` beside it, then by name anywhere below it."""
    _check_filled(written, "image", table)
    places = [table.parent, *(table.parent / folder for folder in folders)]
    found = [next((place / name for place in places if (place / name).is_file()), None) for name in written]
    if anywhere and None in found:
        index = _index_images(table.parent)
        found = [
            path or _unique(index.get(Path(name).name, []), name) for path, name in zip(found, written, strict=True)
        ]
    missing = [name for name, path in zip(written, found, strict=True) if path is None]
    if missing:
        raise UserError(
            f"{table} lists {len(missing)} files that are not there ({first_few(missing)}): "
            f"put them beside the table or into {' or '.join(folders)}/ beside it."
        )
    return [path for path in found if path is not None]


def _index_images(folder: Path) -> dict[str, list[Path]]:
    """Return all image files below a folder by name with and without ending."""
    index: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if is_image(path):
            for name in {path.name, stem_of(path)}:
                index.setdefault(name, []).append(path)
    return index


def _unique(paths: Sequence[Path], name: str) -> Path | None:
    if len(paths) > 1:
        raise UserError(f"The image {name!r} could be {first_few(paths)}: write its path relative to the table.")
    return paths[0] if paths else None


def _read_masks(written: Sequence[str], table: Path) -> tuple[Labels, list[Path | None], list[str]]:
    """Return labels, mask files and notes; without any mask file the images are of use all the same."""
    named = [name for name in written if name]
    places = [table.parent / folder / name for folder in ("", "masks", "labels") for name in named]
    if not any(place.is_file() for place in places):
        note = f"None of the {len(named)} mask files is there: all cases are unlabelled."
        return Labels("mask", ()), [None] * len(written), [note]
    found = dict(zip(named, _find_files(named, table, ("masks", "labels"), anywhere=False), strict=True))
    return labels_of(list(found.values())), [found.get(name) for name in written], []


def _splits(rows: Sequence[Row], columns: Columns, table: Path) -> list[str]:
    if not columns.split:
        return [""] * len(rows)
    known = {split: split for split in SPLITS} | SPLIT_NAMES
    texts = [row[columns.split].lower() for row in rows]
    wrong = sorted(set(texts) - set(known))
    if wrong:
        raise UserError(
            f"The column {columns.split!r} of {table} must hold train, val and test, but has "
            f"{first_few(map(repr, wrong), 5)}: correct the values, or rename a column that is no split."
        )
    return [known[text] for text in texts]


def _check_filled(values: Sequence[str], name: str, table: Path) -> None:
    """Raise where a value that every row needs is empty."""
    empty = [place for place, value in enumerate(values, start=2) if not value]
    if empty:
        raise UserError(
            f"The column {name!r} of {table} is empty in {len(empty)} rows (lines {first_few(empty)}): fill it."
        )
