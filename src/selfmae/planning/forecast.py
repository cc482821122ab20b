"""The forecast: what a run will take of this machine's disk, memory and time, from a few real steps of each stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, prod
from pathlib import Path
from tempfile import TemporaryDirectory

from selfmae.augment import section
from selfmae.data.case import Case
from selfmae.data.memory import free_bytes, num_cores, resident_bytes, size_text, total_memory
from selfmae.data.preparation.store import Store
from selfmae.data.source import Source
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.methods import EQUAL
from selfmae.options import OptimOptions, Recipe
from selfmae.planning.budget import Steps
from selfmae.planning.measure import (
    equal_share,
    num_parameters,
    step_bytes,
    time_preparation,
    time_probe,
    time_scoring,
    time_steps,
)
from selfmae.planning.trainings import TrainingKind, Trainings, list_kinds, prepared_voxels
from selfmae.results.formatting import duration, plural
from selfmae.seeds import generator
from selfmae.tasks import make_task
from selfmae.train.device import resolve_accelerator, resolve_precision

KINDS = ("disk", "memory", "time")
MORE = 4  # times the budget, of which the forecast tells too what it brings
STAGES = ("pretrain", "fit")
TAKING_PART = ("train", "val", "test", "unlabelled")
CHECKPOINT_BYTES = 16  # a parameter: model.safetensors, and last.ckpt with the weights and two moments
FLOAT_BYTES = 4
IMAGES_AT_WORK = 3  # copies of an image that its preparation holds at once, as float32


@dataclass(frozen=True)
class Paces:
    """Seconds on this machine, each measured once; the time of a run follows from them for any number of steps."""

    steps: Mapping[str, float]  # of a step of each kind of training
    probes: Mapping[str, float]  # of a validation by the probe of each pre-training
    scoring: float  # of a case
    equal: float  # steps of fine-tuning that have the operations of one step of pre-training
    preparation: float = 0.0  # of a case
    num_missing: int = 0  # cases that are not prepared yet


@dataclass(frozen=True)
class Estimate:
    """One amount and what it rests on: bytes for the kinds "disk" and "memory", seconds for "time"."""

    kind: str
    name: str
    amount: float
    basis: str

    @property
    def text(self) -> str:
        """Return the amount as "1.2 GB" or "3 min"."""
        return duration(self.amount) if self.kind == "time" else size_text(self.amount)


@dataclass(frozen=True)
class Forecast:
    """What a run will take, and sentences on what this machine has too little of."""

    lines: tuple[Estimate, ...]
    no_space: tuple[str, ...] = ()
    no_memory: tuple[str, ...] = ()
    recipe: Recipe | None = None  # with the steps that the budget allows,
    larger: Recipe | None = None  # and with those of `MORE` times as much

    def amount(self, kind: str, name: str) -> float:
        """Return one amount."""
        return next(line.amount for line in self.lines if (line.kind, line.name) == (kind, name))


def forecast(
    recipe: Recipe, source: Source, trainings: Trainings, out: Path | None, display: Display, steps: Steps | None = None
) -> Forecast:
    """Measure for some seconds what a run takes here, on training cases and in a folder that is thrown away.

    `out` is the folder of the run, None if it is not known yet. A stage that does not fit into memory is not timed.
    `steps` fits those of the recipe into a budget; without it they stay as they are.
    """
    larger: Recipe | None = None
    with TemporaryDirectory(prefix="selfmae-") as folder, display.stage("measuring for the forecast", 3) as stage:
        short = replace(recipe, data=replace(recipe.data, cache=str(Path(folder) / "store")))
        written, pace, prepared = _prepare_some(recipe, short, source)
        stage.update(1)
        kinds = list_kinds(short, source, trainings, prepared)
        size = sum(num_parameters(kind.task) * CHECKPOINT_BYTES * kind.count for kind in kinds)
        models = plural(sum(kind.count for kind in kinds), "model")
        lines = [written, Estimate("disk", "models", size, f"weights and last checkpoint of {models}")]
        lines += _memory_lines(kinds, recipe, source)
        no_memory = tuple(_lacking_memory(lines, kinds, recipe))
        stage.update(2)
        if not no_memory:
            paces = _measure(short, kinds, trainings, Path(folder))
            paces = replace(paces, preparation=pace, num_missing=len(find_missing(recipe, source)))
            if steps:
                before, step = (
                    max((paces.steps[k.name] for k in kinds if k.key == key), default=0.0) for key in STAGES
                )
                total = partial(_total_seconds, kinds=kinds, trainings=trainings, paces=paces)
                recipe, larger = (
                    replace(steps, seconds=times * steps.seconds).fit(recipe, (before, step), total)
                    for times in (1, MORE)
                )
            lines += _time_lines(recipe, kinds, trainings, paces)
            seconds = sum(line.amount for line in lines if line.kind == "time")
            machine = f"{resolve_accelerator(recipe.device)} in {resolve_precision(recipe.device)}"
            basis = f"measured just now on this machine ({machine}); other work on it changes it"
            lines.append(Estimate("time", "all", seconds, basis))
        stage.update(3)
    lines.sort(key=lambda line: KINDS.index(line.kind))
    return Forecast(tuple(lines), tuple(_lacking_space(lines, recipe, out)), no_memory, recipe, larger)


def show_forecast(found: Forecast, display: Display) -> None:
    """Print the forecast as a table, and what this machine has too little of."""
    rows = [(f"{line.kind}, {line.name}", line.text, line.basis) for line in found.lines]
    display.table(("forecast", "about", "basis"), rows)
    for problem in (*found.no_space, *found.no_memory):
        display.say(f"Warning: {problem}")


def check_space(found: Forecast) -> None:
    """Raise if the disk has no room for what a run writes."""
    if found.no_space:
        raise UserError(" ".join(found.no_space))


def find_missing(recipe: Recipe, source: Source) -> list[Case]:
    """Return the cases that are not prepared yet, as far as this can be told without reading them."""
    store = Store(recipe.data, recipe.target.values)
    masks = recipe.target.kind == "mask"
    return [case for case in source.cases.part(*TAKING_PART) if not store.holds(case, masks)]


def _prepare_some(recipe: Recipe, short: Recipe, source: Source) -> tuple[Estimate, float, list[Case]]:
    """Return the disk that images not prepared yet take, seconds of one, and the cases prepared for `short`."""
    masks, missing = recipe.target.kind == "mask", find_missing(recipe, source)
    coordinates = any(section(stage.augment, "spatial").foreground > 0 for stage in (recipe.pretrain, recipe.fit))
    cases = source.cases.part("train", "unlabelled")
    shuffled = [cases[index] for index in generator(0, "forecast").permutation(len(cases))]  # the first ones for all
    pace, prepared = time_preparation(Store(short.data, short.target.values), shuffled, masks, coordinates)
    voxels, channels = prepared_voxels(source, recipe), len(recipe.data.channels)

    def stored(cases: Sequence[Case]) -> float:
        """Return the size of these cases in a store, up to a factor that is the same for all."""
        return sum(voxels[case.id] * (2 + isinstance(case.target, Path) / channels) for case in cases)

    written = sum(path.stat().st_size for path in Path(short.data.cache).rglob("*.npy"))
    number = f"{plural(len(missing), 'case')} of {len(source.cases.part(*TAKING_PART)):,} not prepared yet"
    return Estimate("disk", "prepared images", written * stored(missing) / stored(prepared), number), pace, prepared


def _measure(recipe: Recipe, kinds: Sequence[TrainingKind], trainings: Trainings, folder: Path) -> Paces:
    """Return the seconds of every part of a run but preparation, measured in `folder`."""
    steps, probes, scoring, equal = {}, {}, 0.0, 0.0
    for kind in kinds:
        steps[kind.name] = time_steps(recipe, kind.task, kind.options, kind.cases, folder / kind.name)
        if kind.probed:
            probes[kind.name] = time_probe(recipe, kind.probed, trainings.num_held_out, trainings.num_labelled)
        if kind.key == "fit":
            scoring = time_scoring(recipe, make_task(recipe), kind.cases[0])
            if trainings.num_equal and trainings.methods:
                equal = equal_share(recipe, trainings.methods[0], kind.cases[0])
    return Paces(steps, probes, scoring, equal)


def _memory_lines(kinds: Sequence[TrainingKind], recipe: Recipe, source: Source) -> list[Estimate]:
    """Return the peak memory of each stage, on a CPU with that of the program itself."""
    largest = max(prod(fact.shape) * fact.num_channels for fact in source.facts) * FLOAT_BYTES
    base, workers = resident_bytes(), min(num_cores(), len(source.facts))
    program = f"the program itself ({size_text(base)})"
    copies = f"{IMAGES_AT_WORK} copies of the largest image ({size_text(largest)}) in each of {workers} threads"
    lines = [Estimate("memory", "preparation", base + IMAGES_AT_WORK * workers * largest, f"{program} and {copies}")]
    parts = "weights, gradients, AdamW and activations of a batch"
    for kind in kinds:
        size = step_bytes(recipe, kind.task, kind.options, kind.cases[0])
        if resolve_accelerator(recipe.device) == "cpu":
            lines.append(Estimate("memory", kind.name, base + size, f"{program}, {parts}"))
        else:
            lines.append(Estimate("memory", kind.name, size, f"{parts}, on each device"))
    return lines


def _time_lines(recipe: Recipe, kinds: Sequence[TrainingKind], trainings: Trainings, paces: Paces) -> list[Estimate]:
    """Return the seconds of every stage over all trainings, of the probe, and of scoring val and test cases."""
    basis = f"{plural(paces.num_missing, 'case')}, {paces.preparation:.2g} s each with {plural(num_cores(), 'core')}"
    lines = [Estimate("time", "preparation", paces.preparation * paces.num_missing, basis)]
    more = ceil(paces.equal * recipe.pretrain.steps)
    for kind in kinds:
        most = "at most " if kind.key == "pretrain" and recipe.probe.ends_early else ""
        options: OptimOptions = getattr(recipe, kind.key)
        count, pace = plural(kind.count, "training"), paces.steps[kind.name]
        basis, num_steps = f"{most}{options.steps:,} steps of {pace:.2g} s, {count}", kind.count * options.steps
        if kind.key == "fit" and trainings.num_equal:
            basis += f", {trainings.num_equal:,} of them {EQUAL} with {more:,} steps more"
            num_steps += trainings.num_equal * more
        lines.append(Estimate("time", kind.name, num_steps * pace, basis))
        if kind.name in paces.probes:
            validations, pace = ceil(recipe.pretrain.steps / recipe.probe.every), paces.probes[kind.name]
            basis = f"{most}{plural(validations, 'validation')} of {pace:.2g} s, {count}"
            lines.append(Estimate("time", "probe", kind.count * validations * pace, basis))
        if kind.key == "fit":
            lines.append(_scoring_line(recipe, trainings, paces.scoring, more))
    return lines


def _total_seconds(recipe: Recipe, kinds: Sequence[TrainingKind], trainings: Trainings, paces: Paces) -> float:
    return sum(line.amount for line in _time_lines(recipe, kinds, trainings, paces))


def _scoring_line(recipe: Recipe, trainings: Trainings, pace: float, more: int) -> Estimate:
    """Return the seconds of scoring: val at each validation and once more at the end, test once."""
    every, num_val, num_test = recipe.fit.validate_every, trainings.num_val, trainings.num_test
    validations, longer = (
        (ceil(steps / every) if every else 1) + 1 for steps in (recipe.fit.steps, recipe.fit.steps + more)
    )
    scored = f"{plural(num_val, 'val case')} {validations:,} times and {plural(num_test, 'test case')}"
    num_scored = trainings.num_finetunings * (validations * num_val + num_test)
    num_scored += trainings.num_equal * (longer - validations) * num_val
    basis = f"{pace:.2g} s for a case, {scored}, {plural(trainings.num_finetunings, 'training')}"
    return Estimate("time", "scoring", num_scored * pace, basis)


def _lacking_memory(lines: Sequence[Estimate], kinds: Sequence[TrainingKind], recipe: Recipe) -> list[str]:
    """Return a sentence for each training that this machine has too little memory for."""
    memory = total_memory(resolve_accelerator(recipe.device))
    needed = {line.name: line.amount for line in lines if line.kind == "memory"}
    return [
        f"{kind.name.capitalize()} needs about {size_text(needed[kind.name])} of memory, but this machine has "
        f"{size_text(memory)}: lower {kind.key}.batch or raise {kind.key}.accumulate."
        for kind in kinds
        if memory is not None and needed[kind.name] > memory
    ]


def _lacking_space(lines: Sequence[Estimate], recipe: Recipe, out: Path | None) -> list[str]:
    """Return a sentence for each folder that has too little space for what is to be written there."""
    folders = {"prepared images": (Store(recipe.data).folder, "name another folder in data.cache")}
    if out is not None:
        folders["models"] = (out, "choose another --out")
    sentences = []
    for line in (line for line in lines if line.kind == "disk" and line.name in folders):
        folder, remedy = folders[line.name]
        free = free_bytes(folder)
        if line.amount > free:
            sentences.append(
                f"The {line.name} need about {size_text(line.amount)}, but {size_text(free)} are free in {folder}: "
                f"free some space there, or {remedy}."
            )
    return sentences
