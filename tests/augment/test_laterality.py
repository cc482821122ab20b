import numpy as np
import pytest

from selfmae.augment.laterality import left_right_pairs, mirror_table


@pytest.mark.parametrize(
    "names", [("left kidney", "Right_Kidney"), ("Kidney_R", "Kidney_L"), ("lh-cortex", "rh-cortex")]
)
def test_names_that_differ_in_their_side_are_a_pair(names: tuple[str, ...]) -> None:
    assert left_right_pairs(names) == [(0, 1)]


def test_a_mirrored_image_swaps_the_labels_of_a_pair_only() -> None:
    table = mirror_table(("left kidney", "liver", "right kidney"))
    assert table is not None
    np.testing.assert_array_equal(table, [0, 3, 2, 1])
    np.testing.assert_array_equal(table[table], [0, 1, 2, 3])


def test_without_pairs_nothing_is_swapped() -> None:
    assert mirror_table(("left atrium", "liver")) is None
