"""The training loop: one for pre-training and fine-tuning, resumable to the bit."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from selfmae.data.case import Case
from selfmae.data.stream import collate, draw_at, stream
from selfmae.errors import UserError
from selfmae.models.weights import read_weights, save_weights
from selfmae.options import OptimOptions
from selfmae.seeds import derive
from selfmae.tasks.base import Trainable
from selfmae.train.device import tune_attention
from selfmae.train.log import StepLog
from selfmae.train.optim import make_optimizer, set_lr

CHECKPOINT_SECONDS = 60.0

Validate = Callable[[nn.Module], float]
Watch = Callable[[int, float], None]


class Interrupted(KeyboardInterrupt):
    """The user or the system asked for an end; the checkpoint is written, the same command continues."""


@dataclass
class Progress:
    """Where an optimisation stands; with model and optimiser this is all that a checkpoint needs."""

    step: int = 0
    best: float = float("-inf")
    best_step: int = 0
    looks_without_gain: int = 0
    stopped: bool = False
    losses: list[float] = field(default_factory=list)  # of the steps since the last line of the log


class Optimisation:
    """Trains one model in one folder: `last.ckpt`, `steps.jsonl` and, of the best step, `model.safetensors`."""

    def __init__(self, fabric: Fabric, task: Trainable, options: OptimOptions, folder: Path) -> None:
        self.fabric = fabric
        self.task = task
        self.options = options
        self.folder = folder
        self.progress = Progress()
        self.log = StepLog(folder / "steps.jsonl", every=max(1, options.steps // 500))
        recipe = task.recipe
        with torch.random.fork_rng():
            torch.manual_seed(derive(recipe.seed, "weights"))
            self.model: nn.Module = task.build()
        tune_attention(self.model, recipe.device)

    def run(
        self,
        cases: Sequence[Case],
        contract: Mapping[str, Any],
        validate: Validate | None = None,
        watch: Watch | None = None,
    ) -> nn.Module:
        """Optimise to the end, from the checkpoint if there is one, and return the model with its best weights.

        `validate` returns a score, larger is better, that chooses the weights kept; without it the last are kept.
        `watch` is told the step and its loss. Raises `Interrupted` after a signal, once the checkpoint is written.
        """
        if not cases:
            raise UserError("There is no case to train on: the train part of the split is empty.")
        fabric, options, progress = self.fabric, self.options, self.progress
        optimizer = make_optimizer(self.model, self.task.recipe.model.depth, options)
        wrapped, self.optimizer = fabric.setup(self.model, optimizer)
        self._load()
        saved = time.monotonic()
        with catch_signals() as asked_to_stop:
            for batch in self._batches(cases):
                if progress.stopped:
                    break
                lr = set_lr(self.optimizer, progress.step, options)
                loss = self._step(wrapped, batch)
                progress.step += 1
                progress.losses.append(loss)
                if watch and fabric.is_global_zero:
                    watch(progress.step, loss)
                if self.log.is_due(progress.step) or progress.step == options.steps:
                    self._write_losses(lr)
                if self._look_due():
                    self._look(validate, contract)
                stop, save = self._agreed(asked_to_stop.is_set(), time.monotonic() - saved > CHECKPOINT_SECONDS)
                if stop or save:
                    self._save()
                    saved = time.monotonic()
                if stop:
                    raise Interrupted
        self._save()
        if validate is None and fabric.is_global_zero:
            save_weights(self.folder / "model.safetensors", self.model.state_dict(), contract)
        fabric.barrier()
        self.model.load_state_dict(read_weights(self.folder / "model.safetensors")[0])
        return self.model

    def _batches(self, cases: Sequence[Case]) -> Iterator[list[dict[str, Tensor]]]:
        """Yield for each step that is left the micro-batches of this device."""
        options, seed = self.options, self.task.recipe.seed
        share = options.batch // (options.accumulate * self.fabric.world_size)
        if share * options.accumulate * self.fabric.world_size != options.batch:
            raise UserError(
                f"batch {options.batch} must be a multiple of accumulate {options.accumulate} times "
                f"{self.fabric.world_size} devices: change one of them."
            )

        def make(number: int) -> dict[str, Tensor]:
            first = (number * self.fabric.world_size + self.fabric.global_rank) * share
            return collate([self.task.sample(draw_at(cases, seed, first + place)) for place in range(share)])

        micro = stream(make, self.progress.step * options.accumulate, options.steps * options.accumulate)
        try:
            for _ in range(self.progress.step, options.steps):
                yield [next(micro) for _ in range(options.accumulate)]
        finally:
            micro.close()  # type: ignore[attr-defined]

    def _step(self, model: nn.Module, batches: list[dict[str, Tensor]]) -> float:
        """Take one optimiser step and return its loss, averaged over micro-batches and devices."""
        total = torch.zeros((), device=self.fabric.device)
        for number, batch in enumerate(batches, start=1):
            batch = self.fabric.to_device(batch)
            with self.fabric.no_backward_sync(model, enabled=number < len(batches)):
                loss = self.task.loss(model, batch) / len(batches)
                self.fabric.backward(loss)
            total += loss.detach()
        if self.options.clip:
            self.fabric.clip_gradients(model, self.optimizer, max_norm=self.options.clip, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        loss_value = float(self.fabric.all_reduce(total, reduce_op="mean"))
        if loss_value != loss_value:
            raise UserError(
                f"The loss became not-a-number at step {self.progress.step + 1}: lower the learning rate, or set "
                "device.precision to fp32; the last checkpoint is kept."
            )
        return loss_value

    def _write_losses(self, lr: float) -> None:
        losses = self.progress.losses
        if self.fabric.is_global_zero:
            self.log.write({"step": self.progress.step, "loss": sum(losses) / len(losses), "lr": lr})
        self.progress.losses = []

    def _agreed(self, stop: bool, save: bool) -> tuple[bool, bool]:
        """Return whether any device wants to stop or save: all must do it at the same step."""
        if self.fabric.world_size == 1:
            return stop, save
        wishes = self.fabric.all_reduce(torch.tensor([stop, save], device=self.fabric.device).float(), reduce_op="sum")
        return bool(wishes[0]), bool(wishes[1])

    def _look_due(self) -> bool:
        step, every = self.progress.step, self.options.validate_every
        return step == self.options.steps or bool(every and step % every == 0)

    def _look(self, validate: Validate | None, contract: Mapping[str, Any]) -> None:
        """Score the model on the validation part and keep its weights if they are the best so far."""
        if validate is None:
            return
        progress = self.progress
        score = 0.0
        if self.fabric.is_global_zero:
            with self.fabric.autocast():
                score = validate(self.model)
            self.log.write({"step": progress.step, "score": score})
        score = float(self.fabric.broadcast(score))
        if score > progress.best:
            progress.best, progress.best_step, progress.looks_without_gain = score, progress.step, 0
            if self.fabric.is_global_zero:
                save_weights(self.folder / "model.safetensors", self.model.state_dict(), contract)
        else:
            progress.looks_without_gain += 1
            progress.stopped = 0 < self.options.patience <= progress.looks_without_gain

    def _state(self) -> dict[str, Any]:
        scaler = getattr(self.fabric._precision, "scaler", None)
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": vars(self.progress),
            "scaler": scaler.state_dict() if scaler else {},
        }

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            part = self.folder / "last.ckpt.part"
            torch.save(self._state(), part)
            part.replace(self.folder / "last.ckpt")
        self.fabric.barrier()

    def _load(self) -> None:
        """Continue from the checkpoint, if there is one; lines of the log after it are cut off."""
        path = self.folder / "last.ckpt"
        if path.exists():
            state = torch.load(path, map_location=self.fabric.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = Progress(**state["progress"])
            scaler = getattr(self.fabric._precision, "scaler", None)
            if scaler:
                scaler.load_state_dict(state["scaler"])
        if self.fabric.is_global_zero:
            self.log.cut(self.progress.step)


@contextmanager
def catch_signals() -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into a set event; a second one acts as it always does."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        event.set()
        for name, handler in before.items():
            signal.signal(name, handler)

    for name in before:
        signal.signal(name, note)
    try:
        yield event
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
