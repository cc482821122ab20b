"""Segmentation with UNETR and a sliding window: exclusive labels, or overlapping regions made of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss, DiceLoss
from torch import Tensor, nn

from selfmae.data.case import Case
from selfmae.data.images import read_mask
from selfmae.data.store import Store
from selfmae.data.stream import Draw, Sample
from selfmae.data.transforms import augment, draw_corner, resample, take_crop
from selfmae.errors import UserError
from selfmae.metrics.segmentation import mask_rows, summarise_masks
from selfmae.models.unetr import UNETR
from selfmae.options import Recipe
from selfmae.seeds import generator
from selfmae.tasks.base import Row, draw_skips

WINDOWS_AT_ONCE = 4


class Segment:
    """Labels exclude each other (softmax, Dice and cross-entropy); regions may overlap (sigmoid, Dice)."""

    headline = "dice_per_case"

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.target = recipe.target
        self.store = Store(recipe.data, recipe.target.values)
        self.regions = self._region_table()
        # Squared denominators and these smoothing terms are those of the released code (reproduction.md, R-rows).
        shared = {"squared_pred": True, "smooth_nr": 0.0, "smooth_dr": 1e-6}
        self._loss = (
            DiceLoss(sigmoid=True, **shared)
            if self.target.regions
            else DiceCELoss(softmax=True, to_onehot_y=True, **shared)
        )

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
        options, device = self.recipe.predict, next(model.parameters()).device
        logits = sliding_window_inference(
            torch.from_numpy(np.asarray(prepared, dtype=np.float32))[None],
            self.recipe.data.crop,
            WINDOWS_AT_ONCE,
            lambda window: model(window).float(),
            overlap=options.overlap,
            mode=options.blend,
            sw_device=device,
            device="cpu",
        )[0]
        if self.target.regions:
            return np.stack([(_resized(logit, shape) > 0).numpy() for logit in logits])
        return _argmax(logits, shape)

    def rows(self, case: Case, prediction: np.ndarray) -> list[Row]:
        """Return one row per label or region, scored on the grid of the case's mask file, distances in mm."""
        assert isinstance(case.target, Path)
        truth = read_mask(case.target)
        target = self.target
        if target.regions:
            labels = {name: tuple(values) for name, values in target.regions.items()}
        else:
            prediction = np.array([0, *target.values])[prediction]
            labels = {name: (value,) for name, value in zip(target.names, target.values, strict=True)}
        return mask_rows(case.id, case.patient, prediction, truth.array, labels, truth.spacing_mm)

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return Dice and HD95 under their several conventions (see `metrics.segmentation`)."""
        return summarise_masks(rows)

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


def _argmax(logits: Tensor, shape: Sequence[int]) -> np.ndarray:
    """Return the winner [*shape] of logits [K, *S], one class at a time: never all classes at full size."""
    best = _resized(logits[0], shape)
    winner = torch.zeros(tuple(shape), dtype=torch.uint8)
    for place in range(1, len(logits)):
        rival = _resized(logits[place], shape)
        better = rival > best
        winner[better] = place
        best = torch.maximum(best, rival)
    return winner.numpy()


def _resized(logit: Tensor, shape: Sequence[int]) -> Tensor:
    return logit if tuple(logit.shape) == tuple(shape) else resample(logit[None], shape)[0]
