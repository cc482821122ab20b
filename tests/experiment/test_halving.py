"""Successive halving: who goes on, with which share of the steps, chosen on val."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.combinations import Scores, Settings, check_halving, count_rounds, halve, name_of, val_score


def settings(*values: float) -> list[Settings]:
    return [{"mae.ratio": value} for value in values]


def test_the_better_half_goes_on_with_twice_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[list[str], float, int]] = []

    def score(left: Sequence[Settings], share: float, number: int) -> tuple[Scores, dict[str, str]]:
        asked.append(([name_of(item) for item in left], share, number))
        return {name_of(item): -abs(item["mae.ratio"] - 0.6) for item in left}, {}

    left, rounds = halve(settings(0.1, 0.3, 0.5, 0.7, 0.9), score, Display())
    assert left == settings(0.5, 0.7)
    names = [f"mae.ratio={value}" for value in (0.1, 0.3, 0.5, 0.7, 0.9)]
    assert [(len(names), share) for names, share, _ in asked] == [(5, 0.25), (3, 0.5)]
    assert asked[0] == (names, 0.25, 1)
    assert rounds[0].kept == tuple(names[1:4])
    said = capsys.readouterr().err
    assert "Halving, round 1 of 2: with 0.25 of the steps and one seed, val scores (test cases are not used" in said


@pytest.mark.parametrize(("count", "rounds"), [(2, 0), (3, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_rounds_end_when_two_are_left(count: int, rounds: int) -> None:
    assert count_rounds(count) == rounds


@pytest.mark.parametrize("axes", [{"a": [1, 2]}, {"a": [1, 2, 3], "b": [1, 2]}])
def test_halving_needs_one_key_with_several_values(axes: dict[str, list[int]]) -> None:
    with pytest.raises(UserError, match="--halving chooses among 3 or more values of one key, but came with a with"):
        check_halving(axes)


def test_the_score_is_that_of_val_whatever_test_says(tmp_path: Path) -> None:
    for name, val in (("scratch", 0.5), ("mae", 0.7), ("other", None)):
        folder = tmp_path / name / "fold0" / "seed0"
        folder.mkdir(parents=True)
        for part, value in (("val", val), ("test", 0.99)):
            (folder / f"summary-{part}.json").write_text(json.dumps({"metrics": {"mean_auc": value}}))
    assert val_score(tmp_path, "mean_auc") == pytest.approx(0.6)
    assert val_score(tmp_path / "none", "mean_auc") is None


def test_a_training_that_failed_comes_last_and_is_kept_in_mind() -> None:
    scores = {name_of(item): value for item, value in zip(settings(0.1, 0.3, 0.5), (None, 0.2, 0.1), strict=True)}
    left, (first,) = halve(settings(0.1, 0.3, 0.5), lambda *_: (scores, {"mae": "diverged"}), Display(quiet=True))
    assert left == settings(0.3, 0.5)
    assert first.failed == {"mae": "diverged"}


def test_without_any_score_nothing_is_chosen() -> None:
    with pytest.raises(UserError, match="--halving chooses by val scores, but in round 1 none is defined: give"):
        halve(
            settings(0.1, 0.3, 0.5), lambda left, *_: ({name_of(item): None for item in left}, {}), Display(quiet=True)
        )
