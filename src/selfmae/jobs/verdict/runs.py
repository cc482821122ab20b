"""The test rows of a start, joined over folds and repeats, as scores by seed; which cells take part, which lack."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from selfmae.errors import UserError
from selfmae.jobs.folders.folder import read_json, read_table
from selfmae.jobs.verdict.evaluations import Evaluation
from selfmae.metrics.scores import Score, mean_auc_score, mean_of_scores, mean_score
from selfmae.options import TargetOptions

Rows = list[dict[str, str]]
Scorer = Callable[[Rows], Score]  # of the rows of one repeat


@dataclass(frozen=True)
class Runs:
    """The test rows of one start: for each seed the repeats of the folds, ordered by case; each row tells its fold."""

    repeats: dict[int, list[Rows]]
    ids: tuple[str, ...]
    patients: tuple[str, ...]

    def scores(self, scorer: Scorer) -> dict[int, Score]:
        """Return the score of each seed, averaged over repeats."""
        return {seed: mean_of_scores([scorer(rows) for rows in found]) for seed, found in self.repeats.items()}

    def part(self, ids: Collection[str]) -> "Runs":
        """Return the runs with the rows of these cases only."""
        kept = [place for place, case in enumerate(self.ids) if case in ids]
        repeats = {seed: [[rows[place] for place in kept] for rows in found] for seed, found in self.repeats.items()}
        return replace(
            self,
            repeats=repeats,
            ids=tuple(self.ids[place] for place in kept),
            patients=tuple(self.patients[place] for place in kept),
        )


def check_same_images(cells: Sequence[Evaluation]) -> None:
    """Raise if models were tested on different images of one id: rows of other data would be paired."""
    known: dict[str, tuple[str, Path]] = {}
    for cell in cells:
        rows = read_table(cell.folder / "cases.csv") if cell.is_trained else []
        for row in rows:
            content, folder = known.setdefault(row["id"], (row["hash"], cell.folder))
            if content != row["hash"]:
                raise UserError(
                    f"{folder} and {cell.folder} have different images for the case {row['id']!r}: compare runs on the "
                    "same data."
                )


def join_rows(cells: Sequence[Evaluation]) -> Runs:
    """Join the folds of each seed of a start: every test case appears once, or once in each repeat."""
    tables: dict[int, Rows] = {}
    for cell in sorted(cells, key=lambda cell: cell.fold):
        rows = [{**row, "fold": str(cell.fold)} for row in read_table(cell.folder / "rows-test.csv")]
        tables.setdefault(cell.seed, []).extend(rows)
    repeats = {seed: _split_repeats(table) for seed, table in sorted(tables.items())}
    ids = {tuple(row["id"] for row in table) for seed in repeats for table in repeats[seed]}
    if len(ids) > 1 or len({len(found) for found in repeats.values()}) > 1:
        raise UserError(
            f"The seeds of {cells[0].start} were not evaluated on the same test cases: let every fold and seed finish."
        )
    first = next(iter(repeats.values()))[0]
    return Runs(repeats, ids.pop(), tuple(row["patient"] for row in first))


def _split_repeats(rows: Rows) -> list[Rows]:
    """Return the rows of each repeat, ordered by id: rows come fold by fold, and a repeat tests every case once."""
    repeats: list[Rows] = []
    times: Counter[str] = Counter()
    for row in rows:
        if times[row["id"]] == len(repeats):
            repeats.append([])
        repeats[times[row["id"]]].append(row)
        times[row["id"]] += 1
    return [sorted(table, key=lambda row: row["id"]) for table in repeats]


def make_scorer(target: TargetOptions, label: str = "") -> Scorer:
    """Return what turns the rows of one repeat into the headline metric, or its part of one label, by case weights.

    Dice is averaged over cases; AUC is over pairs of cases that one fold's model scored (see `mean_auc_score`).
    """
    if target.kind == "mask":
        column = f"dice_{label}" if label else "dice"
        return lambda rows: mean_score(np.array([float(row[column] or "nan") for row in rows]))
    names = (label,) if label else target.output_names

    def columns(rows: Rows, prefix: str) -> np.ndarray:
        return np.array([[float(row[f"{prefix}_{name}"]) for name in names] for row in rows])

    return lambda rows: mean_auc_score(
        columns(rows, "truth"), columns(rows, "probability"), [int(row["fold"]) for row in rows]
    )


def expected_cells(folder: Path) -> set[tuple[str, int, int]]:
    """Return start, fold and seed of all cells that the last `run` in a folder asked for; none without `run.json`."""
    path = folder / "run.json"
    if not path.exists():
        return set()
    run = read_json(path)
    folds = range(run["num_folds"] * run.get("num_repeats", 1))
    return set(product(run["starts"], folds, range(run["num_seeds"])))


def missing_cells(folders: Sequence[Path], cells: Sequence[Evaluation]) -> list[dict[str, str | int]]:
    """Return start, fold and seed of the cells that the runs of these folders asked for and that did not finish."""
    places = {cell.folder for cell in cells}
    lacking = {
        cell
        for folder in folders
        for cell in expected_cells(folder)
        if folder / cell[0] / f"fold{cell[1]}" / f"seed{cell[2]}" not in places
    }
    return [{"start": start, "fold": fold, "seed": seed} for start, fold, seed in sorted(lacking)]


def keep_complete(cells: Sequence[Evaluation], folders: Sequence[Path]) -> list[Evaluation]:
    """Return the cells of the seeds of which a start finished every fold.

    Where a start has no such seed, the folds that some start lacks are left out for all. Scored masks of other tools
    are kept as they are. Raises `UserError` where a start is left with nothing.
    """
    trained = [cell for cell in cells if cell.is_trained]
    folds = {fold for folder in folders for _, fold, _ in expected_cells(folder)} | {cell.fold for cell in trained}
    whole = _of_whole_seeds(trained, folds)
    starts = {cell.start for cell in trained}
    if {cell.start for cell in whole} != starts:
        folds = set.intersection(*({cell.fold for cell in trained if cell.start == start} for start in starts))
        whole = _of_whole_seeds(trained, folds)
    lost = sorted(starts - {cell.start for cell in whole})
    if lost:
        raise UserError(
            f"The start {lost[0]} has no seed that finished the folds which the others finished: give the command of "
            "the run again, so that the missing cells are trained."
        )
    return [cell for cell in cells if not cell.is_trained or cell in whole]


def _of_whole_seeds(cells: Sequence[Evaluation], folds: set[int]) -> list[Evaluation]:
    """Return the cells of these folds, of each start's seeds that have them all."""
    done: dict[tuple[str, int], set[int]] = {}
    for cell in cells:
        done.setdefault((cell.start, cell.seed), set()).add(cell.fold)
    return [cell for cell in cells if cell.fold in folds and folds <= done[cell.start, cell.seed]]
