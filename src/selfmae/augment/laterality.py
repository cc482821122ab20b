"""Labels that are left and right of one structure: mirrored, each becomes the other."""

import re
from collections.abc import Sequence

import numpy as np

OTHER_SIDE = {"left": "right", "l": "r", "lh": "rh", "lt": "rt", "lhs": "rhs"}
OTHER_SIDE |= {right: left for left, right in OTHER_SIDE.items()}


def left_right_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places of two names that differ in their sides only: "Left Kidney" and "right_kidney"."""
    places = {_words(name): place for place, name in enumerate(names)}
    mirrored = {words: tuple(OTHER_SIDE.get(word, word) for word in words) for words in places}
    return [
        (place, places[mirrored[words]]) for words, place in places.items() if places.get(mirrored[words], -1) > place
    ]


def mirror_table(names: Sequence[str]) -> np.ndarray | None:
    """Return which label place (0 is background) each becomes in a mirrored image, uint8; None if none changes."""
    pairs = left_right_pairs(names)
    if not pairs:
        return None
    table = np.arange(1 + len(names), dtype=np.uint8)
    for left, right in pairs:
        table[[left + 1, right + 1]] = right + 1, left + 1
    return table


def _words(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case; LeftKidney has two."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return tuple(re.findall(r"[a-z]+|\d+", parted.lower()))
