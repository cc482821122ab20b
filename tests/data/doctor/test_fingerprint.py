from pathlib import Path

import pytest

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.doctor.duplicates import take_fingerprint
from selfmae.data.doctor.findings import Facts
from selfmae.errors import UserError


def facts_of(name: str, shape: tuple[int, ...], spacing_mm: tuple[float, ...], low: float = 0.0) -> Facts:
    return Facts(name, shape, 1, spacing_mm, ((low, low + 1, low + 2),), f"hash-{name}", ())


def cases_of(splits: dict[str, str], channels: tuple[str, ...] = ("ct",)) -> Cases:
    cases = tuple(Case(name, name, (), None, split) for name, split in splits.items())
    return Cases(Path("x"), "paired", cases, Labels("mask", ("a",), (1,)), channels)


ALL_TRAIN = cases_of({"a": "train", "b": "train", "c": "train"})


def test_sizes_are_medians_and_ranges_of_each_axis() -> None:
    facts = [facts_of(name, shape, (1.0, 1.0)) for name, shape in zip("abc", [(10, 9), (30, 7), (20, 8)], strict=True)]
    found = take_fingerprint(ALL_TRAIN, facts)
    assert (found.median_shape, found.min_shape, found.max_shape) == ((20, 8), (10, 7), (30, 9))
    assert (found.num_train, found.num_channels) == (3, 1)


def test_images_outside_of_the_training_part_have_no_say() -> None:
    cases = cases_of({"a": "train", "b": "val", "c": "test", "d": "unlabelled"})
    facts = [facts_of("a", (8, 8), (1.0, 1.0))]
    others = [facts_of(name, (99, 99), (9.0, 9.0), -1000.0) for name in "bcd"]
    assert take_fingerprint(cases, facts + others) == take_fingerprint(cases, facts)


def test_spacings_vary_if_they_differ_by_more_than_a_hundredth() -> None:
    close = [facts_of(name, (8, 8), (1.0, step)) for name, step in zip("abc", (2.0, 2.01, 2.0), strict=True)]
    apart = [facts_of(name, (8, 8), (1.0, step)) for name, step in zip("abc", (2.0, 2.2, 2.1), strict=True)]
    assert not take_fingerprint(ALL_TRAIN, close).spacing_varies
    found = take_fingerprint(ALL_TRAIN, apart)
    assert found.spacing_varies
    assert found.spacing_mm == (1.0, 2.1)


def test_pictures_have_no_spacing() -> None:
    found = take_fingerprint(ALL_TRAIN, [facts_of(name, (8, 8), ()) for name in "abc"])
    assert (found.spacing_mm, found.spacing_varies) == ((), False)


def test_one_channel_that_starts_at_air_is_a_ct() -> None:
    ct = [facts_of(name, (8, 8), (1.0, 1.0), -1000.0) for name in "abc"]
    assert take_fingerprint(ALL_TRAIN, ct).looks_like_ct
    assert not take_fingerprint(ALL_TRAIN, [facts_of(name, (8, 8), (1.0, 1.0)) for name in "abc"]).looks_like_ct
    two = cases_of({"a": "train", "b": "train", "c": "train"}, channels=("t1", "t2"))
    assert not take_fingerprint(two, ct).looks_like_ct


def test_without_a_training_image_there_is_nothing_to_plan_from() -> None:
    with pytest.raises(UserError, match="There is no training case to plan from: all are copies of val or test images"):
        take_fingerprint(cases_of({"a": "test"}), [facts_of("a", (8, 8), (1.0, 1.0))])
    with pytest.raises(UserError, match="has no labelled case, but a plan needs some: add masks or labels"):
        take_fingerprint(cases_of({"a": "unlabelled"}), [facts_of("a", (8, 8), (1.0, 1.0))])
