"""The stages of a training run: self pre-training by a method, without labels, and fine-tuning from an initialization.

A folder that holds part of a stage is continued; one that is finished stays as it is: test cases are evaluated once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from selfmae import plugins
from selfmae.data.case import Case
from selfmae.data.folds import labelled_part
from selfmae.data.source import Source, check_crop, check_fits, checked_source, load_cases, write_cases
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.evaluate import LARGEST_KEY, evaluate_one
from selfmae.experiment.initialization import Initialization, check_pretrainable, find_init, init_report, say_init
from selfmae.experiment.weights import make_metadata, record, record_metrics
from selfmae.files import read_json
from selfmae.options import Recipe
from selfmae.results.exposure import check_unseen, exposure_of, say_leakage
from selfmae.results.formatting import plural
from selfmae.results.run_folder import check_place, describe_environment, open_folder, timed
from selfmae.results.training_run import TrainingRun
from selfmae.tasks import make_task
from selfmae.tasks.base import Task, score_cases
from selfmae.tasks.pretraining import Pretraining
from selfmae.tasks.probe import make_probe
from selfmae.train.device import device_here, make_fabric
from selfmae.train.loop import Training, fit
from selfmae.weights.file import read_metadata

FIGURE = Path("figures") / "reconstructions.npz"
PROBES = {
    "reconstruction": "that reconstruct hidden patches of validation images best",
    "labels": "from whose frozen features a linear model reads the labels of training cases best",
}


@dataclass(frozen=True)
class Begun:
    """A training whose folder is ready, the facts of `environment.json`, and what is done with the trained model."""

    training: Training
    facts: dict[str, Any]
    finish: Callable[[nn.Module], None]


def pretrain(recipe: Recipe, folder: Path, display: Display, method: str = "") -> None:
    """Pre-train as the recipe says, by the first method that can pre-train its network where none is named."""
    method = check_pretrainable(recipe, "selfmae pretrain", method)
    check_place(folder, "training")
    source = checked_source(load_cases(recipe.data), masks=False, display=display)
    check_crop(recipe, source)
    find_init(recipe.init.pretrain, recipe, "init.pretrain")  # raises before there is a folder
    for note in (*source.cases.notes, *probe_notes(recipe)):
        display.say(f"Note: {note}")
    with open_folder(folder, recipe):
        begun = begin_pretraining(recipe, method, source, folder, 0, display)
        if begun:
            with timed(folder, begun.facts):
                model = fit(begun.training, display)
            begun.finish(model)
    display.say(f"The pre-trained encoder is in {folder / 'model.safetensors'}.")


def begin_pretraining(
    recipe: Recipe, method: str, source: Source, folder: Path, fold: int, display: Display
) -> Begun | None:
    """Make everything ready to pre-train on the parts that `data.pretrain_on` names, in an open folder.

    Returns None where the folder holds a finished pre-training.
    """
    cases = source.cases.part(*recipe.data.pretrain_on)
    if not cases:
        raise UserError(
            f"data.pretrain_on names {list(recipe.data.pretrain_on)}, but the source has no such case: add 'train'."
        )
    probe = make_probe(recipe, source.cases)
    task, init = Pretraining(recipe, method), find_init(recipe.init.pretrain, recipe, "init.pretrain")
    check_unseen(source, init.seen, init.name)
    write_cases(folder / "cases.csv", source, fold)
    if is_finished(folder):
        return None
    report = init_report(task, init)
    say_init(report["init"], display)
    facts = describe_environment(recipe) | report | {"num_seen": len(cases), "method": method}
    facts |= {"probe": probe.facts()} if probe else {}
    seen = exposure_of(source, cases, probe.held_out if probe else ())
    metadata = make_metadata(method, recipe, init, seen, facts)
    with display.stage("preparing images", len(cases)) as stage:
        task.prepare(cases, lambda done, total: stage.update(done))
    options = replace(recipe.pretrain, validate_every=recipe.probe.every, patience=recipe.probe.patience)
    training = Training("pre-training", task, options, folder, cases, metadata, init.weights, probe)
    return Begun(training, facts, partial(_finish_pretraining, task, source, folder, display))


def _finish_pretraining(task: Pretraining, source: Source, folder: Path, display: Display, model: nn.Module) -> None:
    """Write the method's figure and, last, the metrics of the weights; say which step's weights the probe kept."""
    recipe, shown = task.recipe, source.cases.part("val") or source.cases.part("train")
    plugins.load("methods", task.method).save_figure(folder / FIGURE, recipe, task.store, model, shown)
    record_metrics(folder)
    if not recipe.probe.every:
        return
    run = TrainingRun("", 0, 0, folder)
    taken, planned = run.num_steps or 0, recipe.pretrain.steps
    early = f", where it ended early: {plural(recipe.probe.patience, 'validation')} without a better score"
    display.say(
        f"The probe kept the weights of step {run.kept_step:,}; pre-training took {taken:,} of {planned:,} steps"
        f"{early if taken < planned else ''}."
    )


def is_finished(folder: Path) -> bool:
    """Return whether a pre-training is: its weights have their metrics, which are written last."""
    path = folder / "model.safetensors"
    return path.exists() and bool(read_metadata(path)["metrics"])


def probe_notes(recipe: Recipe) -> list[str]:
    """Return what chooses the weights of a pre-training, as a sentence; none where the last ones are kept."""
    probe = recipe.probe
    stop = f", and pre-training stops after {plural(probe.patience, 'validation')} without a better one"
    note = (
        f"The probe runs every {probe.every} steps of pre-training and keeps the weights {PROBES[probe.kind]}"
        f"{stop if probe.patience else ''}."
    )
    return [note] if probe.every else []


def finetune(recipe: Recipe, init: str, folder: Path, display: Display, transductive: bool = False) -> None:
    """Fine-tune as the recipe says and evaluate on val and test.

    Raises `UserError` where the initialization knows val or test cases, unless `transductive` allows it.
    """
    check_place(folder, "training")
    cases = load_cases(recipe.data)
    check_fits(recipe, cases)
    origin = find_init(init, recipe)
    source = replace(checked_source(cases, masks=True, display=display), transductive=transductive)
    check_crop(recipe, source)
    for note in source.cases.notes:
        display.say(f"Note: {note}")
    check_finetunable(recipe, source, origin, folder)
    with open_folder(folder, recipe):
        begun = begin_finetuning(recipe, source, origin, folder, 0, display)
        if begun:
            with timed(folder, begun.facts):
                model = fit(begun.training, display)
            begun.finish(model)
    say_leakage(read_json(folder / "summary-test.json").get("leakage", ()), display)
    display.say(f"The model is in {folder / 'model.safetensors'}.")


def check_finetunable(recipe: Recipe, source: Source, init: Initialization, folder: Path) -> None:
    """Raise `UserError`, before a folder is made, where weights know held-out cases or do not fit, or val lacks."""
    check_unseen(source, init.seen, init.name)
    if not source.cases.part("val") and recipe.data.val_fraction:
        raise UserError(
            "There is no val case to choose the checkpoint on: give the source or data.splits a val part, or set "
            "data.val_fraction=0 to keep the last weights."
        )
    if not (folder / "summary-test.json").exists():
        init_report(make_task(recipe), init)


def begin_finetuning(
    recipe: Recipe, source: Source, init: Initialization, folder: Path, fold: int, display: Display
) -> Begun | None:
    """Make everything ready to fine-tune on the train part, in an open folder; the val part chooses the checkpoint.

    Returns None where the folder holds a finished training.
    """
    check_same_init(folder, init)
    write_cases(folder / "cases.csv", source, fold)
    if (folder / "summary-test.json").exists():
        record_metrics(folder)
        return None
    cases = labelled_part(source.cases.part("train"), recipe.data.fraction, recipe.seed, recipe.data.labels)
    val, task = source.cases.part("val"), make_task(recipe)
    report = init_report(task, init)
    say_init(report["init"], display)
    facts = describe_environment(recipe) | report
    metadata = make_metadata("", recipe, init, exposure_of(source, cases, val), facts)
    with display.stage("preparing images", len(cases) + len(val)) as stage:
        task.prepare([*cases, *val], lambda done, total: stage.update(done))
    name = f"fine-tuning from {init.kind}"
    score = partial(validate, task, val) if val else None
    training = Training(name, task, recipe.fit, folder, cases, metadata, init.weights, score)
    return Begun(training, facts, partial(_finish_finetuning, recipe, source, folder, display))


def _finish_finetuning(recipe: Recipe, source: Source, folder: Path, display: Display, model: nn.Module) -> None:
    """Choose whose largest component is kept, score the model on val and test, and write both into its weights."""
    val = source.cases.part("val")
    if recipe.predict.largest_component == "validation" and val:
        with make_fabric(device_here(recipe.device)).autocast():
            names = make_task(recipe).choose_largest(model, val)
        record(folder, {LARGEST_KEY: names})
        if names:
            display.say(f"Only the largest component of {', '.join(names)} is kept: validation scores are better so.")
    for split in ("val", "test") if source.cases.part("val") else ("test",):
        evaluate_one(recipe, source, split, folder, model, display)
    record_metrics(folder)


def validate(task: Task, cases: Sequence[Case], model: nn.Module) -> dict[str, float]:
    """Return the headline metric of the val part; an undefined one chooses no checkpoint over another."""
    rows = score_cases(task, model, cases, distances=False)
    score = task.summary(rows)["metrics"][task.headline]
    return {"score": float("-inf") if score is None else float(score)}


def check_same_init(folder: Path, init: Initialization) -> None:
    """Raise if the folder's run began from another initialization, or from other weights of the same name."""
    path = folder / "environment.json"
    if not path.exists():
        return
    before = read_json(path)["init"]
    if before["name"] != init.name:
        raise UserError(f"{folder} was started from {before['name']}, not from {init.name}: choose another --out.")
    if before.get("digest", init.digest) != init.digest:  # random weights have none
        raise UserError(f"{folder} was started from other weights than {init.name} has now: choose another --out.")
