"""Columns of a table: which ones are images, the patient, the split, and which ones are labels."""

import glob
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfmae.data.case import Labels
from selfmae.data.files import is_image, may_be_dicom
from selfmae.errors import UserError, first_of

Row = Mapping[str, str]
Target = tuple[float, ...] | None

IMAGE = ("image", "image_path", "path", "file", "file_path", "filename", "file_name", "image_index", "img")
IMAGE_IDS = ("image_id", "imageid", "sop_instance_uid", "sopinstanceuid")
MASK = ("mask", "mask_path", "label", "label_path", "segmentation", "seg")
PATIENT = ("patient", "patient_id", "patientid", "subject", "subject_id")
IDS = ("id", "case", "case_id", "study", "study_id")
TEXT_LABELS = ("finding_labels", "findings", "labels", "label", "class", "diagnosis")
NO_FINDING = "no finding"
BINARY = {"", "0", "1", "0.0", "1.0"}
MAX_ODD = 0.1  # of the rows: so many words among 0 and 1 are an error, more make it another kind of column
MAX_ODD_NUMBERS = 0.01  # the same for other numbers; more are counts
# Words of columns that describe a person or a file: one that holds 0 and 1 is no finding all the same.
METADATA = {
    *("sex", "gender", "age", "male", "female", "id", "index", "number", "unnamed", "fold", "split"),
    *("view", "frontal", "lateral", "follow", "width", "height"),
}


@dataclass(frozen=True)
class Columns:
    """Names of the columns as the table has them; "" and () where there is none."""

    images: tuple[str, ...]  # the channels of a case, in order
    id: str
    patient: str
    split: str
    fold: str  # only where there is no split
    kind: str  # how the labels are written: mask, binary, list ("Edema|Mass"), class or ""
    labels: tuple[str, ...]
    notes: tuple[str, ...]


def find_columns(rows: Sequence[Row], table: Path) -> Columns:
    """Return what each column of the table is for, with a sentence on every choice."""
    names = [name for name in rows[0] if name]
    images, patient = image_columns(rows, table), named_column(names, PATIENT)
    if not images:
        raise UserError(
            f"{table} must name its image files in a column image, path, file, filename or image_id, but has the "
            f"columns {first_of(names, 8)}: rename the right one.",
            "damaged_list",
        )
    split, notes = _split_column(names, table)
    fold = "" if split else named_column(names, ("fold",))
    if len(images) > 1:
        notes.append(f"The channels of an image are {_quoted(images)}, in this order.")
    others = [name for name in names if name not in (*images, patient, split, fold)]
    kind, labels, ignored = _label_columns(rows, others, table)
    if labels:
        notes.append(f"Labels are taken from {_quoted(labels)}.")
    else:
        left = f" ({first_of(map(repr, others), 8)}: by name and values none of them)" if others else ""
        notes.append(
            f"No column of labels was found{left}: call one of classes label, one of mask files mask, or write each "
            "finding as 0 and 1 in a column of its own."
        )
    if ignored:
        notes.append(f"Not taken as labels: {_quoted(ignored)}.")
    ids = named_column(others, IDS)
    written = {row[ids] for row in rows} - {""} if ids else set()
    if named_column(images[:1], (*IMAGE_IDS, *PATIENT)):
        ids = images[0]
    elif len(written) < len(rows) or any("/" in value for value in written):
        ids = ""  # values that repeat name something else, as a study of several images
    return Columns(images, ids, patient, split, fold, kind, labels, tuple(notes))


def read_targets(rows: Sequence[Row], columns: Columns, table: Path) -> tuple[Labels, list[Target]]:
    """Return findings or classes of each row; a row without any label has None."""
    if columns.kind == "binary":
        written = [[row[name] for name in columns.labels] for row in rows]
        if partial := [line for line, texts in enumerate(written, start=2) if any(texts) and not all(texts)]:
            raise UserError(
                f"A row of {table} must have all findings or none, but {len(partial)} rows lack some (lines "
                f"{first_of(partial)}): write 0 or 1, or leave the whole row empty for an unlabelled image.",
                "empty_value",
            )
        findings = [tuple(map(float, texts)) if any(texts) else None for texts in written]
        return Labels("multilabel", columns.labels), findings
    texts = [row[columns.labels[0]] for row in rows] if columns.labels else [""] * len(rows)
    named = [{part.strip() for part in text.split("|")} if columns.kind == "list" else {text} for text in texts]
    found = {name for names in named for name in names if name and name.lower() != NO_FINDING}
    order = sorted(found, key=int) if all(re.fullmatch(r"\d+", name) for name in found) else sorted(found)
    targets = [
        tuple(float(name in names) for name in order) if text else None
        for text, names in zip(texts, named, strict=True)
    ]
    return Labels("multiclass" if columns.kind == "class" else "multilabel", tuple(order)), targets


