"""Folds: each patient is tested once in a repeat, no patient in two parts, rare labels in every part."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest

from selfmae.data.case import Case, check_disjoint, complete_splits, patients_of
from selfmae.data.folds import Folding, choose_folding, make_fold
from selfmae.errors import UserError

MASK = Path("mask.nii.gz")


def make_cases(num_patients: int, per_patient: int = 1) -> list[Case]:
    """Return masked cases with a drawn split."""
    cases = [
        Case(f"p{patient}-{scan}", f"p{patient}", (Path(f"{patient}-{scan}.png"),), MASK, "")
        for patient in range(num_patients)
        for scan in range(per_patient)
    ]
    return complete_splits(cases, 0)[0]


def in_test(cases: list[Case]) -> list[str]:
    return patients_of(case for case in cases if case.split == "test")


def all_folds(cases: list[Case], folding: Folding, seed: int = 0) -> list[list[Case]]:
    return [make_fold(cases, fold, folding, seed) for fold in range(folding.num_folds)]


@pytest.mark.parametrize(
    ("num_patients", "folding"),
    [(3, Folding(3)), (10, Folding(5)), (10, Folding(10)), (11, Folding(5, 3)), (12, Folding(2))],
)
def test_each_patient_is_tested_exactly_once_in_a_repeat(num_patients: int, folding: Folding) -> None:
    cases = make_cases(num_patients, per_patient=2)
    folds = all_folds(cases, folding)
    for repeat in range(folding.num_repeats):
        part = folds[repeat * folding.num_parts : (repeat + 1) * folding.num_parts]
        assert sorted(patient for fold in part for patient in in_test(fold)) == patients_of(cases)
        assert np.ptp([len(in_test(fold)) for fold in part]) <= 1


@pytest.mark.parametrize("folding", [Folding(3), Folding(4), Folding(5, 3)])
def test_no_patient_stands_in_two_parts_and_no_part_is_empty(folding: Folding) -> None:
    for fold in all_folds(make_cases(11, per_patient=3), folding):
        check_disjoint(fold)
        assert {case.split for case in fold} == {"train", "val", "test"}


def test_three_patients_make_three_folds_of_one_patient_a_part() -> None:
    cases = make_cases(3)
    for fold in all_folds(cases, choose_folding(cases, None)):
        assert sorted(case.split for case in fold) == ["test", "train", "val"]


def test_repeats_deal_the_patients_anew() -> None:
    folds = all_folds(make_cases(20), Folding(5, 3))
    groups = [{tuple(in_test(fold)) for fold in folds[first : first + 5]} for first in (0, 5, 10)]
    assert groups[0] != groups[1] != groups[2] != groups[0]


def test_the_first_repeat_is_what_single_folds_are() -> None:
    cases = make_cases(20)
    assert all_folds(cases, Folding(5)) == all_folds(cases, Folding(5, 3))[:5]


def test_folds_depend_on_the_seed_and_not_on_the_order_of_the_cases() -> None:
    cases = make_cases(15, per_patient=2)
    ours, theirs = ([in_test(fold) for fold in all_folds(items, Folding(5, 2))] for items in (cases, cases[::-1]))
    assert ours == theirs
    assert ours != [in_test(fold) for fold in all_folds(cases, Folding(5, 2), seed=1)]


def test_rare_findings_are_dealt_out_evenly() -> None:
    cases = [
        dataclasses.replace(case, target=(1.0, float(place % 10 == 0))) for place, case in enumerate(make_cases(50))
    ]
    rare = {case.patient for case in cases if case.target == (1.0, 1.0)}
    assert [len(rare & set(in_test(fold))) for fold in all_folds(cases, Folding(5, 3))] == [1] * 15


def test_rare_labels_of_masks_are_dealt_out_evenly_where_they_are_known() -> None:
    cases = make_cases(50)
    present = {case.id: [1, 7] if place % 10 == 0 else [1] for place, case in enumerate(cases)}
    rare = {case.patient for case in cases if 7 in present[case.id]}
    folding = Folding(5, 3)
    folds = [make_fold(cases, fold, folding, 0, present=present) for fold in range(15)]
    assert [len(rare & set(in_test(fold))) for fold in folds] == [1] * 15
    assert [len(rare & set(in_test(fold))) for fold in all_folds(cases, folding)] != [1] * 15


def test_a_label_that_half_of_the_patients_have_reaches_val_in_proportion() -> None:
    cases = make_cases(48)
    present = {case.id: [1, 7] if place % 2 else [1] for place, case in enumerate(cases)}
    for number in range(4):
        fold = make_fold(cases, number, Folding(4), 0, val_fraction=0.25, present=present)
        with_label = [7 in present[case.id] for case in fold if case.split == "val"]
        assert len(with_label) == 12
        assert 5 <= sum(with_label) <= 7


def test_unlabelled_images_of_val_and_test_patients_are_left_out() -> None:
    cases = make_cases(9)
    bare = [dataclasses.replace(case, id=f"{case.id}-bare", target=None, split="unlabelled") for case in cases]
    for fold in all_folds([*cases, *bare], Folding(3)):
        held_out = {case.patient for case in fold if case.split in ("val", "test")}
        assert len(held_out) == 4
        assert {case.patient for case in fold if case.split == "unused"} == held_out


def test_unused_cases_stay_unused_and_val_has_the_size_asked_for() -> None:
    spare = dataclasses.replace(make_cases(3)[0], id="spare", patient="spare", split="unused")
    fold = make_fold([*make_cases(20), spare], 1, Folding(4), 0, val_fraction=0.25)
    assert fold[-1].split == "unused"
    assert sum(case.split == "val" for case in fold) == 5


@pytest.mark.parametrize(
    ("num_patients", "num_parts", "num_repeats", "text"),
    [
        (3, 3, 1, "each of the 3 labelled patients is tested alone (leave-one-out), since with at most 10 patients"),
        (10, 10, 1, "each of the 10 labelled patients is tested alone"),
        (11, 5, 3, "5 folds are dealt 3 times from the 11 labelled patients, since with at most 50 patients"),
        (50, 5, 3, "5 folds are dealt 3 times from the 50 labelled patients"),
        (
            51,
            5,
            1,
            "5 folds are dealt once from the 51 labelled patients; with more than 50 patients repeats cost more",
        ),
    ],
)
def test_folds_suit_the_number_of_patients_and_say_why(
    num_patients: int, num_parts: int, num_repeats: int, text: str
) -> None:
    folding = choose_folding(make_cases(num_patients, per_patient=2), None)
    assert (folding.num_parts, folding.num_repeats) == (num_parts, num_repeats)
    assert folding.num_folds == num_parts * num_repeats
    assert text in folding.reason


def test_only_labelled_patients_count() -> None:
    bare = Case("bare", "bare", (Path("x"),), None, "unlabelled")
    assert choose_folding([*make_cases(4), bare], None).num_parts == 4


def test_a_number_is_taken_as_asked_and_one_keeps_the_split_of_the_source() -> None:
    assert choose_folding(make_cases(9), 4) == Folding(4)
    assert choose_folding([], 1) == Folding(1)


@pytest.mark.parametrize(
    ("num_patients", "asked", "text"),
    [
        (4, 5, r"--folds 5 needs at least 5 labelled patients, but there are 4: give fewer folds, or --folds auto\."),
        (3, 2, "--folds 2 needs at least 4 labelled patients, but there are 3"),
        (2, None, "--folds auto needs at least 3 labelled patients, but there are 2: one to train on, one to choose"),
    ],
)
def test_too_few_patients_is_a_sentence(num_patients: int, asked: int | None, text: str) -> None:
    cases = [Case(f"{i}", f"{i}", (Path("x"),), MASK, "train") for i in range(num_patients)]
    with pytest.raises(UserError, match=text):
        choose_folding(cases, asked)


@pytest.mark.parametrize(("num_patients", "asked"), [(4, 2), (3, 3), (5, 3), (6, 2)])
def test_whatever_is_not_refused_can_be_drawn(num_patients: int, asked: int) -> None:
    cases = make_cases(num_patients)
    for fold in all_folds(cases, choose_folding(cases, asked)):
        assert {case.split for case in fold} == {"train", "val", "test"}


def test_tens_of_thousands_of_images_are_dealt_in_seconds() -> None:
    cases = [dataclasses.replace(case, target=(0.0, 1.0)) for case in make_cases(10_000, per_patient=3)]
    begin = time.monotonic()
    make_fold(cases, 0, Folding(5), 0)
    assert time.monotonic() - begin < 15
