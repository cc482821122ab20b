"""Reading and atomic writing of the files of run folders: JSON, tables, logs and arrays."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from selfmae.errors import UserError

Row = Mapping[str, Any]


@contextmanager
def _at_once(path: Path) -> Iterator[Path]:
    """Give another path to write to, which becomes `path` at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    yield part
    part.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON with sorted keys, at once."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file at once."""
    with _at_once(path) as part:
        part.write_text(text)


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV, at once; columns in the order in which they first appear."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with _at_once(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as `.npz`, at once."""
    with _at_once(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file of a run folder as text; raise `UserError` where it cannot be read."""
    try:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file of a run folder holds; raise `UserError` where it cannot be read."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a step log, without an unfinished last one; [] if there is no file."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} could not be read ({error}): copy it again, or delete it and give the command that wrote it again."
    )


def parse_metadata(header: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Return what SelfMAE wrote into the header of a safetensors file, {} if another tool made the file.

    Raises `UserError` for a file of SelfMAE 0.1, whose keys had other names.
    """
    if "contract" in header:
        raise UserError(
            f"{path} was written by SelfMAE 0.1, whose files this version does not read: train again, or load its "
            "tensors with safetensors."
        )
    metadata: dict[str, Any] = json.loads(header.get("metadata", "{}"))
    return metadata
