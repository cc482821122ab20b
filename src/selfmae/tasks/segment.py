"""Segmentation with a sliding window: exclusive labels, or overlapping regions made of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import label
from torch import Tensor, nn

from selfmae.augment import section
from selfmae.augment.laterality import mirror_table, mirrored_axis
from selfmae.data.case import Case
from selfmae.data.files.masks import read_mask
from selfmae.data.preparation.prepare import Box
from selfmae.data.sampling import Draw, Sample, draw_sample, take_mask
from selfmae.losses import Loss
from selfmae.metrics.segmentation import score_masks, summarise_masks
from selfmae.options import Recipe
from selfmae.seeds import generator
from selfmae.tasks.base import Progress, Row, Task, draw_drop_path_scale, predict_case
from selfmae.tasks.sliding_window import (
    clear_outside,
    extend_rows,
    largest_output,
    mirror_model,
    positive_outputs,
    predict_rows,
    resample_rows,
)


def deep_loss(loss: Loss, outputs: Sequence[Tensor], target: Tensor) -> Tensor:
    """Return the weighted mean loss of logits at several resolutions, finest first (nnU-Net's deep supervision).

    Each resolution counts half as much as the next finer one; its target is that of the nearest voxels.
    """
    weights = [0.5**level for level in range(len(outputs))]
    total = torch.zeros((), device=target.device)
    for weight, logits in zip(weights, outputs, strict=True):
        size = logits.shape[2:]
        near = target if size == target.shape[2:] else F.interpolate(target.float(), size, mode="nearest-exact")
        total = total + weight * loss(logits.float(), near.to(target.dtype))
    return total / sum(weights)


class Segment(Task):
    """Labels exclude each other (softmax, Dice and cross-entropy); regions may overlap (sigmoid, Dice)."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe, recipe.target.values)
        self.target = recipe.target
        values = (0, *recipe.target.values)
        self.values = np.array(values, dtype=np.min_scalar_type(max(values)))
        # Which class index [1 + L] belongs to which region [R].
        self.regions = torch.zeros(len(values), len(self.target.regions))
        for column, group in enumerate(self.target.regions.values()):
            self.regions[[values.index(value) for value in group], column] = 1
        swaps = section(recipe.fit.augment, "laterality").swap
        self.mirrored = mirror_table(recipe.target.names) if swaps else None

    def sample(self, draw: Draw) -> Sample:
        """Return {"image": [C, *crop], "target": [1, *crop] class indices, "drop_path_scale": [depth, 2]}."""
        recipe, case, augment = self.recipe, draw.case, self.recipe.fit.augment
        coordinates = self.store.label_coordinates(case) if section(augment, "spatial").foreground else None
        image, view = draw_sample(self.store, case, augment, generator(draw.seed, "sample"), coordinates)
        mask = take_mask(self.store.mask(case), view)
        if self.mirrored is not None and view.flips[mirrored_axis(len(recipe.data.crop))]:
            mask = self.mirrored[mask]
        return {
            "image": torch.from_numpy(image),
            "target": torch.from_numpy(mask)[None],
            "drop_path_scale": draw_drop_path_scale(recipe.model.depth, recipe.fit.drop_path, draw.seed),
        }

    def prepare(self, cases: Sequence[Case], progress: Progress | None = None) -> None:
        """Prepare the images and masks of these cases, and where labels are if crops are centred on them."""
        foreground = section(self.recipe.fit.augment, "spatial").foreground > 0
        self.store.prepare(cases, True, progress, foreground)

    def loss(self, model: nn.Module, batch: Sample) -> Tensor:
        """Return the recipe's loss, by default DiceCE over labels and background, or Dice over regions."""
        outputs = model(batch["image"], batch["drop_path_scale"])
        target = batch["target"].long()
        if self.target.regions:
            target = self.regions.to(target.device)[target[:, 0]].movedim(-1, 1)
        return deep_loss(self.criterion, outputs if isinstance(outputs, list) else [outputs], target)

    def predict(
        self, model: nn.Module, prepared: np.ndarray, shape: Sequence[int], box: Box | None = None
    ) -> np.ndarray:
        """Return class indices [*shape] uint8, or regions [R, *shape] bool; background outside the box."""
        device, whole = next(model.parameters()).device, box.whole if box else prepared.shape[1:]
        seen: Callable[[Tensor], Tensor] = self._mirror(model) if self.recipe.predict.mirror else model
        rows = predict_rows(seen, prepared, self.recipe.data, self.recipe.predict, device)
        rows = resample_rows(extend_rows(rows, box) if box else rows, whole[0], shape, box.file_steps if box else ())
        prediction = positive_outputs(rows) if self.target.regions else largest_output(rows)
        if box:
            clear_outside(prediction, box)
        for name in self.largest:
            self.keep_largest(prediction, name)
        return prediction

    def _mirror(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        """Return the model averaged over mirrored images; regions of two sides have no order to be swapped by."""
        lateral = mirrored_axis(len(self.recipe.data.crop))
        axes = section(self.recipe.fit.augment, "spatial").flip_axes
        if self.target.regions and self.mirrored is not None:
            axes = tuple(axis for axis in axes if axis != lateral)
        swaps = range(self.target.num_outputs) if self.mirrored is None else self.mirrored.tolist()
        return mirror_model(model, axes, lateral, list(swaps))

    def keep_largest(self, prediction: np.ndarray, name: str) -> None:
        """Set to background, in place, all of an output but its largest component (voxels that touch, corners too)."""
        index = self.target.output_names.index(name)
        mask = prediction[index] if self.target.regions else prediction == index + 1
        components, count = label(mask, np.ones((3,) * mask.ndim))
        if count < 2:
            return
        sizes = np.bincount(components.ravel())
        sizes[0] = 0
        smaller = mask & (components != sizes.argmax())
        if self.target.regions:
            mask[smaller] = False
        else:
            prediction[smaller] = 0

    @torch.no_grad()
    def choose_largest(self, model: nn.Module, cases: Sequence[Case]) -> list[str]:
        """Return the outputs whose Dice, summed over these cases, is higher if only their largest component is kept.

        Each case is predicted once. Where a case lacks the output in truth, its Dice is not defined and has no say.
        """
        gains = dict.fromkeys(self.target.reported_names, 0.0)
        for case in cases:
            prediction = predict_case(self, model, case)
            before = self.row(case, prediction, distances=False)
            for name in gains:
                kept = prediction.copy()
                self.keep_largest(kept, name)
                after = self.row(case, kept, distances=False)
                gains[name] += (after[f"dice_{name}"] or 0.0) - (before[f"dice_{name}"] or 0.0)
        return [name for name, gain in gains.items() if gain > 0]

    def row(self, case: Case, prediction: np.ndarray, distances: bool = True) -> Row:
        """Return Dice and HD95 of every label or region on the grid and in the unit that `predict` names."""
        assert isinstance(case.target, Path)
        file, target = read_mask(case.target), self.target
        truth, spacing_mm = file.array, file.spacing_mm
        if self.recipe.predict.grid == "prepared":
            extents = zip(file.spacing_mm, truth.shape, self.store.box(case).whole, strict=False)  # () stays ()
            resized = tuple(step * have / want for step, have, want in extents)
            truth, spacing_mm = self.values[self.store.mask(case)], self.recipe.data.spacing_mm or resized
        labels = target.regions or {name: (value,) for name, value in zip(target.names, target.values, strict=True)}
        if not target.regions:
            prediction = self.values[prediction]
        if self.recipe.predict.distances == "voxels":
            spacing_mm = ()
        scores = score_masks(prediction, truth, labels, spacing_mm, target.report, distances)
        return {"id": case.id, "patient": case.patient} | scores

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return Dice and HD95 under their several conventions (see `metrics.segmentation`)."""
        return summarise_masks(rows, self.target.output_names, self.target.report)
