"""The text that helps with a near miss."""

import pytest

from selfmae.errors import did_you_mean


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
