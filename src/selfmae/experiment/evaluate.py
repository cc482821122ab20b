"""Evaluation of one part of the split: rows for every case and label, and their summary."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from selfmae.data.source import Source, checked_source, load_cases
from selfmae.display import Display, number
from selfmae.errors import UserError
from selfmae.experiment.examples import save_examples
from selfmae.files import read_json, write_json, write_table
from selfmae.options import Recipe
from selfmae.results.exposure import check_models, check_unseen, exposure_in, read_header, say_leakage
from selfmae.results.formatting import metric_title
from selfmae.results.run_folder import no_model, open_folder, read_recipe
from selfmae.results.training_run import training_runs
from selfmae.tasks import make_task
from selfmae.tasks.base import score_cases
from selfmae.train.device import device_here, make_fabric, tune_attention
from selfmae.weights.file import load_whole, read_weights


def evaluate(folder: Path, split: str, display: Display, transductive: bool = False) -> dict[str, Any]:
    """Score the model of a fine-tuning folder on "val" or "test" of the split it was trained with; return the summary.

    What was scored already is not scored again: test cases are evaluated once. Raises `UserError` where the model knows
    these cases, unless `transductive` allows it.
    """
    if split not in ("val", "test"):
        raise UserError(f"--split {split!r} must be val or test.")
    path = folder / f"summary-{split}.json"
    if path.exists():
        display.say(f"{folder} was scored on {split} before; delete {path.name} there to have it scored again.")
        leakage = check_models(training_runs(folder), transductive)
        summary = read_json(path)
        if leakage:  # how the model knows these cases may be known only by now
            summary["leakage"] = leakage
            write_json(path, summary)
        return summary
    recipe, model = load_model(folder)
    with open_folder(folder, recipe):
        cases = load_cases(recipe.data, folder / "cases.csv")
        source = replace(checked_source(cases, masks=True, display=display), transductive=transductive)
        return evaluate_one(recipe, source, split, folder, model, display)


def show_summary(summary: dict[str, Any], display: Display) -> None:
    """Print the metrics with the convention of each, and the scores of every label."""
    stamp = say_leakage(summary.get("leakage", ()), display)
    display.say(f"{stamp}{summary['split']}: {summary['num_cases']} cases of {summary['num_patients']} patients")
    metrics, conventions = summary["metrics"], summary["conventions"]
    rows = [(metric_title(name), number(value), conventions.get(name, "")) for name, value in metrics.items()]
    display.table((f"{stamp}metric", "value", "convention"), rows)
    labels = summary["labels"]
    columns = list(next(iter(labels.values()), {}))
    titles = (f"{stamp}label", *map(metric_title, columns))
    display.table(titles, [(name, *(number(row[key]) for key in columns)) for name, row in labels.items()])


def load_model(folder: Path) -> tuple[Recipe, nn.Module]:
    """Return recipe and trained model of a fine-tuning folder, on the recipe's device or the best one here."""
    path = folder / "model.safetensors"
    if not path.is_file():
        raise no_model(folder, "run `selfmae finetune` first")
    weights, metadata = read_weights(path)
    if metadata.get("kind") != "finetune":
        raise UserError(f"{folder} holds a pre-trained encoder, not a model that predicts: fine-tune it first.")
    if not metadata["metrics"]:  # written last
        raise UserError(f"The training in {folder} has not ended: give the command that began it again.")
    recipe = read_recipe(folder / "recipe.yaml")
    model = make_task(recipe).build()
    load_whole(model, weights, path)
    device = device_here(recipe.device)
    tune_attention(model, device)
    return recipe, model.to(make_fabric(device).device).eval()


def evaluate_one(
    recipe: Recipe, source: Source, split: str, folder: Path, model: nn.Module, display: Display
) -> dict[str, Any]:
    """Score a model on one part of the split; write its rows (CSV) and summary (JSON) and return the summary."""
    cases = source.cases.part(split)
    if not cases:
        raise UserError(f"--split {split}: the source has no such case.")
    metadata = read_header(folder / "model.safetensors")
    leakage = check_unseen(source, exposure_in(metadata), str(metadata["init"]))
    task = make_task(recipe)
    fabric = make_fabric(device_here(recipe.device))
    with display.stage(f"scoring {split}", len(cases)) as stage, fabric.autocast():
        rows = score_cases(task, model, cases, lambda done, total: stage.update(done))
        if split == "test":
            save_examples(folder, task, model, cases, rows)
    summary = {"split": split} | task.summary(rows) | ({"leakage": leakage} if leakage else {})
    write_table(folder / f"rows-{split}.csv", rows)
    write_json(folder / f"summary-{split}.json", summary)
    return summary
