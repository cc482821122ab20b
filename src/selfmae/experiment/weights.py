"""Weight files: the metadata that trainings write into `model.safetensors`, and what any file of weights holds."""

import hashlib
import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from selfmae.display import Display
from selfmae.experiment.initialization import Initialization
from selfmae.files import read_json, read_log
from selfmae.models.vit import grid_of
from selfmae.networks import has_vit, network_name
from selfmae.options import Recipe
from selfmae.recipe import as_content
from selfmae.results.exposure import ExposureLog
from selfmae.results.formatting import metric_title
from selfmae.weights.checkpoint_formats import EMBED, find_layout, licence_of, rename, strip_wrapper
from selfmae.weights.file import read_metadata, read_weights, save_weights

LOCATIONS = ("source", "splits", "cache", "licence")  # keys of `data` that change nothing but where files are
INTENSITY = ("intensity", "window", "mean", "std", "equalise", "normalise_crops")
NUM_SEEN = 3  # hashes shown of what weights have seen
SEEN = {"seen": "images seen", "chosen_on": "images that chose the checkpoint"}
FIRST = ("kind", "architecture", "metrics", "channels", "target")  # of the metadata
UNKNOWN = "unknown: not of a tool that SelfMAE reads"


def make_metadata(
    method: str, recipe: Recipe, init: Initialization, seen: ExposureLog, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the metadata of weights: all that another person needs to use them; a fine-tuning has no method.

    `facts` are those of `environment.json`. What the initialization has seen joins `seen`. The scores come in later
    (`record_metrics`).
    """
    data, content = recipe.data, as_content(recipe)
    return {
        "kind": "pretrain" if method else "finetune",
        "method": method,
        "architecture": _architecture(method, recipe),
        "crop": list(data.crop),
        "grid": list(grid_of(data.crop, recipe.model.patch)) if has_vit(recipe) else [],
        "channels": list(data.channels),
        "size": list(data.size),
        "spacing_mm": list(data.spacing_mm),
        "orientation": "RAS" if len(data.crop) == 3 else "rows, columns",
        "intensity": {key: value for key, value in content["data"].items() if key in INTENSITY},
        "target": {} if method else content["target"],
        "recipe": content,
        "recipe_hash": recipe_hash(recipe),
        **(init.seen | seen).as_content(),
        "init": init.name,
        "init_format": facts["init"].get("layout", ""),
        "versions": facts["versions"],
        "licence": f"images: {data.licence or 'not stated'}"
        + (f"; initialization: {init.licence}" if init.licence else ""),
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
        **{name: getattr(model, name) for name in ("width", "depth", "heads", "mlp_ratio", "class_token", "norm_eps")},
        "head": method or ("unetr" if recipe.target.kind == "mask" else "linear"),
    }


def recipe_hash(recipe: Recipe) -> str:
    """Return the SHA-256 of what decides the weights: the recipe without where files are and the device."""
    content = as_content(recipe)
    content["data"] = {key: value for key, value in content["data"].items() if key not in LOCATIONS}
    del content["device"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def record_metrics(folder: Path) -> None:
    """Write the scores of the summaries, or the last loss of a pre-training, into the folder's weights; once."""
    summaries = {part: folder / f"summary-{part}.json" for part in ("val", "test")}
    metrics = {part: read_json(summary)["metrics"] for part, summary in summaries.items() if summary.exists()}
    if not metrics:
        losses = [step["loss"] for step in read_log(folder / "steps.jsonl") if "loss" in step]
        metrics = {"train": {"loss": losses[-1] if losses else None}}
    record(folder, {"metrics": metrics})


def record(folder: Path, facts: dict[str, Any]) -> None:
    """Write facts into the metadata of a folder's weights, where they are not there yet."""
    path = folder / "model.safetensors"
    if any(read_metadata(path).get(key) != value for key, value in facts.items()):
        weights, metadata = read_weights(path)
        save_weights(path, weights, metadata | facts)


def describe(path: Path) -> dict[str, Any]:
    """Return what a file holds, ready for JSON: file, layout, encoder, metadata, parameters, tensors with shape."""
    path = path / "model.safetensors" if path.is_dir() else path
    weights, metadata = read_weights(path)
    layout = find_layout(strip_wrapper(weights))
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "written_by": "SelfMAE" if metadata else "another tool",
        "layout": layout.name if layout else UNKNOWN,
        "hindrance": layout.hindrance if layout else "",
        "licence": metadata.get("licence") or licence_of(weights),
        "num_tensors": len(weights),
        "num_parameters": sum(tensor.numel() for tensor in weights.values()),
        "encoder": _encoder(strip_wrapper(weights)),
        "metadata": metadata,
        "tensors": {
            name: [str(tensor.dtype).removeprefix("torch."), *tensor.shape] for name, tensor in weights.items()
        },
    }


