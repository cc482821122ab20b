"""Effect on every label or finding: each start's score and its difference from the first, with 95 % intervals."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selfmae.metrics.multiple import Interval
from selfmae.metrics.scores import Score, mean_auc_score, mean_of_scores, mean_score
from selfmae.metrics.statistics import LABEL_RESAMPLES, Comparison, compare_paired
from selfmae.report.results import Results, Row, label_names
from selfmae.report.tables import Table
from selfmae.report.words import interval, number

Scorer = Callable[[Sequence[Row]], Score]


@dataclass(frozen=True)
class Tested:
    """The test rows of one start: for each seed the repeats of the folds, ordered by case; each row tells its fold."""

    repeats: Mapping[int, tuple[tuple[Row, ...], ...]]
    ids: tuple[str, ...]
    patients: tuple[str, ...]


def effects_table(results: Results) -> Table:
    """Return one row a label: its Dice or AUC by each start, and the differences from the first one.

    Without rows for the table, or where the starts were not tested on the same cases, there is no row.
    """
    evaluated = [start for start in results.starts if any(cell.rows for cell in results.cells_of(start))]
    trained = [start for start in evaluated if start not in results.scored] or evaluated
    known = [{cell.seed for cell in results.cells_of(start) if cell.rows} for start in trained]
    seeds = set.intersection(*known) if known else set()
    tested = {start: found for start in evaluated if (found := _tested(results, start, seeds))}
    base, *others = [*tested] or [""]
    same = len({found.ids for found in tested.values()}) == 1
    rows = tuple(
        (name, *_effects(tested, base, others, _scorer(results, name))) for name in label_names(results) if same
    )
    measure = "Dice" if _of_masks(results) else "AUC"
    columns = ("Label", *(f"{measure}, {start}" for start in tested), *(f"{start} against {base}" for start in others))
    return Table(columns, rows)


def _effects(tested: Mapping[str, Tested], base: str, others: Sequence[str], scorer: Scorer) -> list[str]:
    """Return the texts of one row."""
    alone = [compare_label(found, found, scorer) for found in tested.values()]
    pairs = [compare_label(tested[base], tested[other], scorer) for other in others]
    texts = [_text(item.mean_a, item.ci95_a) for item in alone]
    return [*texts, *(_text(item.difference, _clipped(item.ci95), sign=True) for item in pairs)]


def compare_label(a: Tested, b: Tested, scorer: Scorer) -> Comparison:
    """Compare two starts by one score and the seeds of both; patients and seeds are drawn as for the verdict."""
    seeds = sorted(a.repeats.keys() & b.repeats.keys())
    ours, theirs = ([mean_of_scores([scorer(rows) for rows in run.repeats[seed]]) for seed in seeds] for run in (a, b))
    return compare_paired(ours, theirs, a.patients, seed=0, num_resamples=LABEL_RESAMPLES, limits=(0.0, 1.0))


def _scorer(results: Results, name: str) -> Scorer:
    """Return what turns rows into the score of one label, as a function of case weights."""
    if _of_masks(results):
        return lambda rows: mean_score(np.array([float(row[f"dice_{name}"] or "nan") for row in rows]))
    return lambda rows: mean_auc_score(
        np.array([[float(row[f"truth_{name}"])] for row in rows]),
        np.array([[float(row[f"probability_{name}"])] for row in rows]),
        [int(row["fold"]) for row in rows],
    )


def _of_masks(results: Results) -> bool:
    return any("dice" in cell.rows[0] for cell in results.cells if cell.rows)


def _tested(results: Results, start: str, seeds: Collection[int]) -> Tested | None:
    """Return the rows of a start by these seeds, None where not all repeats were tested on the same cases."""
    gathered: dict[int, dict[int, list[Row]]] = {}
    for cell in results.cells_of(start):
        if cell.seed not in seeds:
            continue
        repeat = cell.fold // max(1, int(results.run.get("num_folds", 1)))
        rows = [{**row, "fold": str(cell.fold)} for row in cell.rows]
        gathered.setdefault(cell.seed, {}).setdefault(repeat, []).extend(rows)
    repeats = {
        seed: tuple(tuple(sorted(rows, key=lambda row: row["id"])) for rows in tables.values())
        for seed, tables in gathered.items()
    }
    ids = {tuple(row["id"] for row in rows) for tables in repeats.values() for rows in tables}
    if len(ids) != 1 or not (found := ids.pop()):
        return None
    first = next(iter(repeats.values()))[0]
    return Tested(repeats, found, tuple(row["patient"] for row in first))


def _clipped(bounds: Interval) -> Interval:
    """Return bounds of a difference of two shares, which few seeds push beyond what is possible."""
    return (max(-1.0, bounds[0]), min(1.0, bounds[1])) if bounds else None


def _text(value: float | None, bounds: Interval, sign: bool = False) -> str:
    return number(value, sign=sign) + (f" ({interval(bounds, sign=sign)})" if bounds else "")
