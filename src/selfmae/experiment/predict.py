"""Prediction of new images: masks on each image's own grid, or one CSV of probabilities."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from selfmae.data.dicom.pixels import is_dicom
from selfmae.data.dicom.series import headers_in, is_series, name_images, stem_of_image
from selfmae.data.files import is_image, stem_of
from selfmae.data.files.images import read_image, with_channels
from selfmae.data.files.masks import mask_suffix, write_mask
from selfmae.data.preparation.prepare import find_box, prepare_image
from selfmae.data.sources import SourceError, read_source
from selfmae.data.sources.nnunet import CHANNEL, group_channels
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.evaluate import load_model, task_of
from selfmae.files import write_table
from selfmae.options import Recipe
from selfmae.results.formatting import plural
from selfmae.tasks.base import Task
from selfmae.train.device import device_here, make_fabric
from selfmae.weights.file import read_metadata

KINDS = "NIfTI, NRRD, MHA, PNG, JPEG, TIFF, .npy, DICOM"
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Input:
    """One image to predict: its name without ending, and its files, in the order of the model's channels if several."""

    name: str
    files: tuple[Path, ...]

    @property
    def path(self) -> Path:
        """Return what names the image in a table: its file, or where it has several, its name in their folder."""
        return self.files[0] if len(self.files) == 1 else self.files[0].with_name(self.name)


