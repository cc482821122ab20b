"""What labels and initializations are worth: against brute force, known truths and the paired comparison."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy.stats import spearmanr

from selfmae.errors import UserError
from selfmae.metrics.label_curve import (
    Point,
    _labels_of,
    _resample_means,
    _rising,
    _score_patients,
    headroom,
    label_curve,
    worth_in_labels,
)
from selfmae.metrics.rows import Runs, auc_scorer, compare_runs, dice_scorer

DICE = dice_scorer("dice")
NUM_PATIENTS = 20
HARDNESS = np.random.default_rng(0).normal(0, 0.1, NUM_PATIENTS)
DRAW_SHIFTS = (-0.02, 0.03, -0.01)


def runs_of(draws: Mapping[int, np.ndarray], patients: Sequence[str] = ()) -> Runs:
    """Return runs whose draws have these Dice values [n], a case a patient unless patients are named."""
    ids = tuple(f"{index:03}" for index in range(len(next(iter(draws.values())))))
    rows = {
        draw: [[{"id": case, "dice": str(value)} for case, value in zip(ids, values, strict=True)]]
        for draw, values in draws.items()
    }
    return Runs(rows, ids, tuple(patients) or ids)


def steady(mean: float, shifts: Sequence[float] = DRAW_SHIFTS, noise: float = 0.0, seed: int = 0) -> Runs:
    """Return draws whose cases are as hard as everywhere, with a shift a draw and noise of their own."""
    rng = np.random.default_rng(seed)
    cases = HARDNESS - HARDNESS.mean()
    return runs_of({d: mean + cases + shift + rng.normal(0, noise, len(cases)) for d, shift in enumerate(shifts)})


def curve_of(init: str, means: Mapping[int, float], **options: float) -> dict[Point, Runs]:
    return {Point("unet", init, n): steady(mean, seed=n + len(init), **options) for n, mean in means.items()}


SCRATCH = {3: 0.5, 5: 0.6, 10: 0.7, 40: 0.8}


def equals(points: Mapping[Point, Runs], labels: int) -> float | None:
    return next(row["equals"] for row in worth_in_labels(points, DICE, num_resamples=50) if row["labels"] == labels)


def ends(points: Mapping[Point, Runs], labels: int, num_resamples: int = 400) -> tuple[float | None, float | None]:
    rows = worth_in_labels(points, DICE, num_resamples=num_resamples)
    return next(row["ci95"] for row in rows if row["labels"] == labels)


def test_the_curve_has_the_mean_over_draws_and_the_interval_of_the_comparison() -> None:
    points = curve_of("scratch", SCRATCH, noise=0.05) | curve_of("mae", {5: 0.65}, noise=0.05)
    rows = label_curve(points, DICE, 200)
    assert [(row["network"], row["init"], row["labels"]) for row in rows] == [
        ("unet", "mae", 5),
        *(("unet", "scratch", n) for n in SCRATCH),
    ]
    for row in rows:
        runs = points[Point(row["network"], row["init"], row["labels"])]
        values = [float(case["dice"]) for found in runs.repeats.values() for case in found[0]]
        assert row["mean"] == pytest.approx(np.mean(values))
        assert row["ci95"] == compare_runs(runs, runs, DICE, 200).ci95_a
        assert row["num_draws"] == 3


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_what_equals_scratch_at_twice_the_labels_is_worth_twice_the_labels(noise: float) -> None:
    means = {n: 0.3 + 0.1 * np.log2(n) for n in (2, 4, 8, 16, 32)}
    points = curve_of("scratch", means, noise=noise)
    points |= {Point("unet", "mae", n): points[Point("unet", "scratch", 2 * n)] for n in (2, 4, 8, 16)}
    for row in worth_in_labels(points, DICE, num_resamples=200):
        assert row["equals"] == pytest.approx(2 * row["labels"])
        assert row["ci95"] == pytest.approx((2 * row["labels"], 2 * row["labels"]))


def test_between_two_points_the_curve_is_linear_in_the_logarithm() -> None:
    points = curve_of("scratch", SCRATCH) | curve_of("mae", {3: 0.55, 5: 0.725})
    assert equals(points, 3) == pytest.approx((3 * 5) ** 0.5)
    assert equals(points, 5) == pytest.approx(10 * 4**0.25)


def test_beyond_the_curve_the_interval_says_at_least_or_at_most() -> None:
    points = curve_of("scratch", SCRATCH) | curve_of("mae", {3: 0.9, 10: 0.4})
    rows = {row["labels"]: row for row in worth_in_labels(points, DICE)}
    assert (rows[3]["equals"], rows[3]["ci95"]) == (None, (40, None))
    assert (rows[10]["equals"], rows[10]["ci95"]) == (None, (None, 3))


def test_an_end_of_the_interval_beyond_the_curve_is_none() -> None:
    points = curve_of("scratch", SCRATCH, noise=0.05) | curve_of("mae", {3: 0.51, 5: 0.79}, noise=0.05)
    (low, high), (lower, upper) = (row["ci95"] for row in worth_in_labels(points, DICE, num_resamples=400))
    assert (low, 3 < high < 5) == (None, True)
    assert (10 < lower < 40, upper) == (True, None)


def test_the_first_and_the_last_point_are_on_the_curve() -> None:
    points = curve_of("scratch", SCRATCH)
    points |= {Point("unet", "mae", 5): points[Point("unet", "scratch", 40)]}
    points |= {Point("unet", "mae", 3): points[Point("unet", "scratch", 3)]}
    assert (equals(points, 5), equals(points, 3)) == (40, 3)


def test_on_a_level_of_the_curve_the_own_number_of_labels_is_kept() -> None:
    points = curve_of("scratch", {3: 0.5, 5: 0.7, 10: 0.7, 40: 0.7}) | curve_of("mae", {3: 0.7, 10: 0.7, 60: 0.7})
    assert [equals(points, n) for n in (3, 10, 60)] == pytest.approx([5, 10, 40])


def test_a_falling_curve_is_levelled_by_its_numbers_of_draws() -> None:
    points = curve_of("scratch", {3: 0.5, 10: 0.6, 40: 0.8})
    points[Point("unet", "scratch", 5)] = steady(0.68, shifts=(0,))  # one draw against three: level at 0.62
    points |= curve_of("mae", {5: 0.62 - 1e-3, 10: 0.62 + 1e-3})
    below, above = equals(points, 5), equals(points, 10)
    assert below is not None
    assert above is not None
    assert below < 5 < 5.1
    assert 10 < above < 10.2


def min_max(curve: np.ndarray, weights: np.ndarray) -> list[float]:
    """Return the isotonic regression by its formula: the largest of the smallest means of blocks around a point."""
    size = len(curve)

    def block(start: int, stop: int) -> float:
        return float(np.average(curve[start : stop + 1], weights=weights[start : stop + 1]))

    return [max(min(block(i, j) for j in range(k, size)) for i in range(k + 1)) for k in range(size)]


def test_the_rising_curve_is_the_isotonic_regression() -> None:
    rng = np.random.default_rng(1)
    curves, weights = rng.random((30, 5)), rng.integers(1, 6, 5).astype(float)
    curves[7, 2] = np.nan
    rising = _rising(curves, weights)
    assert np.isnan(rising[7, 2])
    for index in set(range(30)) - {7}:
        np.testing.assert_allclose(rising[index], min_max(curves[index], weights))


def test_the_inverse_of_curves_is_that_of_a_search_along_them() -> None:
    rng, counts = np.random.default_rng(2), np.array([3.0, 5, 10, 40])
    curves, scores = np.sort(rng.random((200, 4)), axis=1), rng.random(200)
    curves[:50, 1] = curves[:50, 2]  # levels
    scores[:25] = curves[:25, 1]
    scores[25:30], scores[30:35] = curves[25:30, 0], curves[30:35, -1]
    grid = np.geomspace(3, 40, 20001)
    for found, curve, score in zip(_labels_of(scores, curves, counts, 7), curves, scores, strict=True):
        heights = np.interp(np.log(grid), np.log(counts), curve)
        if score < curve[0] or score > curve[-1]:
            assert found == (0 if score < curve[0] else np.inf)
            continue
        near = grid[np.abs(heights - score) <= np.abs(heights - score).min() + 1e-12]
        assert found == pytest.approx(near[np.abs(near - 7).argmin()], rel=1e-3)


@pytest.mark.parametrize("rounding", [-1e-12, 1e-12])
def test_a_rounding_error_moves_nothing_beyond_the_curve_or_off_a_level(rounding: float) -> None:
    curves, counts = np.array([[0.5, 0.6, 0.6, 0.7]] * 3), np.array([3.0, 5, 10, 40])
    found = _labels_of(np.array([0.5, 0.6, 0.7]) + rounding, curves, counts, 7)
    np.testing.assert_allclose(found, [3, 7, 40])


@pytest.mark.parametrize(
    ("num_patients", "num_draws", "draw_sd"), [(20, 3, 0.03), (20, 2, 0.03), (4, 1, 0), (4, 3, 0.1)]
)
def test_the_chance_of_a_point_and_of_a_difference_is_that_of_the_paired_comparison(
    num_patients: int, num_draws: int, draw_sd: float
) -> None:
    rng = np.random.default_rng(1)
    hard, shifts = rng.normal(0, 0.1, num_patients), rng.normal(0, draw_sd, (2, num_draws, 1))
    values = 0.5 + hard + shifts + rng.normal(0, 0.05, (2, 1, num_patients))
    few, many = (runs_of(dict(enumerate(table))) for table in values)
    half, every = Point("unet", "scratch", 5), Point("unet", "scratch", 10)
    means = _resample_means({half: few, every: many}, DICE, 20_000)
    expected = compare_runs(few, many, DICE, 20_000)
    for found, ci95 in ((means[half], expected.ci95_a), (means[every] - means[half], expected.ci95)):
        assert ci95 is not None
        found = found[1:].clip(0 if ci95 == expected.ci95_a else -1, 1)
        np.testing.assert_allclose(np.quantile(found, [0.025, 0.975]), ci95, atol=0.05 * (ci95[1] - ci95[0]))


def test_the_chances_of_patients_and_of_draws_are_independent() -> None:
    by_draw, by_patient = Point("unet", "scratch", 5), Point("unet", "scratch", 10)
    draws = runs_of({draw: np.full(6, value) for draw, value in enumerate((0.4, 0.5, 0.7))})
    means = _resample_means({by_draw: draws, by_patient: runs_of({0: HARDNESS[:6]})}, DICE, 10_000)
    sizes = [np.abs(means[point][1:] - means[point][0]) for point in (by_draw, by_patient)]
    assert abs(spearmanr(*sizes).statistic) < 0.04  # four standard errors


def test_the_interval_is_that_of_resampled_patients_and_draws_where_both_are_many() -> None:
    rng, num_draws, size = np.random.default_rng(3), 30, 60
    hard, counts = rng.normal(0, 0.1, size), (3, 5, 10)
    shifts = rng.normal(0, 0.05, num_draws)
    tables = {  # [D, n] of each point
        (init, n): mean + hard + shifts[:, None] + rng.normal(0, 0.1, (num_draws, 1)) + rng.normal(0, 0.05, size)
        for init, n, mean in (("scratch", 3, 0.4), ("scratch", 5, 0.55), ("scratch", 10, 0.8), ("mae", 3, 0.6))
    }
    points = {Point("unet", init, n): runs_of(dict(enumerate(table))) for (init, n), table in tables.items()}
    found = []
    for _ in range(1500):
        draws, cases = rng.integers(num_draws, size=num_draws), rng.integers(size, size=size)
        means = {key: table[np.ix_(draws, cases)].mean() for key, table in tables.items()}
        curve = min_max(np.array([means["scratch", n] for n in counts]), np.ones(3))
        assert curve[0] < means["mae", 3]
        found.append(np.exp(np.interp(means["mae", 3], curve, np.log(counts))))
    np.testing.assert_allclose(ends(points, 3, 3000), np.quantile(found, [0.025, 0.975]), rtol=0.05)


def test_what_moves_all_curves_of_a_draw_or_a_patient_together_does_not_widen_the_interval() -> None:
    shifts = (-0.2, 0.2, 0.1, 0.0)
    points = {Point("unet", "scratch", n): steady(mean, shifts) for n, mean in SCRATCH.items()}
    alike = points | {Point("unet", "mae", 5): steady(0.65, shifts)}
    assert ends(alike, 5) == pytest.approx((50**0.5, 50**0.5))
    other = points | {Point("unet", "mae", 5): steady(0.65, shifts[::-1])}
    assert ends(other, 5) == (None, None)


@pytest.mark.parametrize(("scale", "shift"), [(0.5, 0.2), (3.0, -4.0)])
def test_the_worth_does_not_depend_on_the_unit_of_the_score(scale: float, shift: float) -> None:
    points = curve_of("scratch", SCRATCH, noise=0.05) | curve_of("mae", {3: 0.58, 5: 0.66, 10: 0.74}, noise=0.05)
    other = {
        point: runs_of({d: scale * np.array([float(row["dice"]) for row in rows[0]]) + shift for d, rows in found})
        for point, found in ((point, runs.repeats.items()) for point, runs in points.items())
    }
    for before, after in zip(
        *(worth_in_labels(some, DICE, num_resamples=200) for some in (points, other)), strict=True
    ):
        assert after["equals"] == pytest.approx(before["equals"])
        assert after["ci95"] == pytest.approx(before["ci95"])


def test_twice_the_labels_everywhere_are_worth_twice_as_many() -> None:
    points = curve_of("scratch", SCRATCH, noise=0.02) | curve_of("mae", {3: 0.58, 5: 0.66}, noise=0.02)
    double = {Point(*point[:2], 2 * point.labels): runs for point, runs in points.items()}
    for before, after in zip(
        *(worth_in_labels(some, DICE, num_resamples=200) for some in (points, double)), strict=True
    ):
        assert after["equals"] == pytest.approx(2 * before["equals"])
        assert after["ci95"] == pytest.approx([2 * end for end in before["ci95"]])


def test_a_better_initialization_is_never_worth_less() -> None:
    curve = curve_of("scratch", {3: 0.5, 5: 0.65, 10: 0.6, 20: 0.61, 40: 0.8})
    found = [equals(curve | {Point("unet", "mae", 5): steady(mean)}, 5) for mean in np.linspace(0.5, 0.8, 16)]
    values = [value for value in found if value is not None]
    assert len(values) == 16
    assert values == sorted(values)


def test_each_network_is_compared_with_its_own_reference() -> None:
    vit = {
        Point("vit", point.init, point.labels): runs for point, runs in curve_of("scratch", {3: 0.6, 5: 0.8}).items()
    }
    vit[Point("vit", "mae", 3)] = steady(0.7)
    only = {Point("resnet", "mae", 3): steady(0.7)}
    points = curve_of("scratch", SCRATCH) | curve_of("scratch+", {3: 0.55, 5: 0.65}) | curve_of("mae", {3: 0.6})
    rows = worth_in_labels(points | vit | only, DICE, num_resamples=50)
    assert [(row["network"], row["init"], row["labels"]) for row in rows] == [
        ("unet", "mae", 3),
        ("unet", "scratch+", 3),
        ("unet", "scratch+", 5),
        ("vit", "mae", 3),
    ]
    assert (rows[0]["equals"], rows[3]["equals"]) == pytest.approx((5, 15**0.5))
    rows = worth_in_labels(points, DICE, reference="scratch+", num_resamples=50)
    assert next(row["equals"] for row in rows if row["init"] == "mae") == pytest.approx(15**0.5)


def test_the_headroom_is_the_paired_difference_from_at_most_half_of_the_labels_to_all() -> None:
    points = curve_of("scratch", SCRATCH, noise=0.05) | curve_of("mae", {20: 0.7, 80: 0.9})
    found = headroom(points, DICE, "unet", num_resamples=20_000)
    few, every = points[Point("unet", "scratch", 10)], points[Point("unet", "scratch", 40)]
    expected = compare_runs(few, every, DICE, 20_000)
    assert found is not None
    assert (found["from"], found["to"]) == (10, 40)
    assert found["mean"] == pytest.approx(expected.difference)
    assert found["ci95"] == pytest.approx(expected.ci95, abs=0.005)
    found = headroom(points, DICE, "unet", "mae", num_resamples=50)
    assert found is not None
    assert (found["from"], found["to"]) == (20, 80)


@pytest.mark.parametrize(("counts", "start"), [((5, 10), 5), ((4, 5, 9), 4), ((3, 6, 7, 15), 7)])
def test_half_is_the_largest_number_of_labels_that_is_at_most_half_of_all(counts: Sequence[int], start: int) -> None:
    found = headroom(curve_of("scratch", {n: 0.5 + n / 100 for n in counts}), DICE, "unet", num_resamples=20)
    assert found is not None
    assert (found["from"], found["to"], found["mean"]) == (start, counts[-1], pytest.approx((counts[-1] - start) / 100))


@pytest.mark.parametrize("counts", [(), (5,), (6, 10)])
def test_without_at_most_half_of_the_labels_there_is_no_headroom(counts: Sequence[int]) -> None:
    points = curve_of("scratch", dict.fromkeys(counts, 0.5)) | curve_of("mae", SCRATCH)
    assert headroom(points, DICE, "unet") is None


def test_all_labels_have_one_draw_and_the_draws_of_half_count_all_the_same() -> None:
    points = {Point("unet", "scratch", 5): steady(0.5, (0.0, 0.3)), Point("unet", "scratch", 10): steady(0.9, (0.0,))}
    found = headroom(points, DICE, "unet", num_resamples=2000)
    assert found is not None
    assert found["mean"] == pytest.approx(0.9 - 0.65)
    assert found["ci95"] == (-1, 1)  # two draws of half know their mean to about 0.15 times Student's t of 1: 12.7
    assert [row["num_draws"] for row in label_curve(points, DICE, 20)] == [2, 1]


def test_cases_of_one_patient_are_not_independent_evidence() -> None:
    rng = np.random.default_rng(0)
    values = {n: np.repeat(mean + rng.normal(0, 0.1, 6), 10) for n, mean in {3: 0.4, 10: 0.6, 30: 0.8}.items()}

    def width(patients: Sequence[str]) -> float:
        points = {Point("unet", "scratch", n): runs_of({0: cases}, patients) for n, cases in values.items()}
        points[Point("unet", "mae", 3)] = runs_of({0: np.full(60, 0.6)}, patients)
        low, high = ends(points, 3)
        return (high or 90) - (low or 0)

    assert width([f"p{index // 10}" for index in range(60)]) > 2 * width([f"p{index}" for index in range(60)])


def finding(probabilities: Sequence[float], truth: Sequence[int]) -> Runs:
    ids = tuple(f"{index:03}" for index in range(len(truth)))
    rows = [
        {"id": case, "fold": "0", "truth_mass": str(positive), "probability_mass": str(probability)}
        for case, positive, probability in zip(ids, truth, probabilities, strict=True)
    ]
    return Runs({0: [rows]}, ids, ids)


AUC = auc_scorer(("mass",))


def test_a_score_that_the_cases_do_not_define_has_no_worth() -> None:
    points = {Point("vit", init, n): finding([0.1, 0.2, 0.3], [0, 0, 0]) for init in ("scratch", "mae") for n in (3, 6)}
    assert [(row["equals"], row["ci95"]) for row in worth_in_labels(points, AUC, num_resamples=50)] == [
        (None, None)
    ] * 2
    assert headroom(points, AUC, "vit") == {"mean": None, "ci95": None, "from": 3, "to": 6}
    assert {(row["mean"], row["ci95"]) for row in label_curve(points, AUC, 50)} == {(None, None)}


@pytest.mark.parametrize("num_positive", [1, 3])
def test_few_positive_patients_without_spread_give_no_interval(num_positive: int) -> None:
    truth = [1] * num_positive + [0] * 9
    perfect = finding([0.9] * num_positive + [0.1] * 9, truth)
    points = {Point("vit", init, n): perfect for init in ("scratch", "mae") for n in (3, 6)}
    assert [(row["equals"], row["ci95"]) for row in worth_in_labels(points, AUC, num_resamples=200)] == [
        (3, None),
        (6, None),
    ]
    found = headroom(points, AUC, "vit")
    assert found is not None
    assert (found["mean"], found["ci95"]) == (0, None)


def test_points_of_other_test_cases_are_refused() -> None:
    points = curve_of("scratch", SCRATCH) | {Point("unet", "mae", 5): runs_of({0: np.ones(3)})}
    for count in (label_curve, worth_in_labels):
        with pytest.raises(
            UserError,
            match="unet from mae with 5 labelled patients and unet from scratch with 3 labelled patients were "
            "not evaluated on the same test cases: give runs with one and the same split",
        ):
            count(points, DICE)


def test_the_same_points_give_the_same_bytes_in_any_order_and_next_to_any_others() -> None:
    points = curve_of("scratch", SCRATCH, noise=0.1) | curve_of("mae", {5: 0.65}, noise=0.1)
    more = dict(reversed(points.items())) | curve_of("moco", {3: 0.6})
    rows, others = (worth_in_labels(some, DICE, num_resamples=200) for some in (points, more))
    assert rows == [row for row in others if row["init"] == "mae"]
    assert headroom(points, DICE, "unet") == headroom(more, DICE, "unet")


def test_resampling_in_parts_uses_other_patients_in_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {point: runs.scores(DICE) for point, runs in curve_of("scratch", {3: 0.5, 5: 0.6}, noise=0.1).items()}
    patients = [str(index) for index in range(NUM_PATIENTS)]
    monkeypatch.setattr("selfmae.metrics.label_curve.WEIGHTS_AT_ONCE", 60 * NUM_PATIENTS)
    _, resampled = _score_patients(scores, patients, 500, np.random.default_rng(0))
    for values in resampled.values():
        assert len(np.unique(values)) == 500