def _split_column(names: Sequence[str], table: Path) -> tuple[str, list[str]]:
    found = [name for name in names if "split" in name.lower()]
    if not found:
        return "", []
    if len(found) == 1:
        return found[0], [f"The split is taken from {_quoted(found)}."]
    for fits in (lambda name: name.lower() == "split", lambda name: "patient" in name.lower()):
        best = [name for name in found if fits(name)]
        if len(best) == 1:
            rest = [name for name in found if name not in best]
            return best[0], [f"The split is taken from {_quoted(best)}, not from {_quoted(rest)}."]
    raise UserError(
        f"{table} has {len(found)} columns that could be the split ({first_of(found)}): name the right one split.",
        "unknown_split",
    )


def _label_columns(
    rows: Sequence[Row], names: Sequence[str], table: Path
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return how labels are written, their columns, and columns that might be labels but are not taken."""
    held = {name: values_of(rows, name) for name in names}
    mask = named_column([name for name in names if holds_images(rows, name)], MASK)
    binary = [name for name in names if held[name] and held[name] <= {"0", "1"}]
    findings = [name for name in binary if not _is_metadata(name)]
    text = named_column([name for name in names if name not in (mask, *binary) and held[name]], TEXT_LABELS)
    _check_findings(rows, names, table)
    listed = any("|" in value or value.lower() == NO_FINDING for value in held.get(text, ()))
    choices = {"mask": [mask], "binary": findings, "list" if listed else "class": [text]}
    kind = next((kind for kind, columns in choices.items() if any(columns)), "")
    labels = tuple(choices.get(kind, ()))
    counts = [name for name in names if {"0", "1"} < held[name] and not _is_metadata(name)]
    ignored = tuple(name for name in (*binary, *counts, text) if name and name not in labels)
    return kind, labels, ignored


def _is_metadata(name: str) -> bool:
    words = re.findall(r"[a-z]+", name.lower())
    return not words or not METADATA.isdisjoint(words)


def _check_findings(rows: Sequence[Row], names: Sequence[str], table: Path) -> None:
    """Raise on -1, which only the author can settle, and on odd values in few rows: such a column would be no label."""
    if unsure := [name for name in names if {"-1"} <= values_of(rows, name) <= {"-1", "0", "1"}]:
        raise UserError(
            f"Findings must be 0, 1 or empty, but {table} has -1 (uncertain) in {first_of(unsure)}: "
            "write 0 or 1 instead.",
            "unknown_label",
        )
    for name in names:
        odd = [line for line, row in enumerate(rows, start=2) if row[name] not in BINARY]
        words = all(re.search(r"[^\W\d]", rows[line - 2][name]) for line in odd)
        plain = values_of([row for row in rows if row[name] in BINARY], name)
        most = max(1, (MAX_ODD if words else MAX_ODD_NUMBERS) * len(rows))
        if odd and plain == {"0", "1"} and len(odd) <= most and not _is_metadata(name):
            raise UserError(
                f"Findings must be 0, 1 or empty, but the column {name!r} of {table} has "
                f"{first_of(sorted({repr(rows[line - 2][name]) for line in odd}))} in {len(odd)} rows (lines "
                f"{first_of(odd)}): write 0 or 1 instead, or take a column out that is no finding.",
                "unknown_label",
            )


def _quoted(names: Sequence[str]) -> str:
    return ("the column " if len(names) == 1 else "the columns ") + ", ".join(map(repr, names))


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
        stem = rows[0][ids] if ids else ""
        files = table.parent.rglob(f"{glob.escape(stem)}.*") if stem and "/" not in stem else ()
        if any(may_be_dicom(file) or (is_image(file) and not dicom_only) for file in files):
            return (ids,)
    return found


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
