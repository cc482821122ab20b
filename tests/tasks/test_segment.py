"""Segmentation: labels and regions, the loss against MONAI's, predictions in the geometry of the file."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from selfmae.augment import laterality, spatial
from selfmae.data.case import Case
from selfmae.data.sampling import Draw
from selfmae.options import DataOptions, ModelOptions, OptimOptions, Recipe, TargetOptions
from selfmae.tasks.base import predict_case, score_cases
from selfmae.tasks.segment import Segment
from selfmae.tasks.sliding_window import mirror_model

VALUES = (2, 9)
REGIONS = {"whole": (2, 9), "core": (9,)}


def make_recipe(regions: dict[str, tuple[int, ...]] | None = None, **data: object) -> Recipe:
    optim = OptimOptions(steps=1, batch=1, lr=1e-3)
    return Recipe(
        DataOptions("", channels=("x",), crop=(8, 8, 8), **({"intensity": "range"} | data)),  # type: ignore[arg-type]
        TargetOptions("mask", ("organ", "lesion"), VALUES, regions or {}),
        ModelOptions(patch=(4, 4, 4), width=24, depth=2, heads=2, decoder_features=4),
        optim,
        optim,
    )


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Return a case whose image is its mask, with the values 0, 2 and 9 in three slabs."""
    mask = np.zeros((10, 9, 8), dtype=np.uint8)
    mask[3:6], mask[6:] = VALUES
    for name in ("image", "mask"):
        nib.save(nib.Nifti1Image(mask, np.diag([1.0, 1, 2, 1])), tmp_path / f"{name}.nii")
    return Case("a", "p", (tmp_path / "image.nii",), tmp_path / "mask.nii", "test")


