"""Successive halving: all values of a sweep on part of the budget, the better half goes on, chosen on val cases only.

Jamieson and Talwalkar 2016, Non-stochastic best arm identification and hyperparameter optimization.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from selfmae.errors import UserError
from selfmae.jobs.cells.combinations import Settings, name_of
from selfmae.jobs.display import Display
from selfmae.jobs.folders.folder import read_json
from selfmae.report.words import number

FEWEST = 3  # values worth a round
FINALISTS = 2

Scores = Mapping[str, float | None]  # of each combination by its name; None where none is defined
Score = Callable[[Sequence[Settings], float, int], tuple[Scores, Mapping[str, str]]]


@dataclass(frozen=True)
class Round:
    """One round: the share of the steps, val scores, the names of those that went on, and trainings that failed."""

    number: int
    share: float
    scores: Scores
    kept: tuple[str, ...]
    failed: Mapping[str, str]


def check_halving(axes: Mapping[str, Sequence[Any]]) -> None:
    """Raise where there is nothing to halve."""
    if len(axes) != 1 or len(next(iter(axes.values()))) < FEWEST:
        counts = ", ".join(f"{key} with {len(values)}" for key, values in axes.items())
        raise UserError(
            f"--halving chooses among {FEWEST} or more values of one key, but came with {counts}: give one key and its "
            "values, or leave --halving out."
        )


def halve(combinations: Sequence[Settings], score: Score, display: Display) -> tuple[list[Settings], list[Round]]:
    """Return the combinations that are worth the whole budget, in their order, and the rounds that chose them.

    `score` trains combinations with a share of the steps in a numbered round and returns their val scores, and what
    failed. The last round has half of the steps, the one before a quarter, and so on. Raises `UserError` where a round
    has no score to choose by.
    """
    left, rounds = list(combinations), list[Round]()
    num_rounds = count_rounds(len(left))
    for turn in range(1, num_rounds + 1):
        share = 0.5 ** (num_rounds + 1 - turn)
        scores, failed = score(left, share, turn)
        if all(value is None for value in scores.values()):
            raise UserError(
                f"--halving chooses by val scores, but in round {turn} none is defined: give the split more val "
                "cases, or leave --halving out."
            )
        best = sorted(left, key=lambda settings: _order(scores[name_of(settings)]), reverse=True)[: ceil(len(left) / 2)]
        left = [settings for settings in left if settings in best]
        rounds.append(Round(turn, share, scores, tuple(map(name_of, left)), failed))
        found = ", ".join(f"{name}: {number(value, 4)}" for name, value in scores.items())
        display.say(
            f"Halving, round {turn} of {num_rounds}: with {share:g} of the steps and one seed, val scores (test "
            f"cases are not looked at) are {found}; "
            f"{', '.join(map(name_of, left))} go on."
        )
    return left, rounds


def _order(score: float | None) -> float:
    """Return what scores are ordered by: an undefined one comes last."""
    return float("-inf") if score is None else score


def count_rounds(count: int) -> int:
    """Return how many halvings leave at most `FINALISTS` of `count`."""
    rounds = 0
    while count > FINALISTS:
        count, rounds = (count + 1) // 2, rounds + 1
    return rounds


def val_score(folder: Path, metric: str) -> float | None:
    """Return the mean val score of the cells of a combination's folder; None if none is defined."""
    found = [read_json(path)["metrics"][metric] for path in folder.glob("*/fold*/seed*/summary-val.json")]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None
