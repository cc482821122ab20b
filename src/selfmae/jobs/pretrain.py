"""Self pre-training: a masked autoencoder on the training images of a source, without its labels."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfmae.data.stream import draw_at
from selfmae.errors import UserError
from selfmae.jobs.display import Display
from selfmae.jobs.folder import open_folder, timed, where, write_arrays
from selfmae.jobs.source import Source, check_crop, load_cases, look_at, write_cases
from selfmae.models.mae import MaskedAutoencoder
from selfmae.options import Recipe
from selfmae.recipe import as_content
from selfmae.tasks.base import Trainable
from selfmae.tasks.reconstruct import Reconstruct
from selfmae.train.launch import Job, launch

NUM_FIGURES = 4
FIGURE = Path("figures") / "reconstructions.npz"  # written last: its presence says that a pre-training is finished


def pretrain(recipe: Recipe, folder: Path, display: Display) -> None:
    """Pre-train as the recipe says; a folder that holds part of the run is continued."""
    source = look_at(load_cases(recipe.data), masks=False, display=display)
    check_crop(recipe, source)
    for note in source.cases.notes:
        display.say(note)
    pretrain_cell(recipe, source, folder, 0, display)
    display.say(f"The pre-trained encoder is in {folder / 'model.safetensors'}.")


def pretrain_cell(recipe: Recipe, source: Source, folder: Path, fold: int, display: Display) -> None:
    """Pre-train on the parts that `data.pretrain_on` names and write the files; a finished cell stays as it is."""
    cases = source.cases.part(*recipe.data.pretrain_on)
    if not cases:
        raise UserError(
            f"data.pretrain_on names {list(recipe.data.pretrain_on)}, but the source has no such case: add 'train'."
        )
    with open_folder(folder, recipe):
        write_cases(folder / "cases.csv", source, fold)
        if (folder / FIGURE).exists():
            return
        seen = sorted(source.hashes[case.id] for case in cases)
        contract = {"kind": "pretrain", "recipe": as_content(recipe), "seen": seen}
        task = Reconstruct(recipe)
        with display.stage("preparing images", len(cases)) as stage:
            task.store.prepare(cases, masks=False, progress=lambda done, total: stage.update(done))
        facts = where(recipe) | {"num_parameters": count_parameters(task), "num_seen": len(cases)}
        with timed(folder, facts):
            model = launch(recipe, task, Job("pre-training", recipe.pretrain, folder, cases, contract), display)
        assert isinstance(model, MaskedAutoencoder)
        save_reconstructions(folder, task, model, source)


def count_parameters(task: Trainable) -> int:
    """Return how many numbers the task's model learns."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in task.build().parameters())


@torch.no_grad()
def save_reconstructions(folder: Path, task: Reconstruct, model: MaskedAutoencoder, source: Source) -> None:
    """Save middle slices of a few val images, whole, masked and reconstructed, for the report's figure."""
    cases = source.cases.part("val")[:NUM_FIGURES] or source.cases.part("train")[:NUM_FIGURES]
    draws = [draw_at([case], 0, place) for place, case in enumerate(cases)]
    samples = [task.sample(draw) for draw in draws]
    device = next(model.parameters()).device
    figures: dict[str, Any] = {"ids": np.array([case.id for case in cases])}
    images = torch.stack([sample["image"] for sample in samples]).to(device)
    empty, filled = model.reconstruct(images, torch.stack([sample["order"] for sample in samples]).to(device))
    low, high = images.amin(), images.amax()
    for name, volumes in (("original", images), ("masked", empty), ("reconstructed", filled)):
        shades = ((volumes - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
        figures[name] = np.stack([middle_slice(volume) for volume in shades.float().cpu().numpy()])
    figures["ratio"] = np.array(task.recipe.mask.ratio)
    write_arrays(folder / FIGURE, figures)


def middle_slice(array: np.ndarray) -> np.ndarray:
    """Return a picture [H, W] of the first channel of [C, *S]: volumes give their middle axial slice, front up."""
    if array.ndim == 3:
        return array[0]
    axial: np.ndarray = array[0, :, :, array.shape[3] // 2]
    return axial.T[::-1]
