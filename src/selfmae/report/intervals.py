"""Effect on every label or finding: each init's score and its difference from the first, with 95 % intervals."""

from collections.abc import Collection, Mapping, Sequence

from selfmae.metrics.rows import Runs, Scorer, auc_scorer, compare_runs, dice_scorer, join_rows
from selfmae.metrics.statistics import LABEL_RESAMPLES, Interval
from selfmae.report.tables import Table
from selfmae.results.formatting import interval, number
from selfmae.results.training_logs import Results, label_names


def effects_table(results: Results) -> Table:
    """Return one row a label: its Dice or AUC by each initialization, and the differences from the first one.

    Without rows for the table, or where the initializations were not tested on the same cases, there is no row.
    """
    evaluated = [init for init in results.inits if any(cell.rows for cell in results.cells_of(init))]
    trained = [init for init in evaluated if init not in results.scored] or evaluated
    known = [{cell.seed for cell in results.cells_of(init) if cell.rows} for init in trained]
    seeds = set.intersection(*known) if known else set()
    tested = {init: found for init in evaluated if (found := _runs_of(results, init, seeds))}
    base, *others = [*tested] or [""]
    same = len({found.ids for found in tested.values()}) == 1
    rows = tuple(
        (name, *_effects(tested, base, others, _scorer(results, name))) for name in label_names(results) if same
    )
    measure = "Dice" if _of_masks(results) else "AUC"
    columns = ("Label", *(f"{measure}, {init}" for init in tested), *(f"{init} against {base}" for init in others))
    return Table(columns, rows)


def _effects(tested: Mapping[str, Runs], base: str, others: Sequence[str], scorer: Scorer) -> list[str]:
    """Return the texts of one row; patients and seeds are drawn as for the verdict."""
    alone = [compare_runs(found, found, scorer, LABEL_RESAMPLES) for found in tested.values()]
    pairs = [compare_runs(tested[base], tested[other], scorer, LABEL_RESAMPLES) for other in others]
    texts = [_text(item.mean_a, item.ci95_a) for item in alone]
    return [*texts, *(_text(item.difference, _clipped(item.ci95), sign=True) for item in pairs)]


def _runs_of(results: Results, init: str, seeds: Collection[int]) -> Runs | None:
    """Return the rows of an initialization by these seeds, None where not all repeats were tested on the same cases."""
    return join_rows({(cell.seed, cell.fold): cell.rows for cell in results.cells_of(init) if cell.seed in seeds})


def _scorer(results: Results, name: str) -> Scorer:
    """Return what turns rows into the score of one label."""
    return dice_scorer(f"dice_{name}") if _of_masks(results) else auc_scorer((name,))


def _of_masks(results: Results) -> bool:
    return any("dice" in cell.rows[0] for cell in results.cells if cell.rows)


def _clipped(bounds: Interval) -> Interval:
    """Return bounds of a difference of two shares, which few seeds push beyond what is possible."""
    return (max(-1.0, bounds[0]), min(1.0, bounds[1])) if bounds else None


def _text(value: float | None, bounds: Interval, sign: bool = False) -> str:
    return number(value, sign=sign) + (f" ({interval(bounds, sign=sign)})" if bounds else "")
