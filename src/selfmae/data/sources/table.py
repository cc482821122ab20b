"""A CSV or TSV table with one case a row, and columns with usual names for its patient, split and labels."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from selfmae.data.case import SPLITS, Case, Cases, Labels
from selfmae.data.dicom.series import headers_in, is_series
from selfmae.data.files.formats import is_image, may_be_dicom, stem_of
from selfmae.data.sources._columns import Columns, Target, find_columns, image_columns, read_targets
from selfmae.data.sources._files import (
    SPLIT_NAMES,
    channels_of,
    ids_of,
    labels_in_json,
    labels_of,
    patients_of,
    study_of,
)
from selfmae.data.sources._tables import SUFFIXES, Row, check_settled, first_row, join_rows, read_rows
from selfmae.errors import UserError, first_of

ORDER = 30
EXPECTS = "a .csv or .tsv file, or a folder with exactly one, that has a column image, path, file, filename or image_id"


def recognises(path: Path) -> bool:
    """Return whether this is a table, or a folder with exactly one table of images."""
    return len(_tables_in(path)) == 1 if path.is_dir() else path.name.lower().endswith(SUFFIXES)


def read(path: Path) -> Cases:
    """Return one case for each row (see `find_columns` for the columns, `_find_files` for relative paths)."""
    table = path if path.is_file() else _tables_in(path)[0]
    rows = read_rows(table)
    columns = find_columns(rows, table)
    if columns.kind != "mask":
        check_settled(rows, [name for name in (*columns.images, columns.id) if name], columns.labels, table)
    rows, joined = join_rows(rows, columns.images, [name for name in columns.used if name])
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
    written = [study_of([Path(row[name]) for name in columns.images]) for row in rows]
    ids = [row[columns.id] for row in rows] if columns.id else ids_of(written)
    said: list[str] = []
    if columns.patient:
        patients = [row[columns.patient] for row in rows]
        _check_filled(patients, columns.patient, table)
    else:
        patients, *said = patients_of(ids, images, "No column names patients, and file names do not identify them")
    splits, noted = _splits(rows, columns, table)
    cases = tuple(Case(*field) for field in zip(ids, patients, images, targets, splits, strict=True))
    channels = columns.images if len(columns.images) > 1 else channels_of(images)
    return Cases(path, "table", cases, labels, channels, (*notes, *noted, *said))


def _tables_in(folder: Path) -> list[Path]:
    tables = (path for path in sorted(folder.iterdir()) if path.name.lower().endswith(SUFFIXES) and path.is_file())
    return [table for table in tables if image_columns(first_row(table), table)]


def _find_files(written: Sequence[str], table: Path, folders: Sequence[str], anywhere: bool) -> list[Path]:
    """Return the file of each name: next to the table, in `folders` next to it, then by name anywhere below.

    A name may also name a DICOM series (`dicom_series`), or lack the file's ending.
    """
    parents = [table.parent, *(table.parent / folder for folder in folders)]
    found = [next((parent / name for parent in parents if _is_there(parent / name)), None) for name in written]
    if anywhere and None in found:
        others = _find_below(table.parent, [name for name, path in zip(written, found, strict=True) if not path])
        found = [path or next(others) for path in found]
    missing = [name for name, path in zip(written, found, strict=True) if path is None]
    if missing:
        raise UserError(
            f"{table} lists {len(missing)} files that are not there ({first_of(missing)}): "
            f"put them into the folder of the table, or into {' or '.join(folders)}/ there.",
            "missing_file",
        )
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
    labels = labels_in_json(table) or labels_of(list(found.values()))
    return labels, [found.get(name) for name in written], []


def _splits(rows: Sequence[Row], columns: Columns, table: Path) -> tuple[list[str], list[str]]:
    """Return the part of each row, and a sentence where folds decide it: the first fold is val."""
    if columns.fold:
        texts, name = [row[columns.fold] for row in rows], columns.fold
        wrong = sorted({text for text in texts if text and not text.isdigit()})
        if wrong:
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
    known = {split: split for split in SPLITS} | SPLIT_NAMES
    texts = [row[columns.split].lower() for row in rows]
    wrong = sorted(set(texts) - set(known))
    if wrong:
        raise UserError(
            f"The column {columns.split!r} of {table} must hold train, val and test, but has "
            f"{first_of(map(repr, wrong), 5)}: correct the values, or rename a column that is no split.",
            "unknown_split",
        )
    return [known[text] for text in texts], []


def _check_filled(values: Sequence[str], name: str, table: Path) -> None:
    """Raise where a value that every row needs is empty."""
    empty = [line for line, value in enumerate(values, start=2) if not value]
    if empty:
        raise UserError(
            f"The column {name!r} of {table} is empty in {len(empty)} rows (lines {first_of(empty)}): fill it.",
            "empty_value",
        )
