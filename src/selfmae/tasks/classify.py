"""Classification of whole images or volumes with a linear head: several findings, or one of several classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfmae.data.case import Case
from selfmae.data.store import Store
from selfmae.data.stream import Draw, Sample
from selfmae.data.transforms import augment, pad_to
from selfmae.errors import UserError
from selfmae.metrics.classification import score_findings, summarise_classes, summarise_findings
from selfmae.models.classifier import Classifier
from selfmae.options import Recipe
from selfmae.seeds import generator
from selfmae.tasks.base import HEADLINES, Row, draw_skips


class Classify:
    """Findings may occur together (sigmoid, binary cross-entropy); classes exclude each other (softmax)."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.names = recipe.target.output_names
        self.exclusive = recipe.target.kind == "classes"
        self.headline = HEADLINES[recipe.target.kind]
        self.store = Store(recipe.data)

    def build(self) -> Classifier:
        """Return a new classifier with random weights."""
        recipe = self.recipe
        return Classifier(recipe.model, len(recipe.data.channels), recipe.data.crop, recipe.target.num_outputs)

    def sample(self, draw: Draw) -> Sample:
        """Return {"image": [C, *crop], "target": [F], "skip": [depth, 2]}."""
        recipe = self.recipe
        image = self._whole(self.store.image(draw.case))
        image, _ = augment(image, None, recipe.fit.augment, generator(draw.seed, "sample"))
        return {
            "image": image,
            "target": torch.tensor(_findings(draw.case), dtype=torch.float32),
            "skip": draw_skips(recipe.model.depth, recipe.fit.drop_path, draw.seed),
        }

    def loss(self, model: nn.Module, batch: Sample) -> Tensor:
        """Return cross-entropy over classes, or binary cross-entropy averaged over images and findings."""
        logits = model(batch["image"], batch["skip"]).float()
        if self.exclusive:
            return F.cross_entropy(logits, batch["target"])
        return F.binary_cross_entropy_with_logits(logits, batch["target"])

    def predict(self, model: nn.Module, prepared: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Return probabilities [F] of a prepared image [C, *S]; `shape` plays no part."""
        device = next(model.parameters()).device
        logits = model(self._whole(prepared)[None].to(device)).float()[0]
        return (logits.softmax(0) if self.exclusive else logits.sigmoid()).cpu().numpy()

    def row(self, case: Case, prediction: np.ndarray) -> Row:
        """Return the truth and the probability of every finding."""
        return {"id": case.id, "patient": case.patient} | score_findings(
            self.names, _findings(case), prediction.tolist()
        )

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return AUC and its companions (see `metrics.classification`)."""
        summarise = summarise_classes if self.exclusive else summarise_findings
        return summarise(rows, self.names)

    def _whole(self, prepared: np.ndarray) -> Tensor:
        """Return the whole image [C, *crop]: preparation gave it this size, or a smaller one to be padded."""
        crop = self.recipe.data.crop
        image = pad_to(prepared, crop)
        if image.shape[1:] != tuple(crop):
            raise UserError(
                f"Classification looks at whole images of data.crop {list(crop)}, but one is {list(image.shape[1:])}: "
                "set data.size to the same values as data.crop."
            )
        return torch.from_numpy(image.astype(np.float32))


def _findings(case: Case) -> tuple[float, ...]:
    if not isinstance(case.target, tuple):
        raise UserError(f"Case {case.id!r} has no findings: only labelled cases can be trained on or evaluated.")
    return case.target
