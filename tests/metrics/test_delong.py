"""AUC differences: the paired bootstrap against DeLong's interval (DeLong et al. 1988, Biometrics 44:837)."""

import numpy as np
import pytest
from scipy.stats import norm

from selfmae.metrics.scores import mean_auc_score
from selfmae.metrics.statistics import compare_paired


def delong(truth: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Return the difference of the AUCs of b and a and its 95 % interval, from the placements of each case."""
    placed = [np.sign(x[truth > 0][:, None] - x[truth < 1][None]) / 2 + 0.5 for x in (a, b)]
    change = placed[1] - placed[0]
    error = np.sqrt(change.mean(axis=1).var(ddof=1) / len(change) + change.mean(axis=0).var(ddof=1) / change.shape[1])
    width = norm.ppf(0.975) * error
    return float(change.mean()), float(change.mean() - width), float(change.mean() + width)


@pytest.mark.parametrize(("num_cases", "gain"), [(120, 0.0), (120, 0.6), (400, 0.3), (1000, 0.1)])
def test_the_interval_of_one_seed_is_about_that_of_delong(num_cases: int, gain: float) -> None:
    rng = np.random.default_rng(num_cases)
    truth = (rng.random(num_cases) < 0.3).astype(float)
    common = rng.normal(truth, 1)
    a, b = common + rng.normal(0, 0.7, num_cases), common + gain * truth + rng.normal(0, 0.7, num_cases)
    scores = [[mean_auc_score(truth[:, None], x[:, None])] for x in (a, b)]
    found = compare_paired(*scores, [str(i) for i in range(num_cases)], seed=0)
    difference, low, high = delong(truth, a, b)
    assert found.difference == pytest.approx(difference)
    assert found.ci95 is not None
    assert found.ci95 == pytest.approx((low, high), abs=0.12 * (high - low))
    assert found.patient_error == pytest.approx((high - low) / 3.92, rel=0.1)
