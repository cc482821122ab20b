import dataclasses
import time
from collections import Counter
from pathlib import Path

import pytest

from selfmae.data.case import Case, Cases, Labels, check_disjoint, complete_splits, leave_out_copies, patients_of
from selfmae.errors import UserError

MASK = Path("mask.nii.gz")


def make_cases(num_patients: int, per_patient: int = 1, split: str = "", target: object = MASK) -> list[Case]:
    return [
        Case(f"p{patient}-{scan}", f"p{patient}", (Path(f"{patient}-{scan}.png"),), target, split)  # type: ignore[arg-type]
        for patient in range(num_patients)
        for scan in range(per_patient)
    ]


def rare_cases(num_patients: int, every: int) -> list[Case]:
    """Return cases with a common first finding and a second one in every few patients."""
    cases = make_cases(num_patients)
    return [dataclasses.replace(case, target=(1.0, float(place % every == 0))) for place, case in enumerate(cases)]


def split_of(cases: list[Case]) -> dict[str, set[str]]:
    return {
        split: set(patients_of(case for case in cases if case.split == split)) for split in ("train", "val", "test")
    }


def test_parts_are_drawn_by_patient_disjoint_and_of_the_size_asked_for() -> None:
    done, notes = complete_splits(make_cases(40, per_patient=3), 0, test_fraction=0.25, val_fraction=0.1)
    parts = split_of(done)
    assert {split: len(patients) for split, patients in parts.items()} == {"train": 26, "val": 4, "test": 10}
    assert len(set.union(*parts.values())) == 40
    assert [case.id for case in done] == [case.id for case in make_cases(40, 3)]
    assert notes[0] == (
        "The source has no test part: 30 cases of 10 patients were drawn from its training patients (seed 0)."
    )


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_the_cases() -> None:
    cases = make_cases(30)
    assert split_of(complete_splits(cases, 1)[0]) == split_of(complete_splits(cases[::-1], 1)[0])
    assert split_of(complete_splits(cases, 1)[0]) != split_of(complete_splits(cases, 2)[0])


def test_the_parts_of_the_source_are_kept() -> None:
    cases = make_cases(10, split="train")
    cases[3] = dataclasses.replace(cases[3], split="test")
    cases[4] = dataclasses.replace(cases[4], split="unused")
    done, notes = complete_splits(cases, 0)
    assert split_of(done)["test"] == {"p3"}
    assert done[4].split == "unused"
    assert len(notes) == 1
    assert "no val part" in notes[0]


@pytest.mark.parametrize("every", [5, 10])
def test_rare_findings_reach_every_part_in_proportion(every: int) -> None:
    cases = rare_cases(100, every)
    rare = {case.patient for case in cases if case.target == (1.0, 1.0)}
    for seed in range(20):
        parts = split_of(complete_splits(cases, seed)[0])
        for patients in parts.values():
            assert abs(len(patients & rare) - len(patients) / every) <= 1.01


def test_within_a_stratum_every_patient_may_be_drawn() -> None:
    tested = Counter(p for seed in range(300) for p in split_of(complete_splits(make_cases(10), seed)[0])["test"])
    assert len(tested) == 10
    assert min(tested.values()) > 300 * 0.2 * 0.6


def test_three_patients_are_enough_and_two_are_not() -> None:
    done, _ = complete_splits(make_cases(3), 0)
    assert {split: len(patients) for split, patients in split_of(done).items()} == {"train": 1, "val": 1, "test": 1}
    with pytest.raises(UserError, match=r"A val part must be drawn, but the training patients \(1\) are too few"):
        complete_splits(make_cases(2), 0)
    with pytest.raises(UserError, match="A test part must be drawn"):
        complete_splits([], 0)


def test_a_source_that_holds_no_training_case_is_a_sentence() -> None:
    cases = [dataclasses.replace(case, split=split) for case, split in zip(make_cases(2), ("val", "test"), strict=True)]
    with pytest.raises(UserError, match="No training case is left: label at least 3"):
        complete_splits(cases, 0)


def test_a_patient_in_two_parts_is_a_sentence_that_names_it() -> None:
    cases = [*make_cases(4, split="train"), dataclasses.replace(make_cases(1)[0], id="again", split="test")]
    with pytest.raises(UserError, match=r"1 stand in several \(p0\): give each patient one split"):
        check_disjoint(cases)
    with pytest.raises(UserError, match="p0"):
        complete_splits(cases, 0)


