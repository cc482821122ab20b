"""Groups of test cases in which inits are compared apart: by the size of a structure, and by columns of a table."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selfmae.data.case import Cases
from selfmae.data.files import stem_of
from selfmae.errors import UserError, did_you_mean
from selfmae.files import read_table, write_table
from selfmae.metrics.rows import Runs
from selfmae.options import TargetOptions

SIZES = ("small", "middle", "large")
MIN_CASES = 3  # cases of a group; fewer say nothing about others
MAX_VALUES = 10  # of a column that makes groups
KEPT = "subgroups.csv"  # values of every case in the columns that make groups, in the folder of a run
USUAL = ("sex", "gender", "view", "scanner", "manufacturer", "site", "hospital", "centre", "center")


@dataclass(frozen=True)
class Subgroup:
    """Some test cases: why they belong together, and the label that is scored on them, "" for the headline metric."""

    name: str
    label: str
    ids: frozenset[str]


def size_groups(runs: Runs, target: TargetOptions) -> list[Subgroup]:
    """Return the cases that have a label, by the size of its true mask in voxels: three groups of equal numbers.

    Other kinds of targets, and labels that fewer than nine cases have, are not grouped.
    """
    if target.kind != "mask":
        return []
    rows, groups = next(iter(runs.repeats.values()))[0], []
    for label in target.reported_names:
        sizes = {row["id"]: int(float(row[f"voxels_true_{label}"] or 0)) for row in rows}
        present = sorted((size, case) for case, size in sizes.items() if size)
        if len(present) < MIN_CASES * len(SIZES):
            continue
        for word, indices in zip(SIZES, np.array_split(np.arange(len(present)), len(SIZES)), strict=True):
            least, most = present[indices[0]][0], present[indices[-1]][0]
            ids = frozenset(present[index][1] for index in indices)
            groups.append(Subgroup(f"{word} {label} ({least:,} to {most:,} voxels)", label, ids))
    return groups


def column_groups(runs: Runs, columns: Sequence[str], table: Path) -> list[Subgroup]:
    """Return the test cases that have a value of a column of a table in common, for each value of each column.

    Rows belong to the case that one of their values names: its id, or a file of that name. Groups of fewer than three
    cases are left out. Raises `UserError` where the table lacks a column or a case, or a column has too many values.
    """
    rows = _read(table)
    unknown = [name for name in columns if name not in rows[0]]
    if unknown:
        raise UserError(
            f"--subgroups {unknown[0]}: {table} has no such column, but {', '.join(rows[0])}."
            f"{did_you_mean(unknown[0], rows[0])}"
        )
    found, groups = _match(runs.ids, rows), []
    lacking = [case for case in runs.ids if case not in found]
    if lacking:
        raise UserError(
            f"--subgroups: {table} names {len(found)} of the {len(runs.ids)} test cases in one column, not "
            f"{lacking[0]!r}: add a column with the ids that `selfmae inspect SOURCE --json` lists."
        )
    for column in columns:
        values: dict[str, set[str]] = {}
        for case, row in found.items():
            values.setdefault(row[column] or "unknown", set()).add(case)
        if len(values) > MAX_VALUES:
            raise UserError(
                f"--subgroups {column}: the test cases have {len(values)} different values in {table}, but at most "
                f"{MAX_VALUES} make groups: make a column with fewer, for example ranges of ages."
            )
        kept = {value: ids for value, ids in sorted(values.items()) if len(ids) >= MIN_CASES}
        groups += [Subgroup(f"{column}: {value}", "", frozenset(ids)) for value, ids in kept.items()]
    return groups


def note_columns(folder: Path, cases: Cases) -> None:
    """Keep the columns of the source's table that usually make groups (`USUAL`), unless a run folder has some already.

    Kept are columns whose name has such a word, of the first table that names every labelled case.
    """
    ids = [case.id for case in cases.part("train", "val", "test")]
    for table in [] if (folder / KEPT).exists() else _tables_of(cases.source):
        found = _match(ids, _rows_in(table))
        columns = [name for name in next(iter(found.values()), {}) if set(USUAL) & set(_words(name))]
        few = [name for name in columns if 1 < len({row[name] for row in found.values()}) <= MAX_VALUES]
        if few and len(found) == len(ids):
            keep_columns(folder, ids, few, table)
            return


def keep_columns(folder: Path, ids: Sequence[str], columns: Sequence[str], table: Path) -> None:
    """Keep the values of these columns of a table for the cases that it names, so that a later verdict has them too."""
    found = _match(ids, _rows_in(table))
    write_table(folder / KEPT, [{"id": case, **{name: row[name] for name in columns}} for case, row in found.items()])


def kept_columns(folder: Path) -> tuple[list[str], Path | None]:
    """Return the columns that a run folder keeps and the table that holds them; nothing if it keeps none."""
    table = folder / KEPT
    return (list(read_table(table)[0])[1:], table) if table.exists() else ([], None)


def _tables_of(source: Path) -> list[Path]:
    """Return the tables that a source is or holds."""
    found = [source] if source.is_file() else sorted([*source.glob("*.csv"), *source.glob("*.tsv")])
    return [path for path in found if path.suffix in (".csv", ".tsv")]


def table_of(source: Path) -> Path:
    """Return the table that a source is, or the only one of its folder; `UserError` if that is none."""
    tables = _tables_of(source)
    if len(tables) != 1:
        raise UserError(
            f"--subgroups needs a table (.csv or .tsv), but {source} is or holds {len(tables) if tables else 'none'}: "
            "name it with --table."
        )
    return tables[0]


def _read(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        raise UserError(f"--table {table} must be a CSV or TSV file, but there is none: check the path.")
    rows = _rows_in(table)
    if not rows:
        raise UserError(f"--table {table} must hold a header and a row for each case, but no row is there.")
    return rows


def _rows_in(table: Path) -> list[dict[str, str]]:
    lines = table.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return list(csv.DictReader(lines, delimiter="\t" if table.suffix == ".tsv" else ","))


def _words(name: str | None) -> list[str]:
    """Return the words of a column's name: "ViewPosition" and "view_position" have the same."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name or "")]


def _match(ids: Sequence[str], rows: Sequence[Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    """Return the row of each case that is named in the column that names most of them."""
    best: dict[str, Mapping[str, str]] = {}
    for column in rows[0] if rows else ():
        named: dict[str, Mapping[str, str]] = {}
        for row in rows:
            value = row[column] or ""
            named |= {value: row, stem_of(Path(value)): row} if value else {}
        found = {case: named[case] for case in ids if case in named}
        best = found if len(found) > len(best) else best
    return best
