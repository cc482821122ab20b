"""Segmentation with UNETR and a sliding window: exclusive labels, or overlapping regions made of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss, DiceLoss
from torch import Tensor, nn

from selfmae.augment.intensity import change_intensity
from selfmae.augment.laterality import mirror_table
from selfmae.data.case import Case
from selfmae.data.files.masks import read_mask
from selfmae.data.preparation.prepare import Box, finish
from selfmae.data.preparation.store import Store
from selfmae.data.sampling.samples import take_image, take_mask
from selfmae.data.sampling.views import Draw, Sample, draw_corner, draw_view
from selfmae.metrics.rows import HEADLINES
from selfmae.metrics.segmentation import score_masks, summarise_masks
from selfmae.models.unetr import UNETR
from selfmae.networks.registry import VIT
from selfmae.options import Recipe
from selfmae.seeds import generator
from selfmae.tasks import build_network
from selfmae.tasks.base import Row, draw_drop_path_scale
from selfmae.tasks.sliding_window import (
    clear_outside,
    extend_rows,
    largest_output,
    positive_outputs,
    predict_rows,
    resample_rows,
)


def deep_loss(loss: Callable[[Tensor, Tensor], Tensor], outputs: Sequence[Tensor], target: Tensor) -> Tensor:
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


class Segment:
    """Labels exclude each other (softmax, Dice and cross-entropy); regions may overlap (sigmoid, Dice)."""

    headline = HEADLINES["mask"]

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.target = recipe.target
        self.store = Store(recipe.data, recipe.target.values)
        self.regions = self._region_table()
        places = (0, *recipe.target.values)
        self.values = np.array(places, dtype=np.min_scalar_type(max(places)))
        # Volumes run from left to right along their first axis, pictures along their second.
        self.mirrored = mirror_table(recipe.target.names) if recipe.fit.augment.swap_sides else None
        # Squared denominators and these smoothing terms are those of the released code (reproduction.md, R10).
        shared: dict[str, Any] = {"squared_pred": True, "smooth_nr": 0.0, "smooth_dr": 1e-6}
        exclusive: dict[str, Any] = {"softmax": True, "to_onehot_y": True}
        self._loss = DiceLoss(sigmoid=True, **shared) if self.target.regions else DiceCELoss(**exclusive, **shared)

    def build(self) -> nn.Module:
        """Return a new UNETR, or another network, with random weights."""
        recipe = self.recipe
        if recipe.model.network != VIT:
            return build_network(recipe)
        return UNETR(recipe.model, len(recipe.data.channels), recipe.data.crop, self.target.num_outputs)

    def sample(self, draw: Draw) -> Sample:
        """Return {"image": [C, *crop], "target": [1, *crop] label places, "drop_path_scale": [depth, 2]}."""
        recipe, rng = self.recipe, generator(draw.seed, "sample")
        options, crop = recipe.fit.augment, recipe.data.crop
        prepared, labels = self.store.image(draw.case), self.store.mask(draw.case)
        places = self.store.label_places(draw.case) if options.foreground else None
        corner = draw_corner(labels.shape, crop, rng, places, options.foreground)
        view = draw_view(labels.shape, crop, corner, options, rng, recipe.data.spacing_mm)
        image = change_intensity(finish(take_image(prepared, view), recipe.data), options, rng)
        mask = take_mask(labels, view)
        if self.mirrored is not None and view.flips[0 if len(crop) == 3 else 1]:
            mask = self.mirrored[mask]
        return {
            "image": torch.from_numpy(image),
            "target": torch.from_numpy(mask)[None],
            "drop_path_scale": draw_drop_path_scale(recipe.model.depth, recipe.fit.drop_path, draw.seed),
        }

    def loss(self, model: nn.Module, batch: Sample) -> Tensor:
        """Return DiceCE over labels and background, or Dice over regions."""
        outputs = model(batch["image"], batch["drop_path_scale"])
        target = batch["target"].long()
        if self.target.regions:
            target = self.regions.to(target.device)[target[:, 0]].movedim(-1, 1)
        return deep_loss(self._loss, outputs if isinstance(outputs, list) else [outputs], target)

    def predict(
        self, model: nn.Module, prepared: np.ndarray, shape: Sequence[int], box: Box | None = None
    ) -> np.ndarray:
        """Return label places [*shape] uint8, or regions [R, *shape] bool; background outside the box."""
        device, whole = next(model.parameters()).device, box.whole if box else prepared.shape[1:]
        rows = predict_rows(model, prepared, self.recipe.data, self.recipe.predict, device)
        rows = resample_rows(extend_rows(rows, box) if box else rows, whole[0], shape)
        prediction = positive_outputs(rows) if self.target.regions else largest_output(rows)
        if box:
            clear_outside(prediction, box)
        return prediction

    def row(self, case: Case, prediction: np.ndarray, distances: bool = True) -> Row:
        """Return Dice and HD95 of every label or region on the grid and in the unit that `predict` names."""
        truth, spacing_mm = self._truth(case)
        target = self.target
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

    def _truth(self, case: Case) -> tuple[np.ndarray, tuple[float, ...]]:
        """Return mask values and spacing of the file, or of the prepared grid as far as it is kept."""
        assert isinstance(case.target, Path)
        truth = read_mask(case.target)
        if self.recipe.predict.grid == "file":
            return truth.array, truth.spacing_mm
        extents = zip(truth.spacing_mm, truth.array.shape, self.store.box(case).whole, strict=False)  # () stays ()
        resized = tuple(step * have / want for step, have, want in extents)
        return self.values[self.store.mask(case)], self.recipe.data.spacing_mm or resized

    def _region_table(self) -> Tensor:
        """Return which label place [1 + L] belongs to which region [R], float."""
        places = {value: place for place, value in enumerate(self.target.values, start=1)}
        table = torch.zeros(1 + len(places), len(self.target.regions))
        for column, values in enumerate(self.target.regions.values()):
            table[[places[value] for value in values], column] = 1
        return table
