"""Ctrl-C in the middle of a training: exit code 130, and the same command then ends with the same bytes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., int]
NAMES = ("model.safetensors", "rows-val.csv", "rows-test.csv", "summary-test.json", "steps.jsonl")
LIMIT_SECONDS = 60


def interrupt(words: list[str], log: Path, num_lines: int) -> tuple[int, str]:
    """Start a command, send SIGINT once its step log has this many lines.

    Return exit code and standard error.
    """
    command = [sys.executable, "-m", "selfmae", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        end = time.monotonic() + LIMIT_SECONDS
        while not (log.exists() and log.read_text().count("\n") >= num_lines) and process.poll() is None:
            assert time.monotonic() < end, "the command does not train"
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=LIMIT_SECONDS)[1]
    return process.returncode, error


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_an_interrupted_training_ends_as_if_nothing_had_happened(
    tmp_path: Path, picture_recipe: Path, call: Call, bytes_of: Callable[..., dict[str, bytes]], command: str
) -> None:
    settings = {
        "pretrain": ("pretrain.steps=200", "probe.every=20", "probe.kind=labels", "probe.patience=6"),
        "finetune": ("fit.steps=200", "fit.validate_every=50"),
    }
    words = [command, str(picture_recipe), *(word for text in settings[command] for word in ("--set", text)), "--out"]
    code, error = interrupt([*words, str(tmp_path / "stopped")], tmp_path / "stopped" / "steps.jsonl", 10)
    assert code == 130, error
    assert error.splitlines()[-1] == "Interrupted. The same command continues where it stopped."
    assert "Traceback" not in error
    done = (tmp_path / "stopped" / "steps.jsonl").read_text().count("\n")
    assert 10 <= done < 200
    assert (tmp_path / "stopped" / "last.ckpt").exists()
    for out in ("stopped", "whole"):
        assert call(*words, tmp_path / out) == 0
    assert bytes_of(tmp_path / "stopped", *NAMES) == bytes_of(tmp_path / "whole", *NAMES)
