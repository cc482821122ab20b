"""Pictures of the best, the median and the worst test case."""

import csv
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from selfmae.data.case import Case
from selfmae.experiment.evaluate import choose_examples, load_model, save_examples, score_of, shade, shrink, thin
from selfmae.options import DataOptions, Recipe
from selfmae.recipe import make_recipe
from selfmae.tasks import make_task


class FakeTask:
    """Predicts what it is told, and keeps no prepared images."""

    def __init__(self, recipe: Recipe, prediction: np.ndarray) -> None:
        self.recipe, self.prediction, self.store = recipe, prediction, self

    def predict(self, *given: Any) -> np.ndarray:
        return self.prediction

    def image(self, case: Case) -> None:
        return None

    def box(self, case: Case) -> None:
        return None


def recipe(regions: dict[str, list[int]] | None = None, size: int = 3) -> Recipe:
    steps = {"steps": 1, "batch": 1, "lr": 0.1}
    target = {"kind": "mask", "names": ["a", "b"], "values": [4, 9], "regions": regions or {}}
    data = {"source": "x", "channels": ["CT"], "crop": [8] * size, "intensity": "window", "window": [0, 10]}
    model = {"network": "unetr", "patch": [4] * size, "width": 48, "heads": 3}  # a U-Net's crop must be larger
    content = {"data": data, "target": target, "model": model}
    return make_recipe(content | {"pretrain": steps, "fit": steps}, "test")


def save(tmp_path: Path, asked: Recipe, image: np.ndarray, mask: np.ndarray, predicted: np.ndarray) -> Any:
    """Return the arrays that one case with these contents leaves."""
    for name, array in (("image", image.astype(np.float32)), ("mask", mask.astype(np.uint8))):
        nib.save(nib.Nifti1Image(array, np.diag([1.0, 2, 5, 1])), tmp_path / f"{name}.nii")
    case = Case("one", "one", (tmp_path / "image.nii",), tmp_path / "mask.nii", "test")
    save_examples(tmp_path, FakeTask(asked, predicted), None, [case], [{"dice": 0.5}])  # type: ignore[arg-type]
    return np.load(tmp_path / "figures" / "examples.npz")


def test_best_median_and_worst_are_chosen_and_undefined_rows_never() -> None:
    rows = [{"dice": value} for value in (0.3, None, 0.9, 0.1, 0.5, 0.7)]
    assert choose_examples(rows, "mask") == {"best": 2, "median": 4, "worst": 3}


@pytest.mark.parametrize(("count", "names"), [(0, []), (1, ["best"]), (2, ["best", "worst"])])
def test_few_cases_are_not_shown_twice(count: int, names: list[str]) -> None:
    assert list(choose_examples([{"dice": 0.5}] * count, "mask")) == names


def test_the_score_of_findings_is_the_error_and_of_classes_the_probability() -> None:
    row = {"truth_a": 0.0, "truth_b": 1.0, "probability_a": 0.3, "probability_b": 0.6}
    assert score_of(row, "multilabel") == pytest.approx(-(0.09 + 0.16) / 2)
    assert score_of(row, "multiclass") == pytest.approx(0.6)


def test_planes_cut_the_largest_sections_and_stand_upright(tmp_path: Path) -> None:
    image, mask = np.zeros((6, 7, 8)), np.zeros((6, 7, 8), dtype=int)
    mask[1:5, 2:5, 6] = 9
    mask[2, 3, 0:4] = 4
    image[1, 2, 6] = 10
    arrays = save(tmp_path, recipe(), image, mask, np.zeros((6, 7, 8), dtype=np.uint8))
    np.testing.assert_array_equal(arrays["best_axial_truth"], (mask[:, :, 6].T[::-1] == 9)[None] * 2)
    assert arrays["best_axial_image"][4, 1] == 255
    assert arrays["best_axial_mm"].tolist() == [2, 1]
    np.testing.assert_array_equal(arrays["best_sagittal_truth"][0], ((mask == 9) * 2 + (mask == 4))[2].T[::-1])
    assert arrays["best_coronal_mm"].tolist() == [5, 1]
    assert arrays["best_sagittal_mm"].tolist() == [5, 2]
    assert not arrays["best_axial_predicted"].any()


def test_without_truth_the_planes_follow_the_prediction(tmp_path: Path) -> None:
    predicted = np.zeros((6, 7, 8), dtype=np.uint8)
    predicted[2:4, 3, 5] = 1
    arrays = save(tmp_path, recipe(), np.zeros((6, 7, 8)), np.zeros((6, 7, 8)), predicted)
    assert arrays["best_axial_predicted"].sum() == 2


