"""Short measurements: what a clock notes, what a forward pass keeps, and that nothing else changes."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selfmae.data.case import Case
from selfmae.data.source import checked_source, load_cases
from selfmae.display import Display
from selfmae.options import Recipe
from selfmae.planning import measure
from selfmae.planning.measure import (
    Clock,
    KnownPace,
    kept_bytes,
    num_parameters,
    step_bytes,
    time_preparation,
    time_steps,
)
from selfmae.recipe import load_recipe
from selfmae.tasks.pretraining import Pretraining


@pytest.fixture
def recipe(volume_recipe: Path) -> Recipe:
    return load_recipe(str(volume_recipe))


@pytest.fixture
def cases(recipe: Recipe) -> list[Case]:
    return checked_source(load_cases(recipe.data), masks=False, display=Display(quiet=True)).cases.part("train")


def run_clock(seconds: Sequence[float], monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let steps end after these seconds, until the clock has enough."""
    ends = iter([sum(seconds[: place + 1]) for place in range(len(seconds))])
    monkeypatch.setattr(measure.time, "monotonic", lambda: next(ends))
    clock = Clock()
    with suppress(KnownPace):
        for step in range(len(seconds)):
            clock.update(step)
    return clock


def test_the_pace_is_the_median_without_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_clock([50.0, 0.1, 0.3, 0.2], monkeypatch).pace() == pytest.approx(0.2)


@pytest.mark.parametrize(("seconds", "num_timed"), [(5.0, 3), (0.25, 5), (0.001, 10)])
def test_slow_steps_are_timed_thrice_and_fast_ones_ten_times(
    seconds: float, num_timed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(run_clock([seconds] * 30, monkeypatch).ends) == num_timed + 1


def test_steps_are_timed_for_real(recipe: Recipe, cases: list[Case], tmp_path: Path) -> None:
    class Slow(Pretraining):
        def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            time.sleep(0.2)
            return super().loss(model, batch)

    assert 0.2 < time_steps(recipe, Slow(recipe, "mae"), recipe.pretrain, cases, tmp_path / "steps") < 1
    assert not (tmp_path / "steps" / "last.ckpt").exists()


def test_measuring_leaves_the_random_state_alone(recipe: Recipe, cases: list[Case], tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    time_steps(recipe, Pretraining(recipe, "mae"), recipe.pretrain, cases, tmp_path)
    step_bytes(recipe, Pretraining(recipe, "mae"), recipe.pretrain, cases[0])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_kept_bytes_are_those_of_the_tensors_kept(recipe: Recipe) -> None:
    class Square(Pretraining):
        def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            hidden = model(batch["image"])  # keeps its input and weights
            return (hidden * hidden).sum()  # keeps its own output, once

    full = replace(recipe, device=replace(recipe.device, precision="fp32"))
    kept = kept_bytes(full, Square(full, "mae"), torch.nn.Linear(10, 20), {"image": torch.zeros(5, 10)})
    assert kept == 5 * (10 + 20) * 4


def test_a_step_holds_four_numbers_a_parameter_and_a_batch_of_activations(recipe: Recipe, cases: list[Case]) -> None:
    task = Pretraining(recipe, "mae")
    sizes = [step_bytes(recipe, task, replace(recipe.pretrain, batch=batch), cases[0]) for batch in (1, 2, 3)]
    assert sizes[0] > 16 * num_parameters(task)
    assert sizes[2] - sizes[1] == pytest.approx(sizes[1] - sizes[0], abs=2)
    assert sizes[1] > sizes[0]


def test_preparation_goes_on_with_twice_as_many_until_it_is_long_enough(
    cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []

    class Store:
        def prepare(self, batch: Sequence[Case], masks: bool, coordinates: bool) -> None:
            batches.append(len(batch))
            time.sleep(0.01 * len(batch))

    monkeypatch.setattr(measure, "num_cores", lambda: 2)
    monkeypatch.setattr(measure, "ENOUGH_SECONDS", 0.14)
    pace, done = time_preparation(Store(), cases * 20, True, False)  # type: ignore[arg-type]
    assert batches == [2, 4, 8]
    assert len(done) == 14
    assert pace == pytest.approx(0.01, rel=0.5)


def test_a_few_cases_are_all_prepared(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    class Store:
        def prepare(self, batch: Sequence[Case], masks: bool, coordinates: bool) -> None: ...

    monkeypatch.setattr(measure, "num_cores", lambda: 8)
    assert time_preparation(Store(), cases[:3], True, False)[1] == cases[:3]  # type: ignore[arg-type]
