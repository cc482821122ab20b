"""Findings of the data doctor."""

from dataclasses import replace
from pathlib import Path

import pytest

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.doctor.checks import examine
from selfmae.data.doctor.findings import REMEDIES, Facts, Finding, make_finding, raise_on_errors
from selfmae.data.doctor.survey import survey
from selfmae.data.sources import read_source
from selfmae.errors import UserError

MASKS = Labels("mask", ("liver", "spleen"), (1, 2))


def make(splits: str = "train train", labels: Labels = MASKS, targets: list[tuple[float, ...]] | None = None) -> Cases:
    """Make cases named a, b, ... in these parts of the split."""
    names = "abcdefgh"
    cases = [
        Case(name, name, (Path(f"{name}.nii"),), targets[k] if targets else Path(f"{name}_seg.nii"), split)
        for k, (name, split) in enumerate(zip(names, splits.split(), strict=False))
    ]
    return Cases(Path("source"), "test", tuple(cases), labels, ("MRI",))


def facts_of(cases: Cases, *counts: dict[int, int]) -> list[Facts]:
    full = counts or ({0: 9, 1: 2, 2: 1},) * len(cases.cases)
    return [
        Facts(case.id, (2, 2, 3), 1, (1.0, 1.0, 1.0), ((0.0, 1.0, 2.0),), f"hash-{case.id}", tuple(count.items()))
        for case, count in zip(cases.cases, full, strict=True)
    ]


def codes(findings: list[Finding]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(finding.code, finding.severity, finding.cases) for finding in findings]


def twins(cases: Cases) -> list[Facts]:
    return [replace(fact, pixel_hash="same") if fact.id in "ab" else fact for fact in facts_of(cases)]


def test_healthy_cases_have_no_finding() -> None:
    assert examine(make(), facts_of(make()), []) == []


def test_problems_of_one_code_are_one_finding_with_all_cases() -> None:
    findings = [make_finding("not_finite", [name], f"the image {name}.nii has 1 bad voxel") for name in "abcde"]
    finding = examine(make(), facts_of(make()), findings)[0]
    assert (finding.code, finding.severity, finding.cases) == ("not_finite", "error", tuple("abcde"))
    assert finding.cause.endswith("the image c.nii has 1 bad voxel and 2 more")


@pytest.mark.parametrize("code", sorted(REMEDIES))
def test_every_code_has_a_severity_and_a_remedy(code: str) -> None:
    severity, fix = REMEDIES[code]
    assert severity in ("error", "warning", "note")
    assert fix


def test_errors_come_first() -> None:
    findings = [
        make_finding("constant_image", ["a"], "a is constant"),
        make_finding("size_differs", ["b"], "b differs"),
    ]
    assert [finding.severity for finding in examine(make(), facts_of(make()), findings)] == ["error", "warning"]


def test_an_undeclared_label_value_names_the_masks() -> None:
    cases = make()
    finding = examine(cases, facts_of(cases, {0: 9, 1: 2, 2: 1}, {0: 5, 7: 1}), [])[0]
    assert codes([finding]) == [("undeclared_label", "error", ("b",))]
    assert finding.cause == "the value 7 in b_seg.nii is no label"


def test_undeclared_values_are_one_finding_and_an_image_is_told_by_their_number() -> None:
    cases = make()
    counts = ({0: 9, 7: 2, 8: 1}, dict.fromkeys(range(300), 1))
    [finding] = [found for found in examine(cases, facts_of(cases, *counts), []) if found.code == "undeclared_label"]
    assert finding.cases == ("a", "b")
    assert finding.cause.startswith("b_seg.nii holds 300 different values, as an image does, the value 7 in a_seg.nii ")


def test_problems_of_the_reader_are_findings_too() -> None:
    findings = (make_finding("several_masks", ["a"], "two masks"), make_finding("lonely_mask", (), "one alone"))
    found = examine(replace(make(), findings=findings), facts_of(make(), {1: 1, 2: 1}, {1: 1, 2: 1}), [])
    assert codes(found) == [("several_masks", "error", ("a",)), ("lonely_mask", "error", ())]


def test_problems_with_other_remedies_are_findings_of_their_own() -> None:
    findings = [
        make_finding("unreadable_image", [name], f"{name} is bad", fix) for name, fix in (("a", "copy"), ("b", ""))
    ]
    found = examine(make(), facts_of(make(), {1: 1, 2: 1}, {1: 1, 2: 1}), findings)
    assert [finding.fix for finding in found] == ["copy", "replace the file or remove the case"]


