"""Columns of a table by name and content, and which of them are images."""

import glob
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from selfmae.data.files.names import is_image, may_be_dicom

Row = Mapping[str, str]
IMAGE = ("image", "image_path", "path", "file", "file_path", "filename", "file_name", "image_index", "img")
IMAGE_IDS = ("image_id", "imageid", "sop_instance_uid", "sopinstanceuid")
MASK = ("mask", "mask_path", "label", "label_path", "segmentation", "seg")
PATIENT = ("patient", "patient_id", "patientid", "subject", "subject_id")


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
