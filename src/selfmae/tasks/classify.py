"""Classification of whole images or volumes with a linear head: several findings, or one of several classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfmae.augment.intensity import change_intensity
from selfmae.augment.randaugment import rand_augment
from selfmae.data.case import Case
from selfmae.data.preparation.prepare import Box, finish
from selfmae.data.preparation.store import Store
from selfmae.data.sampling.samples import take_crop, take_image
from selfmae.data.sampling.views import Draw, Sample, draw_corner, draw_view, middle_corner
from selfmae.errors import UserError
from selfmae.metrics.classification import score_multilabel, summarise_multiclass, summarise_multilabel
from selfmae.metrics.rows import HEADLINES
from selfmae.models.vit import Classifier
from selfmae.networks.registry import VIT
from selfmae.options import Recipe
from selfmae.seeds import generator
from selfmae.tasks import build_network
from selfmae.tasks.base import Row, draw_drop_path_scale


class Classify:
    """Findings may occur together (sigmoid, binary cross-entropy); classes exclude each other (softmax)."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.names = recipe.target.output_names
        self.exclusive = recipe.target.kind == "multiclass"
        self.headline = HEADLINES[recipe.target.kind]
        self.store = Store(recipe.data)

    def build(self) -> nn.Module:
        """Return a new classifier with random weights."""
        recipe = self.recipe
        if recipe.model.network != VIT:
            return build_network(recipe)
        return Classifier(recipe.model, len(recipe.data.channels), recipe.data.crop, recipe.target.num_outputs)

    def sample(self, draw: Draw) -> Sample:
        """Return {"image": [C, *crop], "target": [F], "drop_path_scale": [depth, 2]}."""
        recipe, rng = self.recipe, generator(draw.seed, "sample")
        options, crop = recipe.fit.augment, recipe.data.crop
        prepared = self.store.image(draw.case)
        self._check(prepared)
        corner = draw_corner(prepared.shape[1:], crop, rng, None, 0.0)
        view = draw_view(prepared.shape[1:], crop, corner, options, rng, recipe.data.spacing_mm)
        image = take_image(prepared, view)
        if options.rand_augment:
            image = rand_augment(image, options.rand_augment, recipe.data.mean, rng)
        image = change_intensity(finish(image, recipe.data), options, rng)
        return {
            "image": torch.from_numpy(image),
            "target": torch.tensor(_findings(draw.case), dtype=torch.float32),
            "drop_path_scale": draw_drop_path_scale(recipe.model.depth, recipe.fit.drop_path, draw.seed),
        }

    def loss(self, model: nn.Module, batch: Sample) -> Tensor:
        """Return cross-entropy over classes, or binary cross-entropy averaged over images and findings."""
        logits = model(batch["image"], batch["drop_path_scale"]).float()
        if self.exclusive:
            return F.cross_entropy(logits, batch["target"])
        return F.binary_cross_entropy_with_logits(logits, batch["target"])

    def predict(
        self, model: nn.Module, prepared: np.ndarray, shape: Sequence[int], box: Box | None = None
    ) -> np.ndarray:
        """Return probabilities [F] of the middle of a prepared image [C, *S]; `shape` and `box` play no part."""
        self._check(prepared)
        crop, device = self.recipe.data.crop, next(model.parameters()).device
        image = take_crop(prepared, middle_corner(prepared.shape[1:], crop), crop)
        logits = model(torch.from_numpy(finish(image, self.recipe.data))[None].to(device)).float()[0]
        return (logits.softmax(0) if self.exclusive else logits.sigmoid()).cpu().numpy()

    def row(self, case: Case, prediction: np.ndarray, distances: bool = True) -> Row:
        """Return the truth and the probability of every finding; `distances` are those of masks."""
        return {"id": case.id, "patient": case.patient} | score_multilabel(
            self.names, _findings(case), prediction.tolist()
        )

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return AUC and its companions (see `metrics.classification`)."""
        summarise = summarise_multiclass if self.exclusive else summarise_multilabel
        return summarise(rows, self.names)

    def _check(self, prepared: np.ndarray) -> None:
        """Raise if an image is larger than the crop by no decision: with `data.size`, the crop is its middle."""
        data, shape = self.recipe.data, list(prepared.shape[1:])
        if not data.size and any(have > want for have, want in zip(shape, data.crop, strict=True)):
            raise UserError(
                f"Classification looks at whole images of data.crop {list(data.crop)}, but one is {shape}: "
                "set data.size to the same values as data.crop."
            )


def _findings(case: Case) -> tuple[float, ...]:
    if not isinstance(case.target, tuple):
        raise UserError(f"Case {case.id!r} has no findings: only labelled cases can be trained on or evaluated.")
    return case.target
