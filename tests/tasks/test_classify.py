"""Classification: findings are independent, classes exclude each other, whole images only."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from selfmae.augment import randaugment, spatial
from selfmae.data.case import Case
from selfmae.data.sampling import Draw
from selfmae.errors import UserError
from selfmae.options import DataOptions, ModelOptions, OptimOptions, Recipe, TargetOptions
from selfmae.tasks.classify import Classify

NAMES = ("a", "b", "c")
LOGITS = torch.tensor([[2.0, -1.0, 0.5]])


def make_task(
    kind: str, size: tuple[int, ...] = (8, 8), augment: dict[str, Any] | None = None, **data_options: float
) -> Classify:
    optim = OptimOptions(steps=1, batch=1, lr=1e-3, augment=augment or {})
    data = DataOptions("", channels=("x",), crop=(8, 8), size=size, intensity="range", **data_options)  # type: ignore[arg-type]
    model = ModelOptions(patch=(4, 4), width=24, depth=2, heads=2)
    return Classify(Recipe(data, TargetOptions(kind, NAMES), model, optim, optim))  # type: ignore[arg-type]


class Fixed(nn.Module):
    """Gives the same logits for every image, and keeps the image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor, drop_path_scale: torch.Tensor | None = None) -> torch.Tensor:
        self.image = image
        return LOGITS


@pytest.fixture
def case(tmp_path: Path) -> Case:
    np.save(tmp_path / "x.npy", np.arange(64.0).reshape(8, 8))
    return Case("x", "p", (tmp_path / "x.npy",), (1.0, 0.0, 0.0), "test")


def test_probabilities_of_findings_are_independent_and_of_classes_sum_to_one() -> None:
    prepared = np.zeros((1, 8, 8), dtype=np.float16)
    findings = make_task("multilabel").predict(Fixed(), prepared, ())
    classes = make_task("multiclass").predict(Fixed(), prepared, ())
    np.testing.assert_allclose(findings, 1 / (1 + np.exp(-LOGITS[0].detach().numpy())), rtol=1e-6)
    np.testing.assert_allclose(classes, LOGITS.softmax(1)[0].numpy(), rtol=1e-6)


def test_losses_are_those_of_torch() -> None:
    target = torch.tensor([[1.0, 0.0, 0.0]])
    batch = {"image": torch.zeros(1, 1, 8, 8), "target": target, "drop_path_scale": torch.ones(1, 2, 2)}
    assert torch.equal(make_task("multiclass").loss(Fixed(), batch), F.cross_entropy(LOGITS, torch.tensor([0])))
    whole = F.binary_cross_entropy_with_logits(LOGITS, target)
    assert torch.equal(make_task("multilabel").loss(Fixed(), batch), whole)


@pytest.mark.parametrize(("kind", "headline"), [("multilabel", "mean_auc"), ("multiclass", "macro_auc")])
def test_the_headline_is_that_of_the_kind(kind: str, headline: str) -> None:
    assert make_task(kind).headline == headline


def test_a_row_holds_truth_and_probability(case: Case) -> None:
    row = make_task("multilabel").row(case, np.array([0.1, 0.2, 0.3]))
    assert row == {
        "id": "x",
        "patient": "p",
        **{"truth_a": 1, "truth_b": 0, "truth_c": 0},
        **{"probability_a": 0.1, "probability_b": 0.2, "probability_c": 0.3},
    }


def test_without_augmentation_a_sample_is_what_the_evaluation_sees(case: Case) -> None:
    task, model = make_task("multilabel"), Fixed()
    task.predict(model, task.store.image(case), (8, 8))
    sample = task.sample(Draw(case, 5))
    assert torch.equal(sample["image"], model.image[0])
    assert sample["target"].tolist() == [1, 0, 0]
    assert sample["drop_path_scale"].shape == (2, 2)


def test_images_are_resized_to_the_size_of_the_recipe(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((20, 12)))
    task = make_task("multilabel")
    assert task.sample(Draw(Case("x", "p", (tmp_path / "x.npy",), (1, 0, 0), "train"), 0))["image"].shape == (1, 8, 8)


