"""Equal compute is the best of the lengths up to it: a longer training that is worse keeps the weights of scratch."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from selfmae.display import Display
from selfmae.experiment import train
from selfmae.experiment.train import keep_better
from selfmae.results.training_run import TrainingRun
from selfmae.weights.file import read_weights, save_weights

Write = Callable[..., TrainingRun]


def weights_of(value: float) -> dict[str, Tensor]:
    return {"weight": torch.full((2, 3), value), "bias": torch.full((2,), value)}


def model_of(value: float) -> nn.Module:
    model = nn.Linear(3, 2)
    model.load_state_dict(weights_of(value))
    return model


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a training run with these validation scores; its weights are all `value`."""

    def make(init: str, value: float, *scores: float | None, evaluated: bool = True) -> TrainingRun:
        run = TrainingRun.within(tmp_path, init, 0, 0)
        run.folder.mkdir(parents=True)
        lines = [{"step": 10 * (index + 1), "score": score} for index, score in enumerate(scores)]
        (run.folder / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        save_weights(run.folder / "model.safetensors", weights_of(value), {"init": init, "metrics": {}})
        if evaluated:
            (run.folder / "summary-test.json").write_text("{}")
        return run

    return make


def same(weights: dict[str, Tensor], value: float) -> bool:
    return all(torch.equal(weights[name], tensor) for name, tensor in weights_of(value).items())


def kept(run: TrainingRun, model: nn.Module, value: float) -> bool:
    """Return whether model and file both have these weights, and the file still the metadata of its own run."""
    weights, metadata = read_weights(run.folder / "model.safetensors")
    assert metadata == {"init": "scratch+", "metrics": {}}
    assert same(weights, value) == same(model.state_dict(), value)
    return same(weights, value)


def test_a_longer_training_that_is_worse_keeps_the_weights_of_scratch(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    shorter = write("scratch", 1.0, 0.5, 0.8, 0.7)
    longer, model = write("scratch+", 2.0, 0.4, 0.75, 0.6, 0.5, evaluated=False), model_of(2.0)
    assert keep_better(model, longer, shorter, Display(stdout=True))
    assert kept(longer, model, 1.0)
    assert (
        "scratch+ (fold 0, seed 0) keeps the weights of scratch (fold 0, seed 0): its validation score is 0.8000, that "
        "of the longer training 0.7500."
    ) in " ".join(capsys.readouterr().out.split())
    assert same(read_weights(shorter.folder / "model.safetensors")[0], 1.0)


@pytest.mark.parametrize("score", [0.81, 0.8])
def test_one_that_is_better_or_equal_is_left_alone(
    write: Write, score: float, capsys: pytest.CaptureFixture[str]
) -> None:
    shorter = write("scratch", 1.0, 0.5, 0.8)
    longer, model = write("scratch+", 2.0, 0.4, score, 0.1, evaluated=False), model_of(2.0)
    before = (longer.folder / "model.safetensors").read_bytes()
    assert not keep_better(model, longer, shorter, Display(stdout=True))
    assert kept(longer, model, 2.0)
    assert (longer.folder / "model.safetensors").read_bytes() == before
    assert capsys.readouterr().out == ""


def test_without_scores_the_longer_one_stays(write: Write) -> None:
    shorter, longer, model = write("scratch", 1.0), write("scratch+", 2.0, evaluated=False), model_of(2.0)
    assert not keep_better(model, longer, shorter, Display(quiet=True))
    assert kept(longer, model, 2.0)


def test_a_score_that_is_undefined_does_not_count(write: Write) -> None:
    shorter = write("scratch", 1.0, None, float("nan"), 0.2)
    longer, model = write("scratch+", 2.0, None, 0.3, evaluated=False), model_of(2.0)
    assert not keep_better(model, longer, shorter, Display(quiet=True))
    assert kept(longer, model, 2.0)


def test_a_scratch_that_did_not_end_gives_nothing(write: Write) -> None:
    shorter = write("scratch", 1.0, 0.9, evaluated=False)
    longer, model = write("scratch+", 2.0, 0.3, evaluated=False), model_of(2.0)
    assert not keep_better(model, longer, shorter, Display(quiet=True))
    assert kept(longer, model, 2.0)


def test_a_run_asks_it_of_scratch_of_the_same_seed_and_says_whose_weights_are_kept(
    radiographs: Path,
    tmp_path: Path,
    small_pictures: list[str],
    call: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def note(model: nn.Module, run: TrainingRun, shorter: TrainingRun, display: Display) -> bool:
        asked.append((run.title, shorter.title, shorter.is_evaluated))
        return run.seed == 1

    monkeypatch.setattr(train, "keep_better", note)
    words = ("--init", "scratch+,scratch", "--seeds", "2")
    assert call("run", radiographs, "--out", tmp_path / "out", *small_pictures, *words) == 0
    assert asked == [(f"scratch+ (fold 0, seed {seed})", f"scratch (fold 0, seed {seed})", True) for seed in (0, 1)]
    found = [TrainingRun.within(tmp_path / "out", "scratch+", 0, seed).environment for seed in (0, 1)]
    assert [facts.get("weights_of") for facts in found] == [None, "scratch"]
