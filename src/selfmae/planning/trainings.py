"""The trainings that a run consists of, and what each kind of them takes of memory and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path

from selfmae.data.case import Case
from selfmae.data.folds import Folding
from selfmae.data.memory import num_cores, resident_bytes, size_text
from selfmae.data.preparation.prepare import prepared_shape
from selfmae.data.source import Source, fold_of
from selfmae.methods import EQUAL, is_method
from selfmae.options import OptimOptions, Recipe
from selfmae.planning.budget import equal_compute
from selfmae.planning.measure import num_parameters, step_bytes, time_probe, time_scoring, time_steps
from selfmae.results.formatting import plural
from selfmae.tasks import make_task
from selfmae.tasks.base import Trainable
from selfmae.tasks.pretraining import Pretraining
from selfmae.tasks.probe import make_probe
from selfmae.train.device import resolve_accelerator

CHECKPOINT_BYTES = 16  # a parameter: model.safetensors, and last.ckpt with the weights and two moments
FLOAT_BYTES = 4
PROBED = 16  # cases of a validation by the probe that is timed
IMAGES_AT_WORK = 3  # copies of an image that its preparation holds at once, as float32


@dataclass(frozen=True)
class Trainings:
    """How often a run trains, over all folds and seeds, and how many cases each fine-tuning scores."""

    methods: tuple[str, ...]  # of self pre-training
    num_each: int  # pre-trainings of each method
    num_finetunings: int
    num_val: int
    num_test: int
    num_equal: int = 0  # of the fine-tunings: of `scratch+`, which have more steps
    num_held_out: int = 0  # images, and labelled cases, that a probe of pre-training validates on
    num_labelled: int = 0


@dataclass(frozen=True)
class Estimate:
    """One amount and what it rests on: bytes for the kinds "disk" and "memory", seconds for "time"."""

    kind: str
    name: str
    amount: float
    basis: str


@dataclass(frozen=True)
class TrainingKind:
    """One kind of training of a run, the cases that are at hand to measure it, and how often it is done."""

    name: str
    key: str  # section of the recipe
    task: Trainable
    options: OptimOptions
    cases: Sequence[Case]
    count: int
    more_steps: int = 0  # of each training of `scratch+`
    probed: Sequence[Case] = ()  # labelled ones, to measure the probe of a pre-training


def count_trainings(
    source: Source, recipe: Recipe, folding: Folding, inits: Sequence[str], num_seeds: int
) -> Trainings:
    """Return the trainings of a run; the cases to score are those of its first fold."""
    cases, num_cells = fold_of(source, 0, folding, recipe.data).cases, folding.num_folds * num_seeds
    num_val, num_test = len(cases.part("val")), len(cases.part("test"))
    methods = tuple(init for init in inits if is_method(init))
    probe = make_probe(recipe, cases) if methods else None
    probed = (len(probe.filled_in), len(probe.read_out)) if probe else (0, 0)
    counts = (num_cells, num_cells * len(inits), num_val, num_test, num_cells * inits.count(EQUAL))
    return Trainings(methods, *counts, *probed)


def _steps_beyond(recipe: Recipe, trainings: Trainings, cases: Sequence[Case]) -> int:
    """Return how many more steps scratch has with equal compute."""
    return equal_compute(recipe, trainings.methods[0], cases[0]).steps - recipe.fit.steps if trainings.methods else 0


def list_kinds(recipe: Recipe, source: Source, trainings: Trainings, prepared: Sequence[Case]) -> list[TrainingKind]:
    """Return the kinds that a run has; fine-tuning is measured on the labelled case of median size."""
    voxels = prepared_voxels(source, recipe)
    labelled = sorted(source.cases.part("train"), key=lambda case: voxels[case.id])
    middle = labelled[len(labelled) // 2 :][:1]
    probed = labelled[max(0, (len(labelled) - PROBED) // 2) :][:PROBED] if recipe.probe.every else []
    more = _steps_beyond(recipe, trainings, middle) if trainings.num_equal and middle else 0
    kinds = [TrainingKind("fine-tuning", "fit", make_task(recipe), recipe.fit, middle, trainings.num_finetunings, more)]
    for method in reversed(trainings.methods):
        name = "pre-training" if len(trainings.methods) == 1 else f"pre-training ({method})"
        task, count = Pretraining(recipe, method), trainings.num_each
        kinds.insert(0, TrainingKind(name, "pretrain", task, recipe.pretrain, prepared, count, probed=probed))
    return [stage for stage in kinds if stage.count and stage.cases]


def prepared_voxels(source: Source, recipe: Recipe) -> dict[str, int]:
    """Return how many voxels the prepared image of each case has, all channels together."""
    return {
        fact.id: prod(prepared_shape(fact.shape, fact.spacing_mm, recipe.data)) * fact.num_channels
        for fact in source.facts
    }


def models_line(kinds: Sequence[TrainingKind]) -> Estimate:
    """Return what the files of the models take in the folder of the run."""
    size = sum(num_parameters(stage.task) * CHECKPOINT_BYTES * stage.count for stage in kinds)
    num_models = sum(stage.count for stage in kinds)
    return Estimate("disk", "models", size, f"weights and last checkpoint of {plural(num_models, 'model')}")


def memory_lines(kinds: Sequence[TrainingKind], recipe: Recipe, source: Source) -> list[Estimate]:
    """Return the peak memory of each stage, on a CPU with that of the program itself."""
    largest = max(prod(fact.shape) * fact.num_channels for fact in source.facts) * FLOAT_BYTES
    base, workers = resident_bytes(), min(num_cores(), len(source.facts))
    program = f"the program itself ({size_text(base)})"
    copies = f"{IMAGES_AT_WORK} copies of the largest image ({size_text(largest)}) in each of {workers} threads"
    lines = [Estimate("memory", "preparation", base + IMAGES_AT_WORK * workers * largest, f"{program} and {copies}")]
    parts = "weights, gradients, AdamW and activations of a batch"
    for stage in kinds:
        size = step_bytes(recipe, stage.task, stage.options, stage.cases[0])
        if resolve_accelerator(recipe.device) == "cpu":
            lines.append(Estimate("memory", stage.name, base + size, f"{program}, {parts}"))
        else:
            lines.append(Estimate("memory", stage.name, size, f"{parts}, on each device"))
    return lines


def time_lines(recipe: Recipe, kinds: Sequence[TrainingKind], trainings: Trainings, folder: Path) -> list[Estimate]:
    """Return the seconds of every stage over all trainings, and of the scoring of val and test cases."""
    lines = []
    for stage in kinds:
        pace = time_steps(recipe, stage.task, stage.options, stage.cases, folder / stage.key)
        most = "at most " if stage.key == "pretrain" and recipe.probe.ends_early else ""
        basis = f"{most}{stage.options.steps:,} steps of {pace:.2g} s, {plural(stage.count, 'training')}"
        if stage.more_steps:
            basis += f", {trainings.num_equal:,} of them {EQUAL} with {stage.more_steps:,} steps more"
        num_steps = stage.count * stage.options.steps + trainings.num_equal * stage.more_steps
        lines.append(Estimate("time", stage.name, num_steps * pace, basis))
        if stage.probed:
            lines.append(_probe_line(recipe, stage, trainings))
        if stage.key == "fit":
            lines.append(_scoring_line(recipe, stage, trainings))
    return lines


def _probe_line(recipe: Recipe, stage: TrainingKind, trainings: Trainings) -> Estimate:
    """Return the seconds of all validations by the probe: every so many steps of pre-training, and at the last one."""
    validations = ceil(recipe.pretrain.steps / recipe.probe.every)
    pace = time_probe(recipe, stage.probed, trainings.num_held_out, trainings.num_labelled)
    most = "at most " if recipe.probe.ends_early else ""
    basis = f"{most}{plural(validations, 'validation')} of {pace:.2g} s, {plural(stage.count, 'training')}"
    return Estimate("time", "probe", stage.count * validations * pace, basis)


def _scoring_line(recipe: Recipe, stage: TrainingKind, trainings: Trainings) -> Estimate:
    """Return the seconds of scoring: val at each validation and once more at the end, test once."""
    every, num_val, num_test = recipe.fit.validate_every, trainings.num_val, trainings.num_test
    validations, longer = (
        (ceil(steps / every) if every else 1) + 1 for steps in (recipe.fit.steps, recipe.fit.steps + stage.more_steps)
    )
    pace = time_scoring(recipe, make_task(recipe), stage.cases[0])
    scored = f"{plural(num_val, 'val case')} {validations:,} times and {plural(num_test, 'test case')}"
    num_scored = trainings.num_finetunings * (validations * num_val + num_test)
    num_scored += trainings.num_equal * (longer - validations) * num_val
    return Estimate(
        "time", "scoring", num_scored * pace, f"{pace:.2g} s for a case, {scored}, {plural(stage.count, 'training')}"
    )
