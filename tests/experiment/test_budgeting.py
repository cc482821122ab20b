"""What a run may spend: flags that go together, shares of the budget, a larger one later, and time for another seed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from selfmae.data.source import Source, checked_source, load_cases
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment import budgeting
from selfmae.experiment.budgeting import (
    begun_with,
    budget_of,
    check_grid,
    has_time,
    is_larger,
    put_aside,
    trainings_of,
    with_added_seeds,
)
from selfmae.experiment.plan import Resolved
from selfmae.experiment.train import Experiment, Grid, name_inits
from selfmae.options import DeviceOptions, Recipe
from selfmae.recipe import load_recipe
from selfmae.results.run_folder import hold

Call = Callable[..., int]
CPU = DeviceOptions("cpu")
HOUR = 3600.0


@pytest.fixture
def recipe(picture_recipe: Path) -> Recipe:
    return load_recipe(str(picture_recipe))


@pytest.fixture
def source(recipe: Recipe) -> Source:
    return checked_source(load_cases(recipe.data), masks=False, display=Display(quiet=True))


def write_facts(out: Path, **facts: object) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.json").write_text(json.dumps(facts))


@pytest.mark.parametrize(
    ("grid", "text"),
    [
        (Grid(margin=0.0), "The margin is the smallest difference that matters, above 0 and below 1, not 0.0"),
        (Grid(margin=1.0), "not 1.0: give one such as 0.01."),
        (Grid(num_seeds=1, until_decided=True), "seeds, but --seeds is 1: give --seeds"),
        (Grid(labels=(3,), num_draws=-1), "--draws is -1, but must be at least 1: give how often patients are drawn."),
        (Grid(num_draws=2), "--draws is for --labels, which was not given: give numbers of labelled patients"),
    ],
)
def test_flags_that_do_not_go_together_are_a_sentence(grid: Grid, text: str) -> None:
    with pytest.raises(UserError) as error:
        check_grid(grid)
    assert text in str(error.value)


def test_flags_of_a_usual_run_go_together() -> None:
    check_grid(Grid())
    check_grid(Grid(labels=(3, 5), num_draws=2, until_decided=True))


def test_a_run_has_the_budget_of_the_machine_unless_one_is_given(source: Source) -> None:
    assert budget_of(Grid(), source, CPU).seconds == HOUR
    assert budget_of(Grid(), source, DeviceOptions("cuda")).seconds == 6 * HOUR
    assert budget_of(Grid(budget=90.0), source, CPU).seconds == 90.0


def test_half_of_the_budget_is_kept_for_seeds_that_may_be_added(source: Source) -> None:
    assert budget_of(Grid(budget=90.0, until_decided=True), source, CPU).seconds == 45.0


def test_all_trainings_share_the_budget(source: Source) -> None:
    usual = budget_of(Grid(num_folds=2), source, CPU)
    assert (usual.inits, usual.methods) == (("scratch", "scratch+", "mae"), ("mae",))
    assert (usual.num_each, usual.num_pretrainings) == (2 * 3, 2 * 3)
    labels = budget_of(Grid(num_folds=2, labels=(3, 5), num_draws=4), source, CPU)
    assert (labels.num_each, labels.num_pretrainings) == (2 * (3 + 2 * 4), 2 * 3)


def test_the_forecast_counts_draws_of_fewer_labels_but_no_pretraining_of_them(source: Source, recipe: Recipe) -> None:
    grid = Grid(num_folds=2, labels=(3, 5), num_draws=4)
    found = Resolved(recipe, {}, source, frozenset())
    counted = trainings_of(Experiment.of(recipe, source, name_inits(grid), grid), found)
    assert counted.num_each == 2 * 3
    assert counted.num_finetunings == 3 * 2 * (3 + 2 * 4)
    assert counted.num_equal == 2 * (3 + 2 * 4)


def test_a_smaller_budget_is_refused_and_the_same_one_goes_on(tmp_path: Path) -> None:
    assert begun_with(tmp_path) is None
    assert not is_larger(tmp_path, Grid(budget=60.0))
    write_facts(tmp_path, budget=HOUR)
    assert begun_with(tmp_path) == HOUR
    assert not is_larger(tmp_path, Grid())  # that of the run stays
    assert not is_larger(tmp_path, Grid(budget=HOUR))
    assert is_larger(tmp_path, Grid(budget=2 * HOUR))
    with pytest.raises(UserError) as error:
        is_larger(tmp_path, Grid(budget=1800.0))
    assert str(error.value) == (
        f"{tmp_path} was planned with a budget of 60 min, but --budget is 30 min: give as much or more, or choose "
        "another --out."
    )


def test_what_a_smaller_budget_trained_is_put_aside_and_nothing_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for budget in (HOUR, 4 * HOUR):
        write_facts(tmp_path, budget=budget)
        (tmp_path / "recipe.yaml").touch()
        (tmp_path / "mae" / "fold0").mkdir(parents=True)
        (tmp_path / "mae" / "fold0" / "rows").write_text(str(budget))
        put_aside(tmp_path, Display())
    assert {path.name for path in tmp_path.iterdir()} - {".lock"} == {"earlier"}
    kept = {path.name: (path / "mae" / "fold0" / "rows").read_text() for path in (tmp_path / "earlier").iterdir()}
    assert kept == {"3600s": "3600.0", "14400s": "14400.0"}
    assert "The run with a budget of 60 min is now in" in capsys.readouterr().err


def test_a_run_that_is_at_work_is_not_put_aside(tmp_path: Path) -> None:
    write_facts(tmp_path, budget=HOUR)
    (tmp_path / "recipe.yaml").touch()
    with hold(tmp_path, "run"), pytest.raises(UserError, match="Another command is working in"):
        put_aside(tmp_path, Display(quiet=True))
    assert (tmp_path / "run.json").exists()


def test_an_error_before_the_training_leaves_the_run_where_it_is(
    tmp_path: Path, volumes: Path, small_unet: list[str], call: Call, error_line: Callable[[], str]
) -> None:
    write_facts(tmp_path / "out", budget=HOUR)
    (tmp_path / "out" / "recipe.yaml").write_text("that of the smaller budget")
    assert call("run", volumes, "--out", tmp_path / "out", "--budget", "2h", *small_unet) == 2
    assert error_line() == (
        "Error: --budget plans how many steps each training has, but fit.steps is given by the recipe or --set: leave "
        "one of them out."
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"recipe.yaml", "run.json"}


def test_seeds_that_an_interrupted_run_added_are_not_trained_as_if_they_were_the_first(tmp_path: Path) -> None:
    grid = Grid(until_decided=True)
    assert with_added_seeds(tmp_path, grid) == grid
    write_facts(tmp_path, num_seeds=5)
    assert with_added_seeds(tmp_path, Grid()) == Grid()
    more = with_added_seeds(tmp_path, grid)
    assert (more.num_seeds, more.first, more.max_seeds) == (5, 3, 6)
    assert more == replace(grid, num_seeds=5, first_seeds=3)


def test_another_seed_must_fit_into_what_is_left_of_the_budget(tmp_path: Path) -> None:
    for seed in range(3):
        for name, seconds in (("scratch", 10.0), ("mae", 20.0)):
            folder = tmp_path / name / "fold0" / f"seed{seed}"
            folder.mkdir(parents=True)
            (folder / "environment.json").write_text(json.dumps({"seconds": seconds}))
    grid = Grid(until_decided=True)
    assert has_time(tmp_path, grid, 120.0)  # 90 s are spent, 30 s of each seed
    assert not has_time(tmp_path, grid, 119.0)
    folder = tmp_path / budgeting.FOLDER / "3" / "scratch" / "fold0" / "seed0"
    folder.mkdir(parents=True)
    (folder / "environment.json").write_text(json.dumps({"seconds": 5.0}))
    assert has_time(tmp_path, grid, 125.0)
    assert not has_time(tmp_path, grid, 124.0)
    assert not has_time(tmp_path, replace(grid, num_seeds=6, first_seeds=3), 1e9)  # at most twice as many
    assert not has_time(tmp_path, Grid(), 1e9)
