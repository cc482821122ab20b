"""The forecast: disk to the byte, memory and time from real steps, and a sentence where the machine has too little."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from selfmae.data.folds import Folding
from selfmae.data.preparation.store import Store
from selfmae.data.source import Source, checked_source, load_cases
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.options import Recipe
from selfmae.planning import forecast as forecast_job
from selfmae.planning.forecast import (
    Estimate,
    Forecast,
    check_space,
    find_missing,
    forecast,
    show_forecast,
)
from selfmae.planning.measure import equal_compute, time_probe
from selfmae.planning.trainings import Trainings, count_trainings
from selfmae.recipe import load_recipe

Call = Callable[..., int]
QUIET = Display(quiet=True)
GB = 1e9


@pytest.fixture
def recipe(volume_recipe: Path, tmp_path: Path) -> Recipe:
    """Return the recipe of small volumes with a cache of its own."""
    recipe = load_recipe(str(volume_recipe))
    return replace(recipe, data=replace(recipe.data, cache=str(tmp_path / "cache")))


@pytest.fixture
def source(recipe: Recipe) -> Source:
    return checked_source(load_cases(recipe.data), masks=True, display=QUIET)


@pytest.fixture
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a step take 2 s, the preparation of a case 3 s and its scoring 5 s, without measuring."""
    monkeypatch.setattr("selfmae.planning.forecast.time_steps", lambda *_: 2.0)
    monkeypatch.setattr("selfmae.planning.forecast.time_scoring", lambda *_: 5.0)

    def prepare(store: Store, cases: list[object], masks: bool, places: bool) -> tuple[float, list[object]]:
        store.prepare(cases[:2], masks, coordinates=places)  # type: ignore[arg-type]
        return 3.0, cases[:2]

    monkeypatch.setattr(forecast_job, "time_preparation", prepare)


def usual(source: Source, recipe: Recipe) -> Trainings:
    return count_trainings(source, recipe, Folding(), ("scratch", "mae"), 1)


def test_the_disk_of_prepared_images_is_what_the_store_writes(recipe: Recipe, source: Source) -> None:
    found = forecast(recipe, source, usual(source, recipe), None, QUIET)
    store = Store(recipe.data, recipe.target.values)
    places = recipe.fit.augment["spatial"].foreground > 0
    store.prepare(source.cases.part("train", "val", "test", "unlabelled"), masks=True, coordinates=places)
    written = sum(path.stat().st_size for path in store.folder.rglob("*.npy"))
    assert found.amount("disk", "prepared images") == pytest.approx(written, rel=0.2)


def test_what_is_prepared_already_is_not_counted(recipe: Recipe, source: Source, slow_machine: None) -> None:
    cases = source.cases.part("train", "val", "test", "unlabelled")
    Store(recipe.data, recipe.target.values).prepare(cases[:-2], masks=True)
    assert find_missing(recipe, source) == cases[-2:]
    assert forecast(recipe, source, usual(source, recipe), None, QUIET).amount("time", "preparation") == 2 * 3.0
    Store(recipe.data, recipe.target.values).prepare(cases[-2:], masks=True)
    found = forecast(recipe, source, usual(source, recipe), None, QUIET)
    assert found.amount("disk", "prepared images") == found.amount("time", "preparation") == 0


