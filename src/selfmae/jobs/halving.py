"""Successive halving: all values of a sweep on part of the budget, the better half goes on, chosen on val cases only.

Jamieson and Talwalkar 2016, Non-stochastic best arm identification and hyperparameter optimization.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfmae.errors import UserError
from selfmae.jobs.combinations import Settings, name_of
from selfmae.jobs.display import Display

FEWEST = 3  # values worth a round
FINALISTS = 2

Score = Callable[[Sequence[Settings], float, int], Mapping[str, float]]


@dataclass(frozen=True)
class Round:
    """One round: the share of the steps, the val score of each combination, and the names of those that went on."""

    number: int
    share: float
    scores: Mapping[str, float]
    kept: tuple[str, ...]


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

    `score` trains combinations with a share of the steps in a numbered round and returns their val scores. The last
    round has half of the steps, the one before a quarter, and so on.
    """
    left, rounds = list(combinations), list[Round]()
    num_rounds = count_rounds(len(left))
    for number in range(1, num_rounds + 1):
        share = 0.5 ** (num_rounds + 1 - number)
        scores = score(left, share, number)
        best = sorted(left, key=lambda settings: scores[name_of(settings)], reverse=True)[: (len(left) + 1) // 2]
        left = [settings for settings in left if settings in best]
        rounds.append(Round(number, share, scores, tuple(map(name_of, left))))
        display.say(
            f"Halving, round {number} of {num_rounds}: with {share:g} of the steps and one seed, val scores (test "
            f"cases are not looked at) are {', '.join(f'{name}: {value:.4f}' for name, value in scores.items())}; "
            f"{', '.join(map(name_of, left))} go on."
        )
    return left, rounds


def count_rounds(count: int) -> int:
    """Return how many halvings leave at most `FINALISTS` of `count`."""
    rounds = 0
    while count > FINALISTS:
        count, rounds = (count + 1) // 2, rounds + 1
    return rounds


def val_score(folder: Path, metric: str) -> float:
    """Return the mean val score of the cells of a combination's folder; minus infinity if there is none."""
    found = [json.loads(path.read_text())["metrics"][metric] for path in folder.glob("*/fold*/seed*/summary-val.json")]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else float("-inf")
