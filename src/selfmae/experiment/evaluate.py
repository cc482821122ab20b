"""Evaluation of one part of the split: rows for every case and label, their summary, and pictures of example cases.

Shapes: S spatial axes of a file, K layers (overlapping regions, or one layer of exclusive labels), H, W of a plane.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from selfmae.data.case import Case
from selfmae.data.files.images import Image, read_image
from selfmae.data.files.masks import read_mask
from selfmae.data.source import Source, checked_source, load_cases
from selfmae.display import Display, number
from selfmae.errors import UserError
from selfmae.files import read_json, write_arrays, write_json, write_table
from selfmae.options import DataOptions, Recipe, TargetOptions
from selfmae.results.exposure import check_models, check_unseen, exposure_in, read_header, say_leakage
from selfmae.results.formatting import metric_title
from selfmae.results.run_folder import no_model, open_folder, read_recipe
from selfmae.results.training_run import training_runs
from selfmae.tasks import make_task
from selfmae.tasks.base import Row, Task, score_cases
from selfmae.train.device import device_here, make_fabric, tune_attention
from selfmae.weights.file import load_whole, read_weights

FIGURE = Path("figures") / "examples.npz"
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}  # the axis that each plane cuts, in RAS order
LARGEST_PICTURE = 512  # pixels of the longer side
LARGEST_VOLUME = 128  # voxels of the longest side of a volume that the page turns
LARGEST_KEY = "largest_component"  # of the metadata: outputs of which only the largest component is kept
PERCENTILES = (0.5, 99.5)  # of the image that are shown black and white, where the recipe has no window

Arrays = dict[str, np.ndarray]


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


def task_of(recipe: Recipe, metadata: Mapping[str, Any]) -> Task:
    """Return the task of a trained model, which predicts as the metadata of its weights say."""
    task = make_task(recipe)
    if names := metadata.get(LARGEST_KEY):
        task.largest = names
    return task


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
    task = task_of(recipe, metadata)
    with display.stage(f"scoring {split}", len(cases)) as stage, make_fabric(device_here(recipe.device)).autocast():
        rows = score_cases(task, model, cases, lambda done, total: stage.update(done))
        if split == "test":
            save_examples(folder, task, model, cases, rows)
    summary = {"split": split} | task.summary(rows) | ({"leakage": leakage} if leakage else {})
    write_table(folder / f"rows-{split}.csv", rows)
    write_json(folder / f"summary-{split}.json", summary)
    return summary


@torch.no_grad()
def save_examples(folder: Path, task: Task, model: nn.Module, cases: Sequence[Case], rows: Sequence[Row]) -> None:
    """Save pictures of the best, the median and the worst of these cases; masks are predicted once more for it."""
    arrays: Arrays = {}
    for name, index in choose_examples(rows, task.recipe.target.kind).items():
        found = _example(task, model, cases[index]) | {"id": np.array(cases[index].id)}
        arrays |= {f"{name}_{key}": array for key, array in found.items()}
    write_arrays(folder / FIGURE, arrays)


def choose_examples(rows: Sequence[Row], kind: str) -> dict[str, int]:
    """Return the indices of the "best", "median" and "worst" row by `score_of`; two rows have no median, one is best.

    Of equal rows the earlier one counts as better; rows without a score are never chosen.
    """
    scores = {index: score for index, row in enumerate(rows) if (score := score_of(row, kind)) is not None}
    ranked = sorted(scores, key=lambda index: -scores[index])
    names = {0: (), 1: ("best",), 2: ("best", "worst")}.get(len(ranked), ("best", "median", "worst"))
    indices = {"best": 0, "median": len(ranked) // 2, "worst": -1}
    return {name: ranked[indices[name]] for name in names}


def score_of(row: Row, kind: str) -> float | None:
    """Return how well a case was predicted: Dice, the true class's probability, or minus the mean squared error."""
    if kind == "mask":
        return row["dice"]
    names = [column.removeprefix("truth_") for column in row if column.startswith("truth_")]
    truth, probability = (np.array([row[f"{what}_{name}"] for name in names]) for what in ("truth", "probability"))
    return float(probability[truth.argmax()]) if kind == "multiclass" else -float(np.mean((truth - probability) ** 2))


def _example(task: Task, model: nn.Module, case: Case) -> Arrays:
    """Return a picture, or the planes of a volume with the largest true sections (else the middle) and it in small."""
    image = read_image(case.images)
    shades, layers, marked = shade(image.array[0], task.recipe.data), dict[str, np.ndarray](), None
    if isinstance(case.target, Path):
        mask = read_mask(case.target).array
        predicted = task.predict(model, task.store.image(case), mask.shape, task.store.box(case))
        layers = {"truth": _true_layers(mask, task.recipe.target), "predicted": _predicted_layers(predicted, mask.ndim)}
        marked = next((np.any(part, axis=0) for part in layers.values() if part.any()), None)
    if shades.ndim == 2:
        return _plane("picture", shades, layers, image.spacing_mm)
    planes = _planes(shades, layers, image, marked)
    return planes | _small_volume(shades, layers, image) if layers else planes