def _encoder(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the sizes of the encoder that its shapes tell; heads are in no shape."""
    layout = find_layout(weights)
    if layout is None or layout.hindrance:
        return {}
    given = {ours: tensor for name, tensor in weights.items() if (ours := rename(name, layout.renames))}
    embed, indices = given[EMBED], {name.split(".")[1] for name in given if name.startswith("blocks.")}
    convolution = embed.ndim > 2
    return {
        "axes": embed.ndim - 2 if convolution else None,
        "patch": list(embed.shape[2:]) if convolution else None,
        "channels": embed.shape[1] if convolution else None,
        "width": embed.shape[0],
        "depth": len(indices),
        "mlp_ratio": given["blocks.0.mlp.fc1.weight"].shape[0] / embed.shape[0],
        "class_token": "cls_token" in given,
        "positions": given["pos_embed"].shape[1] if "pos_embed" in given else 0,
    }


def show_weights(found: Mapping[str, Any], display: Display) -> None:
    """Print what a file holds: a table of facts, and what its tensors are grouped by module."""
    facts = {key: found[key] for key in ("file", "written_by", "layout", "num_tensors", "num_parameters")}
    facts |= {"not readable": found["hindrance"]} if found["hindrance"] else {}
    if found["metadata"]:
        facts |= _readable(found["metadata"])
    else:
        facts["licence"] = found["licence"]
        facts |= {f"encoder {key}": value for key, value in found["encoder"].items() if value is not None}
        facts |= {"encoder heads": "in no shape: model.heads of the recipe decides"} if found["encoder"] else {}
    display.table(
        ("what", "value"), [(name.replace("num_", "").replace("_", " "), _text(value)) for name, value in facts.items()]
    )
    display.table(("tensors", "number", "parameters"), _modules(found["tensors"]))


def _readable(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata's facts as rows; the recipe, which is long, by its hash, images seen by their number."""
    rows: dict[str, Any] = {}
    for key, value in sorted(metadata.items(), key=lambda item: (item[0] not in FIRST, item[0])):
        if key in SEEN:
            shown = f" ({', '.join(item[:12] for item in value[:NUM_SEEN])}...)" if value else ""
            rows[SEEN[key]] = f"{len(value)}{shown}"
        elif key == "unlisted" and value:
            rows["began from files that list no images"] = value
        elif key == "seen_sets":
            rows["patients seen"] = f"{sum(len(found['patients']) for found in value.values())}"
            rows["data sets seen"] = f"{len(value)}"
        elif key in ("architecture", "intensity", "target", "versions"):
            rows |= {f"{key} {inner}": item for inner, item in value.items() if item not in ("", [], {})}
        elif key == "metrics":
            rows |= {
                f"{metric_title(name)} on {part}": number
                for part, found in value.items()
                for name, number in found.items()
            }
        elif key != "recipe" and value not in ("", [], {}):
            rows[key.replace("_", " ")] = value
    return rows


def _modules(tensors: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return one row for each module: blocks of a row of blocks are counted together."""
    groups: dict[str, list[int]] = {}
    for name, (_, *shape) in tensors.items():
        parts = name.split(".")
        index = next((index for index, part in enumerate(parts) if part.isdigit()), None)
        group = ".".join([*parts[:index], "*"]) if index else ".".join(parts[:-1]) or name
        groups.setdefault(group, []).append(prod(shape))
    return [(group, str(len(sizes)), f"{sum(sizes):,}") for group, sizes in groups.items()]


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "unknown"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else str(value)
