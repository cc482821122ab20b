"""What a weight file holds: its metadata if SelfMAE wrote it, else its layout, and its tensors either way."""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from selfmae.display import Display
from selfmae.results.formatting import metric_title
from selfmae.weights.checkpoint_formats import EMBED, find_layout, licence_of, strip_wrapper
from selfmae.weights.file import read_weights

NUM_SEEN = 3  # hashes shown of what weights have seen
SEEN = {
    "seen": "images seen",
    "chosen_on": "images that chose the checkpoint",
}
FIRST = ("kind", "architecture", "metrics", "channels", "target")  # of a metadata
UNKNOWN = "unknown: not of a tool that SelfMAE reads"


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
    given = {ours: tensor for name, tensor in weights.items() if (ours := layout.rename(name))}
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
