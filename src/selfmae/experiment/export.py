"""Export: a trained model for timm, MONAI or ONNX, with a JSON file beside it that says how to feed and read it."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from selfmae.display import Display
from selfmae.errors import UserError, did_you_mean
from selfmae.experiment.evaluate import load_model
from selfmae.files import write_text
from selfmae.networks import has_vit, network_name
from selfmae.options import DataOptions, Recipe
from selfmae.results.exposure import ExposureLog
from selfmae.results.run_folder import no_model, read_recipe
from selfmae.weights.exports import Export, is_classifier, to_monai, to_timm
from selfmae.weights.file import read_weights, write_tensors

TOOLS: dict[str, Callable[..., Export]] = {"timm": to_timm, "monai": to_monai}
SEEN_KEYS = tuple(ExposureLog().as_content())
ENDINGS = {"timm": (".safetensors", ".pth", ".pt"), "monai": (".pth", ".pt", ".safetensors"), "onnx": (".onnx",)}
INTENSITIES = {
    "zscore": "subtract each channel's mean and divide by its deviation (over n), of all values",
    "zscore_nonzero": "subtract mean and divide by deviation (over n) of each channel's values but 0; zeros stay",
    "percentile": "map each channel's percentiles 0.5 and 99.5 to 0 and 1, clip beyond",
    "window": "map {window} to 0 and 1, clip beyond",
    "range": "map each channel's lowest and highest value to 0 and 1",
}


def export(folder: Path, to: str, out: Path, display: Display) -> None:
    """Write the model of a run folder for another tool, and `<out>.json` beside it."""
    if to not in ENDINGS:
        raise UserError(f"--to {to!r} is no format that models are exported to.{did_you_mean(to, ENDINGS)}")
    if out.suffix not in ENDINGS[to]:
        raise UserError(f"--out {out} must end with {' or '.join(ENDINGS[to])} for --to {to}.")
    side = out.with_name(f"{out.name}.json")
    taken = [path for path in (out, side) if path.exists()]
    if taken:
        raise UserError(f"{taken[0]} exists already, and an export overwrites nothing: choose another --out.")
    path = folder / "model.safetensors"
    if not path.is_file():
        raise no_model(folder, "name the folder of a finished training")
    weights, metadata = read_weights(path)
    recipe, kind = read_recipe(folder / "recipe.yaml"), str(metadata.get("kind", ""))
    if to != "onnx" and not has_vit(recipe):
        raise UserError(
            f"--to {to} is for Vision Transformers, but model.network is {network_name(recipe)}: use --to onnx, or "
            "load model.safetensors: its tensors have timm's or MONAI's names, some behind `encoder.` or `network.`."
        )
    if to == "onnx":
        described = _write_onnx(folder, out, recipe, kind)
    else:
        exported = TOOLS[to](weights, recipe, kind)
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".safetensors":
            write_tensors(out, exported.state, {"format": "pt"})
        else:
            torch.save({name: tensor.contiguous() for name, tensor in exported.state.items()}, out)
        described = {"model": exported.model, "arguments": exported.arguments, "after_building": exported.advice}
        if is_classifier(recipe, kind) or exported.model.endswith("UNETR"):
            described |= {"output": output_of(recipe)}
        if exported.model.endswith("nets.ViT"):
            described |= {"returns": "(output, hidden states of the blocks)"}
    # How to use the model comes first; what it has seen, thousands of lines for a large set, last.
    metadata = dict(sorted(metadata.items(), key=lambda item: (item[0] in SEEN_KEYS, item[0])))
    described = {"input": input_of(recipe)} | described | {"metadata": metadata}
    write_text(side, json.dumps(described, indent=2) + "\n")
    display.say(f"Written: {out} and {side.name} beside it, which says how to build, feed and read it.")


def _write_onnx(folder: Path, out: Path, recipe: Recipe, kind: str) -> dict[str, Any]:
    """Write the network as ONNX, batch of any size, with what is before and after it as metadata; return that."""
    if kind != "finetune":
        raise UserError(
            f"{folder} holds a pre-trained encoder, but --to onnx is for models that predict: fine-tune it."
        )
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise UserError(f'--to onnx needs {" and ".join(missing)}: run `pip install "selfmae[onnx]"`.')
    import onnx

    model = load_model(folder)[1].cpu().float()
    described = {"input": input_of(recipe), "output": output_of(recipe)}
    images = torch.zeros(2, len(recipe.data.channels), *recipe.data.crop)
    with torch.no_grad():
        program: Any = torch.onnx.export(
            model,
            (images,),
            input_names=["images"],
            output_names=["logits"],
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(out), external_data=False)
    graph = onnx.load(str(out))
    onnx.helper.set_model_props(graph, {key: json.dumps(value, sort_keys=True) for key, value in described.items()})
    onnx.save(graph, str(out))
    return described


def input_of(recipe: Recipe) -> dict[str, Any]:
    """Return what a model wants to see: shape, channels, and how an image is prepared, step by step."""
    data = recipe.data
    return {
        "name": "images",
        "shape": ["batch", len(data.channels), *data.crop],
        "dtype": "float32",
        "channels": list(data.channels),
        "preparation": _preparation(recipe),
        "interpolation": _interpolation(data),
    }


def _preparation(recipe: Recipe) -> list[str]:
    """Return in words what becomes of an image: `prepare_image`, `find_box`, `finish`, and the size of the crop."""
    data, is_mask = recipe.data, recipe.target.kind == "mask"
    axes = "take the values as they are in the file, axes channel, row, column"
    if len(data.crop) == 3:
        axes = (
            "bring the axes into the order and directions nearest to RAS (nibabel.as_closest_canonical), channel first"
        )
    nonzero = data.intensity == "zscore_nonzero"
    late = data.normalise_crops  # scaled in the crop, before which zscore_nonzero needs a rough scale
    scaled = INTENSITIES[data.intensity].format(window=list(data.window))
    extent = "(size - 1) * old / new spacing + 1" if data.align == "origin" else "size * old spacing / new spacing"
    spacing = f"resample to a spacing of {list(data.spacing_mm)} mm"
    shown = "not 0" if nonzero else "above the lowest value of their channel"
    pad = "pad with zeros where smaller than the crop (missing // 2 before, the rest behind)"
    steps = (
        (True, axes),
        (data.equalise, "equalise each channel: its cumulated histogram (256 bins, linear in a bin)"),
        (data.size, f"resample to {list(data.size)}"),
        (data.spacing_mm and not data.size, f"{spacing}: round({extent}) voxels"),
        (late and nonzero, "divide each channel by the mean of its absolute values"),
        (not (late and nonzero), scaled),
        (True, "round to float16, as in training, and go on in float32"),
        (data.crop_foreground, f"keep the box of all voxels that are {shown}, in any channel"),
        (not is_mask, f"take the middle {list(data.crop)}, from (size - crop) // 2"),
        (not is_mask, pad),
        (late, scaled),
        ((data.mean, data.std) != (0.0, 1.0), f"subtract {data.mean}, divide by {data.std}"),
        (is_mask, pad),
    )
    return [text for applies, text in steps if applies]


def _interpolation(data: DataOptions) -> str:
    """Return how images are resampled, in words that another tool's user can follow."""
    from_origin = data.align == "origin" and data.spacing_mm
    how, aligned, coarse = "linear", "edges aligned (align_corners=False)", ""
    if data.interpolation == "spline":
        how = "cubic spline"
    elif len(data.crop) == 2 and not from_origin:
        how = "linear, anti-aliased"
    if from_origin:
        aligned = "the centre of the first voxel and the spacing kept, as in monai.transforms.Spacing"
    if data.spacing_mm and not data.size and data.anisotropy:
        coarse = (
            f"; where one axis alone of the file (else of the new grid) is more than {data.anisotropy:g} times as "
            "coarse as the finest, the others first, then that one by nearest neighbour"
        )
    return f"{how}, {aligned}{coarse}"