def test_regions_keep_a_layer_each_and_the_smaller_lies_on_top_of_the_volume(tmp_path: Path) -> None:
    mask = np.zeros((6, 7, 8), dtype=int)
    mask[1:5, 1:5, 1:5] = 4
    mask[2, 2, 2] = 9
    predicted = np.stack([mask == 9, mask > 0])
    arrays = save(tmp_path, recipe({"core": [9], "whole": [4, 9]}), np.zeros((6, 7, 8)), mask, predicted)
    assert arrays["best_axial_truth"].shape == (2, 7, 6)
    np.testing.assert_array_equal(arrays["best_axial_truth"], arrays["best_axial_predicted"])
    assert set(np.unique(arrays["best_axial_truth"][1])) == {0, 2}
    np.testing.assert_array_equal(arrays["best_volume_truth"], np.where(mask == 9, 1, np.where(mask == 4, 2, 0)))


def test_a_large_volume_is_made_small_and_keeps_its_place(tmp_path: Path) -> None:
    mask = np.zeros((130, 4, 4), dtype=int)
    mask[100:] = 4
    arrays = save(tmp_path, recipe(), mask.astype(float), mask, (mask == 4).astype(np.uint8))
    assert arrays["best_volume_image"].shape == arrays["best_volume_truth"].shape == (65, 4, 4)
    assert arrays["best_volume_truth"][:, 0, 0].tolist() == [0] * 50 + [1] * 15
    # The first voxel is the mean of two whose centres lie at 0 and 1 mm.
    assert (arrays["best_volume_affine"] @ [0, 0, 0, 1]).tolist() == [0.5, 0, 0, 1]
    assert np.diag(arrays["best_volume_affine"]).tolist() == [2, 2, 5, 1]


def test_grey_values_follow_the_window_of_the_recipe_or_the_image() -> None:
    values = np.linspace(-100, 100, 201)
    fixed = shade(values, DataOptions("x", intensity="window", window=(0, 50)))
    assert fixed[[100, 125, 150]].tolist() == [0, 128, 255]
    assert shade(values, DataOptions("x"))[100] == 128


def test_blocks_are_averaged_and_labels_are_never_mixed() -> None:
    assert shrink(np.array([[0, 2, 8], [4, 6, 10]], np.uint8), (2, 2)).tolist() == [[3, 9]]
    assert thin(np.arange(10, dtype=np.uint8).reshape(1, 1, 10), (1, 4)).tolist() == [[[2, 6, 9]]]


def test_a_picture_with_a_mask_is_one_plane(tmp_path: Path) -> None:
    pixels = np.zeros((20, 600), dtype=np.uint8)
    pixels[:, 300:] = 4
    Picture.fromarray(pixels).save(tmp_path / "a.png")
    case = Case("one", "one", (tmp_path / "a.png",), tmp_path / "a.png", "test")
    task = FakeTask(recipe(size=2), (pixels > 0).astype(np.uint8))
    save_examples(tmp_path, task, None, [case], [{"dice": 1.0}])  # type: ignore[arg-type]
    with np.load(tmp_path / "figures" / "examples.npz") as arrays:
        assert set(arrays) == {"best_id"} | {f"best_picture_{key}" for key in ("image", "truth", "predicted", "mm")}
        assert arrays["best_picture_truth"].shape == (1, 10, 300)
        np.testing.assert_array_equal(arrays["best_picture_truth"], arrays["best_picture_predicted"])


@pytest.mark.parametrize("run", ["volume_run", "picture_run"])
def test_a_run_keeps_the_extreme_cases_of_its_rows(run: str, request: pytest.FixtureRequest) -> None:
    cell = request.getfixturevalue(run) / "mae" / "fold0" / "seed0"
    kind = "mask" if run == "volume_run" else "multilabel"
    with (cell / "rows-test.csv").open(newline="") as file:
        rows = [
            {k: v if k in ("id", "patient") else float(v or "nan") for k, v in r.items()} for r in csv.DictReader(file)
        ]
    scores = {row["id"]: score_of(row, kind) for row in rows}
    with np.load(cell / "figures" / "examples.npz") as arrays:
        assert scores[str(arrays["best_id"])] == max(scores.values())
        assert scores[str(arrays["worst_id"])] == min(scores.values())


def test_a_saved_prediction_is_the_scored_one(volume_run: Path) -> None:
    cell = volume_run / "mae" / "fold0" / "seed0"
    asked, _ = load_model(cell)
    arrays = np.load(cell / "figures" / "examples.npz")
    with (cell / "rows-test.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["id"] == str(arrays["worst_id"]))
    for place, name in enumerate(make_task(asked).recipe.target.names, start=1):
        assert (arrays["worst_volume_truth"] == place).sum() == int(row[f"voxels_true_{name}"])
        assert (arrays["worst_volume_predicted"] == place).sum() == int(row[f"voxels_predicted_{name}"])
