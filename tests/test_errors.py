"""The text that helps with a near miss."""

import pytest

from selfmae.errors import did_you_mean, first_of


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("stepps", " Did you mean 'steps'?"),
        ("batches", " Did you mean 'batch'?"),
        ("xyz", " Known: batch, lr, steps."),
    ],
)
def test_a_near_miss_is_suggested_and_otherwise_all_are_listed(word: str, text: str) -> None:
    assert did_you_mean(word, ["steps", "batch", "lr"]) == text


@pytest.mark.parametrize(
    ("items", "limit", "text"),
    [
        ([], 3, ""),
        ("ab", 3, "a, b"),
        ("abc", 3, "a, b, c"),
        (range(7), 3, "0, 1, 2 and 4 more"),
        ("ab", 1, "a and 1 more"),
    ],
)
def test_the_first_of_a_list_are_named_and_the_others_counted(items: object, limit: int, text: str) -> None:
    assert first_of(items, limit) == text  # type: ignore[arg-type]


def test_the_first_of_a_list_may_stand_apart_by_semicolons() -> None:
    assert first_of((item for item in ("a, b", "c", "d")), 2, "; ") == "a, b; c and 1 more"
