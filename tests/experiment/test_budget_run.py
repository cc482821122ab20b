"""A run with a budget: as many steps as fit, as planned and trained, and none planned anew when it goes on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from selfmae.data.preparation.store import Store
from selfmae.display import Display
from selfmae.experiment.budgeting import put_aside
from selfmae.planning.budget import MIN_STEPS
from selfmae.recipe import load_recipe
from selfmae.results.run_folder import open_folder
from selfmae.results.training_run import training_runs

Call = Callable[..., int]
SMALL = ("--set", "data.crop=[16,16,16]", "--set", "model.features=4", "--init", "scratch,mae", "--seeds", "1")
STEP, SCORING, BUDGET = 0.05, 0.01, 5.0  # seconds


@pytest.fixture
def known_paces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let steps and scoring take known seconds, so that the plan does not depend on what else this machine does."""

    def prepare(store: Store, cases: list[object], masks: bool, places: bool) -> tuple[float, list[object]]:
        store.prepare(cases[:2], masks, coordinates=places)  # type: ignore[arg-type]
        return 0.0, cases[:2]

    monkeypatch.setattr("selfmae.experiment.plan.time_unet_step", lambda *_, **__: STEP)
    monkeypatch.setattr("selfmae.planning.forecast.time_steps", lambda *_: STEP)
    monkeypatch.setattr("selfmae.planning.forecast.time_scoring", lambda *_: SCORING)
    monkeypatch.setattr("selfmae.planning.forecast.time_preparation", prepare)


def test_a_run_trains_the_steps_that_fit_and_goes_on_without_planning_again(
    volumes: Path,
    call: Call,
    tmp_path: Path,
    known_paces: None,
    launched: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error_line: Callable[[], str],
) -> None:
    out = tmp_path / "out"
    words = ("run", volumes, "--out", out, *SMALL, "--budget")
    assert call(*words, f"{BUDGET:g}s") == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "For scratch and mae with 1 seed: 5 s, as --budget says. 4 times as much time would train " in told
    recipe = load_recipe(str(out / "recipe.yaml"))
    steps = recipe.fit.steps
    num_scored = 2 * (10 + 1) + 2 * 2  # one val case ten times and at the end, two test cases, of two trainings
    assert steps >= MIN_STEPS
    assert recipe.pretrain.steps == steps
    assert 0.9 * BUDGET <= 3 * steps * STEP + num_scored * SCORING <= BUDGET  # a step of each is 3 % of it
    assert f"steps: {steps}  # what the budget allows, by the pace measured here" in (out / "recipe.yaml").read_text()
    assert json.loads((out / "run.json").read_text())["budget"] == BUDGET
    runs = training_runs(out)
    assert [(run.init, run.num_steps) for run in runs] == [
        ("mae", steps),
        ("pretrain-masked_unet", steps),
        ("scratch", steps),
    ]
    assert len(launched) == 3

    for place in ("experiment.plan.time_unet_step", "planning.forecast.time_steps"):
        monkeypatch.setattr(f"selfmae.{place}", lambda *_, **__: pytest.fail("measured again"))
    before = (out / "recipe.yaml").read_bytes()
    assert call(*words, f"{BUDGET:g}s") == 0
    assert call(*words[:-1]) == 0  # and without --budget
    assert (out / "recipe.yaml").read_bytes() == before
    assert json.loads((out / "run.json").read_text())["budget"] == BUDGET
    assert len(launched) == 3
    capsys.readouterr()
    assert call(*words, "4s") == 2
    assert "was planned with a budget of 5 s, but --budget is 4 s: give as much or more" in error_line()


def test_too_small_a_budget_stops_before_a_folder_is_made(
    volumes: Path, call: Call, tmp_path: Path, known_paces: None, error_line: Callable[[], str]
) -> None:
    assert call("run", volumes, "--out", tmp_path / "out", *SMALL, "--budget", "1s") == 2
    assert error_line().startswith("Error: --budget of 1 s is too small: 20 steps of every training with their ")
    assert not (tmp_path / "out").exists()


def test_a_folder_whose_run_was_put_aside_takes_the_next(volume_recipe: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(volume_recipe))
    with open_folder(tmp_path, recipe, kind="run"):
        (tmp_path / "run.json").write_text('{"budget": 60.0}')
    put_aside(tmp_path, Display(quiet=True))
    with open_folder(tmp_path, recipe, kind="run"):
        assert (tmp_path / "recipe.yaml").exists()
