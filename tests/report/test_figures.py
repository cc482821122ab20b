from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selfmae.report.figures import curve_plots, difference_plot
from selfmae.report.tables import differences
from selfmae.results.run_folder import RunFolder

Make = Callable[..., Path]


def test_case_differences_are_averaged_over_seeds(make_run: Make) -> None:
    results = RunFolder.read(make_run())
    found = differences(results.runs_of("scratch"), results.runs_of("mae"))
    dice = [[[float(r["dice"]) for r in c.rows] for c in results.runs_of(s)] for s in ("scratch", "mae")]
    assert found == pytest.approx(list(np.mean(dice[1], axis=0) - np.mean(dice[0], axis=0)))


def test_differences_of_findings_leave_out_the_undefined(make_run: Make) -> None:
    results = RunFolder.read(make_run("multilabel", num_seeds=1))
    scratch, mae = (results.runs_of(init)[0].summary["labels"] for init in ("scratch", "mae"))
    expected = [mae[name]["auc"] - scratch[name]["auc"] for name in mae if mae[name]["auc"] is not None]
    assert len(expected) == 2
    assert differences(results.runs_of("scratch"), results.runs_of("mae")) == pytest.approx(expected)


def test_scored_masks_have_no_folds_to_pair(make_run: Make) -> None:
    results = RunFolder.read(make_run(num_seeds=1))
    first, second = results.runs_of("scratch")[0], results.runs_of("mae")[0]
    expected = differences([first], [second])
    folds = [replace(first), replace(first, fold=1)]
    for run, rows in zip(folds, (first.rows[:6], first.rows[6:]), strict=True):
        vars(run)["rows"] = rows  # as read on first use
    (second.folder / "environment.json").write_text('{"init": {"kind": "score", "name": "tool"}}')
    assert differences(folds, [replace(second)]) == expected


def test_only_equal_seeds_are_paired(make_run: Make) -> None:
    results = RunFolder.read(make_run(num_seeds=2))
    first, second = results.runs_of("scratch")[:1], results.runs_of("mae")[1:]
    assert differences(first, second) == []


def test_the_difference_plot_survives_an_undefined_interval(make_run: Make) -> None:
    results = RunFolder.read(make_run())
    results.verdict["pairs"][0].update(ci95=None, difference=None)
    assert difference_plot(results) is not None


def test_learning_curves_survive_an_undefined_score(make_run: Make) -> None:
    folder = make_run(num_seeds=1)
    with (folder / "mae" / "fold0" / "seed0" / "steps.jsonl").open("a") as file:
        file.write('{"step": 400, "score": -Infinity}\n{"step": 41')
    assert [title for title, _ in curve_plots(RunFolder.read(folder))] == [
        "Pre-training loss (log scale)",
        "Fine-tuning loss",
        "Validation score",
    ]
