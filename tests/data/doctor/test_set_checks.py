"""Findings on a set as a whole: names that are nearly equal, patients in two parts, copies that are no equals."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.doctor.checks import check_ids, examine, patients_across_parts
from selfmae.data.doctor.findings import Facts, make_finding
from selfmae.data.doctor.survey import survey


def make(*names: str, splits: str = "", patients: str = "", files: tuple[Path, ...] = ()) -> Cases:
    cases = [
        Case(
            name,
            patients.split()[place] if patients else name,
            (files[place] if files else Path(name),),
            None,
            splits.split()[place] if splits else "train",
        )
        for place, name in enumerate(names)
    ]
    return Cases(Path("source"), "test", tuple(cases), Labels("mask", ()), ("gray",))


@pytest.mark.parametrize(
    "other", ["case01", "Case1", "case_1", "CASE-001", "case1 (1)", "case1_copy", "case1 - Copy (2)"]
)
def test_nearly_equal_names_are_a_warning(other: str) -> None:
    found = check_ids(make("case1", "case2", other))[0]
    assert (found.code, found.severity, set(found.cases)) == ("near_duplicate_ids", "warning", {"case1", other})
    assert found.cause == f"these names are nearly equal: {' and '.join(sorted(['case1', other]))}"


@pytest.mark.parametrize(
    "names",
    [
        ("case1", "case11", "case1_1"),
        ("a1_1", "a11"),
        ("scan (1)", "scan (2)", "scan (3)", "scan (4)"),
        ("photocopy1", "photocopy2"),
        tuple(f"{place:08d}_{number:03d}" for place in range(4) for number in range(12)),
        ("x", "x (1)", "x (2)", "x (3)", "x (4)"),
    ],
)
def test_numbered_names_are_no_copies(names: tuple[str, ...]) -> None:
    assert check_ids(make(*names)) == []


def test_cases_of_patients_in_two_parts_are_listed() -> None:
    cases = make(*"abcdef", splits="train train test val unlabelled test", patients="p p p q q r")
    assert patients_across_parts(cases) == ["a", "b", "c"]


def examined(folder: Path, splits: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return the findings on an image, a copy with losses, and another image."""
    rng = np.random.default_rng(0)
    image, other = (rng.integers(0, 250, (8, 8)).repeat(8, 0).repeat(8, 1) for _ in range(2))
    image, other = ((array + rng.integers(0, 6, (64, 64))).astype(np.uint8) for array in (image, other))
    Image.fromarray(image).save(folder / "a.png")
    Image.fromarray(image).save(folder / "b.jpg", quality=80)
    Image.fromarray(other).save(folder / "c.png")
    cases = make("a", "b", "c", splits=splits, files=tuple(folder / name for name in ("a.png", "b.jpg", "c.png")))
    facts, findings = survey(cases.cases, masks=False)
    return [(found.code, found.severity, found.cases) for found in examine(cases, facts, findings)]


def test_a_copy_with_losses_is_a_warning(tmp_path: Path) -> None:
    assert examined(tmp_path, "train train test") == [("near_duplicate_image", "warning", ("a", "b"))]


def test_a_copy_with_losses_in_another_part_would_leak(tmp_path: Path) -> None:
    assert examined(tmp_path, "train test test") == [("near_duplicate_across_parts", "warning", ("a", "b"))]


def test_notes_come_last() -> None:
    labels = Labels("mask", ("a",), (255,))
    cases = Cases(Path("s"), "test", (), labels, ("gray",))
    facts = [Facts("a", (4, 4), 1, (), ((0.0, 1.0, 2.0),), "h", ())]
    findings = [
        make_finding("constant_image", ["a"], "a is constant"),
        make_finding("size_differs", ["a"], "a differs"),
    ]
    assert [found.severity for found in examine(cases, facts, findings)] == ["error", "warning", "note"]
