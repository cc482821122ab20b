import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from add_task import (
    CASES,
    OPTIONS,
    AddTask,
    DamagedTask,
    Interrupting,
    Silent,
    assert_equal,
    norm_score,
    outcome,
    recipe_of,
    train,
)
from torch.multiprocessing import ProcessExitedException

from selfmae.errors import UserError
from selfmae.files import read_log
from selfmae.models.vit import Encoder
from selfmae.options import ModelOptions
from selfmae.train import loop
from selfmae.train.launch import Interrupted
from selfmae.train.loop import Training, fit


def training_in(folder: Path, task: AddTask, **change: Any) -> Training:
    folder.mkdir(exist_ok=True)
    options = dataclasses.replace(OPTIONS, **change)
    return Training("adding", task, options, folder, CASES, {}, validate=norm_score)


def test_one_device_shows_every_step_and_gives_the_model(tmp_path: Path) -> None:
    display, recipe = Silent(), recipe_of(OPTIONS)
    model = fit(training_in(tmp_path / "a", AddTask(recipe)), display)
    alone = train(tmp_path / "b", validate=norm_score)
    assert display.updates == list(range(1, 13))
    assert all(torch.equal(tensor, alone.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_a_step_in_bfloat16_keeps_weights_in_float32(tmp_path: Path) -> None:
    recipe = recipe_of(OPTIONS, precision="bf16")
    model = fit(training_in(tmp_path, AddTask(recipe), steps=1), Silent())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    exact = train(tmp_path / "fp32", dataclasses.replace(OPTIONS, steps=1), validate=norm_score)
    assert read_log(tmp_path / "steps.jsonl")[0]["loss"] != read_log(tmp_path / "fp32" / "steps.jsonl")[0]["loss"]
    assert torch.allclose(model.head.weight, exact.head.weight, atol=0.05)


def test_the_start_replaces_the_encoder_only(tmp_path: Path) -> None:
    class EncoderTask(AddTask):
        def build(self) -> torch.nn.Module:
            model = torch.nn.Module()
            model.encoder = Encoder(ModelOptions(patch=(4, 4), width=12, depth=1, heads=1), 1, (8, 8))
            model.head = torch.nn.Linear(12, 1)
            return model

        def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return 0.0 * sum(parameter.sum() for parameter in model.parameters())

    options = dataclasses.replace(OPTIONS, steps=1, warmup_steps=1, validate_every=0)  # the first rate is 0
    recipe = recipe_of(options)
    task = EncoderTask(recipe)
    init = {name: torch.full_like(tensor, 0.5) for name, tensor in task.build().encoder.state_dict().items()}
    training = Training("adding", task, options, tmp_path, CASES, {}, init=init)
    state = fit(training, Silent()).state_dict()
    assert (state["encoder.blocks.0.attn.qkv.weight"] == 0.5).all()
    assert not (state["head.weight"] == 0.5).any()


def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    recipe, other = recipe_of(OPTIONS), recipe_of(OPTIONS, devices=2)
    one = fit(training_in(tmp_path / "one", AddTask(recipe), accumulate=2), Silent())
    two = fit(training_in(tmp_path / "two", AddTask(other), accumulate=2), Silent())
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, two.state_dict()[name], atol=1e-4, rtol=0)
    lines = [read_log(tmp_path / name / "steps.jsonl") for name in ("one", "two")]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    assert [line.get("loss", 0) for line in lines[0]] == pytest.approx([line.get("loss", 0) for line in lines[1]], 1e-3)


def test_a_model_shared_out_over_processes_gives_the_weights_of_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe, other = recipe_of(OPTIONS), recipe_of(OPTIONS, devices=2, shard=True)
    one = fit(training_in(tmp_path / "one", AddTask(recipe), accumulate=2), Silent())
    two = fit(training_in(tmp_path / "two", AddTask(other), accumulate=2), Silent())
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, two.state_dict()[name], atol=1e-4, rtol=0)
    assert "".join(capfd.readouterr()) == ""  # Lightning and torch say nothing between our lines


@pytest.mark.slow
def test_a_shared_out_model_that_is_interrupted_ends_with_the_same_bits(tmp_path: Path) -> None:
    recipe = recipe_of(OPTIONS, devices=2, shard=True)
    fit(training_in(tmp_path / "whole", AddTask(recipe)), Silent())
    with pytest.raises(Interrupted):
        fit(training_in(tmp_path / "parts", AddTask(recipe)), Interrupting())
    fit(training_in(tmp_path / "parts", AddTask(recipe)), Silent())
    assert_equal(outcome(tmp_path / "whole"), outcome(tmp_path / "parts"))


@pytest.mark.slow
def test_a_user_error_in_another_process_is_still_one_sentence(tmp_path: Path) -> None:
    recipe = recipe_of(OPTIONS, devices=2)
    with pytest.raises(UserError, match=r"The loss became nan .* at step 1"):
        fit(training_in(tmp_path, AddTask(recipe, scale=float("nan"))), Silent())


@pytest.mark.slow
def test_a_file_that_one_process_cannot_read_is_one_sentence(tmp_path: Path) -> None:
    recipe = recipe_of(OPTIONS, devices=2)
    with pytest.raises(UserError, match=r"^scan\.nii is damaged: copy it again\.$"):
        fit(training_in(tmp_path, DamagedTask(recipe)), Silent())


class Dying:
    """Fabric whose processes end early, after something has happened to them."""

    def __init__(self, happen: Callable[[Any], None]) -> None:
        self.happen = happen

    def launch(self, work: Any) -> None:
        self.happen(work.keywords["problems"])
        raise ProcessExitedException("process 1 terminated", 1, 1, 1)


def launch_dying(monkeypatch: pytest.MonkeyPatch, folder: Path, happen: Callable[[Any], None]) -> None:
    monkeypatch.setattr(loop, "make_fabric", lambda options: Dying(happen))
    recipe = recipe_of(OPTIONS, devices=2)
    fit(training_in(folder, AddTask(recipe)), Silent())


def test_what_a_process_says_before_it_dies_is_raised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="copy it again"):
        launch_dying(monkeypatch, tmp_path, lambda problems: problems.put(UserError("copy it again")))
    with pytest.raises(ProcessExitedException):
        launch_dying(monkeypatch, tmp_path, lambda problems: None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_processes_that_a_signal_ends_are_an_interruption(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    with pytest.raises(Interrupted):
        launch_dying(monkeypatch, tmp_path, lambda problems: os.kill(os.getpid(), number))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_half_precision_is_clipped_too(tmp_path: Path, optimizer: str) -> None:
    options = dataclasses.replace(OPTIONS, optimizer=optimizer, lr=0.001)
    recipe = recipe_of(options, precision="fp16")
    training = dataclasses.replace(training_in(tmp_path, AddTask(recipe)), options=options)
    model = fit(training, Silent())
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    losses = [line["loss"] for line in read_log(tmp_path / "steps.jsonl") if "loss" in line]
    assert losses[-1] < losses[0]
