"""Values of masks for sources that declare no labels: all of them, and a mask that did not change is read once."""

from pathlib import Path

import numpy as np
import pytest

from selfmae.data.files import masks as mask_values
from selfmae.data.files.masks import Mask, read_mask, values_in


@pytest.fixture
def masks(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{place}.npy" for place in range(3)]
    for value, file in zip((1, 7, 300), files, strict=True):
        np.save(file, np.array([[0, value], [0, 0]]))
    return files


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of all masks that are read."""
    names: list[str] = []

    def note(path: Path) -> Mask:
        names.append(path.name)
        return read_mask(path)

    monkeypatch.setattr(mask_values, "read_mask", note)
    return names


def test_values_of_all_masks_are_found(masks: list[Path]) -> None:
    assert values_in(masks) == {0, 1, 7, 300}
    assert values_in([]) == set()


def test_only_a_mask_that_changed_is_read_again(masks: list[Path], read: list[str]) -> None:
    values_in(masks)
    np.save(masks[1], np.array([[5, 5], [5, 5], [5, 5]]))
    assert values_in(masks) == {0, 1, 5, 300}
    assert sorted(read) == ["0.npy", "1.npy", "1.npy", "2.npy"]


def test_a_mask_that_cannot_be_read_has_no_values_and_is_tried_again(masks: list[Path], read: list[str]) -> None:
    masks[0].write_bytes(b"none")
    assert values_in([*masks, masks[0].with_name("gone.npy")]) == {0, 7, 300}
    read.clear()
    values_in(masks)
    assert read == ["0.npy"]
