import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import add_task as fake
import pytest
import torch
from add_task import OPTIONS, Score, assert_equal, interrupt_at, outcome

from selfmae.errors import UserError
from selfmae.files import read_log
from selfmae.train import loop
from selfmae.train.launch import Interrupted
from selfmae.train.loop import StepLog
from selfmae.train.optimisation import Progress, load_checkpoint, save_checkpoint


@pytest.mark.parametrize("stop", [1, 5, 6, 11])
@pytest.mark.parametrize("change", [{}, {"accumulate": 2}, {"patience": 2}, {"validate_every": 0}])
def test_a_run_that_was_interrupted_and_continued_ends_bit_identical(
    tmp_path: Path, stop: int, change: dict[str, Any]
) -> None:
    options = dataclasses.replace(OPTIONS, **change)
    fake.train(tmp_path / "whole", options, validate=fake.norm_score)
    whole = outcome(tmp_path / "whole")
    if stop < whole["progress"]["step"]:
        with pytest.raises(Interrupted):
            fake.train(tmp_path / "cut", options, validate=fake.norm_score, watch=interrupt_at(stop))
        assert torch.load(tmp_path / "cut" / "last.ckpt", weights_only=True)["progress"]["step"] == stop
    fake.train(tmp_path / "cut", options, validate=fake.norm_score)
    assert_equal(whole, outcome(tmp_path / "cut"))


def test_losses_between_two_lines_of_the_log_survive_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "StepLog", lambda path, every: StepLog(path, 4))
    fake.train(tmp_path / "whole")
    with pytest.raises(Interrupted):
        fake.train(tmp_path / "cut", watch=interrupt_at(6))
    assert len(torch.load(tmp_path / "cut" / "last.ckpt", weights_only=True)["progress"]["losses"]) == 2
    fake.train(tmp_path / "cut")
    assert_equal(outcome(tmp_path / "whole"), outcome(tmp_path / "cut"))
    assert [line["step"] for line in read_log(tmp_path / "cut" / "steps.jsonl")] == [4, 8, 12]


def test_ctrl_c_in_another_process_writes_the_checkpoint_and_the_same_command_continues(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(fake.__file__)), str(tmp_path / "cut")]
    (tmp_path / "cut").mkdir()
    ended = subprocess.run([*command, "5"], capture_output=True, text=True)
    assert ended.returncode != 0
    assert "Interrupted" in ended.stderr
    assert (tmp_path / "cut" / "last.ckpt").exists()
    fake.train(tmp_path / "cut", validate=fake.norm_score)
    fake.train(tmp_path / "whole", validate=fake.norm_score)
    assert_equal(outcome(tmp_path / "whole"), outcome(tmp_path / "cut"))


def test_a_run_that_was_killed_goes_back_to_its_checkpoint_and_cuts_the_log(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fake.train(tmp_path / "cut", validate=fake.norm_score, watch=interrupt_at(4))
    with (tmp_path / "cut" / "steps.jsonl").open("a") as file:
        file.write(json.dumps({"step": 5, "loss": 9.9, "lr": 0.1}) + '\n{"step": 6, "lo')
    fake.train(tmp_path / "whole", validate=fake.norm_score)
    fake.train(tmp_path / "cut", validate=fake.norm_score)
    assert_equal(outcome(tmp_path / "whole"), outcome(tmp_path / "cut"))


def test_a_checkpoint_is_written_as_time_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    seen = []
    fake.train(tmp_path, watch=lambda step, _: seen.append((tmp_path / "last.ckpt").exists()))
    assert seen == [False] + [True] * 11
    assert not list(tmp_path.glob("*.part"))


def test_signal_handlers_are_given_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    fake.train(tmp_path)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("change", [{}, {"patience": 1}])
def test_a_finished_folder_returns_the_same_model_at_once(tmp_path: Path, change: dict[str, Any]) -> None:
    options = dataclasses.replace(OPTIONS, **change)
    first = fake.train(tmp_path, options, validate=Score())
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("[lm]*")}
    task = fake.AddTask(fake.recipe_of(options))
    task.sample = lambda draw: pytest.fail("a finished run was trained on")  # type: ignore[method-assign]
    second = fake.train(tmp_path, options, validate=lambda model: pytest.fail("a finished run was scored"), task=task)
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())
    assert before == {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("[lm]*")}


def test_a_damaged_checkpoint_is_a_sentence(tmp_path: Path) -> None:
    fake.train(tmp_path)
    (tmp_path / "last.ckpt").write_bytes((tmp_path / "last.ckpt").read_bytes()[:500])
    with pytest.raises(UserError, match=r"The checkpoint .*last\.ckpt could not be read .* or delete it"):
        fake.train(tmp_path)


def test_a_full_disk_is_a_sentence_and_the_checkpoint_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted):
        fake.train(tmp_path, watch=interrupt_at(3))
    before = (tmp_path / "last.ckpt").read_bytes()

    def full(state: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data.pkl: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"could not be written to .*last\.ckpt .*free some space"):
        fake.train(tmp_path)
    assert (tmp_path / "last.ckpt").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_the_scale_of_the_loss_in_half_precision_continues(tmp_path: Path) -> None:
    def fabric(scaler: torch.amp.GradScaler) -> Any:
        return SimpleNamespace(_precision=SimpleNamespace(scaler=scaler), is_global_zero=True, device="cpu")

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    before, after = torch.amp.GradScaler("cpu", init_scale=8.0), torch.amp.GradScaler("cpu", init_scale=2.0)
    save_checkpoint(tmp_path / "last.ckpt", fabric(before), model, optimizer, Progress(step=3))
    assert load_checkpoint(tmp_path / "last.ckpt", fabric(after), model, optimizer).step == 3
    assert after.state_dict() == before.state_dict()
