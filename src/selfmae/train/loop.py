"""The training loop: one for pre-training and fine-tuning, resumable to the bit."""

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn

from selfmae.data.case import Case
from selfmae.data.sampling.stream import Draw, draw_at, stream
from selfmae.errors import UserError
from selfmae.files import read_log
from selfmae.options import OptimOptions
from selfmae.seeds import derive
from selfmae.tasks.base import Trainable
from selfmae.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from selfmae.train.device import load_weights, resolve_precision, tune_attention, whole_weights
from selfmae.train.optim import make_optimizer, set_lr
from selfmae.train.signals import Interrupted, catch_signals
from selfmae.weights.file import read_weights, save_weights

CHECKPOINT_SECONDS = 60.0

Validate = Callable[[nn.Module], Mapping[str, float]]  # "score", larger is better, and what else is to be logged
Watch = Callable[[int, float], None]


class Optimisation:
    """Trains one model in one folder: `last.ckpt`, `steps.jsonl` and, of the best step, `model.safetensors`."""

    def __init__(self, fabric: Fabric, task: Trainable, options: OptimOptions, folder: Path) -> None:
        self.fabric = fabric
        self.task = task
        self.options = options
        self.folder = folder
        self.progress = Progress()
        self.log = StepLog(folder / "steps.jsonl", every=max(1, options.steps // 500))
        with torch.random.fork_rng(devices=[]):  # built on the CPU; else it would take memory on every GPU
            torch.manual_seed(derive(task.recipe.seed, "weights"))
            self.model: nn.Module = task.build()
        tune_attention(self.model, task.recipe.device)

    def run(
        self,
        cases: Sequence[Case],
        metadata: Mapping[str, Any],
        validate: Validate | None = None,
        watch: Watch | None = None,
    ) -> nn.Module:
        """Optimise to the end, from the checkpoint if there is one; return the model with its best weights, in eval.

        The score of `validate` chooses the weights that are kept; without it the last are kept.
        `watch` is told the step and its loss. Raises `Interrupted` after a signal, once the checkpoint is written.
        """
        if not cases:
            raise UserError(
                "Training needs cases, but the train part of the split is empty: give the source or data.splits one."
            )
        fabric = self.fabric
        scaled = resolve_precision(self.task.recipe.device) == "fp16"
        wrapped = fabric.setup_module(self.model)  # before its optimiser, which sees what became of the parameters
        optimizer = make_optimizer(self.model, self.task.recipe.model.depth, self.options, scaled)
        self.optimizer: Any = fabric.setup_optimizers(optimizer)
        self.progress = load_checkpoint(self.folder / "last.ckpt", fabric, self.model, optimizer)
        if fabric.is_global_zero:
            self.log.cut(self.progress.step)
        saved = time.monotonic()
        with catch_signals() as asked_to_stop, closing(self._batches(cases)) as batches:
            for batch in batches:
                loss = self._advance(wrapped, batch)
                if watch and fabric.is_global_zero:
                    watch(self.progress.step, loss)
                if self._look_due():
                    self._look(validate, metadata)
                stop, save = self._agreed(asked_to_stop.is_set(), time.monotonic() - saved > CHECKPOINT_SECONDS)
                if stop or save or self._is_over():
                    self._save()
                    saved = time.monotonic()
                if stop:
                    raise Interrupted
                if self._is_over():
                    break
        if validate is None:
            self._keep_weights(metadata)
        fabric.barrier()
        load_weights(self.model, read_weights(self.folder / "model.safetensors")[0])
        return self.model.eval()

    def _is_over(self) -> bool:
        return self.progress.stopped or self.progress.step >= self.options.steps

    def _batches(self, cases: Sequence[Case]) -> Generator[list[dict[str, Tensor]], None, None]:
        """Yield for each step that is left the micro-batches of this device."""
        options, seed = self.options, self.task.recipe.seed
        share, rest = divmod(options.batch, options.accumulate * self.fabric.world_size)
        if rest or not share:
            raise UserError(
                f"batch {options.batch} must be a multiple of accumulate {options.accumulate} times "
                f"{self.fabric.world_size} devices: change one of them."
            )
        if self._is_over():
            return

        def draws_of(number: int) -> list[Draw]:
            first = (number * self.fabric.world_size + self.fabric.global_rank) * share
            return [draw_at(cases, seed, first + place, options.crops_per_case) for place in range(share)]

        numbers = range(self.progress.step * options.accumulate, options.steps * options.accumulate)
        with closing(stream(self.task.sample, map(draws_of, numbers), self._num_threads())) as micro:
            for _ in range(self.progress.step, options.steps):
                yield [next(micro) for _ in range(options.accumulate)]

    def _num_threads(self) -> int:
        """Return how many threads make samples: where the model needs the processor itself one, else all of torch's."""
        return 1 if self.fabric.device.type == "cpu" else torch.get_num_threads()

    def _advance(self, model: _FabricModule, batch: list[dict[str, Tensor]]) -> float:
        """Take one step at its learning rate, log it when due, and return its loss."""
        progress = self.progress
        lr = set_lr(self.optimizer, progress.step, self.options)
        loss = self._step(model, batch)
        progress.step += 1
        progress.losses.append(loss)
        if self.log.is_due(progress.step) or progress.step == self.options.steps:
            if self.fabric.is_global_zero:
                mean = sum(progress.losses) / len(progress.losses)
                self.log.write({"step": progress.step, "loss": mean, "lr": lr})
            progress.losses = []
        return loss

    def _step(self, model: _FabricModule, batches: list[dict[str, Tensor]]) -> float:
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
        mean = self.fabric.all_reduce(total, reduce_op="mean")
        assert isinstance(mean, Tensor)
        loss_value = float(mean)
        if not isfinite(loss_value):
            raise UserError(
                f"The loss became {loss_value} (not a finite number) at step {self.progress.step + 1}: lower the "
                "learning rate, or set device.precision to fp32; the last checkpoint is kept."
            )
        return loss_value

    def _agreed(self, stop: bool, save: bool) -> tuple[bool, bool]:
        """Return whether any device wants to stop or save: all must do it at the same step."""
        if self.fabric.world_size == 1:
            return stop, save
        wishes = self.fabric.all_reduce(torch.tensor([stop, save], device=self.fabric.device).float(), reduce_op="sum")
        return bool(wishes[0]), bool(wishes[1])

    def _look_due(self) -> bool:
        step, every = self.progress.step, self.options.validate_every
        return step == self.options.steps or bool(every and step % every == 0)

    def _look(self, validate: Validate | None, metadata: Mapping[str, Any]) -> None:
        """Score the model and keep its weights if they are the best so far."""
        if validate is None:
            return
        progress = self.progress
        score = float("-inf")
        model = self._whole_model()
        if self.fabric.is_global_zero:
            model.eval()
            with torch.no_grad(), self.fabric.autocast():
                found = validate(model)
            model.train()
            score = found["score"] if isfinite(found["score"]) else score
            values = {name: value if isfinite(value) else None for name, value in found.items()}
            self.log.write({"step": progress.step, **values})
        score = float(self.fabric.broadcast(score))
        # As long as no score is defined every look counts, so that without any the last weights are kept.
        if score > progress.best or progress.best == float("-inf"):
            progress.best, progress.best_step, progress.looks_without_gain = score, progress.step, 0
            self._keep_weights(metadata)
        else:
            progress.looks_without_gain += 1
            progress.stopped = 0 < self.options.patience <= progress.looks_without_gain

    def _whole_model(self) -> nn.Module:
        """Return the model or, where it is shared out over devices, a copy with all weights on the first of them."""
        if not self.task.recipe.device.shard:
            return self.model
        weights = whole_weights(self.model)
        if not self.fabric.is_global_zero:
            return self.model
        with torch.random.fork_rng(devices=[]):
            model = self.task.build()
        model.load_state_dict(weights)
        tune_attention(model, self.task.recipe.device)
        return model.to(self.fabric.device)

    def _keep_weights(self, metadata: Mapping[str, Any]) -> None:
        weights = whole_weights(self.model)
        if self.fabric.is_global_zero:
            save_weights(self.folder / "model.safetensors", weights, metadata)

    def _save(self) -> None:
        save_checkpoint(self.folder / "last.ckpt", self.fabric, self.model, self.optimizer.optimizer, self.progress)
        self.fabric.barrier()


class StepLog:
    """Lines {"step", "loss", "lr"} and {"step", "score"}; a run that continues drops those after its checkpoint."""

    def __init__(self, path: Path, every: int) -> None:
        self.path = path
        self.every = every

    def is_due(self, step: int) -> bool:
        """Return whether the losses up to this step are to be written."""
        return step % self.every == 0

    def write(self, line: dict[str, Any]) -> None:
        """Append one line."""
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def cut(self, step: int) -> None:
        """Drop the lines after `step`, and a line that a crash left unfinished."""
        kept = [json.dumps(line) + "\n" for line in read_log(self.path) if line["step"] <= step]
        part = self.path.with_name(f"{self.path.name}.part")
        part.write_text("".join(kept))
        part.replace(self.path)
