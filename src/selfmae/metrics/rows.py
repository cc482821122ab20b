"""Test rows of an initialization as scores: the folds of a repeat joined, and the repeats of a seed averaged."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selfmae.metrics.scores import Score, mean_auc_score, mean_of_scores, mean_score
from selfmae.metrics.statistics import LEVEL, Comparison, compare_paired

# The metric that chooses the checkpoint and compares initializations, by kind of target; larger is better.
HEADLINES = {"mask": "dice_per_case", "multilabel": "mean_auc", "multiclass": "macro_auc"}

Row = Mapping[str, str]  # of a case: id, patient, scores or probabilities, and the fold whose model made them
Rows = Sequence[Row]
Scorer = Callable[[Rows], Score]  # of the rows of one repeat


@dataclass(frozen=True)
class Runs:
    """The test rows of one initialization: for each seed the repeats of the folds, ordered by case."""

    repeats: Mapping[int, Sequence[Rows]]
    ids: tuple[str, ...]
    patients: tuple[str, ...]

    def scores(self, scorer: Scorer) -> dict[int, Score]:
        """Return the score of each seed, averaged over repeats."""
        return {seed: mean_of_scores([scorer(rows) for rows in found]) for seed, found in self.repeats.items()}

    def part(self, ids: Collection[str]) -> "Runs":
        """Return the runs with the rows of these cases only."""
        kept = [index for index, case in enumerate(self.ids) if case in ids]
        repeats = {seed: [[rows[index] for index in kept] for rows in found] for seed, found in self.repeats.items()}
        return Runs(repeats, tuple(self.ids[index] for index in kept), tuple(self.patients[index] for index in kept))


def join_rows(tables: Mapping[tuple[int, int], Rows]) -> Runs | None:
    """Return the rows by seed and fold as one; None where seeds or repeats were not tested on the same cases."""
    seeds: dict[int, dict[str, list[Row]]] = {}  # the rows of each case, fold by fold: a repeat tests every case once
    for (seed, fold), rows in sorted(tables.items()):
        cases = seeds.setdefault(seed, {})
        for row in rows:
            cases.setdefault(row["id"], []).append({**row, "fold": str(fold)})
    ids = {tuple(sorted(cases)) for cases in seeds.values()}
    num_repeats = {len(rows) for cases in seeds.values() for rows in cases.values()}
    if len(ids) != 1 or len(num_repeats) != 1:
        return None
    (order,) = ids
    repeats = {
        seed: [list(part) for part in zip(*(cases[case] for case in order), strict=True)]
        for seed, cases in seeds.items()
    }
    first = next(iter(repeats.values()))[0]
    return Runs(repeats, order, tuple(row["patient"] for row in first))


def dice_scorer(column: str) -> Scorer:
    """Return the mean over cases of a column ("dice" or "dice_<label>"), which is empty where it is undefined."""
    return lambda rows: mean_score(np.array([float(row[column] or "nan") for row in rows]))


def auc_scorer(names: Sequence[str]) -> Scorer:
    """Return the mean AUC of these findings, over pairs of cases that one fold's model scored (`mean_auc_score`)."""

    def score(rows: Rows) -> Score:
        truth, probability = (
            np.array([[float(row[f"{column}_{name}"]) for name in names] for row in rows])
            for column in ("truth", "probability")
        )
        return mean_auc_score(truth, probability, [int(row["fold"]) for row in rows])

    return score


def compare_runs(a: Runs, b: Runs, scorer: Scorer, num_resamples: int, level: float = LEVEL) -> Comparison:
    """Compare two initializations that were tested on the same cases, by the seeds that both have; at least one.

    `level` is that of the intervals (`compare_paired`).
    """
    ours, theirs = a.scores(scorer), b.scores(scorer)
    seeds = sorted(ours.keys() & theirs.keys())
    scores_a, scores_b = ([found[seed] for seed in seeds] for found in (ours, theirs))
    limits = (0.0, 1.0)
    return compare_paired(scores_a, scores_b, a.patients, 0, num_resamples, limits, level)
