"""The training loop: one for pre-training and fine-tuning, resumable to the bit."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from selfmae.data.case import Case
from selfmae.data.sampling import Draw, draw_at, stream
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.options import OptimOptions
from selfmae.seeds import derive
from selfmae.tasks.base import Trainable
from selfmae.train.device import load_weights, make_fabric, resolve_precision, tune_attention, whole_weights
from selfmae.train.launch import Interrupted, catch_signals, run_on_devices
from selfmae.train.optimisation import Progress, StepLog, load_checkpoint, make_optimizer, save_checkpoint, set_lr
from selfmae.weights.file import Weights, load_encoder, read_weights, save_weights

CHECKPOINT_SECONDS = 60.0

Validate = Callable[[nn.Module], Mapping[str, float]]  # "score", larger is better, and what else is to be logged


@dataclass(frozen=True)
class Training:
    """One optimisation in one folder, which gets `last.ckpt`, `steps.jsonl` and `model.safetensors` of the best step.

    The score of `validate` chooses the weights that are kept; without it the last are kept.
    """

    name: str  # for the display
    task: Trainable
    options: OptimOptions
    folder: Path
    cases: Sequence[Case]
    metadata: Mapping[str, Any]  # of the weights
    init: Weights | None = None  # of the encoder (`weights.adaptation`); None keeps random ones
    validate: Validate | None = None  # can be sent to other processes


def fit(training: Training, display: Display, fabric: Fabric | None = None) -> nn.Module:
    """Optimise to the end, from the checkpoint if there is one; return the model with its best weights, in eval.

    Several devices have a process each, which is given its `fabric`. Raises `Interrupted` after a signal, once the
    checkpoint is written, and `UserError` where the loss is not finite.
    """
    device = training.task.recipe.device
    if fabric is None and device.devices > 1:
        run_on_devices(fit, training, display, make_fabric(device))
        weights, _ = read_weights(training.folder / "model.safetensors")
        return _rebuild(training.task, weights, make_fabric(device).device).eval()
    trainer = Trainer(fabric or make_fabric(device), training)
    shown = display.stage(training.name, training.options.steps) if trainer.fabric.is_global_zero else nullcontext()
    saved = time.monotonic()
    with shown as stage, catch_signals() as asked_to_stop, closing(trainer.batches()) as batches:
        for batch in batches:
            loss = trainer.step(batch)
            if stage:
                stage.update(trainer.progress.step, loss)
            trainer.validate_if_due()
            stop, save = trainer.agree(asked_to_stop.is_set(), time.monotonic() - saved > CHECKPOINT_SECONDS)
            if stop or save or trainer.is_over:
                trainer.save()
                saved = time.monotonic()
            if stop:
                raise Interrupted
            if trainer.is_over:
                break
    return trainer.finish()


def _rebuild(task: Trainable, weights: Weights, device: torch.device) -> nn.Module:
    """Return a new model of a task with whole weights, on one device."""
    with torch.random.fork_rng(devices=[]):
        model = task.build()
    model.load_state_dict(weights)
    tune_attention(model, task.recipe.device)
    return model.to(device)


class Trainer:
    """Model, optimiser and progress of one optimisation on this process's device."""

    def __init__(self, fabric: Fabric, training: Training) -> None:
        if not training.cases:
            raise UserError(
                "Training needs cases, but the train part of the split is empty: give the source or data.splits one."
            )
        self.fabric, self.training = fabric, training
        self.task, self.options, self.folder = training.task, training.options, training.folder
        self.log = StepLog(self.folder / "steps.jsonl", every=max(1, self.options.steps // 500))
        recipe = self.task.recipe
        with torch.random.fork_rng(devices=[]):  # built on the CPU; else it would take memory on every GPU
            torch.manual_seed(derive(recipe.seed, "weights"))
            self.model: nn.Module = self.task.build()
        tune_attention(self.model, recipe.device)
        if training.init is not None:
            load_encoder(self.model, training.init)
        self.wrapped = fabric.setup_module(self.model)  # before its optimiser, which sees what became of parameters
        scaled = resolve_precision(recipe.device) == "fp16"
        optimizer = make_optimizer(self.model, recipe.model.depth, self.options, scaled)
        self.optimizer: Any = fabric.setup_optimizers(optimizer)
        self.progress: Progress = load_checkpoint(self.folder / "last.ckpt", fabric, self.model, optimizer)
        if fabric.is_global_zero:
            self.log.cut(self.progress.step)

    @property
    def is_over(self) -> bool:
        """Return whether no step is left."""
        return self.progress.stopped or self.progress.step >= self.options.steps

    def batches(self) -> Generator[list[dict[str, Tensor]], None, None]:
        """Yield for each step that is left the micro-batches of this device."""
        options, seed, cases = self.options, self.task.recipe.seed, self.training.cases
        share, rest = divmod(options.batch, options.accumulate * self.fabric.world_size)
        if rest or not share:
            raise UserError(
                f"batch {options.batch} must be a multiple of accumulate {options.accumulate} times "
                f"{self.fabric.world_size} devices: change one of them."
            )
        if self.is_over:
            return

        def draws_of(number: int) -> list[Draw]:
            first = (number * self.fabric.world_size + self.fabric.global_rank) * share
            return [draw_at(cases, seed, first + index, options.crops_per_case) for index in range(share)]

        numbers = range(self.progress.step * options.accumulate, options.steps * options.accumulate)
        # The samples get one thread where the model needs the processor itself, else all of torch's.
        num_threads = 1 if self.fabric.device.type == "cpu" else torch.get_num_threads()
        with closing(stream(self.task.sample, map(draws_of, numbers), num_threads)) as micro:
            for _ in range(self.progress.step, options.steps):
                yield [next(micro) for _ in range(options.accumulate)]

    def step(self, batches: Sequence[dict[str, Tensor]]) -> float:
        """Take one optimiser step at its learning rate, log it when due; return its loss, the mean over all devices."""
        progress, options = self.progress, self.options
        lr = set_lr(self.optimizer, progress.step, options)
        total = torch.zeros((), device=self.fabric.device)
        for number, batch in enumerate(batches, start=1):
            with self.fabric.no_backward_sync(self.wrapped, enabled=number < len(batches)):
                loss = self.task.loss(self.wrapped, self.fabric.to_device(batch)) / len(batches)
                self.fabric.backward(loss)
            total += loss.detach()
        if options.clip:
            self.fabric.clip_gradients(self.wrapped, self.optimizer, max_norm=options.clip, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        value = float(self.fabric.all_reduce(total, reduce_op="mean"))  # type: ignore[arg-type]
        progress.step += 1
        if not isfinite(value):
            raise UserError(
                f"The loss became {value} (not a finite number) at step {progress.step}: lower the learning rate, "
                "or set device.precision to fp32; the last checkpoint is kept."
            )
        progress.losses.append(value)
        if self.log.is_due(progress.step) or progress.step == options.steps:
            if self.fabric.is_global_zero:
                self.log.write({"step": progress.step, "loss": sum(progress.losses) / len(progress.losses), "lr": lr})
            progress.losses = []
        return value

    def agree(self, stop: bool, save: bool) -> tuple[bool, bool]:
        """Return whether any device wants to stop or save: all must do it at the same step."""
        if self.fabric.world_size == 1:
            return stop, save
        wishes = self.fabric.all_reduce(torch.tensor([stop, save], device=self.fabric.device).float(), reduce_op="sum")
        return bool(wishes[0]), bool(wishes[1])

    def validate_if_due(self) -> None:
        """Score the model where a validation is due, and keep its weights if they are the best so far."""
        progress, options, validate = self.progress, self.options, self.training.validate
        due = progress.step == options.steps or (options.validate_every and progress.step % options.validate_every == 0)
        if validate is None or not due:
            return
        score, model = float("-inf"), self.model
        if self.task.recipe.device.shard:  # scored is a copy with all weights, on the first device
            weights = whole_weights(model)
            model = _rebuild(self.task, weights, self.fabric.device) if self.fabric.is_global_zero else model
        if self.fabric.is_global_zero:
            model.eval()
            with torch.no_grad(), self.fabric.autocast():
                found = validate(model)
            model.train()
            score = found["score"] if isfinite(found["score"]) else score
            values = {name: value if isfinite(value) else None for name, value in found.items()}
            self.log.write({"step": progress.step, **values})
        score = float(self.fabric.broadcast(score))
        # As long as no score is defined every validation counts, so that without any the last weights are kept.
        if score > progress.best or progress.best == float("-inf"):
            progress.best, progress.best_step, progress.validations_without_gain = score, progress.step, 0
            self._keep_weights()
        else:
            progress.validations_without_gain += 1
            progress.stopped = 0 < options.patience <= progress.validations_without_gain

    def _keep_weights(self) -> None:
        weights = whole_weights(self.model)
        if self.fabric.is_global_zero:
            save_weights(self.folder / "model.safetensors", weights, self.training.metadata)

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(self.folder / "last.ckpt", self.fabric, self.model, self.optimizer.optimizer, self.progress)
        self.fabric.barrier()

    def finish(self) -> nn.Module:
        """Return the model with the weights that are kept, in eval."""
        if self.training.validate is None:
            self._keep_weights()
        self.fabric.barrier()
        load_weights(self.model, read_weights(self.folder / "model.safetensors")[0])
        return self.model.eval()
