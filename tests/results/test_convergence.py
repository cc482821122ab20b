"""Whether training was long enough, from logs with known slopes, and which initialization validation recommends."""

import json
from pathlib import Path
from typing import Any

import pytest

from selfmae.results.convergence import are_converged, last_rise, measure, recommend
from selfmae.results.training_run import TrainingRun


def test_the_rise_is_that_of_the_last_quarter_of_the_steps() -> None:
    # Level until step 300 of 400, then 0.001 a step; and steep until 290, then level.
    late = [(step, 0.5 + max(0, step - 300) * 0.001) for step in range(10, 401, 10)]
    early = [(step, 0.5 + min(step, 290) * 0.001) for step in range(10, 401, 10)]
    assert last_rise(tuple(late), 400) == pytest.approx(0.1)
    assert last_rise(tuple(early), 400) == pytest.approx(0.0, abs=0.005)
    # In all of the training the same line: a quarter of its rise.
    assert last_rise(tuple((step, step * 0.001) for step in range(50, 401, 50)), 400) == pytest.approx(0.1)


def test_the_validation_at_three_quarters_counts_and_fewer_than_three_tell_nothing() -> None:
    scores = ((100, 0.9), (300, 0.5), (350, 0.6), (400, 0.7))
    assert last_rise(scores, 400) == pytest.approx(0.2)
    assert last_rise(scores, 408) is None
    assert last_rise(scores[-2:], 400) is None
    assert last_rise((), 400) is None


def write(out: Path, init: str, scores: list[float], seed: int = 0, kind: str = "", **files: Any) -> TrainingRun:
    """Write a training run of 400 steps with these validation scores, evenly spread."""
    run = TrainingRun.within(out, init, 0, seed)
    run.folder.mkdir(parents=True)
    every = 400 // max(1, len(scores))
    lines = [{"step": (place + 1) * every, "score": score} for place, score in enumerate(scores)]
    (run.folder / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run.folder / "environment.json").write_text(json.dumps({"init": {"kind": kind or init, "name": init}}))
    for name, content in files.items():
        (run.folder / name.replace("__", "-").replace("_", ".")).write_text(
            content if isinstance(content, str) else json.dumps(content)
        )
    return run


def write_pretraining(out: Path, method: str, losses: list[float], settings: str, seed: int = 0) -> None:
    folder = out / f"pretrain-{method}" / "fold0" / f"seed{seed}"
    folder.mkdir(parents=True)
    lines = [{"step": place + 1, "loss": loss} for place, loss in enumerate(losses)]
    (folder / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "environment.json").write_text(json.dumps({"method": method}))
    (folder / "recipe.yaml").write_text(settings)


RISING = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]  # 0.2 a quarter
LEVEL = [0.8] * 8


def test_rises_and_ends_are_means_over_training_runs(tmp_path: Path) -> None:
    runs = {"scratch": [write(tmp_path, "scratch", RISING), write(tmp_path, "scratch", LEVEL, 1)]}
    found = measure(runs)["scratch"]
    assert found["rise"] == pytest.approx(0.1)
    assert found["best_is_last"] == 0.5
    assert found["pretext_loss"] is found["trivial_loss"] is None


def test_converged_is_a_rise_below_the_margin_and_not_known_is_not_converged(tmp_path: Path) -> None:
    runs = {init: [write(tmp_path, init, scores)] for init, scores in (("a", RISING), ("b", LEVEL), ("c", LEVEL[:2]))}
    assert are_converged(measure(runs), 0.01) == {"a": False, "b": True, "c": False}
    assert are_converged(measure(runs), 0.3) == {"a": True, "b": True, "c": False}


def test_scored_masks_were_not_trained_here(tmp_path: Path) -> None:
    assert measure({"nnunet": [write(tmp_path, "nnunet", [], kind="score")]}) == {}


@pytest.mark.parametrize(
    ("method", "settings", "trivial"),
    [
        ("mae", "mae: {target: patch}", 1.0),
        ("mae", "mae: {target: channel}", 1.0),
        ("mae", "mae: {target: raw}", None),
        ("masked_unet", "data: {intensity: zscore}", 1.0),
        ("masked_unet", "data: {intensity: window}", None),
        ("moco", "moco: {queue: 1023}", 6.931),
    ],
)
def test_a_pretext_loss_stands_beside_that_of_a_guess(
    tmp_path: Path, method: str, settings: str, trivial: float | None
) -> None:
    write_pretraining(tmp_path, method, [1.2, 1.0, 0.7], settings)
    write_pretraining(tmp_path, method, [1.2, 1.0, 0.9], settings, seed=1)
    runs = [write(tmp_path, "mae", LEVEL, seed, method) for seed in (0, 1)]
    found = measure({"mae": runs})["mae"]
    assert found["pretext_loss"] == pytest.approx(0.8)
    assert found["trivial_loss"] == (trivial if trivial is None else pytest.approx(trivial, abs=1e-3))


def test_a_pretraining_shared_by_seeds_counts_once(tmp_path: Path) -> None:
    write_pretraining(tmp_path, "mae", [0.6], "seed: 0")
    first, second = (write(tmp_path, "mae", LEVEL, seed, "mae") for seed in (0, 1))
    assert first.pretraining is not None
    assert second.pretraining is not None
    assert first.pretraining.folder == second.pretraining.folder
    assert measure({"mae": [first, second]})["mae"]["pretext_loss"] == 0.6
    assert write(tmp_path, "scratch", LEVEL).pretraining is None


def recommended(out: Path, **scores: float | None) -> dict[str, str] | None:
    runs = {}
    for name, score in scores.items():
        init = name.replace("_plus", "+")
        files = {} if score is None else {"summary__val_json": {"metrics": {"dice_per_case": score}}}
        test = {"metrics": {"dice_per_case": 1.0 if init == "moco" else 0.1}}
        runs[init] = [write(out, init, LEVEL, summary__test_json=test, recipe_yaml="model: {network: unetr}", **files)]
    return recommend(runs, "dice_per_case", 0.01)


@pytest.mark.parametrize(
    ("scores", "init"),
    [
        ({"scratch": 0.80, "mae": 0.85}, "mae"),
        ({"scratch": 0.80, "mae": 0.805}, "scratch"),
        ({"mae": 0.805, "scratch": 0.80}, "scratch"),
        ({"mae": 0.80, "scratch_plus": 0.80, "scratch": 0.70}, "scratch+"),
        ({"scratch": 0.70, "mae": 0.80, "moco": 0.805}, "mae"),
        ({"scratch": 0.90, "mae": None}, "scratch"),
    ],
)
def test_the_simplest_within_the_margin_of_the_best_on_validation_is_recommended(
    tmp_path: Path, scores: dict[str, float | None], init: str
) -> None:
    assert recommended(tmp_path, **scores) == {"network": "unetr", "init": init}


def test_without_validation_scores_nothing_is_recommended(tmp_path: Path) -> None:
    assert recommended(tmp_path, scratch=None, moco=None) is None
