"""Fine-tuning from a start: scratch, self pre-training, ImageNet, or a file of weights."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from selfmae.data.case import Case
from selfmae.errors import UserError
from selfmae.jobs.display import Display
from selfmae.jobs.evaluate import evaluate_cell, score_cases
from selfmae.jobs.folder import open_folder, timed, where
from selfmae.jobs.source import Source, check_crop, check_fits, check_unseen, load_cases, look_at, write_cases
from selfmae.models.imagenet import imagenet_weights
from selfmae.models.weights import Weights, load_encoder, read_weights
from selfmae.options import Recipe
from selfmae.recipe import as_content
from selfmae.tasks import make_task
from selfmae.tasks.base import Task
from selfmae.train.launch import Job, launch


@dataclass(frozen=True)
class Start:
    """Where an encoder's first weights come from."""

    kind: str  # scratch, mae, imagenet or file
    name: str  # as typed
    weights: Weights | None = None
    seen: tuple[str, ...] = ()  # content hashes of the images that these weights were trained on


def find_start(text: str, recipe: Recipe) -> Start:
    """Return the start that `--start` names: scratch, imagenet, mae:DIR or a file of weights."""
    if text == "scratch":
        return Start("scratch", text)
    if text == "imagenet":
        return Start("imagenet", text, imagenet_weights(recipe.model, len(recipe.data.channels), recipe.data.crop))
    kind, _, place = text.partition(":")
    if kind == "mae" and place:
        path = Path(place) / "model.safetensors"
        if not path.is_file():
            raise UserError(
                f"--start {text}: {place} holds no finished pre-training (model.safetensors is not there): "
                "run `selfmae pretrain RECIPE --out` to its end first."
            )
    elif Path(text).is_file():
        kind, path = "file", Path(text)
    else:
        raise UserError(f"--start {text!r} must be scratch, imagenet, mae:DIR or an existing file of weights.")
    weights, contract = read_weights(path)
    return Start(kind, text, weights, tuple(contract.get("seen", ())))


def finetune(recipe: Recipe, start: str, folder: Path, display: Display) -> dict[str, Any]:
    """Fine-tune as the recipe says, evaluate on val and test; a folder that holds part of the run is continued."""
    cases = load_cases(recipe.data)
    check_fits(recipe, cases)
    origin = find_start(start, recipe)
    source = look_at(cases, masks=True, display=display)
    check_crop(recipe, source)
    for note in source.cases.notes:
        display.say(note)
    summary = finetune_cell(recipe, source, origin, folder, 0, display)
    display.say(f"The model is in {folder / 'model.safetensors'}.")
    return summary


def finetune_cell(
    recipe: Recipe, source: Source, start: Start, folder: Path, fold: int, display: Display
) -> dict[str, Any]:
    """Fine-tune on the train part, choose the checkpoint on val, evaluate; return the summary of the test part.

    A finished cell stays as it is: its test cases are evaluated once.
    """
    check_unseen(source, start.seen, start.name)
    cases, val = source.cases.part("train"), source.cases.part("val")
    if not val:
        raise UserError("There is no val case to choose the checkpoint on: give the source or data.splits a val part.")
    task, finished = make_task(recipe), folder / "summary-test.json"
    # Weights that do not fit must raise before the folder is made.
    report = {} if finished.exists() else start_report(task, start)
    with open_folder(folder, recipe):
        check_same_start(folder, start)
        write_cases(folder / "cases.csv", source, fold)
        if finished.exists():
            summary: dict[str, Any] = json.loads(finished.read_text())
            return summary
        seen = sorted({*start.seen, *(source.hashes[case.id] for case in cases)})
        contract = {"kind": "finetune", "recipe": as_content(recipe), "start": start.name, "seen": seen}
        with display.stage("preparing images", len(cases) + len(val)) as stage:
            masks = recipe.target.kind == "mask"
            task.store.prepare([*cases, *val], masks=masks, progress=lambda done, total: stage.update(done))
        job = Job(
            f"fine-tuning from {start.kind}",
            recipe.fit,
            folder,
            cases,
            contract,
            start.weights,
            start.name,
            validate=Validation(task, val),
        )
        with timed(folder, where(recipe) | report):
            model = launch(recipe, task, job, display)
        evaluate_cell(recipe, source, "val", folder, model, display)
        return evaluate_cell(recipe, source, "test", folder, model, display)


@dataclass(frozen=True)
class Validation:
    """Scores a model on the val part; an object rather than a closure, so that it can be sent to other processes."""

    task: Task
    cases: Sequence[Case]

    def __call__(self, model: nn.Module) -> float:
        """Return the headline metric of the val part; an undefined one chooses no checkpoint over another."""
        rows = score_cases(self.task, model, self.cases)
        score = self.task.summary(rows)["metrics"][self.task.headline]
        return float("-inf") if score is None else float(score)


def check_same_start(folder: Path, start: Start) -> None:
    """Raise if the folder's run began from another start."""
    path = folder / "where.json"
    if path.exists():
        before = json.loads(path.read_text())["start"]["name"]
        if before != start.name:
            raise UserError(f"{folder} was started from {before}, not from {start.name}: choose another --out.")


def start_report(task: Task, start: Start) -> dict[str, Any]:
    """Return what became of the start's tensors and how large the model is, for `where.json`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = task.build()
    report: dict[str, Any] = {"kind": start.kind, "name": start.name}
    if start.weights is not None:
        loaded = load_encoder(model, start.weights, start.name)
        report |= {"loaded": loaded.used, "new": list(loaded.new), "unused": list(loaded.unused)}
    return {"start": report, "num_parameters": sum(parameter.numel() for parameter in model.parameters())}
