"""Fine-tuning from an initialization: scratch, self pre-training, ImageNet, or a file of weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from selfmae.data.case import Case
from selfmae.data.folds import labelled_part
from selfmae.data.source import Source, check_crop, check_fits, checked_source, load_cases, write_cases
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.evaluate import evaluate_one
from selfmae.experiment.initialization import Initialization, find_init, init_report, say_init
from selfmae.experiment.pretrain import Begun
from selfmae.experiment.weights import make_metadata, record_metrics
from selfmae.files import read_json
from selfmae.options import Recipe
from selfmae.results.exposure import check_unseen, exposure_of, say_leakage
from selfmae.results.run_folder import check_place, describe_environment, open_folder, timed
from selfmae.tasks import make_task
from selfmae.tasks.base import Task, score_cases
from selfmae.train.loop import Training, fit


def finetune(recipe: Recipe, init: str, folder: Path, display: Display, transductive: bool = False) -> dict[str, Any]:
    """Fine-tune as the recipe says, evaluate on val and test; a folder that holds part of the run is continued.

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
    summary = read_json(folder / "summary-test.json")
    say_leakage(summary.get("leakage", ()), display)
    display.say(f"The model is in {folder / 'model.safetensors'}.")
    return summary


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

    Returns None where the folder holds a finished training, which stays as it is: test cases are evaluated once.
    """
    check_same_init(folder, init)
    write_cases(folder / "cases.csv", source, fold)
    if (folder / "summary-test.json").exists():
        record_metrics(folder)
        return None
    cases = labelled_part(source.cases.part("train"), recipe.data.fraction, recipe.seed)
    val, task = source.cases.part("val"), make_task(recipe)
    report = init_report(task, init)
    say_init(report["init"], display)
    facts = describe_environment(recipe) | report
    seen = exposure_of(source, cases, val)
    metadata = make_metadata("", recipe, init, seen, facts)
    with display.stage("preparing images", len(cases) + len(val)) as stage:
        task.prepare([*cases, *val], lambda done, total: stage.update(done))
    validate = Validation(task, val) if val else None
    name = f"fine-tuning from {init.kind}"
    training = Training(name, task, recipe.fit, folder, cases, metadata, init.weights, validate)
    return Begun(training, facts, partial(_finish, recipe, source, folder, display))


def _finish(recipe: Recipe, source: Source, folder: Path, display: Display, model: nn.Module) -> None:
    """Score the model on val and test, and write the scores into its weights."""
    for split in ("val", "test") if source.cases.part("val") else ("test",):
        evaluate_one(recipe, source, split, folder, model, display)
    record_metrics(folder)


@dataclass(frozen=True)
class Validation:
    """Scores a model on the val part; an object rather than a closure, so that it can be sent to other processes."""

    task: Task
    cases: Sequence[Case]

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Return the headline metric of the val part; an undefined one chooses no checkpoint over another."""
        rows = score_cases(self.task, model, self.cases, distances=False)
        score = self.task.summary(rows)["metrics"][self.task.headline]
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
