"""The answers to a comparison: their order and limits, what one lacks, and the error rates of looking repeatedly."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from selfmae.errors import UserError
from selfmae.metrics.decisions import FIRST_LOOK, MAX_PATIENTS, MAX_SEEDS, judge, look_level, what_it_takes
from selfmae.metrics.scores import Score, mean_score
from selfmae.metrics.statistics import Comparison, StandardErrors, compare_paired, half_width

Interval = tuple[float, float]


def compare(changes: np.ndarray, level: float, seed: int = 0, num_resamples: int = 400) -> Comparison:
    """Compare scores that differ by `changes` [S, n] with equal ones, one case a patient."""
    a: list[Score] = [mean_score(np.zeros(changes.shape[1]))] * len(changes)
    b = [mean_score(values) for values in changes]
    return compare_paired(a, b, [f"p{i}" for i in range(changes.shape[1])], seed, num_resamples, level=level)


@pytest.mark.parametrize(
    ("interval", "answer"),
    [
        ((0.02, 0.05), "helps"),
        ((-0.05, -0.02), "hurts"),
        ((-0.02, 0.05), "cannot tell"),
        ((0.0, 0.05), "cannot tell"),
        ((-0.05, 0.0), "cannot tell"),
        ((-0.005, 0.002), "no difference"),
        ((-0.01, 0.01), "no difference"),
        ((-0.0101, 0.005), "cannot tell"),
        ((-0.005, 0.0101), "cannot tell"),
        ((0.005, 0.0101), "helps"),
        ((-0.0101, -0.005), "hurts"),
    ],
)
def test_the_interval_answers(interval: Interval, answer: str) -> None:
    assert judge(interval, None, 1) == answer
    assert judge(interval, 0.001, 3) == answer


@pytest.mark.parametrize("interval", [(0.002, 0.008), (-0.008, -0.002)])
def test_a_smaller_difference_than_matters_is_none_even_if_it_is_not_0(interval: Interval) -> None:
    assert judge(interval, 0.001, 3) == "no difference"
    assert judge(interval, 0.001, 3, margin=0.005) == ("helps" if interval[0] > 0 else "hurts")
    assert judge((-0.02, 0.03), None, 1, margin=0.03) == "no difference"


def test_no_difference_needs_no_corrected_p_value() -> None:
    assert judge((-0.004, 0.004), 1.0, 3) == judge((0.001, 0.004), None, 3) == "no difference"


@pytest.mark.parametrize(("p_holm", "told"), [(0.049, True), (0.05, False), (0.2, False), (None, False)])
def test_of_several_pairs_the_corrected_p_value_must_agree(p_holm: float | None, told: bool) -> None:
    assert judge((0.02, 0.05), p_holm, 3) == ("helps" if told else "cannot tell")
    assert judge((-0.05, -0.02), p_holm, 3) == ("hurts" if told else "cannot tell")
    assert judge((0.02, 0.05), p_holm, 1) == "helps"


def test_the_corrected_p_value_must_be_below_the_level_of_the_look() -> None:
    assert judge((0.02, 0.05), 0.03, 3, level=0.02) == "cannot tell"
    assert judge((0.02, 0.05), 0.019, 3, level=0.02) == "helps"


def test_without_an_interval_nothing_can_be_told() -> None:
    assert judge(None, None, 1) == judge(None, 0.001, 2) == "cannot tell"


@pytest.mark.parametrize("margin", [0.0, -0.01, 1.0, 2.0, float("nan")])
def test_a_margin_lies_above_0_and_below_1(margin: float) -> None:
    with pytest.raises(UserError, match=f"above 0 and below 1, not {margin}: give one such as 0.01"):
        judge((-0.01, 0.01), None, 1, margin)


def answered(errors: StandardErrors, difference: float, margin: float) -> bool:
    half = half_width(errors)
    return judge((difference - half, difference + half), None, 1, margin) != "cannot tell"


@pytest.mark.parametrize(("difference", "margin"), [(0.022, 0.01), (-0.022, 0.01), (0.002, 0.021), (-0.002, 0.021)])
def test_with_as_many_more_there_is_an_answer_and_with_one_less_not(difference: float, margin: float) -> None:
    errors = StandardErrors(patients=0.008, seeds=0.004, num_patients=25, num_seeds=3)
    seeds, patients = what_it_takes(difference, errors, margin)
    assert seeds is not None
    assert patients is not None
    assert answered(errors.of(25, 3 + seeds), difference, margin)
    assert answered(errors.of(25 + patients, 3), difference, margin)
    assert not answered(errors.of(25, 2 + seeds), difference, margin)
    assert not answered(errors.of(24 + patients, 3), difference, margin)


def test_the_easier_of_two_answers_counts() -> None:
    errors = StandardErrors(patients=0.01, seeds=0.0001, num_patients=25, num_seeds=3)
    wide = what_it_takes(0.002, errors, margin=0.015)[1]
    narrow = what_it_takes(0.002, errors, margin=0.003)[1]
    assert wide is not None
    assert narrow is not None
    assert wide < 100 < narrow  # half an interval of 0.013, or else of 0.002: 0.001 would be harder still
    assert what_it_takes(0.0, errors, margin=0.015)[1] == pytest.approx(22, abs=2)  # (0.0206 / 0.015)^2 times 25 in all


def test_several_pairs_make_it_harder_to_help_but_not_to_be_equal() -> None:
    errors = StandardErrors(patients=0.01, seeds=0.001, num_patients=25, num_seeds=3)
    one, three = (what_it_takes(0.015, errors, num_pairs=pairs)[1] for pairs in (1, 3))
    assert one is not None
    assert three is not None
    assert one < three
    assert what_it_takes(0.0, errors, num_pairs=1) == what_it_takes(0.0, errors, num_pairs=3) != (None, None)
    stricter = what_it_takes(0.0, errors, level=0.01)[1]
    assert stricter is not None
    assert stricter > (what_it_takes(0.0, errors)[1] or 0)


def test_more_of_one_kind_cannot_mend_the_noise_of_the_other() -> None:
    assert what_it_takes(0.01, StandardErrors(patients=0.02, seeds=0.001, num_patients=25, num_seeds=3))[0] is None
    assert what_it_takes(0.01, StandardErrors(patients=0.001, seeds=0.02, num_patients=25, num_seeds=3))[1] is None


def test_of_one_seed_nothing_is_known_about_more_seeds_and_far_too_many_are_no_advice() -> None:
    one_seed = StandardErrors(patients=0.01, seeds=0.0, num_patients=25, num_seeds=1)
    assert what_it_takes(0.02, one_seed)[0] is what_it_takes(0.03, one_seed)[0] is None
    assert what_it_takes(0.01, StandardErrors(0.1, 0.1, 25, 3)) == (None, None)
    assert (MAX_SEEDS, MAX_PATIENTS) == (100, 100_000)


def test_one_look_has_the_usual_level_and_later_looks_more_than_earlier_ones() -> None:
    assert look_level(1, 1) == 0.05
    for num_looks in (2, 8, 28):
        levels = [look_level(look, num_looks) for look in range(1, num_looks + 1)]
        np.testing.assert_allclose(np.diff(levels), levels[0])
        assert 0.05 / num_looks < levels[-1] < 0.05
    for look, num_looks in ((0, 3), (4, 3), (1, 0)):
        with pytest.raises(AssertionError):
            look_level(look, num_looks)


def wrongly_told(num_inits: int, num_looks: int, num_repetitions: int) -> float:
    """Return how often some pair of equal inits is told apart at some look, where nothing but seeds spreads."""
    scores = np.random.default_rng(0).normal(size=(FIRST_LOOK + num_looks - 1, num_inits, num_repetitions))
    pairs, told = list(combinations(range(num_inits), 2)), np.zeros(num_repetitions, dtype=bool)
    for one, two in pairs:
        for look in range(1, num_looks + 1):
            p = stats.ttest_1samp((scores[:, one] - scores[:, two])[: FIRST_LOOK + look - 1], 0).pvalue
            told |= p * len(pairs) < look_level(look, num_looks)
    return float(told.mean())


@pytest.mark.parametrize("num_looks", [1, 2, 8, 16])
def test_over_all_looks_at_most_one_comparison_in_twenty_is_wrong(num_looks: int) -> None:
    # One standard error of the simulation is 0.001. Bonferroni's levels would be wrong in 0.028 of 8 looks.
    assert 0.037 < wrongly_told(2, num_looks, 50_000) < 0.052


def test_over_all_looks_and_pairs_at_most_one_comparison_in_twenty_is_wrong() -> None:
    assert 0.042 < wrongly_told(3, 8, 20_000) < 0.052


def first_answer(changes: np.ndarray, levels: list[float], seed: int) -> str:
    answer = "cannot tell"
    for number, level in enumerate(levels):
        if answer == "cannot tell":
            answer = judge(compare(changes[: FIRST_LOOK + number], level, seed, 100).ci95, None, 1, level=level)
    return answer


def sequential_answers(difference: float, seed_sd: float, levels: list[float], times: int) -> list[str]:
    rng, found = np.random.default_rng(0), []
    for seed in range(times):
        own = difference + rng.normal(0, 0.003, 12)
        seeds = rng.normal(0, seed_sd, (FIRST_LOOK + len(levels) - 1, 1))
        found.append(first_answer(own + seeds, levels, seed))
    return found


def test_a_against_a_looked_at_repeatedly_is_rarely_told() -> None:
    levels = [look_level(look, 6) for look in range(1, 7)]
    told = sum(answer in ("helps", "hurts") for answer in sequential_answers(0.0, 0.05, levels, 200))
    # The usual level at each look tells more than 20.
    assert told <= 10


def test_a_difference_as_large_as_the_margin_is_rarely_called_none_and_a_helper_is_found() -> None:
    levels = [look_level(look, 6) for look in range(1, 7)]
    at_margin = sequential_answers(0.01, 0.006, levels, 200)
    assert at_margin.count("no difference") <= 5
    assert at_margin.count("hurts") <= 2
    assert sequential_answers(0.0, 0.003, levels, 40).count("no difference") >= 34
    assert sequential_answers(0.03, 0.006, levels, 40).count("helps") >= 36


def test_the_level_is_that_of_the_interval_and_enough_is_resampled_for_it() -> None:
    seeds = np.random.default_rng(0).normal(size=5)
    changes = np.repeat(seeds[:, None], 9, axis=1)
    for level in (0.05, 0.01, 0.002):
        found = compare(changes, level, num_resamples=100).ci95
        half = stats.t.ppf(1 - level / 2, 4) * seeds.std(ddof=1) / 5**0.5
        assert found is not None
        np.testing.assert_allclose(found, (seeds.mean() - half, seeds.mean() + half), rtol=0.25)
        assert compare(changes, level, num_resamples=20_000).ci95 == pytest.approx(
            (seeds.mean() - half, seeds.mean() + half), rel=0.03
        )
