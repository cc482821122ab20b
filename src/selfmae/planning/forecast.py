"""The forecast: what a run will take of this machine's disk, memory and time, from a few real steps of each stage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from selfmae.augment import section
from selfmae.data.case import Case
from selfmae.data.memory import free_bytes, num_cores, size_text, total_memory
from selfmae.data.preparation.store import Store
from selfmae.data.source import Source
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.options import Recipe
from selfmae.planning.measure import time_preparation
from selfmae.planning.trainings import (
    Estimate,
    TrainingKind,
    Trainings,
    list_kinds,
    memory_lines,
    models_line,
    prepared_voxels,
    time_lines,
)
from selfmae.results.formatting import duration, plural
from selfmae.seeds import generator
from selfmae.train.device import resolve_accelerator, resolve_precision

KINDS = ("disk", "memory", "time")
TAKING_PART = ("train", "val", "test", "unlabelled")


@dataclass(frozen=True)
class Forecast:
    """What a run will take, and sentences on what this machine has too little of."""

    lines: tuple[Estimate, ...]
    no_space: tuple[str, ...] = ()
    no_memory: tuple[str, ...] = ()

    def amount(self, kind: str, name: str) -> float:
        """Return one amount."""
        return next(line.amount for line in self.lines if (line.kind, line.name) == (kind, name))


def forecast(recipe: Recipe, source: Source, trainings: Trainings, out: Path | None, display: Display) -> Forecast:
    """Measure for some seconds what a run takes here, on training cases and in a folder that is thrown away.

    `out` is the folder of the run, None if it is not known yet. A stage that does not fit into memory is not timed.
    """
    with TemporaryDirectory(prefix="selfmae-") as folder, display.stage("measuring for the forecast", 3) as stage:
        short = replace(recipe, data=replace(recipe.data, cache=str(Path(folder) / "store")))
        lines, prepared = _store_lines(recipe, short, source)
        stage.update(1)
        kinds = list_kinds(short, source, trainings, prepared)
        lines += [models_line(kinds), *memory_lines(kinds, recipe, source)]
        no_memory = tuple(_lacking_memory(lines, kinds, recipe))
        stage.update(2)
        if not no_memory:
            lines += time_lines(short, kinds, trainings, Path(folder))
            lines.append(_total(lines, recipe))
        stage.update(3)
    lines.sort(key=lambda line: KINDS.index(line.kind))
    return Forecast(tuple(lines), tuple(_lacking_space(lines, recipe, out)), no_memory)


def _store_lines(recipe: Recipe, short: Recipe, source: Source) -> tuple[list[Estimate], list[Case]]:
    """Return disk and time of what is not prepared yet, and the cases that were prepared for `short` to measure it."""
    masks, missing = recipe.target.kind == "mask", find_missing(recipe, source)
    coordinates = any(section(stage.augment, "spatial").foreground > 0 for stage in (recipe.pretrain, recipe.fit))
    cases = _shuffle(source.cases.part("train", "unlabelled"))
    pace, prepared = time_preparation(Store(short.data, short.target.values), cases, masks, coordinates)
    written = sum(path.stat().st_size for path in Path(short.data.cache).rglob("*.npy"))
    size = written * _stored_bytes(missing, recipe, source) / _stored_bytes(prepared, recipe, source)
    number = f"{plural(len(missing), 'case')} of {len(source.cases.part(*TAKING_PART)):,} not prepared yet"
    seconds = f"{plural(len(missing), 'case')}, {pace:.2g} s each with {plural(num_cores(), 'core')}"
    lines = [
        Estimate("disk", "prepared images", size, number),
        Estimate("time", "preparation", pace * len(missing), seconds),
    ]
    return lines, prepared


def show_forecast(found: Forecast, display: Display) -> None:
    """Print the forecast as a table, and what this machine has too little of."""
    rows = [(f"{line.kind}, {line.name}", amount_text(line), line.basis) for line in found.lines]
    display.table(("forecast", "about", "basis"), rows)
    for problem in (*found.no_space, *found.no_memory):
        display.say(f"Warning: {problem}")


def check_space(found: Forecast) -> None:
    """Raise if the disk has no room for what a run writes."""
    if found.no_space:
        raise UserError(" ".join(found.no_space))


def amount_text(line: Estimate) -> str:
    """Return "1.2 GB" or "3 min"."""
    return duration(line.amount) if line.kind == "time" else size_text(line.amount)


def _lacking_memory(lines: Sequence[Estimate], kinds: Sequence[TrainingKind], recipe: Recipe) -> list[str]:
    """Return a sentence for each training that this machine has too little memory for."""
    memory = total_memory(resolve_accelerator(recipe.device))
    needed = {line.name: line.amount for line in lines if line.kind == "memory"}
    return [
        f"{stage.name.capitalize()} needs about {size_text(needed[stage.name])} of memory, but this machine has "
        f"{size_text(memory)}: lower {stage.key}.batch or raise {stage.key}.accumulate."
        for stage in kinds
        if memory is not None and needed[stage.name] > memory
    ]


def _lacking_space(lines: Sequence[Estimate], recipe: Recipe, out: Path | None) -> list[str]:
    """Return a sentence for each folder that has too little space for what is to be written there."""
    folders = {"prepared images": (Store(recipe.data).folder, "name another folder in data.cache")}
    if out is not None:
        folders["models"] = (out, "choose another --out")
    sentences = []
    for line in lines:
        if line.kind != "disk" or line.name not in folders:
            continue
        folder, remedy = folders[line.name]
        free = free_bytes(folder)
        if line.amount > free:
            sentences.append(
                f"The {line.name} need about {size_text(line.amount)}, but {size_text(free)} are free in {folder}: "
                f"free some space there, or {remedy}."
            )
    return sentences


def find_missing(recipe: Recipe, source: Source) -> list[Case]:
    """Return the cases that are not prepared yet, as far as this can be told without reading them."""
    store = Store(recipe.data, recipe.target.values)
    masks = recipe.target.kind == "mask"
    return [case for case in source.cases.part(*TAKING_PART) if not store.holds(case, masks)]


def _shuffle(cases: Sequence[Case]) -> list[Case]:
    """Return the cases in an order whose first ones are like the others."""
    return [cases[index] for index in generator(0, "forecast").permutation(len(cases))]


def _stored_bytes(cases: Sequence[Case], recipe: Recipe, source: Source) -> float:
    """Return the size of these cases in a store, up to a factor that is the same for all."""
    voxels, channels = prepared_voxels(source, recipe), len(recipe.data.channels)
    return sum(voxels[case.id] * (2 + isinstance(case.target, Path) / channels) for case in cases)


def _total(lines: Sequence[Estimate], recipe: Recipe) -> Estimate:
    seconds = sum(line.amount for line in lines if line.kind == "time")
    machine = f"{resolve_accelerator(recipe.device)} in {resolve_precision(recipe.device)}"
    return Estimate(
        "time", "all", seconds, f"measured just now on this machine ({machine}); other work on it changes it"
    )
