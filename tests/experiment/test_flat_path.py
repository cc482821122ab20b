"""From the command line to the training step: few frames of ours, so that a traceback can be read at a glance."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import selfmae
from selfmae.train import loop

Call = Callable[..., int]
SOURCE = Path(selfmae.__file__).parent


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the names of our functions on the stack at each training step, outermost first."""
    found: list[list[str]] = []
    set_lr = loop.set_lr

    def note(*arguments: Any) -> float:
        stack = [frame.function for frame in inspect.stack() if SOURCE in Path(frame.filename).parents]
        found.append(stack[::-1])
        return set_lr(*arguments)

    monkeypatch.setattr(loop, "set_lr", note)
    return found


def test_six_functions_lead_from_the_command_line_to_a_step_of_a_run(
    tmp_path: Path, radiographs: Path, small_pictures: list[str], call: Call, paths: list[list[str]]
) -> None:
    assert call("run", radiographs, "--out", tmp_path / "out", *small_pictures) == 0
    trained = [path for path in paths if "forecast" not in path]  # which takes a few steps to measure them
    assert trained[0] == ["main", "run", "schedule", "train_one", "fit", "step"]
    assert {tuple(path) for path in trained} == {tuple(trained[0])}


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_four_functions_lead_to_a_step_of_a_single_training(
    tmp_path: Path, picture_recipe: Path, call: Call, paths: list[list[str]], command: str
) -> None:
    assert call(command, picture_recipe, "--out", tmp_path / "out") == 0
    assert {tuple(path) for path in paths} == {("main", command, "fit", "step")}