def output_of(recipe: Recipe) -> dict[str, Any]:
    """Return what a model gives: names of the outputs, and how logits become a prediction."""
    target, predict, data = recipe.target, recipe.predict, recipe.data
    if target.kind != "mask":
        function = "softmax" if target.kind == "multiclass" else "sigmoid"
        return {"name": "logits", "names": list(target.output_names), "function": function, "steps": [function]}
    kept = ", the first voxel kept" if data.align == "origin" else " (align_corners=False)"
    steps = (  # what `tasks.segment.Segment.predict` does after the model, and how its masks are written
        (
            True,
            f"slide the crop over the prepared image, overlap {predict.overlap}, {predict.blend} weights, mean of "
            "logits (monai.inferers.sliding_window_inference, sigma_scale 0.125), and cut off what was padded",
        ),
        (data.crop_foreground, "around the box of the preparation repeat the logits of its border"),
        (True, f"resample the logits linearly to the file's grid{kept}"),
        (target.regions, "above 0 is inside the region"),
        (not target.regions, "the largest output is the label, `values` its number"),
        (data.crop_foreground, "background where the centre of a voxel lies outside that box"),
        (len(data.crop) == 3, "bring the axes back into the order of the file"),
    )
    return {
        "name": "logits",
        "names": list(target.output_names) if target.regions else ["background", *target.output_names],
        "function": "sigmoid" if target.regions else "softmax",
        "steps": [text for applies, text in steps if applies],
    } | ({} if target.regions else {"values": [0, *target.values]})