def test_unlabelled_images_of_patients_held_out_are_left_out() -> None:
    cases = make_cases(10)
    extra = [dataclasses.replace(case, id=f"{case.id}-bare", target=None) for case in cases]
    alone = dataclasses.replace(extra[0], id="alone", patient="stranger")
    done, notes = complete_splits([*cases, *extra, alone], 0)
    held_out = split_of(done)["val"] | split_of(done)["test"]
    unlabelled = {case.patient for case in done if case.split == "unlabelled"}
    assert unlabelled == {f"p{number}" for number in range(10)} - held_out | {"stranger"}
    assert len(held_out) == sum(case.split == "unused" for case in done)
    assert notes[-1] == f"{len(held_out)} unlabelled cases belong to patients of the val or test part and are left out."


def test_unused_cases_without_a_target_stay_unused() -> None:
    bare = dataclasses.replace(make_cases(1)[0], patient="x", target=None, split="unused")
    done, _ = complete_splits([*make_cases(5), bare], 0)
    assert done[-1].split == "unused"


def test_tens_of_thousands_of_images_are_split_in_seconds() -> None:
    cases = make_cases(10_000, per_patient=3, target=(0.0, 1.0))
    begin = time.monotonic()
    complete_splits(cases, 0)
    assert time.monotonic() - begin < 15


def test_a_part_of_cases_is_in_order() -> None:
    cases = complete_splits(make_cases(10), 0)[0]
    whole = Cases(Path("x"), "paired", tuple(cases), Labels("mask", ("a",), (1,)), ("x",))
    assert whole.part("train", "val", "test") == cases
    assert whole.part("unlabelled") == []


def test_a_copy_of_a_held_out_image_is_left_out_of_what_learns() -> None:
    parts = {"a": "test", "b": "val", "c": "train", "d": "unlabelled", "e": "train", "f": "unlabelled"}
    cases = [Case(name, name, (Path(name),), (1.0,), split) for name, split in parts.items()]
    hashes = dict.fromkeys("abcd", "same") | {"e": "other", "f": "other"}
    kept = leave_out_copies(cases, hashes)
    assert [case.split for case in kept] == ["test", "unused", "unused", "unused", "train", "unlabelled"]


@pytest.mark.parametrize(
    ("parts", "kept"),
    [
        (("train", "val"), ("unused", "val")),
        (("train", "test"), ("unused", "test")),
        (("val", "test"), ("unused", "test")),
        (("unlabelled", "val"), ("unused", "val")),
        (("unlabelled", "test"), ("unused", "test")),
        (("train", "val", "test"), ("unused", "unused", "test")),
        (("train", "unlabelled"), ("train", "unlabelled")),
        (("unused", "train"), ("unused", "train")),
        (("val", "val"), ("val", "val")),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_the_part_that_must_stay_unseen_keeps_a_copied_image(
    parts: tuple[str, ...], kept: tuple[str, ...], backwards: bool
) -> None:
    step = -1 if backwards else 1
    cases = [Case(str(index), str(index), (Path(str(index)),), (1.0,), part) for index, part in enumerate(parts)]
    done = leave_out_copies(cases[::step], {case.id: "same" for case in cases})
    assert tuple(case.split for case in done) == kept[::step]


def test_an_image_without_a_hash_is_no_copy() -> None:
    cases = [Case(part, part, (Path(part),), (1.0,), part) for part in ("train", "val")]
    assert [case.split for case in leave_out_copies(cases, {"val": "same"})] == ["train", "val"]


def test_unlabelled_images_of_a_given_test_part_are_left_out() -> None:
    cases = [Case(str(i), str(i), (Path(str(i)),), None, split) for i, split in enumerate(("train", "val", "test", ""))]
    done, notes = complete_splits(cases, seed=0)
    assert [case.split for case in done] == ["unlabelled", "unused", "unused", "unlabelled"]
    assert "2 unlabelled cases belong to patients of the val or test part" in notes[0]


def test_a_val_fraction_of_zero_draws_no_val_part() -> None:
    done, notes = complete_splits(make_cases(10), 0, test_fraction=0.3, val_fraction=0)
    assert {split: len(patients) for split, patients in split_of(done).items()} == {"train": 7, "val": 0, "test": 3}
    assert len(notes) == 1
