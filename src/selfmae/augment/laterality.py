"""Labels that are left and right of one structure: where an image is mirrored, each becomes the other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfmae.options import Section

OTHER_SIDE = {"left": "right", "l": "r", "lh": "rh", "lt": "rt", "lhs": "rhs"}
OTHER_SIDE |= {right: left for left, right in OTHER_SIDE.items()}


@dataclass(frozen=True)
class Options(Section):
    """What becomes of labels of two sides."""

    swap: bool = True  # where left and right are mirrored, so are the labels of the two sides


def left_right_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the indices of two names that differ in their sides only: "Left Kidney" and "right_kidney"."""
    # LeftKidney has two words.
    parted = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower() for name in names]
    indices = {tuple(re.findall(r"[a-z]+|\d+", name)): index for index, name in enumerate(parted)}
    others = [indices.get(tuple(OTHER_SIDE.get(word, word) for word in words), -1) for words in indices]
    return [(index, other) for index, other in zip(indices.values(), others, strict=True) if other > index]


def mirror_table(names: Sequence[str]) -> np.ndarray | None:
    """Return which class index (0 is background) each becomes in a mirrored image, uint8; None if none changes."""
    pairs = left_right_pairs(names)
    if not pairs:
        return None
    table = np.arange(1 + len(names), dtype=np.uint8)
    for left, right in pairs:
        table[[left + 1, right + 1]] = right + 1, left + 1
    return table


def mirrored_axis(num_axes: int) -> int:
    """Return the axis from left to right: the first of volumes (RAS), the second of 2-D images (rows, columns)."""
    return 0 if num_axes == 3 else 1