def test_a_label_in_no_mask_is_a_warning() -> None:
    cases = make()
    finding = examine(cases, facts_of(cases, {0: 9, 1: 2}, {1: 2}), [])[0]
    assert codes([finding]) == [("absent_label", "warning", ())]
    assert finding.cause == "the label 'spleen' (value 2) is in no mask"


def test_an_empty_mask_is_a_warning() -> None:
    cases = make()
    findings = examine(cases, facts_of(cases, {0: 12}, {0: 3, 1: 1, 2: 1}), [])
    assert codes(findings) == [("empty_mask", "warning", ("a",))]


def test_masks_that_were_not_read_have_no_findings() -> None:
    assert examine(make(), facts_of(make(), {}, {}), []) == []


@pytest.mark.parametrize("splits", ["train train test", "test test train", "unlabelled train test", "train unused"])
def test_equal_images_in_one_part_are_a_warning(splits: str) -> None:
    assert codes(examine(make(splits), twins(make(splits)), [])) == [("duplicate_image", "warning", ("a", "b"))]


@pytest.mark.parametrize("splits", ["train test", "train val", "val test"])
def test_equal_images_across_parts_are_reported(splits: str) -> None:
    finding = examine(make(splits), twins(make(splits)), [])[0]
    assert codes([finding]) == [("duplicate_across_parts", "warning", ("a", "b"))]
    first, second = splits.split()
    assert finding.cause == f"these images are equal: a.nii ({first}) = b.nii ({second})"


def test_channels_that_nobody_declared_are_an_error() -> None:
    facts = [replace(fact, num_channels=4) for fact in facts_of(make())]
    finding = examine(make(), facts, [])[0]
    assert codes([finding]) == [("channels_undeclared", "error", ("a", "b"))]
    assert finding.cause == "1 channels (MRI) are declared, but images have 4"


@pytest.mark.parametrize(("positives", "num_findings"), [(0, 1), (1, 1), (2, 0), (3, 1), (4, 1)])
def test_a_finding_needs_two_positives_and_two_negatives_in_a_part(positives: int, num_findings: int) -> None:
    targets = [(float(k < positives),) for k in range(4)]
    cases = make("train train train train", Labels("multilabel", ("Mass",)), targets)
    assert len(examine(cases, facts_of(cases, {}, {}, {}, {}), [])) == num_findings


def test_rare_findings_are_counted_for_each_part() -> None:
    targets = [(1.0,), (1.0,), (0.0,), (0.0,), (1.0,), (0.0,)]
    cases = make("train train train train val val", Labels("multilabel", ("Mass",)), targets)
    finding = examine(cases, [], [])[0]
    assert codes([finding]) == [("rare_finding", "warning", ())]
    assert finding.cause == "'Mass' has 1 positives among 2 cases of the val part"


def test_warnings_raise_nothing() -> None:
    raise_on_errors([Finding("constant_image", "warning", ("a",), "a is constant", "look at it")])


def test_all_errors_are_one_sentence_with_cause_and_remedy() -> None:
    errors = [
        Finding("size_differs", "error", ("a",), "image and mask of a differ in size", "resample"),
        Finding("rare_finding", "warning", (), "Mass is rare", "collect more"),
        Finding("not_finite", "error", ("b",), "b.nii has NaN", "replace it"),
    ]
    with pytest.raises(UserError) as raised:
        raise_on_errors(errors)
    assert str(raised.value) == (
        "The data cannot be used as it is: image and mask of a differ in size: resample; b.nii has NaN: replace it."
    )


def test_real_radiographs_have_one_duplicate_within_a_patient(real_data: Path) -> None:
    cases = read_source(str(real_data / "cxr14_256"))
    few = replace(cases, cases=tuple(case for case in cases.cases if case.patient in ("2658", "61")))
    findings = examine(few, *survey(few.cases, masks=True))
    assert codes(findings)[0] == ("duplicate_image", "warning", ("00002658_001", "00002658_002"))


def test_real_volumes_are_healthy(real_data: Path) -> None:
    cases = read_source(str(real_data / "Task04_Hippocampus"))
    assert examine(cases, *survey(cases.cases[:10], masks=True)) == []
