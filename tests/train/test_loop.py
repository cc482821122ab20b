import dataclasses
import time
from pathlib import Path

import add_task as fake
import pytest
import torch
from add_task import CASES, OPTIONS, Score, interrupt_at, outcome

from selfmae.data.sampling import collate, draw_at
from selfmae.errors import UserError
from selfmae.files import read_log
from selfmae.train.launch import Interrupted
from selfmae.train.optimisation import make_optimizer, set_lr
from selfmae.weights.file import read_weights


def test_the_weights_kept_are_those_of_the_best_validation(tmp_path: Path) -> None:
    kept = []

    def validate(model: torch.nn.Module) -> dict[str, float]:
        kept.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"score": (1.0, 3.0, 2.0, 3.0)[len(kept) - 1]}

    model = fake.train(tmp_path, validate=validate)
    saved = read_weights(tmp_path / "model.safetensors")[0]
    assert all(torch.equal(saved[name], kept[1][name]) for name in saved)
    assert all(torch.equal(tensor, kept[1][name]) for name, tensor in model.state_dict().items())
    assert not torch.equal(saved["head.weight"], kept[3]["head.weight"])
    assert not model.training


def test_without_validation_the_last_weights_are_kept(tmp_path: Path) -> None:
    fake.train(tmp_path, metadata={"kind": "pretrain"})
    saved, metadata = read_weights(tmp_path / "model.safetensors")
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)["model"]
    assert all(torch.equal(saved[name], last[name]) for name in last)
    assert metadata == {"kind": "pretrain"}


def test_patience_stops_early(tmp_path: Path) -> None:
    fake.train(tmp_path, dataclasses.replace(OPTIONS, steps=100, patience=2), validate=Score())
    progress = outcome(tmp_path)["progress"]
    assert (progress["step"], progress["best_step"]) == (12, 6)
    assert [line["score"] for line in read_log(tmp_path / "steps.jsonl") if "score" in line] == [1.0, 3.0, 2.0, 0.0]


@pytest.mark.parametrize("undefined", [float("-inf"), float("nan")])
def test_the_last_weights_are_kept_if_no_validation_has_a_score(tmp_path: Path, undefined: float) -> None:
    fake.train(tmp_path, validate=Score((undefined,) * 4))
    saved, last = read_weights(tmp_path / "model.safetensors")[0], torch.load(tmp_path / "last.ckpt")["model"]
    assert all(torch.equal(saved[name], last[name]) for name in last)
    assert {line["score"] for line in read_log(tmp_path / "steps.jsonl") if "score" in line} == {None}


def test_a_score_beats_the_undefined_one_before_it(tmp_path: Path) -> None:
    fake.train(tmp_path, validate=Score((float("nan"), float("-inf"), -2.0, -3.0)))
    assert outcome(tmp_path)["progress"]["best_step"] == 9


def test_validation_does_not_change_training(tmp_path: Path) -> None:
    score = Score()
    fake.train(tmp_path / "validated", validate=score)
    fake.train(tmp_path / "blind")
    validated, blind = outcome(tmp_path / "validated"), outcome(tmp_path / "blind")
    assert all(torch.equal(tensor, blind["last"][name]) for name, tensor in validated["last"].items())
    assert score.training == [False] * 4


def test_training_goes_on_in_training_mode_after_a_validation(tmp_path: Path) -> None:
    modes = []

    class Noting(fake.AddTask):
        def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            modes.append(model.training)
            return super().loss(model, batch)

    fake.train(tmp_path, validate=Score(), task=Noting(fake.recipe_of(OPTIONS)))
    assert modes == [True] * 12


def test_a_loss_that_is_no_number_stops_with_a_sentence_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fake.train(tmp_path, watch=interrupt_at(3))
    before = (tmp_path / "last.ckpt").read_bytes()
    with pytest.raises(UserError, match=r"The loss became nan \(not a finite number\) at step 4: lower the learning"):
        fake.train(tmp_path, scale=float("nan"))
    assert (tmp_path / "last.ckpt").read_bytes() == before


def test_no_training_case_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the train part of the split is empty"):
        fake.train(tmp_path, cases=[])


@pytest.mark.parametrize("change", [{"batch": 4, "accumulate": 3}, {"batch": 2, "accumulate": 4}])
def test_a_batch_that_cannot_be_shared_out_is_a_sentence(tmp_path: Path, change: dict[str, int]) -> None:
    options = dataclasses.replace(OPTIONS, **change)
    expected = f"batch {options.batch} must be a multiple of accumulate {options.accumulate} times 1 devices"
    with pytest.raises(UserError, match=expected):
        fake.train(tmp_path, options)


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_micro_batches_add_up_to_the_batch(tmp_path: Path, clip: float) -> None:
    one = dataclasses.replace(OPTIONS, clip=clip)
    fake.train(tmp_path / "one", one)
    fake.train(tmp_path / "four", dataclasses.replace(one, accumulate=4))
    single, shared = outcome(tmp_path / "one"), outcome(tmp_path / "four")
    for name, tensor in single["last"].items():
        torch.testing.assert_close(tensor, shared["last"][name], atol=1e-5, rtol=1e-4)
    losses = [[line["loss"] for line in read_log(tmp_path / name / "steps.jsonl")] for name in ("one", "four")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_loop_does_what_a_plain_loop_does(tmp_path: Path) -> None:
    options = dataclasses.replace(OPTIONS, clip=0.3)
    trainer = fake.trainer_in(tmp_path / "own", options)
    task, model = trainer.task, trainer.model
    optimizer = make_optimizer(model, 1, options)
    for step in range(options.steps):
        set_lr(optimizer, step, options)
        draws = [draw_at(CASES, 3, place) for place in range(4 * step, 4 * step + 4)]
        task.loss(model, collate([task.sample(draw) for draw in draws])).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        optimizer.step()
        optimizer.zero_grad()
    trained = fake.train(tmp_path / "loop", options)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, trained.state_dict()[name], atol=1e-6, rtol=1e-6)


def test_weights_at_the_start_depend_on_the_seed_only(tmp_path: Path) -> None:
    torch.manual_seed(int(time.time()))
    state = torch.random.get_rng_state()
    one, other = fake.trainer_in(tmp_path).model, fake.trainer_in(tmp_path).model
    assert torch.equal(one.head.weight, other.head.weight)
    assert torch.equal(state, torch.random.get_rng_state())
