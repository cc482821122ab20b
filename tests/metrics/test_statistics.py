"""The paired comparison: its parts against scikit-learn and counts, its verdicts against known truths."""

from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from selfmae.metrics.scores import Score, mean_auc_score, mean_score
from selfmae.metrics.statistics import Comparison, _interval, _p_value, compare_paired, patient_weights


def weights(num_resamples: int, num_cases: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, (num_resamples, num_cases)).astype(float)


def names(num: int) -> list[str]:
    return [f"p{i}" for i in range(num)]


def told(found: Comparison) -> str:
    """Return what the interval says of 0."""
    if found.ci95 is None or found.ci95[0] <= 0 <= found.ci95[1]:
        return "cannot tell"
    return "helps" if found.ci95[0] > 0 else "hurts"


def compare(a: list[np.ndarray], b: list[np.ndarray], seed: int = 0) -> Comparison:
    """Compare means of values [n] of each training seed, one case a patient."""
    return compare_paired([mean_score(x) for x in a], [mean_score(x) for x in b], names(len(a[0])), seed, 1000)


def test_the_weighted_auc_equals_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(1)
    truth, probability, drawn = rng.random((30, 3)) < 0.4, rng.random((30, 3)).round(1), weights(20, 30)
    expected = [roc_auc_score(truth, probability, average="macro", sample_weight=w) for w in drawn]
    np.testing.assert_allclose(mean_auc_score(truth.astype(float), probability)(drawn), expected, atol=1e-12)


def test_the_auc_of_a_resample_leaves_out_findings_without_both_outcomes() -> None:
    truth = np.array([[1, 1], [0, 0], [0, 1.0]])
    score = mean_auc_score(truth, np.array([[0.9, 0.1], [0.1, 0.5], [0.2, 0.3]]))
    scored = score(np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0.0]]))
    np.testing.assert_allclose(scored, [(1 + 0) / 2, 1, np.nan])


def test_the_mean_score_is_the_weighted_mean_without_nan() -> None:
    scored = mean_score(np.array([1.0, np.nan, 4.0]))(np.array([[1, 1, 1], [2, 5, 1], [0, 3, 0.0]]))
    np.testing.assert_allclose(scored, [2.5, 2.0, np.nan])


def test_all_cases_of_a_patient_are_drawn_together_and_the_number_of_patients_stays() -> None:
    patients = ["b", "a", "b", "c"]
    drawn = patient_weights(patients, 500, np.random.default_rng(0))
    assert np.array_equal(drawn[:, 0], drawn[:, 2])
    assert set(drawn[:, [0, 1, 3]].sum(axis=1)) == {3.0}
    np.testing.assert_allclose(drawn.mean(axis=0), 1, atol=0.15)


def test_draws_of_patients_are_independent_of_each_other() -> None:
    drawn = patient_weights(["a", "b"], 4000, np.random.default_rng(0))[:, 0]
    counts = Counter(drawn.tolist())
    np.testing.assert_allclose([counts[k] / 4000 for k in (0, 1, 2)], [0.25, 0.5, 0.25], atol=0.03)


def test_equal_scores_cannot_tell_and_have_p_1() -> None:
    values = [np.random.default_rng(seed).random(12) for seed in range(3)]
    done = compare(values, values)
    assert (told(done), done.difference, done.ci95, done.p) == ("cannot tell", 0.0, (0.0, 0.0), 1.0)


@pytest.mark.parametrize(("shift", "verdict"), [(0.3, "helps"), (-0.3, "hurts"), (0.01, "cannot tell")])
def test_the_verdict_follows_the_direction_of_a_clear_difference(shift: float, verdict: str) -> None:
    a = np.linspace(0.2, 0.8, 20)
    b = [a + shift + 0.1 * np.cos(np.arange(20)) + seed_shift for seed_shift in (-0.02, 0, 0.02)]
    done = compare([a] * 3, b)
    assert told(done) == verdict
    assert done.p is not None
    assert (done.p < 0.05) == (verdict != "cannot tell")