class Oracle(nn.Module):
    """Predicts from the image's own values (0, 2/9 and 1 after preparation), as labels or as regions."""

    def __init__(self, regions: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.regions = regions

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.regions:
            return 100 * torch.cat([image - 0.1, image - 0.6], dim=1)
        return -100 * torch.cat([(image - value / 9).abs() for value in (0, *VALUES)], dim=1)


@pytest.mark.parametrize(("axis", "swapped"), [(0, True), (1, False)])
def test_mirrored_from_left_to_right_the_labels_of_the_two_sides_are_swapped(
    case: Case, axis: int, swapped: bool
) -> None:
    recipe = make_recipe()
    target = replace(recipe.target, names=("left kidney", "right kidney"))
    fit = replace(recipe.fit, augment={"spatial": spatial.Options((axis,), flip=1.0)})
    sample = Segment(replace(recipe, target=target, fit=fit)).sample(Draw(case, 0))
    shown = (sample["image"] * 9).round().long()  # the case's image is its mask
    expected = {0: 0, 2: 2, 9: 1} if swapped else {0: 0, 2: 1, 9: 2}
    assert {int(value): int(sample["target"][shown == value].unique()) for value in shown.unique()} == expected


@pytest.mark.parametrize(("axis", "swapped"), [(0, False), (1, True)])
def test_in_pictures_left_and_right_are_the_columns(tmp_path: Path, axis: int, swapped: bool) -> None:
    """The rows of a picture run from head to feet: mirrored along them, left stays left."""
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[1:4, 1:3], mask[4:7, 5:7] = 1, 2
    for name in ("image", "mask"):
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    case = Case("a", "p", (tmp_path / "image.png",), tmp_path / "mask.png", "train")
    optim = OptimOptions(1, 1, 1e-3, augment={"spatial": spatial.Options((axis,), flip=1.0)})
    recipe = Recipe(
        DataOptions("", ("x",), crop=(8, 8), intensity="range"),
        TargetOptions("mask", ("left lung", "right lung"), (1, 2)),
        ModelOptions((4, 4), width=24, depth=2, heads=2, decoder_features=4),
        optim,
        optim,
    )
    sample = Segment(recipe).sample(Draw(case, 0))
    shown = (sample["image"] * 2).round().long()  # the case's image is its mask
    torch.testing.assert_close(shown[0], torch.from_numpy(np.flip(mask, axis).copy()).long())
    expected = {0: 0, 1: 2, 2: 1} if swapped else {0: 0, 1: 1, 2: 2}
    assert {int(value): int(sample["target"][shown == value].unique()) for value in shown.unique()} == expected


def test_a_sample_shows_image_and_labels_of_the_same_place(case: Case) -> None:
    task = Segment(make_recipe())
    for seed in range(5):
        sample = task.sample(Draw(case, seed))
        values = torch.tensor([0, *VALUES])[sample["target"].long()]
        torch.testing.assert_close(sample["image"], values / 9, atol=1e-3, rtol=0)


@pytest.mark.parametrize("regions", [None, REGIONS])
def test_a_model_that_knows_the_truth_scores_one(case: Case, regions: dict[str, tuple[int, ...]] | None) -> None:
    task = Segment(make_recipe(regions))
    prediction = task.predict(Oracle(bool(regions)), task.store.image(case), (10, 9, 8))
    row = task.row(case, prediction)
    assert (row["id"], row["patient"]) == ("a", "p")
    assert [row[f"dice_{name}"] for name in task.target.output_names] == [1, 1]
    assert row["hd95_mm"] == 0


def test_labels_are_places_and_regions_overlap(case: Case) -> None:
    labels, regions = Segment(make_recipe()), Segment(make_recipe(REGIONS))
    places = labels.predict(Oracle(False), labels.store.image(case), (10, 9, 8))
    masks = regions.predict(Oracle(True), regions.store.image(case), (10, 9, 8))
    assert np.unique(places).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(masks[0], places > 0)
    np.testing.assert_array_equal(masks[1], places == 2)


def test_predictions_come_back_in_the_size_of_the_file(case: Case) -> None:
    task = Segment(make_recipe(spacing_mm=(2.0, 1.0, 1.0)))
    prepared = task.store.image(case)
    assert prepared.shape == (1, 5, 9, 16)
    prediction = task.predict(Oracle(False), prepared, (10, 9, 8))
    assert prediction.shape == (10, 9, 8)
    assert task.row(case, prediction)["dice"] > 0.8


@pytest.fixture
def body(tmp_path: Path) -> Case:
    """Return a case with labels in a part of the volume only, its image its mask."""
    mask = np.zeros((14, 12, 10), dtype=np.uint8)
    mask[3:7, 2:9, 1:8], mask[7:11, 2:9, 1:8] = VALUES
    for name in ("image", "mask"):
        nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / f"{name}.nii")
    return Case("b", "p", (tmp_path / "image.nii",), tmp_path / "mask.nii", "test")


@pytest.mark.parametrize("regions", [None, REGIONS])
def test_predictions_of_a_cropped_image_lie_on_the_whole_grid(
    body: Case, regions: dict[str, tuple[int, ...]] | None
) -> None:
    task = Segment(make_recipe(regions, crop_foreground=True))
    prepared, box = task.store.image(body), task.store.box(body)
    assert prepared.shape == (1, 8, 7, 7)
    assert task.sample(Draw(body, 0))["target"].any()
    row = task.row(body, task.predict(Oracle(bool(regions)), prepared, (14, 12, 10), box))
    assert [row[f"dice_{name}"] for name in task.target.output_names] == [1, 1]


