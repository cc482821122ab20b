"""A tiny task for tests of the loop: a network of 12 hidden units learns to add; runs as a program too."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from selfmae.data.case import Case
from selfmae.data.sampling import Draw, Sample
from selfmae.errors import UserError
from selfmae.options import DataOptions, DeviceOptions, ModelOptions, OptimOptions, Recipe, TargetOptions
from selfmae.seeds import generator
from selfmae.train.device import make_fabric
from selfmae.train.loop import Trainer, Training, Validate, fit
from selfmae.weights.file import read_weights

CASES = [Case(f"c{number}", f"p{number}", (), None, "train") for number in range(7)]
DEFAULTS: dict[str, Any] = {"cases": CASES, "metadata": {}}
OPTIONS = OptimOptions(steps=12, batch=4, lr=0.02, warmup_steps=2, validate_every=3, clip=1.0)


class Tiny(nn.Module):
    """A block with weights, a bias and a norm, named as in an encoder, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.blocks = nn.ModuleList([nn.Sequential(nn.Linear(6, 12), nn.LayerNorm(12), nn.GELU())])
        self.head = nn.Linear(12, 1)

    def forward(self, values: Tensor) -> Tensor:
        return self.head(self.encoder.blocks[0](values))


class AddTask:
    """Six numbers in, `scale` times their sum out."""

    def __init__(self, recipe: Recipe, scale: float = 1.0) -> None:
        self.recipe = recipe
        self.scale = scale

    def build(self) -> nn.Module:
        return Tiny()

    def sample(self, draw: Draw) -> Sample:
        values = torch.from_numpy(generator(draw.seed, "values").normal(size=6)).float()
        return {"values": values, "sum": values.sum()[None] * self.scale}

    def loss(self, model: nn.Module, batch: Sample) -> Tensor:
        return (model(batch["values"]).float() - batch["sum"]).square().mean()


class DamagedTask(AddTask):
    """A sample of the second process cannot be read."""

    def sample(self, draw: Draw) -> Sample:
        if torch.distributed.get_rank() == 1:
            raise UserError("scan.nii is damaged: copy it again.")
        return super().sample(draw)


class Score:
    """A validation that is told how it is called; the default score falls after the second time."""

    def __init__(self, scores: tuple[float, ...] = (1.0, 3.0, 2.0, 0.0, 0.0)) -> None:
        self.scores = scores
        self.training: list[bool] = []

    def __call__(self, model: nn.Module) -> dict[str, float]:
        self.training.append(model.training or torch.is_grad_enabled())
        torch.rand(3)  # nothing in training may depend on the global state
        return {"score": self.scores[len(self.training) - 1]}


class Silent:
    """A display that shows nothing but counts; here, not in a test file, so that other processes can import it."""

    def __init__(self) -> None:
        self.updates: list[int] = []

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Any]:
        yield SimpleNamespace(update=lambda step, loss: self.updates.append(step))


class Watched(Silent):
    """A display that passes every step and its loss on."""

    def __init__(self, watch: Callable[[int, float], None] | None) -> None:
        super().__init__()
        self.watch = watch

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Any]:
        yield SimpleNamespace(update=self.watch or (lambda step, loss: None))


class Interrupting(Silent):
    """A display that sends its process SIGINT when it is told of step 5."""

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Any]:
        yield SimpleNamespace(update=interrupt_at(5))


def norm_score(model: nn.Module) -> dict[str, float]:
    """Return a score that depends on the weights only, rising and falling as they move."""
    return {"score": float(sum(parameter.sum() for parameter in model.parameters()).sin())}


def recipe_of(options: OptimOptions, seed: int = 3, **device: object) -> Recipe:
    return Recipe(
        data=DataOptions(source="none", channels=("x",), crop=(8, 8)),
        target=TargetOptions(kind="multiclass", names=("a", "b")),
        model=ModelOptions(patch=(4, 4), width=12, depth=1, heads=1),
        pretrain=options,
        fit=options,
        device=DeviceOptions(**({"accelerator": "cpu", "precision": "fp32"} | device)),  # type: ignore[arg-type]
        seed=seed,
    )


def training_in(folder: Path, options: OptimOptions = OPTIONS, scale: float = 1.0, **more: Any) -> Training:
    """Return the training of an `AddTask` in a folder, which is made."""
    folder.mkdir(exist_ok=True, parents=True)
    task = AddTask(recipe_of(options), scale)
    return Training(**({"name": "adding", "task": task, "options": options, "folder": folder} | DEFAULTS | more))


def train(
    folder: Path,
    options: OptimOptions = OPTIONS,
    scale: float = 1.0,
    validate: Validate | None = None,
    watch: Callable[[int, float], None] | None = None,
    **more: Any,
) -> nn.Module:
    """Train in a folder, `watch` is told every step and its loss; return the model."""
    return fit(training_in(folder, options, scale, validate=validate, **more), Watched(watch))


def trainer_in(folder: Path, options: OptimOptions = OPTIONS) -> Trainer:
    training = training_in(folder, options)
    return Trainer(make_fabric(training.task.recipe.device), training)


def interrupt_at(step: int) -> Callable[[int, float], None]:
    """Return a watch that sends this process SIGINT after a step."""
    return lambda now, loss: os.kill(os.getpid(), signal.SIGINT) if now == step else None


def outcome(folder: Path) -> dict[str, Any]:
    """Return all that a run leaves: weights, log, and the checkpoint's every tensor and number."""
    state = torch.load(folder / "last.ckpt", weights_only=True)
    moments = {
        f"{number}.{key}": value
        for number, entry in state["optimizer"]["state"].items()
        for key, value in entry.items()
    }
    return {
        "weights": read_weights(folder / "model.safetensors")[0],
        "last": state["model"],
        "moments": moments,
        "progress": state["progress"],
        "lr": [group["lr"] for group in state["optimizer"]["param_groups"]],
        "log": (folder / "steps.jsonl").read_text(),
    }


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    for key in ("weights", "last", "moments"):
        assert one[key].keys() == other[key].keys()
        assert all(torch.equal(value, other[key][name]) for name, value in one[key].items()), key
    assert one["progress"] == other["progress"]
    assert one["lr"] == other["lr"]
    assert one["log"] == other["log"]


def main(folder: str, stop_after: str) -> None:
    """Train; send ourselves SIGINT after a step, as a user would (0: never)."""
    train(Path(folder), validate=norm_score, watch=interrupt_at(int(stop_after)))


if __name__ == "__main__":
    main(*sys.argv[1:])
