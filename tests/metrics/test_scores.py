"""Scores over folds and repeats: which pairs of cases an AUC compares."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from selfmae.metrics.scores import mean_auc_score, mean_of_scores, mean_score


def one(num_cases: int) -> np.ndarray:
    return np.ones((1, num_cases))


def test_over_folds_of_equal_numbers_auc_is_the_mean_of_the_folds_by_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = np.tile([1.0, 0, 0, 1, 0, 0], 5)[:, None]
    probability, folds = rng.random((30, 1)), np.repeat(range(5), 6)
    expected = np.mean([roc_auc_score(truth[folds == f, 0], probability[folds == f, 0]) for f in range(5)])
    assert mean_auc_score(truth, probability, folds)(one(30)) == pytest.approx(expected)


def test_models_on_different_scales_do_not_change_auc() -> None:
    truth = np.array([[1.0], [0], [1], [0]])
    probability = np.array([[0.9], [0.8], [0.2], [0.1]])
    assert mean_auc_score(truth, probability, [0, 0, 1, 1])(one(4)) == pytest.approx(1.0)
    assert mean_auc_score(truth, probability)(one(4)) == pytest.approx(0.75)


def test_pairs_count_alike_by_brute_force_with_case_weights() -> None:
    rng = np.random.default_rng(1)
    truth, probability = rng.random(20) < 0.4, rng.random(20).round(1)
    folds, weights = rng.integers(3, size=20), rng.integers(0, 3, size=20).astype(float)
    won = pairs = 0.0
    for i in np.flatnonzero(truth):
        for j in np.flatnonzero(~truth & (folds == folds[i])):
            pairs += weights[i] * weights[j]
            won += (
                weights[i] * weights[j] * ((probability[i] > probability[j]) + 0.5 * (probability[i] == probability[j]))
            )
    score = mean_auc_score(truth[:, None].astype(float), probability[:, None], folds.tolist())
    assert score(weights[None]) == pytest.approx(won / pairs)


def test_a_fold_with_one_outcome_adds_no_pair() -> None:
    truth, probability = np.array([[1.0], [0], [1], [1]]), np.array([[0.9], [0.1], [0.0], [0.0]])
    assert mean_auc_score(truth, probability, [0, 0, 1, 1])(one(4)) == pytest.approx(1.0)


def test_leave_one_out_pools_all_cases() -> None:
    truth, probability = np.array([[1.0], [0], [1], [0]]), np.array([[0.9], [0.8], [0.2], [0.1]])
    assert mean_auc_score(truth, probability, range(4))(one(4)) == pytest.approx(0.75)


def test_repeats_are_averaged_and_undefined_ones_left_out() -> None:
    first, second = mean_score(np.array([0.2, np.nan])), mean_score(np.array([0.4, 0.8]))
    both = mean_of_scores([first, second])(np.array([[1, 1], [0, 1.0], [1, 0]]))
    np.testing.assert_allclose(both, [(0.2 + 0.6) / 2, 0.8, (0.2 + 0.4) / 2])