def test_nothing_is_left_in_the_store_nor_beside_it(recipe: Recipe, source: Source, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    forecast(recipe, source, usual(source, recipe), tmp_path / "out", QUIET)
    assert sorted(tmp_path.rglob("*")) == before


def test_times_are_paces_times_steps_cells_and_looks(recipe: Recipe, source: Source, slow_machine: None) -> None:
    found = forecast(recipe, source, Trainings(("mae",), 6, 12, 3, 4), None, QUIET)
    assert found.amount("time", "pre-training") == 6 * 4 * 2
    assert found.amount("time", "fine-tuning") == 12 * 4 * 2
    assert found.amount("time", "scoring") == 12 * (3 * (2 + 1) + 4) * 5
    parts = ("preparation", "pre-training", "fine-tuning", "scoring")
    assert found.amount("time", "all") == sum(found.amount("time", part) for part in parts)


def test_looks_of_a_probe_are_counted_with_those_of_the_last_step(
    recipe: Recipe, source: Source, slow_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfmae.planning.forecast.time_probe", lambda *_: 7.0)
    probed = replace(recipe, probe=replace(recipe.probe, every=3, kind="labels", patience=1))
    trainings = count_trainings(source, probed, Folding(), ("scratch", "mae"), 2)
    assert trainings.num_held_out == len(source.cases.part("val")) > 0
    assert trainings.num_labelled == len(source.cases.part("train"))
    found = forecast(probed, source, trainings, None, QUIET)
    assert found.amount("time", "probe") == 2 * 2 * 7.0  # looks at steps 3 and 4, of two seeds
    assert (
        next(line.basis for line in found.lines if line.name == "probe") == "at most 2 validations of 7 s, 2 trainings"
    )
    times = [line.amount for line in found.lines if line.kind == "time" and line.name != "all"]
    assert found.amount("time", "all") == sum(times)


def test_the_time_of_a_look_grows_with_the_cases_it_is_at(
    recipe: Recipe, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def time(look: partial[Any]) -> float:
        seen.append((len(look.func.held_out), len(look.func.labelled)))
        return 1.0

    monkeypatch.setattr("selfmae.planning.measure.time_repeated", time)
    probed = replace(recipe, probe=replace(recipe.probe, every=1, kind="labels"))
    assert time_probe(probed, source.cases.part("train")[:2], 6, 20) == 6 / 2 + 20 / 2
    assert seen == [(2, 0), (0, 2)]


def test_scratch_with_equal_compute_takes_its_added_steps_and_looks(
    recipe: Recipe, source: Source, slow_machine: None
) -> None:
    trainings = count_trainings(source, recipe, Folding(), ("scratch", "mae", "scratch+"), 2)
    assert (trainings.num_finetunings, trainings.num_equal) == (6, 2)
    found, plain = (
        forecast(recipe, source, item, None, QUIET) for item in (trainings, replace(trainings, num_equal=0))
    )
    steps = equal_compute(recipe, "mae", source.cases.part("train")[0]).steps
    assert found.amount("time", "fine-tuning") == (4 * recipe.fit.steps + 2 * steps) * 2.0
    looks = ceil(steps / recipe.fit.validate_every) - ceil(recipe.fit.steps / recipe.fit.validate_every)
    more = found.amount("time", "scoring") - plain.amount("time", "scoring")
    assert more == 2 * looks * trainings.num_val * 5.0 > 0


def test_without_mae_nothing_is_forecast_of_pretraining(recipe: Recipe, source: Source, slow_machine: None) -> None:
    trainings = count_trainings(source, recipe, Folding(3), ("scratch",), 2)
    assert (trainings.methods, trainings.num_finetunings) == ((), 6)
    assert trainings.num_test == 3
    lines = forecast(recipe, source, trainings, None, QUIET).lines
    assert "pre-training" not in [line.name for line in lines]
    assert "fine-tuning" in [line.name for line in lines]


def test_models_on_disk_are_what_a_run_leaves(
    recipe: Recipe, source: Source, volume_run: Path, slow_machine: None
) -> None:
    found = forecast(recipe, source, usual(source, recipe), None, QUIET)
    files = [path for name in ("last.ckpt", "model.safetensors") for path in volume_run.rglob(name)]
    assert len(files) == 6
    assert found.amount("disk", "models") == pytest.approx(sum(path.stat().st_size for path in files), rel=0.5)


def test_memory_grows_with_the_batch(recipe: Recipe, source: Source, slow_machine: None) -> None:
    larger = replace(recipe, fit=replace(recipe.fit, batch=64))
    small, large = (forecast(item, source, usual(source, recipe), None, QUIET) for item in (recipe, larger))
    assert large.amount("memory", "fine-tuning") - small.amount("memory", "fine-tuning") > 50e6
    in_parts = replace(recipe, fit=replace(recipe.fit, batch=64, accumulate=32))
    parted = forecast(in_parts, source, usual(source, recipe), None, QUIET)
    assert parted.amount("memory", "fine-tuning") < small.amount("memory", "fine-tuning") + 20e6


def test_a_training_that_does_not_fit_is_said_and_not_tried(
    recipe: Recipe, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast_job, "total_memory", lambda _: 1_000_000)
    monkeypatch.setattr("selfmae.planning.forecast.time_steps", lambda *_: pytest.fail("a step was tried"))
    found = forecast(recipe, source, usual(source, recipe), None, QUIET)
    assert len(found.no_memory) == 2
    assert found.no_memory[0].startswith("Pre-training needs about ")
    assert found.no_memory[0].endswith(
        "but this machine has 1.0 MB: lower pretrain.batch or raise pretrain.accumulate."
    )


def test_too_little_space_is_a_sentence_for_each_folder(
    recipe: Recipe, source: Source, slow_machine: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(forecast_job, "free_bytes", lambda _: 10)
    found = forecast(recipe, source, usual(source, recipe), tmp_path / "out", QUIET)
    store, models = found.no_space
    assert store.startswith("The prepared images need about ")
    assert f"but 10 bytes are free in {recipe.data.cache}: free some space there, or name another" in store
    assert f"10 bytes are free in {tmp_path / 'out'}: free some space there, or choose another --out." in models
    with pytest.raises(UserError, match=r"The prepared images need about .* The models need about"):
        check_space(found)


def test_a_run_without_space_stops_before_it_makes_its_folder(
    volumes: Path,
    call: Call,
    small_volumes: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error_line: Callable[[], str],
) -> None:
    monkeypatch.setattr(forecast_job, "free_bytes", lambda _: 10)
    assert call("run", volumes, "--out", tmp_path / "out", *small_volumes) == 2
    assert "but 10 bytes are free in " in error_line()
    assert not (tmp_path / "out").exists()


def test_a_plan_without_space_warns_and_writes_the_recipe(
    volumes: Path,
    call: Call,
    small_volumes: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(forecast_job, "free_bytes", lambda _: 10)
    words = ("--set", f"data.cache={tmp_path / 'new'}", "--out", tmp_path / "plan.yaml", *small_volumes)
    assert call("plan", volumes, *words) == 0
    assert "Warning: The prepared images need about " in capsys.readouterr().out
    assert load_recipe(str(tmp_path / "plan.yaml"))


def test_the_table_names_amounts_and_what_they_rest_on(capsys: pytest.CaptureFixture[str]) -> None:
    lines = (Estimate("disk", "prepared images", 1.25 * GB, "3 cases"), Estimate("time", "all", 720.0, "measured"))
    show_forecast(Forecast(lines, no_memory=("Too little.",)), Display(stdout=True))
    out = capsys.readouterr().out
    assert "disk, prepared images   1.2 GB" in out
    assert "time, all               12 min   measured" in out
    assert "Warning: Too little." in out


def test_a_run_that_goes_on_is_not_measured_again(
    volumes: Path,
    volume_run: Path,
    call: Call,
    small_volumes: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    shutil.copytree(volume_run, tmp_path / "run")
    monkeypatch.setattr("selfmae.experiment.plan.forecast", lambda *_: pytest.fail("measured"))
    assert call("run", volumes, "--out", tmp_path / "run", *small_volumes) == 0
