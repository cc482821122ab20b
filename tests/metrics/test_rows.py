"""Test rows of an initialization: folds and repeats are put together by case, whatever their order."""

import numpy as np
import pytest

from selfmae.metrics.rows import Row, auc_scorer, compare_runs, dice_scorer, join_rows


def rows_of(*cases: str, dice: float = 0.5) -> list[Row]:
    return [{"id": case, "patient": f"p{case}", "dice": f"{dice + int(case) / 100}"} for case in cases]


def test_two_folds_in_two_repeats_make_two_tables_in_the_order_of_cases() -> None:
    tables = {(0, 3): rows_of("2", "3"), (0, 0): rows_of("1", "3"), (0, 1): rows_of("2"), (0, 2): rows_of("1")}
    runs = join_rows(tables)
    assert runs
    assert (runs.ids, runs.patients) == (("1", "2", "3"), ("p1", "p2", "p3"))
    assert [[row["fold"] for row in rows] for rows in runs.repeats[0]] == [["0", "1", "0"], ["2", "3", "3"]]


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {(0, 0): rows_of("1", "2"), (1, 0): rows_of("1")},
        {(0, 0): rows_of("1"), (0, 1): rows_of("1"), (1, 0): rows_of("1")},
        {(0, 0): rows_of("1", "2"), (0, 1): rows_of("1")},
    ],
)
def test_seeds_and_repeats_of_other_cases_are_not_joined(tables: dict[tuple[int, int], list[Row]]) -> None:
    assert join_rows(tables) is None


def test_initializations_are_compared_by_the_seeds_that_both_have() -> None:
    cases = [str(number) for number in range(10)]
    a = join_rows({(seed, 0): rows_of(*cases, dice=0.5) for seed in (0, 1)})
    b = join_rows({(seed, 0): rows_of(*cases, dice=dice) for seed, dice in ((1, 0.6), (2, 0.9))})
    assert a
    assert b
    found = compare_runs(a, b, dice_scorer("dice"), 100)
    assert (found.num_seeds, found.num_cases) == (1, 10)
    assert found.difference == pytest.approx(0.1)


def test_probabilities_of_two_folds_are_not_pooled() -> None:
    def row(case: str, truth: int, probability: float) -> Row:
        return {"id": case, "patient": case, "truth_mass": str(truth), "probability_mass": str(probability)}

    # Each fold's model orders its cases rightly; the second one's are all above the first one's.
    tables = {(0, 0): [row("a", 1, 0.2), row("b", 0, 0.1)], (0, 1): [row("c", 1, 0.9), row("d", 0, 0.8)]}
    runs = join_rows(tables)
    assert runs
    assert runs.scores(auc_scorer(["mass"]))[0](np.ones((1, 4)))[0] == 1.0