def predict(folder: Path, inputs: Sequence[Path], out: Path, display: Display) -> None:
    """Predict every input (see `list_inputs`) with a fine-tuned model; existing files are never overwritten.

    Segmentation writes `<name>.nii.gz` (NRRD and MHA keep their format; `.png` for pictures, `.npy` for arrays) with
    the label values of the training masks; regions one file each, `<name>_<region>`. Classification writes
    `predictions.csv`: image, then one column of probabilities for every finding.
    """
    if (out / "recipe.yaml").exists():
        raise UserError(f"--out {out} is a folder of trained models: choose another for the predictions.")
    recipe, model = load_model(folder)
    images = list_inputs(inputs, recipe.data.channels)
    task, names = task_of(recipe, read_metadata(folder / "model.safetensors")), _output_names(images, recipe)
    taken = [path for paths in names.values() for path in paths if (out / path).exists()]
    if taken:
        raise UserError(f"{out / taken[0]} exists already, and predictions overwrite nothing: choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    with display.stage("predicting", len(images)) as stage, make_fabric(device_here(recipe.device)).autocast():
        for done, image in enumerate(images, start=1):
            prediction = predict_one(task, model, image.files)
            if recipe.target.kind == "mask":
                # One bool array for each region, or the index of the label.
                masks = prediction if recipe.target.regions else [np.array([0, *recipe.target.values])[prediction]]
                for mask, name in zip(masks, names[image], strict=True):
                    write_mask(mask.astype(np.uint8) if recipe.target.regions else mask, out / name, image.files[0])
            else:
                scores = zip(recipe.target.names, prediction, strict=True)
                rows.append({"image": str(image.path)} | {name: f"{score:.6f}" for name, score in scores})
            stage.update(done)
    if rows:
        write_table(out / "predictions.csv", rows)
    place = out / "predictions.csv" if rows else out
    display.say(f"The predictions of {plural(len(images), 'image')} are in {place}.")


@torch.no_grad()
def predict_one(task: Task, model: nn.Module, files: Sequence[Path]) -> np.ndarray:
    """Return the prediction for the files of one image, as the evaluation would make it."""
    wanted, path = task.recipe.data.channels, files[0]
    image = with_channels(read_image(files), len(wanted))
    if image.array.shape[0] != len(wanted) or image.array.ndim != len(task.recipe.data.crop) + 1:
        raise UserError(
            f"{path} has {image.array.shape[0]} channels and {image.array.ndim - 1} axes, but the model wants "
            f"{len(wanted)} channels ({', '.join(wanted)}) and {len(task.recipe.data.crop)} axes."
        )
    if not np.isfinite(image.array).all():
        raise UserError(f"{path} holds values that are not finite (NaN or infinite): repair the image.")
    if task.recipe.data.spacing_mm and not image.spacing_mm:
        raise UserError(f"{path} holds no spacing, but the model wants images of a known one: give a NIfTI file.")
    prepared = prepare_image(image, task.recipe.data)
    box = find_box(prepared, task.recipe.data, image.spacing_mm)
    return task.predict(model, box.cut(prepared), image.array.shape[1:], box)


def _output_names(images: Sequence[Input], recipe: Recipe) -> dict[Input, list[str]]:
    """Return the file names that each image's prediction gets; raise where two images would share one."""
    if recipe.target.kind != "mask":
        return {image: ["predictions.csv"] for image in images}
    names: dict[Input, list[str]] = {}
    owners: dict[str, Input] = {}
    for image in images:
        stem, suffix = image.name, mask_suffix(image.files[0])
        names[image] = [f"{stem}_{region}{suffix}" for region in recipe.target.regions] or [f"{stem}{suffix}"]
        other = owners.setdefault(names[image][0], image)
        if other != image:
            raise UserError(
                f"{other.path} and {image.path} would both be predicted into {names[image][0]}: predict them apart."
            )
    return names


def list_inputs(typed: Sequence[Path], channels: Sequence[str]) -> list[Input]:
    """Return the images of files and folders: of a folder those in it, or else the cases of the source that it is.

    Files of one channel are joined: X_0000, X_0001... as nnU-Net names them, or X_<channel> by the model's names.
    """
    found: list[Input] = []
    files: dict[Path, list[Path]] = defaultdict(list)
    for item in typed:
        if item.is_dir():
            inside = sorted(path for path in item.iterdir() if is_image(path)) or list(name_images(headers_in(item)))
            files[item] += inside
            found += [] if inside else _cases_in(item, channels)
        elif item.exists() or is_series(item) or any(parent.is_file() for parent in item.parents):
            files[item.parent].append(item)
        else:
            raise UserError(f"The image {item} was expected, but there is no such file: check the path.")
    return [*(image for group in files.values() if group for image in _join(group, channels)), *found]


def _join(files: Sequence[Path], channels: Sequence[str]) -> list[Input]:
    """Return the images of one folder's files."""
    numbers = [match[2] for path in files if (match := CHANNEL.fullmatch(stem_of(path)))]
    numbered = len(numbers) == len(files)
    if len(channels) == 1:
        apart = not numbered or set(numbers) != {"0000"}
    else:  # a gray picture has all channels of a colour model
        apart = tuple(channels) == COLOURS or len(read_image(files[:1]).array) > 1
    if apart:
        return [Input(stem_of_image(path) if is_dicom(path) else stem_of(path), (path,)) for path in files]
    endings = [f"{index:04d}" for index in range(len(channels))] if numbered else channels
    remedy = f"the model has the channels {', '.join(channels)}; give all files of an image, or rename them."
    return [Input(name, paths) for name, paths in group_channels(files, endings, remedy).items()]


def _cases_in(folder: Path, channels: Sequence[str]) -> list[Input]:
    """Return the images of a folder that is a source, their files in the order of the model's channels."""
    try:
        source = read_source(str(folder))
    except SourceError:
        raise
    except UserError as error:
        raise UserError(f"The folder {folder} holds no images ({KINDS}): check the path.") from error
    indices = {name: index for index, name in enumerate(source.channels)}
    separate = any(len(case.images) > 1 for case in source.cases)
    if separate and not set(channels) <= set(indices):
        raise UserError(
            f"{folder} was read as {source.layout} with the channels {', '.join(source.channels)}, but the model wants "
            f"{', '.join(channels)}: give files of these channels."
        )
    chosen = [indices[name] for name in channels] if separate else [0]
    return [Input(case.id, tuple(case.images[index] for index in chosen)) for case in source.cases]