class Everywhere(nn.Module):
    """Predicts the first label in every voxel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([0 * image, 0 * image + 1, 0 * image], dim=1)


def test_off_the_foreground_is_background_whatever_the_model_says(body: Case) -> None:
    task = Segment(make_recipe(crop_foreground=True, spacing_mm=(1.0, 2.0, 1.0)))
    box = task.store.box(body)
    places = task.predict(Everywhere(), task.store.image(body), (14, 12, 10), box)
    truth = np.zeros((14, 12, 10), dtype=bool)
    truth[3:11, 2:10, 1:8] = True  # the second axis has voxels of two
    assert np.array_equal(places > 0, truth)


def test_crops_and_whole_images_have_their_own_statistics(body: Case) -> None:
    task = Segment(make_recipe(intensity="zscore_nonzero", normalise_crops=True))
    shown = [task.sample(Draw(body, seed))["image"] for seed in range(8)]
    for image in shown:
        values = image[image != 0]
        assert float(values.mean()) == pytest.approx(0, abs=1e-3) or len(values) == 0
    whole = Everywhere()
    seen: list[torch.Tensor] = []
    whole.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    task.predict(whole, task.store.image(body), (14, 12, 10))
    # Over the whole image, both labels are as frequent, so their scores are one and minus one.
    assert {round(float(value), 2) for window in seen for value in window.unique()} == {-1.0, 0.0, 1.0}


def test_a_swapped_prediction_scores_nothing(case: Case) -> None:
    task = Segment(make_recipe())
    places = task.predict(Oracle(False), task.store.image(case), (10, 9, 8))
    assert task.row(case, np.array([0, 2, 1])[places])["dice"] == 0


def dice_loss(probability: np.ndarray, truth: np.ndarray) -> float:
    """Return 1 minus Dice with squared denominators, averaged over channels [K, V]."""
    both, sizes = 2 * (probability * truth).sum(1), (probability**2 + truth**2).sum(1)
    return float(np.mean(1 - both / (sizes + 1e-6)))


def fixed(logits: torch.Tensor) -> nn.Module:
    class Fixed(nn.Module):
        def forward(self, image: torch.Tensor, drop_path_scale: torch.Tensor) -> torch.Tensor:
            return logits

    return Fixed()


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.integers(0, 3, (1, 1, 4, 4, 4), dtype=np.uint8))
    return {"image": torch.zeros(1, 1, 4, 4, 4), "target": target, "drop_path_scale": torch.ones(1, 2, 2)}


def test_the_loss_of_labels_is_dice_with_background_plus_cross_entropy(batch: dict[str, torch.Tensor]) -> None:
    logits = torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    probability = logits.softmax(1)[0].reshape(3, -1).numpy()
    truth = np.eye(3)[batch["target"].numpy().ravel()].T
    entropy = -np.log((probability * truth).sum(0)).mean()
    loss = float(Segment(make_recipe()).loss(fixed(logits), batch))
    assert loss == pytest.approx(dice_loss(probability, truth) + entropy, rel=1e-5)


def test_the_loss_of_regions_is_dice_of_each(batch: dict[str, torch.Tensor]) -> None:
    logits = torch.randn(1, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    places = batch["target"].numpy().ravel()
    truth = np.stack([places > 0, places == 2]).astype(float)
    loss = float(Segment(make_recipe(REGIONS)).loss(fixed(logits), batch))
    assert loss == pytest.approx(dice_loss(logits.sigmoid()[0].reshape(2, -1).numpy(), truth), rel=1e-5)


def test_crops_follow_the_foreground_as_often_as_asked(tmp_path: Path) -> None:
    mask = np.zeros((40, 8, 8), dtype=np.uint8)
    mask[38:, 4, 4] = 2
    for name in ("image", "mask"):
        nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / f"{name}.nii")
    case = Case("a", "p", (tmp_path / "image.nii",), tmp_path / "mask.nii", "train")
    recipe = make_recipe()
    for share in (0.0, 1.0):
        augment = {"spatial": spatial.Options(foreground=share)}
        task = Segment(replace(recipe, fit=replace(recipe.fit, augment=augment)))
        shown = [bool(task.sample(Draw(case, seed))["target"].any()) for seed in range(20)]
        assert all(shown) if share else not all(shown)


def scored_on(task: Segment, **predict: str) -> Segment:
    """Return the task with other options of `predict`."""
    return Segment(replace(task.recipe, predict=replace(task.recipe.predict, **predict)))  # type: ignore[arg-type]


@pytest.mark.parametrize("regions", [None, REGIONS])
def test_on_the_prepared_grid_prediction_and_truth_are_those_of_the_store(
    body: Case, regions: dict[str, tuple[int, ...]] | None
) -> None:
    task = scored_on(Segment(make_recipe(regions, crop_foreground=True)), grid="prepared")
    (row,) = score_cases(task, Oracle(bool(regions)), [body])
    inside = task.store.mask(body)
    assert inside.shape == (8, 7, 7)
    first = task.target.output_names[0]
    assert row[f"voxels_true_{first}"] == np.count_nonzero(inside > 0 if regions else inside == 1)
    assert row["dice"] == 1


@pytest.mark.parametrize(("grid", "distances", "expected"), [("file", "voxels", 1.0), ("prepared", "mm", 1.5)])
def test_distances_have_the_unit_and_the_spacing_of_their_grid(
    case: Case, grid: str, distances: str, expected: float
) -> None:
    """The first label, cut off one slice short on the first axis: one voxel of the file or of a grid of 1.5 mm."""
    spacing = () if grid == "file" else (1.5, 1.5, 1.5)
    task = scored_on(Segment(make_recipe(spacing_mm=spacing)), grid=grid, distances=distances)
    truth = np.asarray(task.store.mask(case)) if grid == "prepared" else np.asarray(nib.load(case.target).dataobj)
    places = (truth == truth.max()).astype(np.uint8) * 2
    places[np.flatnonzero(places.any(axis=(1, 2)))[0]] = 0
    row = task.row(case, places)
    assert row[f"hd95_{distances}_lesion"] == pytest.approx(expected)


def test_the_row_averages_the_reported_labels_only(case: Case) -> None:
    recipe = make_recipe()
    task = Segment(replace(recipe, target=replace(recipe.target, report=("organ",))))
    row = task.row(case, (np.asarray(nib.load(case.target).dataobj) == 2).astype(np.uint8))
    assert (row["dice"], row["dice_lesion"]) == (1, 0)
    assert task.summary([row])["metrics"]["dice_per_label"] == 1


def test_sides_are_swapped_only_where_asked() -> None:
    recipe = make_recipe()
    sided = replace(recipe, target=replace(recipe.target, names=("left kidney", "right kidney")))
    unswapped = replace(recipe.fit, augment={"laterality": laterality.Options(swap=False)})
    assert Segment(sided).mirrored is not None
    assert Segment(replace(sided, fit=unswapped)).mirrored is None


def test_padding_looks_the_same_in_training_and_in_prediction(case: Case) -> None:
    task = Segment(replace(make_recipe(), data=DataOptions("", ("x",), crop=(16, 12, 8), mean=0.5)))
    model, seen = Everywhere(), []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][0]))
    task.predict(model, task.store.image(case), (10, 9, 8))
    torch.testing.assert_close(seen[0], task.sample(Draw(case, 0))["image"])
    assert seen[0][0, 0, 0, 0] == -0.5


def test_a_label_above_the_number_type_of_a_file_can_be_predicted(case: Case) -> None:
    recipe = make_recipe()
    task = Segment(replace(recipe, target=replace(recipe.target, values=(2, 300))))
    row = task.row(case, np.full((10, 9, 8), 2, dtype=np.uint8))
    assert (row["voxels_predicted_lesion"], row["voxels_true_lesion"]) == (720, 0)


def test_distances_on_a_resized_grid_are_those_of_the_body(case: Case) -> None:
    """One slice of 20 on an axis whose 10 voxels of the file are 1 mm."""
    task = scored_on(Segment(make_recipe(size=(20, 9, 8))), grid="prepared")
    places = np.array(task.store.mask(case))
    places[np.flatnonzero((places == 2).any(axis=(1, 2)))[0]] = 1
    assert task.row(case, places)["hd95_mm_lesion"] == pytest.approx(0.5)


@pytest.mark.parametrize("regions", [None, REGIONS])
def test_without_distances_a_row_has_the_same_dice(case: Case, regions: dict[str, tuple[int, ...]] | None) -> None:
    task = Segment(make_recipe(regions))
    prediction = task.predict(Oracle(bool(regions)), task.store.image(case), (10, 9, 8))
    whole, quick = task.row(case, prediction), task.row(case, prediction, distances=False)
    expected = {name: None if name.startswith("hd95") else value for name, value in whole.items()}
    assert quick == expected
    assert task.summary([quick])["metrics"]["dice_per_case"] == 1


def two_parts(large: int, small: int) -> np.ndarray:
    """Return class indices [10, 9, 8] with two components of the first label, `large` and `small` voxels apart."""
    prediction = np.zeros((10, 9, 8), dtype=np.uint8)
    prediction[0, 0, :large] = 1
    prediction[9, 8, :small] = 1
    return prediction


@pytest.mark.parametrize("regions", [None, REGIONS])
def test_only_the_largest_component_of_a_label_or_region_is_kept(regions: dict[str, tuple[int, ...]] | None) -> None:
    task, indices = Segment(make_recipe(regions)), two_parts(5, 3)
    indices[9, 0, 0] = 2  # another label stays
    prediction = np.stack([indices == 1, indices == 2]) if regions else indices.copy()
    task.keep_largest(prediction, "whole" if regions else "organ")
    first = prediction[0] if regions else prediction == 1
    assert first.sum() == 5
    assert first[0, 0, :5].all()
    assert (prediction[1] if regions else prediction == 2).sum() == 1


def test_voxels_that_touch_at_a_corner_are_one_component() -> None:
    prediction = np.zeros((10, 9, 8), dtype=np.uint8)
    prediction[1, 1, 1] = prediction[2, 2, 2] = 1
    Segment(make_recipe()).keep_largest(prediction, "organ")
    assert prediction.sum() == 2


def test_the_largest_component_is_chosen_where_validation_is_better_with_it(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, calls = Segment(make_recipe()), []
    truth = np.zeros((10, 9, 8), dtype=np.uint8)
    truth[3:6], truth[6:] = 1, 2  # as the mask of the case

    def predict(*_: object) -> np.ndarray:
        calls.append(1)
        prediction = truth.copy()
        prediction[0, 0, 0] = 1  # a false positive apart from the organ
        prediction[7] = 0  # the lesion in two parts, both of them right
        return prediction

    monkeypatch.setattr(task, "predict", predict)
    assert task.choose_largest(nn.Linear(1, 1), [case]) == ["organ"]
    assert len(calls) == 1  # each case is predicted once, however many labels there are
    monkeypatch.setattr(task, "predict", lambda *_: truth.copy())
    assert task.choose_largest(nn.Linear(1, 1), [case]) == []  # no worse is not better


class Sided(nn.Module):
    """Gives the voxels of each half of the first axis a logit of their own, and the values of the image."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        half = image.shape[2] // 2
        left = torch.zeros_like(image)
        left[:, :, :half] = 1
        return torch.cat([image, 3 * left * image, (1 - left) * image], dim=1)