def test_smaller_images_are_padded_and_larger_ones_refused(tmp_path: Path) -> None:
    for extent in (5, 9):
        np.save(tmp_path / f"{extent}.npy", np.arange(extent * extent, dtype=float).reshape(extent, extent) + 1)
    task = make_task("multilabel", size=())
    small, large = (Case("x", "p", (tmp_path / f"{extent}.npy",), (1, 0, 0), "train") for extent in (5, 9))
    assert task.sample(Draw(small, 0))["image"].shape == (1, 8, 8)
    with pytest.raises(UserError) as error:
        task.sample(Draw(large, 0))
    text = "data.crop [8, 8], but one is [9, 9]: set data.size to the same values as data.crop."
    assert text in str(error.value)


@pytest.fixture
def larger(tmp_path: Path) -> Case:
    """Return a case of 12 x 12 pixels, all different."""
    np.save(tmp_path / "large.npy", np.arange(144.0).reshape(12, 12))
    return Case("x", "p", (tmp_path / "large.npy",), (1.0, 0.0, 0.0), "test")


def test_an_image_resized_larger_than_the_crop_is_evaluated_in_its_middle(larger: Case) -> None:
    task, model = make_task("multilabel", size=(12, 12)), Fixed()
    prepared = task.store.image(larger)
    task.predict(model, prepared, (12, 12))
    np.testing.assert_array_equal(model.image[0], prepared[:, 2:10, 2:10])


def test_training_crops_of_a_larger_image_lie_anywhere(larger: Case) -> None:
    task = make_task("multilabel", size=(12, 12))
    corners = {float(task.sample(Draw(larger, seed))["image"][0, 0, 0]) for seed in range(300)}
    assert len(corners) == 25


def test_a_random_resized_crop_is_taken_from_the_whole_larger_image(larger: Case) -> None:
    task = make_task("multilabel", size=(12, 12), augment={"spatial": spatial.Options(min_scale=0.99)})
    image = task.sample(Draw(larger, 0))["image"]
    assert image.shape == (1, 8, 8)
    assert float(image.amax() - image.amin()) > 0.85  # an 8 x 8 crop would span 0.64


def test_mean_and_deviation_reach_training_and_evaluation(case: Case) -> None:
    plain, task = make_task("multilabel"), make_task("multilabel", mean=0.5, std=0.225)
    expected = (plain.sample(Draw(case, 0))["image"] - 0.5) / 0.225
    model = Fixed()
    task.predict(model, task.store.image(case), (8, 8))
    for image in (task.sample(Draw(case, 0))["image"], model.image[0]):
        torch.testing.assert_close(image, expected)


def test_the_summary_is_that_of_the_kind() -> None:
    rows = [
        {"id": str(i), "patient": str(i)}
        | {f"truth_{name}": float(i % 3 == place) for place, name in enumerate(NAMES)}
        | {f"probability_{name}": 0.8 if i % 3 == place else 0.1 for place, name in enumerate(NAMES)}
        for i in range(6)
    ]
    findings, classes = (make_task(kind).summary(rows)["metrics"] for kind in ("multilabel", "multiclass"))
    assert findings["mean_auc"] == classes["macro_auc"] == 1
    assert classes["accuracy"] == 1
    assert "accuracy" not in findings


def test_rand_augment_comes_before_mean_and_deviation_and_follows_from_the_draw(case: Case) -> None:
    task = make_task("multilabel", augment={"randaugment": randaugment.Options(9)}, mean=0.5, std=0.225)
    first, again, plain = (make.sample(Draw(case, 1))["image"] for make in (task, task, make_task("multilabel")))
    assert torch.equal(first, again)
    shades = (first * 0.225 + 0.5) * 255
    torch.testing.assert_close(shades, shades.round(), atol=1e-3, rtol=0)
    assert not torch.equal(first, (plain - 0.5) / 0.225)
