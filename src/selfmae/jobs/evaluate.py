"""Evaluation of one part of the split: rows for every case and label, and their summary."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from selfmae.data.case import Case
from selfmae.data.images import read_image, read_mask
from selfmae.errors import UserError
from selfmae.jobs.display import Display
from selfmae.jobs.folder import read_recipe, write_arrays, write_json, write_table
from selfmae.jobs.source import Source, load_cases, look_at
from selfmae.models.weights import load_whole, read_weights
from selfmae.options import Recipe
from selfmae.tasks import make_task
from selfmae.tasks.base import Row, Task
from selfmae.train.device import make_fabric, tune_attention

NUM_FIGURES = 4


def evaluate(folder: Path, split: str, display: Display) -> dict[str, Any]:
    """Score the model of a fine-tuning folder on "val" or "test" of the split it was trained with."""
    if split not in ("val", "test"):
        raise UserError(f"--split {split!r} must be val or test.")
    recipe, model = load_model(folder)
    cases = load_cases(recipe.data, folder / "cases.csv")
    source = look_at(cases, masks=True, display=display)
    return evaluate_cell(recipe, source, split, folder, model, display)


def show_summary(summary: dict[str, Any], display: Display) -> None:
    """Print the metrics with the convention of each, and the scores of every label."""
    display.say(f"{summary['split']}: {summary['num_cases']} cases of {summary['num_patients']} patients")
    rows = [(name, _text(value), summary["conventions"].get(name, "")) for name, value in summary["metrics"].items()]
    display.table(("metric", "value", "convention"), rows)
    labels = summary["labels"]
    columns = list(next(iter(labels.values()), {}))
    display.table(("label", *columns), [(name, *(_text(row[key]) for key in columns)) for name, row in labels.items()])


def _text(value: float | int | None) -> str:
    return "undefined" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def load_model(folder: Path) -> tuple[Recipe, nn.Module]:
    """Return recipe and trained model of a fine-tuning folder, on the recipe's device."""
    path = folder / "model.safetensors"
    if not path.is_file():
        cells = sorted(str(item.parent) for item in folder.glob("*/fold*/seed*/model.safetensors"))
        hint = f"name one of its models, for example {cells[0]}" if cells else "run `selfmae finetune` first"
        raise UserError(f"{folder} holds no trained model (model.safetensors): {hint}.")
    weights, contract = read_weights(path)
    if contract.get("kind") != "finetune":
        raise UserError(f"{folder} holds a pre-trained encoder, not a model that predicts: fine-tune it first.")
    recipe = read_recipe(folder / "recipe.yaml")
    model = make_task(recipe).build()
    load_whole(model, weights, path)
    tune_attention(model, recipe.device)
    return recipe, model.to(make_fabric(recipe.device).device).eval()


def evaluate_cell(
    recipe: Recipe, source: Source, split: str, folder: Path, model: nn.Module, display: Display
) -> dict[str, Any]:
    """Score a model on one part of the split; write its rows (CSV) and summary (JSON) and return the summary."""
    cases = source.cases.part(split)
    if not cases:
        raise UserError(f"--split {split}: the source has no such case.")
    task = make_task(recipe)
    keep: dict[str, np.ndarray] = {}
    with display.stage(f"scoring {split}", len(cases)) as stage, make_fabric(recipe.device).autocast():
        rows = score_cases(task, model, cases, lambda done, total: stage.update(done), keep)
    summary = {"split": split} | task.summary(rows)
    write_table(folder / f"rows-{split}.csv", rows)
    write_json(folder / f"summary-{split}.json", summary)
    if split == "test" and recipe.target.kind == "mask" and not recipe.target.regions:
        save_predictions(folder, task, [case for case in cases if case.id in keep], keep)
    return summary


@torch.no_grad()
def score_cases(
    task: Task,
    model: nn.Module,
    cases: Sequence[Case],
    progress: Callable[[int, int], None] | None = None,
    keep: dict[str, np.ndarray] | None = None,
) -> list[Row]:
    """Return the rows of every case, in order; `keep` receives the first few predictions by case id."""
    rows: list[Row] = []
    for done, case in enumerate(cases, start=1):
        shape = read_mask(case.target).array.shape if isinstance(case.target, Path) else ()
        prediction = task.predict(model, task.store.image(case), shape)
        rows.append(task.row(case, prediction))
        if keep is not None and len(keep) < NUM_FIGURES:
            keep[case.id] = prediction
        if progress:
            progress(done, len(cases))
    return rows


def save_predictions(folder: Path, task: Task, cases: Sequence[Case], predictions: dict[str, np.ndarray]) -> None:
    """Save the slice with most labelled voxels of a few test cases for the report's figure."""
    pictures: dict[str, list[np.ndarray]] = {"image": [], "truth": [], "predicted": []}
    values = task.recipe.target.values
    for case in cases:
        assert isinstance(case.target, Path)
        image, truth = read_image(case.images).array[0], read_mask(case.target).array
        places = np.isin(truth, values) * 1
        labels = np.zeros(truth.shape, dtype=np.uint8)
        for place, value in enumerate(values, start=1):
            labels[truth == value] = place
        best = int(places.sum(axis=(0, 1)).argmax()) if truth.ndim == 3 else 0
        for name, array in (("image", image), ("truth", labels), ("predicted", predictions[case.id])):
            pictures[name].append(array[:, :, best].T[::-1] if truth.ndim == 3 else array)
    largest = np.max([picture.shape for picture in pictures["image"]], axis=0)
    stacks = {
        name: np.stack([np.pad(p, [(0, m - s) for m, s in zip(largest, p.shape, strict=True)]) for p in items])
        for name, items in pictures.items()
    }
    write_arrays(folder / "figures" / "predictions.npz", stacks | {"ids": np.array([case.id for case in cases])})
