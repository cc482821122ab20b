"""Short measurements on this machine: seconds of a step and of a case, memory of a step, operations of a training."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from statistics import median
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from selfmae.data.case import Case
from selfmae.data.memory import num_cores
from selfmae.data.preparation.store import Store
from selfmae.data.sampling import Sample, collate, draw_at
from selfmae.display import Display
from selfmae.networks import network_of
from selfmae.options import DeviceOptions, OptimOptions, Recipe
from selfmae.planning.size import Size
from selfmae.results.formatting import plural
from selfmae.tasks import make_task
from selfmae.tasks.base import Task, Trainable, score_cases
from selfmae.tasks.pretraining import Pretraining
from selfmae.tasks.probe import Probe
from selfmae.train.device import make_fabric, one_device, tune_attention, unfuse_attention
from selfmae.train.loop import Training, fit

MIN_STEPS, MAX_STEPS = 3, 10  # steps that are timed, after a first one that warms up
QUICK_SECONDS = 0.2  # of each size of sample that a plan tries
ENOUGH_SECONDS = 1.0  # of each measurement, once there are the fewest
OPTIMISER_BYTES = 16  # a parameter: value, gradient and the two moments of AdamW, float32
BACKWARD = 1.5  # peak of a backward pass in units of the activations kept for it: 1.4 to 1.6 in six runs on a CPU


EARLY = (
    "; where the probe ends the pre-training of a fold and seed early (probe.patience), scratch+ of that fold and seed "
    "has fewer, by the steps that were taken"
)


@dataclass(frozen=True)
class EqualCompute:
    """Steps of fine-tuning from scratch that cost as much as pre-training and fine-tuning together, and the reason.

    Where `probe.patience` may end a pre-training early they are the most; each training run has its own (`train_one`).
    """

    steps: int
    reason: str


class KnownPace(Exception):  # noqa: N818 - it ends a measurement and is no error
    """Ends a training whose pace is known."""


class Clock:
    """Takes the role of a training's display: notes when each step ends, and ends all after a few."""

    def __init__(self, enough: float = ENOUGH_SECONDS) -> None:
        self.ends: list[float] = []
        self.enough = enough

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator["Clock"]:
        """Open a stage, which is the clock itself."""
        yield self

    def update(self, done: int, loss: float | None = None) -> None:
        """Note the end of a step."""
        self.ends.append(time.monotonic())
        timed = len(self.ends) - 1
        if timed >= MIN_STEPS and (timed >= MAX_STEPS or self.ends[-1] - self.ends[0] > self.enough):
            raise KnownPace

    def pace(self) -> float:
        """Return the median seconds of a step."""
        return median(end - begin for begin, end in zip(self.ends, self.ends[1:], strict=False))


