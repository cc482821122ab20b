"""The metadata of a weight file: everything that another person needs to use it, written into `model.safetensors`."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfmae.experiment.initialization import Initialization
from selfmae.files import read_json, read_log
from selfmae.models.vit import grid_of
from selfmae.networks import has_vit, network_name
from selfmae.options import Recipe
from selfmae.recipe import as_content
from selfmae.results.exposure import ExposureLog
from selfmae.weights.file import read_metadata, read_weights, save_weights

LOCATIONS = (
    "source",
    "splits",
    "cache",
    "licence",
)  # keys of `data` that change nothing but where files are, and papers
INTENSITY = ("intensity", "window", "mean", "std", "equalise", "normalise_crops")


def make_metadata(
    kind: str,
    method: str,
    recipe: Recipe,
    init: Initialization,
    seen: ExposureLog,
    facts: Mapping[str, Any],
    report: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the metadata of weights of a kind ("pretrain" with its method, or "finetune").

    `facts` are those of `environment.json`. What the initialization has seen joins `seen`. `report` is what became of
    the initialization. The scores come in later (`record_metrics`).
    """
    data, model = recipe.data, recipe.model
    return {
        "kind": kind,
        "method": method,
        "architecture": _architecture(method, recipe),
        "crop": list(data.crop),
        "grid": list(grid_of(data.crop, model.patch)) if has_vit(recipe) else [],
        "channels": list(data.channels),
        "size": list(data.size),
        "spacing_mm": list(data.spacing_mm),
        "orientation": "RAS" if len(data.crop) == 3 else "rows, columns",
        "intensity": {key: value for key, value in as_content(recipe)["data"].items() if key in INTENSITY},
        "target": {} if kind == "pretrain" else as_content(recipe)["target"],
        "recipe": as_content(recipe),
        "recipe_hash": recipe_hash(recipe),
        **(init.seen | seen).as_content(),
        "init": init.name,
        "init_format": report.get("layout", ""),
        "versions": facts["versions"],
        "licence": _licence(data.licence, init.licence),
        "metrics": {},
    }


def _architecture(method: str, recipe: Recipe) -> dict[str, Any]:
    """Return what builds the model, besides crop, channels and target."""
    model = recipe.model
    if not has_vit(recipe):
        head = {"head": method} if method else {}
        return {"network": network_name(recipe), "axes": len(recipe.data.crop), "features": model.features} | head
    return {
        "encoder": "Vision Transformer",
        "axes": len(model.patch),
        "patch": list(model.patch),
        "width": model.width,
        "depth": model.depth,
        "heads": model.heads,
        "mlp_ratio": model.mlp_ratio,
        "class_token": model.class_token,
        "norm_eps": model.norm_eps,
        "head": method or ("unetr" if recipe.target.kind == "mask" else "linear"),
    }


def recipe_hash(recipe: Recipe) -> str:
    """Return the SHA-256 of what decides the weights: the recipe without where files are and the device."""
    content = as_content(recipe)
    content["data"] = {key: value for key, value in content["data"].items() if key not in LOCATIONS}
    del content["device"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _licence(images: str, init: str) -> str:
    """Return what is known of the licence: that of the images, and of the weights that training began from."""
    return f"images: {images or 'not stated'}" + (f"; initialization: {init}" if init else "")


def record_metrics(folder: Path) -> None:
    """Write the scores of the summaries, or the last loss of a pre-training, into the folder's weights; once."""
    path = folder / "model.safetensors"
    metrics = _metrics_of(folder)
    if read_metadata(path).get("metrics") == metrics:
        return
    weights, metadata = read_weights(path)
    save_weights(path, weights, metadata | {"metrics": metrics})


def _metrics_of(folder: Path) -> dict[str, Any]:
    summaries = {part: folder / f"summary-{part}.json" for part in ("val", "test")}
    found = {part: read_json(path)["metrics"] for part, path in summaries.items() if path.exists()}
    if found:
        return found
    steps = read_log(folder / "steps.jsonl")
    return {"train": {"loss": next((step["loss"] for step in reversed(steps) if "loss" in step), None)}}
