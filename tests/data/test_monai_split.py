"""The split of MONAI's CrossValidation, against MONAI itself."""

from pathlib import Path

import pytest
from monai.data import partition_dataset

from selfmae.data.case import Case
from selfmae.data.folds import split_like_monai
from selfmae.errors import UserError


def make_cases(count: int, split: str = "") -> list[Case]:
    return [Case(f"BRATS_{number:03d}", f"p{number}", (), Path("mask"), split) for number in range(1, count + 1)]


@pytest.mark.parametrize("count", [5, 23, 484])
def test_train_and_test_are_those_of_monai(count: int) -> None:
    """The released code trains on the folds 1 to 4 of `partition_dataset` and tests on fold 0."""
    cases = make_cases(count)
    parts = partition_dataset([case.id for case in cases], num_partitions=5, shuffle=True, seed=12345)
    done = split_like_monai(cases)
    assert [case.id for case in done] == [case.id for case in cases]
    assert {case.id for case in done if case.split == "test"} == set(parts[0])
    assert {case.id for case in done if case.split == ""} == {name for part in parts[1:] for name in part}


def test_brats_has_387_and_97_cases() -> None:
    done = split_like_monai(make_cases(484))
    assert [sum(case.split == split for case in done) for split in ("", "test")] == [387, 97]
    first = [case.id for case in done if case.split == "test"][:5]
    assert first == ["BRATS_003", "BRATS_013", "BRATS_017", "BRATS_018", "BRATS_021"]


def test_unlabelled_cases_change_nothing() -> None:
    cases = make_cases(20)
    bare = Case("bare", "bare", (), None, "unlabelled")
    done = split_like_monai([cases[0], bare, *cases[1:]])
    assert done[1] == bare
    assert [done[0], *done[2:]] == split_like_monai(cases)


def test_a_source_with_a_split_of_its_own_is_an_error() -> None:
    with pytest.raises(UserError, match=r"^data\.split monai draws train and test itself, but the source has a val"):
        split_like_monai([*make_cases(9), *make_cases(1, "val")])


def test_too_few_cases_are_an_error() -> None:
    with pytest.raises(UserError, match=r"^data\.split monai needs at least 5 labelled cases, but there are 4: set"):
        split_like_monai(make_cases(4))
