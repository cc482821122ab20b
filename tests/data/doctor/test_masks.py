"""Findings on labels: values that are counted anew, names of left and right."""

from pathlib import Path

import pytest

from selfmae.data.case import Cases, Labels
from selfmae.data.doctor.checks import check_masks
from selfmae.data.doctor.findings import Finding


def findings(names: tuple[str, ...], values: tuple[int, ...] = ()) -> list[Finding]:
    labels = Labels("mask", names, values or tuple(range(1, len(names) + 1)))
    return check_masks(Cases(Path("source"), "test", (), labels, ("CT",)), [])


@pytest.mark.parametrize(
    ("values", "text"), [((255,), "255 are learned as 1"), ((1, 2, 4), "1, 2, 4 are learned as 1 to 3")]
)
def test_values_that_are_not_consecutive_are_a_note(values: tuple[int, ...], text: str) -> None:
    found = findings(tuple(f"organ {value}" for value in values), values)[0]
    assert (found.code, found.severity) == ("label_values_mapped", "note")
    assert found.cause == f"the label values {text}"
    assert found.fix == "nothing: predicted masks have the values of your masks again"


def test_consecutive_values_are_no_finding() -> None:
    assert findings(("liver", "spleen")) == []


@pytest.mark.parametrize(
    ("left", "right"),
    [("left kidney", "right kidney"), ("Kidney_L", "Kidney_R"), ("LeftLung", "RightLung"), ("lh-cortex", "rh-cortex")],
)
def test_left_and_right_of_one_structure_are_a_note(left: str, right: str) -> None:
    found = findings((left, "liver", right))[0]
    assert (found.code, found.severity) == ("left_right_labels", "note")
    assert f"{left!r} and {right!r} are left and right of one structure" in found.cause
    assert "swaps these labels" in found.fix


@pytest.mark.parametrize("names", [("left kidney", "liver"), ("left atrium", "right ventricle"), ("cleft", "cright")])
def test_a_side_without_the_other_is_no_pair(names: tuple[str, ...]) -> None:
    assert findings(names) == []
