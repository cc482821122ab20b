"""Segmentation with UNETR and a sliding window: exclusive labels, or overlapping regions made of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.losses import DiceCELoss, DiceLoss
from torch import Tensor, nn

from selfmae.data.case import Case
from selfmae.data.images import read_mask
from selfmae.data.store import Store
from selfmae.data.stream import Draw, Sample
from selfmae.data.transforms import augment, draw_corner, take_crop
from selfmae.errors import UserError
from selfmae.metrics.segmentation import score_masks, summarise_masks
from selfmae.models.unetr import UNETR
from selfmae.options import Recipe
from selfmae.seeds import generator
from selfmae.tasks.base import HEADLINES, Row, draw_skips
from selfmae.tasks.window import largest_output, positive_outputs, predict_rows, resample_rows


class Segment:
    """Labels exclude each other (softmax, Dice and cross-entropy); regions may overlap (sigmoid, Dice)."""

    headline = HEADLINES["mask"]

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.target = recipe.target
        self.store = Store(recipe.data, recipe.target.values)
        self.regions = self._region_table()
        # Squared denominators and these smoothing terms are those of the released code (reproduction.md, R10).
        shared: dict[str, Any] = {"squared_pred": True, "smooth_nr": 0.0, "smooth_dr": 1e-6}
        exclusive: dict[str, Any] = {"softmax": True, "to_onehot_y": True}
        self._loss = DiceLoss(sigmoid=True, **shared) if self.target.regions else DiceCELoss(**exclusive, **shared)

    def build(self) -> UNETR:
        """Return a new UNETR with random weights."""
        recipe = self.recipe
        return UNETR(recipe.model, len(recipe.data.channels), recipe.data.crop, self.target.num_outputs)

    def sample(self, draw: Draw) -> Sample:
        """Return {"image": [C, *crop], "target": [1, *crop] label places, "skip": [depth, 2]}."""
        recipe, rng = self.recipe, generator(draw.seed, "sample")
        options, crop = recipe.fit.augment, recipe.data.crop
        prepared, labels = self.store.image(draw.case), self.store.mask(draw.case)
        corner = draw_corner(labels.shape, crop, rng, labels, options.foreground)
        image = torch.from_numpy(take_crop(prepared, corner, crop).astype(np.float32))
        image, mask = augment(image, torch.from_numpy(take_crop(labels, corner, crop).copy()), options, rng)
        assert mask is not None
        skip = draw_skips(recipe.model.depth, recipe.fit.drop_path, draw.seed)
        return {"image": image, "target": mask[None], "skip": skip}

    def loss(self, model: nn.Module, batch: Sample) -> Tensor:
        """Return DiceCE over labels and background, or Dice over regions."""
        logits = model(batch["image"], batch["skip"]).float()
        target = batch["target"].long()
        if self.target.regions:
            target = self.regions.to(target.device)[target[:, 0]].movedim(-1, 1)
        return self._loss(logits, target)

    def predict(self, model: nn.Module, prepared: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Return label places [*shape] uint8 (0 is background), or regions [R, *shape] bool."""
        device = next(model.parameters()).device
        rows = predict_rows(model, prepared, self.recipe.data.crop, self.recipe.predict, device)
        rows = resample_rows(rows, prepared.shape[1], shape)
        return positive_outputs(rows) if self.target.regions else largest_output(rows)

    def row(self, case: Case, prediction: np.ndarray) -> Row:
        """Return Dice and HD95 of every label or region on the grid of the case's mask file, distances in mm."""
        assert isinstance(case.target, Path)
        truth, target = read_mask(case.target), self.target
        labels = target.regions or {name: (value,) for name, value in zip(target.names, target.values, strict=True)}
        if not target.regions:
            prediction = np.array([0, *target.values], dtype=truth.array.dtype)[prediction]
        scores = score_masks(prediction, truth.array, labels, truth.spacing_mm)
        return {"id": case.id, "patient": case.patient} | scores

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return Dice and HD95 under their several conventions (see `metrics.segmentation`)."""
        return summarise_masks(rows, self.target.output_names)

    def _region_table(self) -> Tensor:
        """Return which label place [1 + L] belongs to which region [R], float."""
        places = {value: place for place, value in enumerate(self.target.values, start=1)}
        table = torch.zeros(1 + len(places), len(self.target.regions))
        for column, (name, values) in enumerate(self.target.regions.items()):
            for value in values:
                if value not in places:
                    raise UserError(
                        f"target.regions.{name} names the mask value {value}, which the source's labels do not have "
                        f"({sorted(places)}): correct the region."
                    )
                table[places[value], column] = 1
        return table
