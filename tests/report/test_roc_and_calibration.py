from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from selfmae.report import figures
from selfmae.report.figures import GRID, mean_reliability, mean_roc, outcome_plots
from selfmae.results.run_folder import RunFolder
from selfmae.seeds import generator

Make = Callable[..., Path]


def outcome(seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = generator(seed)
    truth = rng.random(count) < 0.4
    return truth, (0.3 + 0.2 * truth + 0.2 * rng.random(count)).clip(0, 1)


def test_the_area_under_the_mean_curve_is_the_mean_area() -> None:
    found = [outcome(seed) for seed in range(3)]
    area = np.trapezoid(mean_roc(found), GRID)
    assert area == pytest.approx(np.mean([roc_auc_score(*item) for item in found]), abs=0.01)


def test_ranks_of_different_trainings_are_never_pooled() -> None:
    truth, probability = outcome(0)
    assert mean_roc([(truth, probability), (truth, probability / 100)]) == pytest.approx(
        mean_roc([(truth, probability)])
    )


def test_probabilities_that_are_right_lie_on_the_diagonal() -> None:
    rng = generator(0)
    probability = rng.random(20_000)
    predicted, observed = mean_reliability([(rng.random(20_000) < probability, probability)])
    assert len(predicted) == 10
    assert observed == pytest.approx(predicted, abs=0.03)


def test_groups_of_equal_rank_are_averaged_over_trainings() -> None:
    truth = np.array([False, True, False, True])
    first, second = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.3, 0.2, 0.1])
    predicted, observed = mean_reliability([(truth, first), (truth, second)])
    assert predicted == pytest.approx([0.15, 0.35])
    assert observed == pytest.approx([0.5, 0.5])


def test_a_finding_without_both_outcomes_has_no_curve(make_run: Make) -> None:
    assert [plot.name for plot in outcome_plots(RunFolder.read(make_run("multilabel")))] == ["nodule", "<i>mass</i>"]


def test_a_plot_tells_the_mean_area_of_every_initialization(make_run: Make) -> None:
    results = RunFolder.read(make_run("multilabel"))
    plot = outcome_plots(results)[0]
    for init in ("scratch", "mae"):
        areas = [cell.summary["labels"]["nodule"]["auc"] for cell in results.runs_of(init)]
        assert f"AUC {np.mean(areas):.3f}" in plot.roc
    assert "predicted probability" in plot.calibration


def test_many_findings_are_cut(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MAX_LABELS", 1)
    assert [plot.name for plot in outcome_plots(RunFolder.read(make_run("multilabel", num_seeds=1)))] == ["nodule"]


def test_masks_have_no_such_curves(make_run: Make) -> None:
    assert outcome_plots(RunFolder.read(make_run(num_seeds=1))) == []
