"""The demo: generates once, runs, and continues."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfmae.data.generated.sets import write_radiographs
from selfmae.display import Display
from selfmae.experiment import run as module
from selfmae.experiment.run import demo
from selfmae.experiment.train import Grid
from selfmae.recipe import named_recipes


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return the arguments of the runs that the demo initializations, none of which trains.

    It generates few small images.
    """
    given: list[tuple[Any, ...]] = []

    monkeypatch.setattr(module, "run", lambda *words: given.append(words))
    few = (lambda folder: write_radiographs(folder, 4, 0, (32, 32)), "labels.csv")
    monkeypatch.setattr(module, "DEMOS", {"radiographs": few})
    return given


def test_the_demo_runs_on_what_it_generated(tmp_path: Path, small_demo: list[tuple[Any, ...]]) -> None:
    demo("radiographs", tmp_path, Display(quiet=True))
    source, out, grid, recipe, sets, _ = small_demo[0]
    assert Path(source).is_file()
    assert Path(source).is_relative_to(tmp_path)
    assert out.is_relative_to(tmp_path)
    assert recipe in named_recipes()
    assert (grid, tuple(sets)) == (Grid(("scratch", "mae"), num_seeds=1), ())


def test_generated_images_are_used_again(tmp_path: Path, small_demo: list[tuple[Any, ...]]) -> None:
    demo("radiographs", tmp_path, Display(quiet=True))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    demo("radiographs", tmp_path, Display(quiet=True))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert small_demo[0][:4] == small_demo[1][:4]


def test_half_generated_images_are_made_again(tmp_path: Path, small_demo: list[tuple[Any, ...]]) -> None:
    demo("radiographs", tmp_path, Display(quiet=True))
    source = Path(small_demo[0][0])
    whole = source.read_bytes()
    source.unlink()
    (source.parent / module.FINISHED).unlink()
    demo("radiographs", tmp_path, Display(quiet=True))
    assert source.read_bytes() == whole


def test_each_kind_has_a_recipe_of_its_own() -> None:
    assert {f"demo-{kind}" for kind in module.DEMOS} == {name for name in named_recipes() if name.startswith("demo")}


def test_another_kind_is_an_error(tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("demo", "--kind", "volume", "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err == "Error: --kind 'volume' is not known. Did you mean 'volumes'?\n"
    assert not (tmp_path / "out").exists()
