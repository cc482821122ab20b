"""Classification of whole images or volumes with a linear head: several labels at once, or one of several classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfmae.augment.spatial import middle_corner
from selfmae.data.case import Case
from selfmae.data.preparation.prepare import Box, finish
from selfmae.data.sampling import Draw, Sample, draw_sample, take_crop
from selfmae.errors import UserError
from selfmae.metrics.classification import score_multilabel, summarise_multiclass, summarise_multilabel
from selfmae.options import Recipe
from selfmae.seeds import generator
from selfmae.tasks.base import Progress, Row, Task, draw_drop_path_scale


class Classify(Task):
    """Labels may occur together (multilabel: sigmoid) or exclude each other (multiclass: softmax)."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.names = recipe.target.output_names
        self.exclusive = recipe.target.kind == "multiclass"

    def sample(self, draw: Draw) -> Sample:
        """Return {"image": [C, *crop], "target": [F], "drop_path_scale": [depth, 2]}."""
        recipe = self.recipe
        self._check(self.store.image(draw.case))
        image, _ = draw_sample(self.store, draw.case, recipe.fit.augment, generator(draw.seed, "sample"))
        return {
            "image": torch.from_numpy(image),
            "target": torch.tensor(_labels(draw.case), dtype=torch.float32),
            "drop_path_scale": draw_drop_path_scale(recipe.model.depth, recipe.fit.drop_path, draw.seed),
        }

    def prepare(self, cases: Sequence[Case], progress: Progress | None = None) -> None:
        """Prepare the images of these cases."""
        self.store.prepare(cases, False, progress)

    def loss(self, model: nn.Module, batch: Sample) -> Tensor:
        """Return the recipe's loss, by default cross-entropy over classes or binary cross-entropy over labels."""
        return self.criterion(model(batch["image"], batch["drop_path_scale"]).float(), batch["target"])

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
        """Return the truth and the probability of every label; `distances` are those of masks."""
        scores = score_multilabel(self.names, _labels(case), prediction.tolist())
        return {"id": case.id, "patient": case.patient} | scores

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return AUC and its companions (see `metrics.classification`)."""
        summarise = summarise_multiclass if self.exclusive else summarise_multilabel
        return summarise(rows, self.names)

    def _check(self, prepared: np.ndarray) -> None:
        """Raise if an image is larger than the crop by no decision: with `data.size`, the crop is its middle."""
        data, shape = self.recipe.data, list(prepared.shape[1:])
        if not data.size and any(have > want for have, want in zip(shape, data.crop, strict=True)):
            raise UserError(
                f"Classification takes whole images of data.crop {list(data.crop)}, but one is {shape}: "
                "set data.size to the same values as data.crop."
            )


def _labels(case: Case) -> tuple[float, ...]:
    if not isinstance(case.target, tuple):
        raise UserError(f"Case {case.id!r} has no labels: only labelled cases can be trained on or evaluated.")
    return case.target
