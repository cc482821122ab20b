"""The share, or the number, of the training patients whose labels are used."""

from itertools import pairwise

import pytest

from selfmae.data.case import Case
from selfmae.data.folds import labelled_part
from selfmae.errors import UserError

SHARES = (0.05, 0.1, 0.25, 0.5, 0.9, 1.0)


def make_cases(num_patients: int, images_each: int = 2, rare_every: int = 5) -> list[Case]:
    """Return cases of patients of whom every fifth has the rarer of two findings."""
    return [
        Case(f"{patient}-{place}", f"p{patient:02d}", (), (float(patient % rare_every == 0), 1.0), "train")
        for patient in range(num_patients)
        for place in range(images_each)
    ]


def patients(cases: list[Case]) -> set[str]:
    return {case.patient for case in cases}


@pytest.mark.parametrize("seed", range(5))
def test_a_smaller_share_is_part_of_a_larger_one(seed: int) -> None:
    cases = make_cases(20)
    shares = [patients(labelled_part(cases, share, seed)) for share in SHARES]
    assert [len(share) for share in shares] == [1, 2, 5, 10, 18, 20]
    assert all(small < large for small, large in pairwise(shares))


def test_all_images_of_a_patient_stay_together() -> None:
    chosen = labelled_part(make_cases(20, images_each=3), 0.25, 0)
    assert len(chosen) == 3 * len(patients(chosen))


@pytest.mark.parametrize("seed", range(10))
def test_rare_labels_reach_a_share_in_proportion(seed: int) -> None:
    rare = {case.patient for case in labelled_part(make_cases(100), 0.25, seed) if case.target == (1.0, 1.0)}
    assert 4 <= len(rare) <= 6  # a quarter of 20


def test_another_seed_draws_other_patients_and_the_same_one_the_same() -> None:
    draws = [patients(labelled_part(make_cases(40), 0.25, seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_the_order_of_the_cases_is_kept() -> None:
    cases = make_cases(20)
    chosen = labelled_part(cases, 0.5, 3)
    assert chosen == [case for case in cases if case in chosen]
    assert labelled_part(cases, 1.0, 3) == cases
    assert labelled_part([], 0.5, 3) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_smaller_number_is_part_of_a_larger_one(seed: int) -> None:
    cases = make_cases(20)
    draws = [patients(labelled_part(cases, 1.0, seed, number)) for number in (2, 3, 5, 10, 19, 20)]
    assert [len(draw) for draw in draws] == [2, 3, 5, 10, 19, 20]  # patients, of two images each
    assert all(small < large for small, large in pairwise(draws))


def test_a_number_of_patients_is_the_share_of_as_many() -> None:
    cases = make_cases(20)
    for number in range(1, 21):
        assert labelled_part(cases, 1.0, 7, number) == labelled_part(cases, number / 20, 7)


@pytest.mark.parametrize("seed", range(10))
def test_rare_labels_reach_a_number_in_proportion(seed: int) -> None:
    rare = {case.patient for case in labelled_part(make_cases(100), 1.0, seed, 10) if case.target == (1.0, 1.0)}
    assert 1 <= len(rare) <= 3  # a tenth of 20


def test_a_number_draws_others_with_another_seed_and_0_is_all() -> None:
    cases = make_cases(40)
    draws = [patients(labelled_part(cases, 1.0, seed, 5)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert labelled_part(cases, 1.0, 0, 0) == labelled_part(cases, 1.0, 0, 40) == cases


@pytest.mark.parametrize(("num_patients", "number"), [(4, 5), (1, 2)])
def test_more_labels_than_there_are_is_an_error(num_patients: int, number: int) -> None:
    with pytest.raises(UserError) as error:
        labelled_part(make_cases(num_patients), 1.0, 0, number)
    assert str(error.value) == (
        f"data.labels asks for {number} labelled training patients, but there are {num_patients}: give at most "
        f"{num_patients}, or 0 for all of them."
    )