def test_means_and_counts_are_those_of_the_cases() -> None:
    a, b = [np.array([0.1, 0.3]), np.array([0.3, 0.5])], [np.array([0.5, 0.7]), np.array([0.7, 0.9])]
    scores = [[mean_score(x) for x in side] for side in (a, b)]
    done = compare_paired(*scores, ["p", "q"], seed=0)
    assert (done.mean_a, done.mean_b, done.difference) == pytest.approx((0.3, 0.7, 0.4))
    assert (done.num_cases, done.num_patients, done.num_seeds) == (2, 2, 2)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    values = [np.random.default_rng(seed).random(10) for seed in range(4)]
    assert compare(values[:2], values[2:]) == compare(values[:2], values[2:])
    assert compare(values[:2], values[2:]) != compare(values[:2], values[2:], seed=1)


def test_pairing_takes_out_what_makes_a_case_hard() -> None:
    hardness = np.linspace(0, 1, 15)
    done = compare([hardness], [hardness + 0.02 + 0.001 * np.cos(np.arange(15))])
    assert told(done) == "helps"


def test_cases_of_one_patient_are_not_independent_evidence() -> None:
    rng = np.random.default_rng(0)
    effect = np.repeat([0.5, -0.2, 0.4, -0.1], 25)
    b = mean_score(effect + rng.normal(0, 0.01, 100))
    zero = mean_score(np.zeros(100))
    grouped = [f"p{i // 25}" for i in range(100)]
    assert told(compare_paired([zero], [b], names(100), 0)) == "helps"
    assert told(compare_paired([zero], [b], grouped, 0)) == "cannot tell"


def test_a_difference_in_which_the_seeds_disagree_cannot_be_told() -> None:
    zero, cases = np.zeros(50), np.random.default_rng(0).normal(0, 0.01, 50)
    assert told(compare([zero] * 3, [cases + shift for shift in (0.02, 0.1, 0.3)])) == "cannot tell"
    assert told(compare([zero] * 3, [cases + shift for shift in (0.13, 0.14, 0.15)])) == "helps"


def test_the_seed_level_interval_is_that_of_students_t() -> None:
    done = compare_paired(
        [mean_score(np.zeros(9))] * 3, [mean_score(np.full(9, s)) for s in (1.0, 2.0, 3.0)], names(9), 0, 20000
    )
    assert done.ci95 == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5), abs=0.15)


def test_the_patient_level_interval_is_that_of_students_t() -> None:
    values = np.random.default_rng(0).normal(0, 1, 6)
    done = compare_paired([mean_score(np.zeros(6))], [mean_score(values)], names(6), 0, 20000)
    half = 2.571 * values.std(ddof=1) / 6**0.5
    assert done.ci95 == pytest.approx((values.mean() - half, values.mean() + half), abs=0.12 * half)


def test_the_smallest_p_is_that_of_no_draw_beyond_zero() -> None:
    done = compare_paired([mean_score(np.zeros(30))], [mean_score(np.ones(30))], names(30), 0, 99)
    assert done.p == pytest.approx(2 / 100)


@pytest.mark.parametrize(("num_seeds", "num_patients", "seed_sd"), [(1, 6, 0.0), (1, 30, 0.0), (3, 6, 0.5), (3, 30, 1)])
def test_a_against_a_cannot_tell_in_95_of_100_runs(num_seeds: int, num_patients: int, seed_sd: float) -> None:
    rng = np.random.default_rng(3)
    num_told = 0
    for trial in range(300):
        hardness = rng.normal(0, 1, num_patients)
        noise = rng.normal(0, 1, (2, num_seeds, num_patients)) + rng.normal(0, seed_sd, (2, num_seeds, 1))
        scores: list[list[Score]] = [[mean_score(hardness + x) for x in side] for side in noise]
        num_told += told(compare_paired(*scores, names(num_patients), trial, 400)) != "cannot tell"
    # 15 of 300 expected at most; 3 standard errors of the simulation above it.
    assert num_told <= 15 + 3 * (300 * 0.05 * 0.95) ** 0.5


def test_one_patient_has_no_interval() -> None:
    done = compare_paired([mean_score(np.zeros(3))], [mean_score(np.ones(3))], ["p"] * 3, 0, 100)
    assert (done.difference, done.ci95, done.p, told(done)) == (1.0, None, None, "cannot tell")


def test_a_score_that_the_cases_do_not_define_is_none() -> None:
    score = mean_auc_score(np.ones((4, 1)), np.random.default_rng(0).random((4, 1)))
    done = compare_paired([score], [score], names(4), 0, 100)
    assert (done.mean_a, done.difference, done.ci95_a, done.ci95, told(done)) == (
        None,
        None,
        None,
        None,
        "cannot tell",
    )