def time_steps(recipe: Recipe, task: Trainable, options: OptimOptions, cases: Sequence[Case], folder: Path) -> float:
    """Return the seconds of one training step, on real samples of these cases; `folder` receives the log of the steps.

    Of several devices one is timed, with its share of the batch.
    """
    options = replace(options, steps=1000, validate_every=0, batch=options.batch // recipe.device.devices)
    folder.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    with suppress(KnownPace):
        training = Training("timing", task, options, folder, cases, {})
        fit(training, cast(Display, clock), make_fabric(one_device(recipe.device)))
    return clock.pace()


def time_unet_step(size: Size, channels: int, outputs: int, device: DeviceOptions) -> float:
    """Return the seconds that a training step of a U-Net takes on this machine, on random samples of a size."""
    from selfmae.models.planned_unet import PlannedUNet
    from selfmae.networks.dynunet import build_body

    fabric, shape = make_fabric(one_device(device)), (size.batch, channels, *size.crop)
    with torch.random.fork_rng():
        model = PlannedUNet(build_body(size.crop, size.spacing_mm, channels, size.features), outputs)
        images = torch.randn(shape)
    model, images = model.to(fabric.device).train(), images.to(fabric.device)

    def step() -> None:
        with fabric.autocast():
            logits = model(images)
        sum(level.float().logsumexp(1).mean() for level in logits).backward()
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()

    return time_repeated(step, QUICK_SECONDS)


def time_scoring(recipe: Recipe, task: Task, case: Case) -> float:
    """Return the seconds that prediction and scoring of one case take, with random weights."""
    fabric = make_fabric(one_device(recipe.device))
    model = build(task).to(fabric.device).eval()
    with fabric.autocast():
        return time_repeated(lambda: score_cases(task, model, [case]))


def time_probe(recipe: Recipe, cases: Sequence[Case], num_held_out: int, num_labelled: int) -> float:
    """Return the seconds of a validation by the probe on so many cases, from a few with random weights.

    `cases` are a few labelled ones; the time is taken to grow with their number.
    """
    fabric, seconds = make_fabric(one_device(recipe.device)), 0.0
    model = build(Pretraining(recipe, "mae")).to(fabric.device).eval()
    unlabelled = replace(recipe, probe=replace(recipe.probe, kind="reconstruction"))
    probes = [(num_held_out, Probe(unlabelled, cases)), (num_labelled, Probe(recipe, (), cases))]
    for number, probe in probes:
        if number:
            with torch.no_grad(), fabric.autocast():
                seconds += time_repeated(partial(probe, model)) * number / len(cases)
    return seconds


def time_repeated(work: Callable[[], object], enough: float = ENOUGH_SECONDS) -> float:
    """Return the median seconds of some work, which is done once beforehand to warm up; it ends after `enough`."""
    clock = Clock(enough)
    with suppress(KnownPace):
        while True:
            work()
            clock.update(0)
    return clock.pace()


def time_preparation(store: Store, cases: Sequence[Case], masks: bool, coordinates: bool) -> tuple[float, list[Case]]:
    """Prepare the first cases in an empty store; return the seconds that each of the last took, and all prepared.

    It begins with one for each core and goes on with twice as many until the measurement is long enough.
    """
    done, count = 0, num_cores()
    while True:
        batch = cases[done : done + count]
        begin = time.monotonic()
        store.prepare(batch, masks, coordinates=coordinates)
        seconds = time.monotonic() - begin
        done, count = done + len(batch), count * 2
        if seconds > ENOUGH_SECONDS / 2 or len(cases) - done < count:
            return seconds / len(batch), list(cases[:done])


def step_bytes(recipe: Recipe, task: Trainable, options: OptimOptions, case: Case) -> int:
    """Return about how much memory one training step takes on a device: weights, gradients, AdamW and activations.

    The activations kept for the backward pass are counted for one sample and for two; the batch follows from these.
    Where a single sample is too few it is two and three.
    """
    fewest = network_of(recipe).MIN_SAMPLES  # batch norms take no single one
    model = build(task)
    share = options.batch // (options.accumulate * recipe.device.devices)
    samples = [task.sample(draw_at([case], recipe.seed, index)) for index in range(fewest + 1)]
    few, more = (kept_bytes(recipe, task, model, collate(samples[:count])) for count in (fewest, fewest + 1))
    weights = num_parameters(task) * OPTIMISER_BYTES
    return weights + round(BACKWARD * (few + (share - fewest) * max(0, more - few)))


def kept_bytes(recipe: Recipe, task: Trainable, model: nn.Module, batch: Sample) -> int:
    """Return the bytes of all tensors that a forward pass keeps for the backward pass, parameters left out."""
    fabric = make_fabric(one_device(recipe.device))
    model = model.to(fabric.device).train()
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), fabric.autocast():
        loss = task.loss(model, fabric.to_device(batch))  # it holds the tensors, so that no address comes twice
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    del loss
    return sum(size for address, size in kept.items() if address not in own)


def build(task: Trainable) -> nn.Module:
    """Return a new model of a task, with random weights that leave the random state alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = task.build()
    tune_attention(model, task.recipe.device)
    return model


def num_parameters(task: Trainable) -> int:
    """Return how many numbers a task's model learns."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in task.build().parameters())


def equal_compute(recipe: Recipe, method: str, case: Case, num_taken: int = 0) -> EqualCompute:
    """Return the steps for scratch with the compute of a method; `case` is a labelled one to count on.

    Counted are the floating-point operations of a forward and a backward pass (`torch.utils.flop_counter`), which are
    the same on every machine, unlike seconds; validations are left out. `num_taken` are the steps that a
    pre-training took, up to the one at which its probe ended it; 0 stands for those of the recipe.
    """
    num_steps = num_taken or recipe.pretrain.steps
    before, step = _operations_of_both(recipe, method, case)
    more = ceil(num_steps * before / step)
    return EqualCompute(
        recipe.fit.steps + more,
        f"scratch+ trains {recipe.fit.steps + more:,} steps: the {plural(recipe.fit.steps, 'step')} of every "
        f"initialization and {more:,} more, since the {plural(num_steps, 'step')} of pre-training are "
        f"{num_steps * before / 1e9:,.3g} and one of fine-tuning is {step / 1e9:,.3g} billion floating-point operations"
        f"{EARLY if recipe.probe.ends_early else ''}.",
    )


def equal_share(recipe: Recipe, method: str, case: Case) -> float:
    """Return how many steps of fine-tuning have the operations of one step of pre-training."""
    before, step = _operations_of_both(recipe, method, case)
    return before / step


def _operations_of_both(recipe: Recipe, method: str, case: Case) -> tuple[int, int]:
    """Return the floating-point operations of a step of pre-training and of one of fine-tuning."""
    pretraining, task = Pretraining(recipe, method), make_task(recipe)
    pretraining.prepare([case])
    task.prepare([case])
    return count_operations(pretraining, recipe.pretrain, case), count_operations(task, recipe.fit, case)


def count_operations(task: Trainable, options: OptimOptions, case: Case) -> int:
    """Return the floating-point operations of one optimiser step, without those of the optimiser itself."""
    model = build(task).train()
    unfuse_attention(model)  # whose fused operations the counter does not know on every device
    num_samples = network_of(task.recipe).MIN_SAMPLES
    batch = collate([task.sample(draw_at([case], task.recipe.seed, index)) for index in range(num_samples)])
    with FlopCounterMode(display=False) as counter:
        task.loss(model, batch).backward()
    return int(counter.get_total_flops()) * options.batch // num_samples
