"""What the training loop, the evaluation and the prediction ask of a task."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from selfmae.data.case import Case
from selfmae.data.files.masks import read_mask
from selfmae.data.preparation.prepare import Box
from selfmae.data.preparation.store import Store
from selfmae.data.sampling import Draw, Sample
from selfmae.losses import Loss, loss_of
from selfmae.metrics.rows import HEADLINES
from selfmae.networks import network_of
from selfmae.options import Recipe
from selfmae.seeds import generator

Row = dict[str, Any]
Progress = Callable[[int, int], None]  # how many of how many are done


class Trainable(Protocol):
    """Something to optimise: samples of single draws, and the loss of a batch of them."""

    recipe: Recipe

    def build(self) -> nn.Module:
        """Return a new model with random weights."""

    def sample(self, draw: Draw) -> Sample:
        """Return one training sample; a pure function of the draw."""

    def loss(self, model: nn.Module, batch: Sample) -> Tensor:
        """Return the mean loss, a scalar in float32, of a batch of samples."""

    def prepare(self, cases: Sequence[Case], progress: Progress | None = None) -> None:
        """Prepare what samples of these cases are made of; what is prepared stays as it is."""


class Task(Trainable):
    """A supervised task: it can also predict, be scored and be summarised."""

    largest: Sequence[str] = ()  # outputs of a segmentation of which only the largest component is kept

    def __init__(self, recipe: Recipe, mask_values: Sequence[int] = ()) -> None:
        self.recipe = recipe
        self.store = Store(recipe.data, mask_values)
        self.headline = HEADLINES[recipe.target.kind]
        self.criterion: Loss = loss_of(recipe).make(recipe)

    def build(self) -> nn.Module:
        """Return a new network with random weights."""
        model: nn.Module = network_of(self.recipe).build(self.recipe)
        return model

    @abstractmethod
    def predict(
        self, model: nn.Module, prepared: np.ndarray, shape: Sequence[int], box: Box | None = None
    ) -> np.ndarray:
        """Return the prediction for a prepared image [C, *S], all or a box of one whose file had the shape `shape`."""

    @abstractmethod
    def row(self, case: Case, prediction: np.ndarray, distances: bool = True) -> Row:
        """Return id, patient and every score of one labelled case; without `distances` those of masks are None."""

    def choose_largest(self, model: nn.Module, cases: Sequence[Case]) -> list[str]:
        """Return the outputs whose score on these cases is better where only their largest component is kept."""
        return []

    @abstractmethod
    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the metrics of all rows, with the convention of each."""


def draw_drop_path_scale(depth: int, drop_path: float, seed: int) -> Tensor:
    """Draw DropPath (Huang et al. 2016) for one sample: factors [depth, 2] of the attention and MLP branches.

    The probability of a skip grows linearly from 0 at the first block to `drop_path` at the last.
    """
    rates = np.linspace(0, drop_path, depth)[:, None]
    kept = generator(seed, "path").random((depth, 2)) >= rates
    return torch.from_numpy(np.where(kept, 1 / (1 - rates), 0).astype(np.float32))


@torch.no_grad()
def score_cases(
    task: Task, model: nn.Module, cases: Sequence[Case], progress: Progress | None = None, distances: bool = True
) -> list[Row]:
    """Return the rows of every case, in order; without `distances` (of masks) several times sooner."""
    rows: list[Row] = []
    for done, case in enumerate(cases, start=1):
        rows.append(task.row(case, predict_case(task, model, case), distances))
        if progress:
            progress(done, len(cases))
    return rows


def predict_case(task: Task, model: nn.Module, case: Case) -> np.ndarray:
    """Return the prediction for a labelled case on the grid on which it is scored (`predict.grid`)."""
    image = task.store.image(case)
    if task.recipe.predict.grid == "prepared":
        return task.predict(model, image, image.shape[1:])
    shape = read_mask(case.target).array.shape if isinstance(case.target, Path) else ()
    return task.predict(model, image, shape, task.store.box(case))