def test_limits_bound_the_intervals_of_the_initializations_only() -> None:
    a, b = mean_score(np.array([0.98, 0.7, 1.0])), mean_score(np.array([0.99, 0.8, 1.0]))
    free, bounded = (compare_paired([a], [b], names(3), 0, 500, limits) for limits in ((-9.0, 9.0), (0.0, 1.0)))
    assert free.ci95_a is not None
    assert bounded.ci95_a is not None
    assert free.ci95_a[1] > bounded.ci95_a[1] == 1.0
    assert free.ci95 == bounded.ci95


def test_resampling_in_parts_uses_other_draws_for_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfmae.metrics.statistics.WEIGHTS_AT_ONCE", 1000)
    seen: list[np.ndarray] = []

    def score(drawn: np.ndarray) -> np.ndarray:
        seen.append(drawn)
        return drawn[:, 0]

    watched = Score(score, np.ones(10, dtype=bool))
    compare_paired([watched], [mean_score(np.zeros(10))], names(10), 0, 250)
    assert [len(part) for part in seen] == [1, 100, 100, 50]
    assert not np.array_equal(seen[1], seen[2])


def one_finding(num_positive: int, num_negative: int, rng: np.random.Generator) -> tuple[list[Score], list[Score]]:
    """Return the AUC of two equally good models of one seed, on positive cases first."""
    truth = np.arange(num_positive + num_negative)[:, None] < num_positive
    noise = rng.normal(size=(2, *truth.shape)) + rng.normal(size=truth.shape)
    a, b = ([mean_auc_score(truth, side + 1.5 * truth)] for side in noise)
    return a, b


@pytest.mark.parametrize("num_positive", [2, 3])
def test_few_positive_cases_among_many_do_not_tell_equally_good_models_apart(num_positive: int) -> None:
    rng, num_told = np.random.default_rng(0), 0
    for trial in range(150):
        done = compare_paired(*one_finding(num_positive, 30, rng), names(num_positive + 30), trial, 400)
        num_told += told(done) != "cannot tell"
    assert num_told <= 12  # 150 * 0.05 + 1.7 standard deviations; all 32 patients as degrees of freedom tell 21 with 2


def test_a_single_positive_patient_gives_an_auc_no_interval() -> None:
    done = compare_paired(*one_finding(1, 30, np.random.default_rng(0)), names(31), 0, 200)
    assert (done.effective_n, done.ci95, done.p, told(done)) == (1, None, None, "cannot tell")


def test_the_patients_that_have_a_label_decide_its_score_not_all() -> None:
    values = np.array([0.1, 0.2, 0.3, *[np.nan] * 20])
    few = compare_paired([mean_score(0 * values)], [mean_score(values)], names(23), 0, 4000)
    alone = compare_paired([mean_score(np.zeros(3))], [mean_score(values[:3])], names(3), 0, 4000)
    assert few.ci95 is not None
    assert few.ci95[0] < 0  # Student's t with 2 degrees of freedom, not 22
    np.testing.assert_allclose(few.ci95, alone.ci95, atol=0.06)


@pytest.mark.parametrize(("num", "verdict"), [(5, "cannot tell"), (6, "helps")])
def test_few_patients_that_all_differ_by_the_same_amount_may_do_so_by_chance(num: int, verdict: str) -> None:
    done = compare_paired([mean_score(np.zeros(num))], [mean_score(np.full(num, 0.1))], names(num), 0, 100)
    assert (told(done), done.ci95 is None, done.p is None) == (verdict, num == 5, num == 5)


def test_the_interval_leaves_out_0_exactly_where_p_is_below_005() -> None:
    rng, borders = np.random.default_rng(0), 0
    for num_draws in (100, 399, 1000, 1999, 2000):
        for beyond in range(num_draws // 40 - 2, num_draws // 40 + 3):
            draws = np.r_[-rng.random(beyond), rng.random(num_draws - beyond)]
            ci95, p = _interval(draws), _p_value(draws)
            assert ci95 is not None
            assert p is not None
            assert (ci95[0] > 0) == (p < 0.05)
            borders += p < 0.05
    assert 5 < borders < 25