def test_mirrored_predictions_are_averaged_and_those_of_two_sides_exchanged() -> None:
    image, model = torch.rand(1, 1, 4, 4, 4), Sided()
    ways = [(), (2,), (3,), (2, 3)]
    swap = [0, 2, 1]
    looks = [model(image.flip(way)).flip(way) for way in ways]
    wanted = sum(look[:, swap] if 2 in way else look for way, look in zip(ways, looks, strict=True)) / 4
    torch.testing.assert_close(mirror_model(model, (0, 1), 0, swap)(image), wanted)
    torch.testing.assert_close(mirror_model(model, (), 0, swap)(image), model(image))


def test_a_prediction_is_mirrored_where_the_recipe_says(case: Case) -> None:
    recipe = make_recipe()
    spatial_options = spatial.Options(flip_axes=(0, 1))
    fit = replace(recipe.fit, augment={"spatial": spatial_options})
    seen: list[int] = []

    class Counting(Oracle):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append(1)
            return super().forward(image)

    plain, mirrored = (
        Segment(replace(recipe, fit=fit, predict=replace(recipe.predict, mirror=mirror))) for mirror in (False, True)
    )
    for task in (plain, mirrored):
        task.prepare([case])
    once = predict_case(plain, Counting(False), case)
    number = len(seen)
    twice = predict_case(mirrored, Counting(False), case)
    assert len(seen) == number + 4 * number
    np.testing.assert_array_equal(once, twice)
