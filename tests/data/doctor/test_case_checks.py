"""Findings on images that are unlike the others: sizes, spacings, intensities, masks in the place of images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.doctor.checks import MIN_IMAGES, check_images
from selfmae.data.doctor.findings import Facts, Finding
from selfmae.data.doctor.survey import survey

NUM = 12
Levels = tuple[float, float, float]
CT: Levels = (-1020.0, -80.0, 900.0)


def make(facts: list[Facts], kind: str = "mask") -> Cases:
    cases = [Case(fact.id, fact.id, (Path(f"{fact.id}.nii"),), None, "train") for fact in facts]
    return Cases(Path("source"), "test", tuple(cases), Labels(kind, ()), ("CT",))


def facts_of(*levels: Levels, num: int = NUM) -> list[Facts]:
    """Return facts of a set whose sizes, spacings and intensities vary a little; `levels` replace the first ones."""
    rng = np.random.default_rng(0)
    given = dict(enumerate(levels))
    facts = []
    for place in range(num):
        low, middle, high = CT
        usual = (low, middle + rng.normal(0, 20), high + rng.normal(0, 50))
        shape = tuple(int(extent) for extent in rng.integers([200, 200, 60], [280, 280, 140]))
        spacing = tuple(float(step) for step in rng.uniform([0.6, 0.6, 2], [0.9, 0.9, 5]))
        facts.append(Facts(f"c{place:02d}", shape, 1, spacing, (given.get(place, usual),), f"hash{place}", ()))
    return facts


def codes(facts: list[Facts], kind: str = "mask") -> list[tuple[str, str, tuple[str, ...]]]:
    return [(found.code, found.severity, found.cases) for found in findings(facts, kind)]


def findings(facts: list[Facts], kind: str = "mask") -> list[Finding]:
    return check_images(make(facts, kind), facts)


def test_ordinary_variation_is_no_finding() -> None:
    assert codes(facts_of()) == []


@pytest.mark.parametrize(("axis", "step"), [(2, 50.0), (0, 0.05)])
def test_an_unusual_spacing_is_a_warning(axis: int, step: float) -> None:
    facts = facts_of()
    spacing = [*facts[3].spacing_mm]
    spacing[axis] = step
    facts[3] = replace(facts[3], spacing_mm=tuple(spacing))
    assert codes(facts) == [("spacing_outlier", "warning", ("c03",))]
    assert findings(facts)[0].cause.startswith("spacings are usually near 0.7")
    assert f"{step:.3g}" in findings(facts)[0].cause.partition("but there is c03 with ")[2]


def test_an_unusual_size_is_a_warning() -> None:
    facts = facts_of()
    facts[5] = replace(facts[5], shape=(240, 240, 3))
    assert codes(facts) == [("size_outlier", "warning", ("c05",))]
    assert findings(facts)[0].cause.endswith("but there is c05 with 240x240x3")


def test_equal_sizes_allow_another_up_to_twice_as_large() -> None:
    facts = [replace(fact, shape=(100, 100, 100)) for fact in facts_of()]
    assert codes([replace(facts[0], shape=(100, 100, 200)), *facts[1:]]) == []
    assert codes([replace(facts[0], shape=(100, 100, 201)), *facts[1:]]) == [("size_outlier", "warning", ("c00",))]


def test_a_second_kind_of_size_is_no_outlier() -> None:
    facts = [replace(fact, shape=(100, 100, 100)) for fact in facts_of()]
    two = [replace(fact, shape=(300, 300, 300)) for fact in facts[:2]]
    assert codes([*two, *facts[2:]]) == []


def test_one_odd_image_of_a_few_is_told() -> None:
    facts = [replace(fact, shape=(100, 100, 100)) for fact in facts_of(num=MIN_IMAGES)]
    assert codes([replace(facts[0], shape=(240, 240, 3)), *facts[1:]]) == [("size_outlier", "warning", ("c00",))]


def test_few_images_show_no_usual_size() -> None:
    facts = facts_of(num=MIN_IMAGES - 1)
    assert codes([replace(facts[0], shape=(240, 240, 3)), *facts[1:]]) == []


@pytest.mark.parametrize(
    ("levels", "unit"),
    [((0.0, 80.0, 250.0), "from 0 to 255"), ((0.0, 0.4, 1.0), "from 0 to 1"), ((0.0, 940.0, 1930.0), "above 1000")],
)
def test_other_units_beside_hounsfield_units_are_a_warning(levels: Levels, unit: str) -> None:
    facts = facts_of(levels, levels)
    assert codes(facts) == [("intensity_units_differ", "warning", ("c00", "c01"))]
    cause = findings(facts)[0].cause
    assert cause.startswith(f"the intensities of most images are HU, but those of c00 ({unit}), c01 ({unit}) are not")
    assert ("2 of them as HU shifted by 1024" in cause) == (unit == "above 1000")


def test_intensities_from_0_to_1_beside_0_to_255_are_a_warning() -> None:
    facts = facts_of((0.0, 0.5, 1.0), *[(0.0, 90.0, 240.0)] * (NUM - 1))
    assert codes(facts) == [("intensity_units_differ", "warning", ("c00",))]


def test_a_ct_without_air_tells_no_unit() -> None:
    assert codes(facts_of((-150.0, 40.0, 300.0))) == []


def test_scans_of_mr_have_no_unit() -> None:
    levels = [(0.0, 40.0 * 2**place, 110.0 * 2**place) for place in range(NUM)]
    assert codes(facts_of(*levels)) == []


def test_an_image_that_equals_a_mask_is_a_warning() -> None:
    facts = [replace(fact, mask_hash=f"mask{fact.id}", mask_counts=((0, 5), (1, 2))) for fact in facts_of()]
    facts[2] = replace(facts[2], pixel_hash="maskc07")
    assert codes(facts) == [("mask_as_image", "warning", ("c02",))]
    assert findings(facts)[0].cause == "the images c02.nii hold few whole values, as masks do"


def test_an_empty_mask_is_no_image() -> None:
    facts = [replace(fact, mask_hash="empty", mask_counts=((0, 7),)) for fact in facts_of()]
    assert codes([replace(facts[0], pixel_hash="empty"), *facts[1:]]) == []


@pytest.mark.parametrize(
    ("kind", "num_alike", "found"), [("multiclass", NUM, 0), ("multiclass", 1, 1), ("mask", NUM, 1)]
)
def test_a_set_of_shapes_may_look_like_masks(kind: str, num_alike: int, found: int) -> None:
    facts = [replace(fact, looks_like_mask=place < num_alike) for place, fact in enumerate(facts_of())]
    assert len(codes(facts, kind)) == found


def shape_like(values: list[float], background: float = 0.7) -> np.ndarray:
    array = np.zeros((20, 20), np.float32)
    array.ravel()[int(400 * background) :] = np.resize(values, 400 - int(400 * background))
    return array


@pytest.mark.parametrize(
    ("array", "alike"),
    [
        (shape_like([1.0]), True),
        (shape_like([100.0, 255.0]), True),
        (shape_like([0.5]), False),
        (shape_like([1.0], background=0.3), False),
        (shape_like([float(value) for value in range(1, 60)]), False),
        (np.zeros((20, 20), np.float32), False),
    ],
)
def test_an_image_of_few_whole_values_mostly_0_looks_like_a_mask(
    tmp_path: Path, array: np.ndarray, alike: bool
) -> None:
    np.save(tmp_path / "i.npy", array)
    facts, _ = survey([Case("c", "c", (tmp_path / "i.npy",), None, "")], masks=False)
    assert facts[0].looks_like_mask is alike