def shade(values: np.ndarray, data: DataOptions) -> np.ndarray:
    """Return an image [*S] as uint8 between the ends of the recipe's window, or else low and high percentiles."""
    finite = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    some = finite.ravel()[:: finite.size // 2**20 + 1]
    low, high = data.window if data.intensity == "window" else (float(end) for end in np.percentile(some, PERCENTILES))
    return ((finite - low) / max(high - low, 1e-9) * 255).clip(0, 255).round().astype(np.uint8)


def _true_layers(mask: np.ndarray, target: TargetOptions) -> np.ndarray:
    """Return the layers [K, *S] uint8 of a mask of file values: 1 + the index of the label or region, 0 elsewhere."""
    if target.regions:
        regions = enumerate(target.regions.values(), start=1)
        return np.stack([np.isin(mask, values) * np.uint8(index) for index, values in regions])
    layer = np.zeros((1, *mask.shape), dtype=np.uint8)
    for index, value in enumerate(target.values, start=1):
        layer[0][mask == value] = index
    return layer


def _predicted_layers(prediction: np.ndarray, num_axes: int) -> np.ndarray:
    """Return the same layers of a task's prediction: class indices [*S], or bool regions [K, *S]."""
    if prediction.ndim == num_axes:
        return prediction[None]
    return np.stack([region * np.uint8(index) for index, region in enumerate(prediction, 1)])


def _planes(shades: np.ndarray, layers: Mapping[str, np.ndarray], image: Image, marked: np.ndarray | None) -> Arrays:
    """Return the three planes that hold most of the marked voxels, without any the middle ones; front or head up."""
    arrays: Arrays = {}
    for name, axis in PLANES.items():
        others = tuple(other for other in range(3) if other != axis)
        index = shades.shape[axis] // 2 if marked is None else int(marked.sum(axis=others).argmax())
        cut = {what: part.take(index, axis=axis + 1).swapaxes(1, 2)[:, ::-1] for what, part in layers.items()}
        spacing = (image.spacing_mm[others[1]], image.spacing_mm[others[0]]) if image.spacing_mm else ()
        arrays |= _plane(name, shades.take(index, axis=axis).T[::-1], cut, spacing)
    return arrays


def _plane(name: str, picture: np.ndarray, layers: Mapping[str, np.ndarray], spacing_mm: Sequence[float]) -> Arrays:
    """Return a picture [H, W], its layers [K, H, W] and the size of a pixel, all made smaller if need be."""
    step = -(-max(picture.shape) // LARGEST_PICTURE)
    arrays = {f"{name}_image": shrink(picture, (step, step))}
    arrays |= {f"{name}_{what}": thin(part, (step, step)) for what, part in layers.items()}
    return arrays | {f"{name}_mm": np.array(spacing_mm or (1.0, 1.0))}


def _small_volume(shades: np.ndarray, layers: Mapping[str, np.ndarray], image: Image) -> Arrays:
    """Return a volume of at most `LARGEST_VOLUME` voxels a side, its label maps, and its affine.

    Where regions overlap, the smaller ones lie on top.
    """
    steps = [-(-extent // LARGEST_VOLUME) for extent in shades.shape]
    arrays = {"volume_image": shrink(shades, steps)}
    for what, part in layers.items():
        small = thin(part, steps)
        order = np.argsort([-np.count_nonzero(layer) for layer in small], kind="stable")
        merged = np.zeros(small.shape[1:], dtype=np.uint8)
        for layer in small[order]:
            merged[layer > 0] = layer[layer > 0]
        arrays[f"volume_{what}"] = merged
    scale = np.diag([*steps, 1.0])
    scale[:3, 3] = (np.array(steps) - 1) / 2
    return arrays | {"volume_affine": (np.eye(4) if image.affine is None else image.affine) @ scale}


def shrink(picture: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """Return the means [*S] uint8 of blocks of `steps` voxels; blocks at the far end may be smaller."""
    pool = torch.nn.functional.avg_pool2d if picture.ndim == 2 else torch.nn.functional.avg_pool3d
    values = torch.from_numpy(picture.astype(np.float32))[None, None]
    return pool(values, tuple(steps), ceil_mode=True)[0, 0].round().byte().numpy()


def thin(layers: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """Return the middle voxels of the same blocks of layers [K, *S]."""
    extents = zip(layers.shape[1:], steps, strict=True)
    indices = [np.minimum(np.arange(-(-extent // step)) * step + step // 2, extent - 1) for extent, step in extents]
    return layers[np.ix_(np.arange(len(layers)), *indices)]
