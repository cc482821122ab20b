"""Dice and HD95 against MONAI, and the rules for absent, missed and overlapping labels."""

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance
from scipy.ndimage import binary_erosion, gaussian_filter

from selfmae.errors import UserError
from selfmae.metrics.segmentation import score_masks, summarise_masks, surface

LABELS = {"liver": (1,), "spleen": (2,), "kidney": (5,)}


def blobs(shape: tuple[int, ...], seed: int, shift: int = 0) -> np.ndarray:
    """Return smooth labels 0, 1, 2, 5 that reach the border; a shift moves them a little."""
    noise = gaussian_filter(np.random.default_rng(seed).random(shape), 2, mode="wrap")
    ranks = np.roll(noise, shift, axis=0).ravel().argsort().argsort().reshape(shape) / noise.size
    return np.array([0, 1, 0, 2, 5])[(ranks * 5).astype(int)]


def one_hot(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([mask == value for (value,) in LABELS.values()]))[None]


def columns(row: dict, measure: str) -> list:
    return [row[f"{measure}_{name}"] for name in LABELS]


def row(case: str = "a", patient: str = "p", unit: str = "mm", **scores: tuple) -> dict:
    """Return a wide row from name=(dice, hd95, voxels true, voxels predicted)."""
    done: dict = {"id": case, "patient": patient}
    for name, values in scores.items():
        keys = (f"dice_{name}", f"hd95_{unit}_{name}", f"voxels_true_{name}", f"voxels_predicted_{name}")
        done |= dict(zip(keys, values, strict=True))
    for place, measure in enumerate(("dice", f"hd95_{unit}")):
        present = [values[place] for values in scores.values() if values[place] is not None]
        done[measure] = sum(present) / len(present) if present else None
    return done


@pytest.mark.parametrize("shape", [(40, 31), (24, 20, 15)])
@pytest.mark.parametrize("kind", ["realistic", "random"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_scores_equal_monai(shape: tuple[int, ...], kind: str, seed: int) -> None:
    if kind == "realistic":
        truth, prediction = blobs(shape, seed), blobs(shape, seed, shift=2)
    else:
        truth, prediction = np.random.default_rng(seed).choice([0, 0, 0, 1, 2, 5], (2, *shape))
    spacing = (0.7, 1.3, 5.0)[: len(shape)]
    ours = score_masks(prediction, truth, LABELS, spacing)
    masks = {"y_pred": one_hot(prediction), "y": one_hot(truth), "include_background": True}
    theirs = compute_hausdorff_distance(**masks, percentile=95, spacing=spacing)[0]
    np.testing.assert_allclose(columns(ours, "hd95_mm"), theirs, atol=1e-4)
    np.testing.assert_allclose(columns(ours, "dice"), compute_dice(**masks)[0], atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 7), (9, 8), (6, 7, 8)])
def test_the_surface_is_what_erosion_takes_away(shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(0).random(shape) < 0.9
    assert np.array_equal(surface(mask), mask ^ binary_erosion(mask))


def test_the_row_has_four_columns_a_label_and_two_means() -> None:
    scored = score_masks(blobs((9, 9), 0), blobs((9, 9), 1), {"liver": (1,)}, (1.0, 1.0))
    assert list(scored) == [
        *("dice_liver", "hd95_mm_liver", "voxels_true_liver", "voxels_predicted_liver"),
        *("dice", "hd95_mm"),
    ]


def test_a_missed_label_scores_zero_and_the_diagonal_of_the_image() -> None:
    truth = np.zeros((30, 20), int)
    truth[3, 4] = 1
    scored = score_masks(np.zeros_like(truth), truth, {"liver": (1,)}, (0.1, 0.2))
    assert scored["dice_liver"] == 0
    assert scored["hd95_mm_liver"] == pytest.approx(5.0)


def test_a_label_that_the_truth_lacks_is_none_whatever_was_predicted() -> None:
    truth = np.array([[1, 0], [0, 0]])
    scored = score_masks(np.array([[1, 2], [0, 0]]), truth, LABELS, (1.0, 1.0))
    assert columns(scored, "dice") == [1.0, None, None]
    assert columns(scored, "hd95_mm") == [0.0, None, None]
    assert columns(scored, "voxels_predicted") == [1, 1, 0]
    assert (scored["dice"], scored["hd95_mm"]) == (1.0, 0.0)


def test_a_case_without_any_label_has_no_mean() -> None:
    empty = np.zeros((4, 4), np.uint8)
    scored = score_masks(empty, empty, LABELS, (1.0, 1.0))
    assert scored["dice"] is None
    assert scored["hd95_mm"] is None


def test_without_spacing_the_unit_is_voxels() -> None:
    truth, prediction = np.zeros((2, 8, 8), int)
    truth[2, 2], prediction[2, 5] = 1, 1
    scored = score_masks(prediction, truth, {"liver": (1,)}, ())
    assert scored["hd95_voxels_liver"] == scored["hd95_voxels"] == 3.0
    assert not any("mm" in column for column in scored)


@pytest.mark.parametrize("values", [(1, 2, 5), (1, 2, 2035), (-3, 2, 5), (0, 2, 5)])
def test_overlapping_regions_equal_their_masks_scored_apart(values: tuple[int, ...]) -> None:
    table = np.array([9, values[0], values[1], 9, 9, values[2]])
    truth, prediction = table[blobs((20, 18, 6), 0)], table[blobs((20, 18, 6), 0, shift=1)]
    regions = {"whole": values, "core": values[1:], "last": values[2:]}
    scored = score_masks(prediction, truth, regions, (1.0, 2.0, 3.0))
    stacked = np.stack([np.isin(prediction, group) for group in regions.values()])
    assert score_masks(stacked, truth, regions, (1.0, 2.0, 3.0)) == scored
    for name, group in regions.items():
        alone = score_masks(np.isin(prediction, group) * 1, np.isin(truth, group) * 1, {"x": (1,)}, (1.0, 2.0, 3.0))
        assert scored[f"dice_{name}"] == alone["dice_x"]
        assert scored[f"hd95_mm_{name}"] == alone["hd95_mm_x"]
        assert scored[f"voxels_predicted_{name}"] == alone["voxels_predicted_x"]


def test_mask_value_zero_may_belong_to_a_label() -> None:
    truth, prediction = np.array([[1, 1, 0, 0, 2]]), np.array([[1, 0, 0, 1, 2]])
    scored = score_masks(prediction, truth, {"rest": (0,), "organ": (1,)}, (1.0, 1.0))
    assert (scored["dice_rest"], scored["hd95_mm_rest"]) == (0.5, pytest.approx(0.95))


def test_each_predicted_region_belongs_to_its_own_name() -> None:
    truth = np.array([[1, 1, 2, 0]])
    prediction = np.array([[[1, 1, 1, 0]], [[0, 0, 0, 1]]], dtype=bool)
    scored = score_masks(prediction, truth, {"whole": (1, 2), "core": (2,)}, (1.0, 1.0))
    assert (scored["dice_whole"], scored["dice_core"]) == (1.0, 0.0)
    assert scored["hd95_mm_core"] == 1.0


def test_memory_order_and_integer_type_change_nothing() -> None:
    truth, prediction = blobs((12, 10, 8), 0), blobs((12, 10, 8), 3)
    fortran = np.asfortranarray(prediction.astype(np.uint8)), np.asfortranarray(truth.astype(np.int16))
    assert score_masks(*fortran, LABELS, (1, 1, 2)) == score_masks(prediction, truth, LABELS, (1, 1, 2))


def test_a_large_image_is_counted_in_parts() -> None:
    truth = np.ones((1100, 1000), np.uint8)
    scored = score_masks(truth, truth, {"liver": (1,)}, ())
    assert scored["voxels_true_liver"] == scored["voxels_predicted_liver"] == truth.size


def test_the_dice_conventions_differ_as_named() -> None:
    rows = [
        row("a", liver=(1.0, 0.0, 10, 10), spleen=(0.0, 50.0, 10, 0)),
        row("b", liver=(0.5, 4.0, 30, 10), spleen=(None, None, 0, 5)),
        row("c", patient="q", liver=(0.8, 2.0, 10, 10), spleen=(None, None, 0, 0)),
    ]
    summary = summarise_masks(rows, ["liver", "spleen"])
    assert (summary["num_cases"], summary["num_patients"]) == (3, 2)
    assert summary["metrics"] == pytest.approx(
        {
            "dice_per_case": (0.5 + 0.5 + 0.8) / 3,
            "dice_per_label": ((1 + 0.5 + 0.8) / 3 + 0) / 2,
            "dice_pooled": 2 * (10 + 10 + 8) / 80 / 2,
            "dice_absent_counts": (0.5 + 0.25 + 0.9) / 3,
            "hd95_mm_per_case": (25 + 4 + 2) / 3,
            "hd95_mm_per_label": (2 + 50) / 2,
            "hd95_mm_found_only": (0 + 4 + 2) / 3,
        }
    )


def test_pooled_dice_counts_false_voxels_of_cases_without_the_label() -> None:
    rows = [row("a", liver=(1.0, 0.0, 10, 10)), row("b", liver=(None, None, 0, 20))]
    assert summarise_masks(rows, ["liver"])["metrics"]["dice_pooled"] == pytest.approx(0.5)


def test_labels_count_present_missed_and_false() -> None:
    rows = [row(liver=(1.0, 3.0, 5, 5)), row(liver=(0.0, 9.0, 5, 0)), row(liver=(None, None, 0, 5))]
    label = summarise_masks(rows, ["liver"])["labels"]["liver"]
    assert label == {"dice": 0.5, "hd95_mm": 6.0, "num_present": 2, "num_missed": 1, "num_false": 1}


def test_rows_in_voxels_are_summarised_in_voxels() -> None:
    summary = summarise_masks([row(unit="voxels", liver=(1.0, 3.0, 5, 5))], ["liver"])
    assert summary["metrics"]["hd95_voxels_per_case"] == summary["labels"]["liver"]["hd95_voxels"] == 3.0
    assert "in voxels" in summary["conventions"]["hd95_voxels_per_case"]


def test_every_metric_has_its_convention() -> None:
    summary = summarise_masks([row(liver=(1.0, 3.0, 5, 5))], ["liver"])
    assert list(summary["conventions"]) == list(summary["metrics"])
    assert "{" not in "".join(summary["conventions"].values())


def test_mixed_units_are_an_error_that_names_the_file() -> None:
    rows = [row("a", liver=(1.0, 3.0, 5, 5)), row("b", unit="voxels", liver=(1.0, 3.0, 5, 5))]
    with pytest.raises(UserError, match=r"one unit, but 1 of 2 mask files \(first: 'b'\) hold no spacing"):
        summarise_masks(rows, ["liver"])


def test_a_label_that_no_case_has_is_none_and_leaves_the_means_alone() -> None:
    summary = summarise_masks([row(liver=(0.5, 3.0, 5, 5), spleen=(None, None, 0, 4))], ["liver", "spleen"])
    assert summary["labels"]["spleen"]["dice"] is None
    assert summary["metrics"]["dice_per_label"] == summary["metrics"]["dice_pooled"] == 0.5


@pytest.mark.parametrize("value", [15, 200, 255, 60000])
def test_masks_of_large_values_in_small_types_are_counted(value: int) -> None:
    mask = np.zeros((4, 4), np.min_scalar_type(value))
    mask[1:3, 1:3] = value
    row = score_masks(mask, mask, {"organ": (value,)}, (1.0, 1.0))
    assert (row["dice_organ"], row["voxels_true_organ"], row["voxels_predicted_organ"]) == (1.0, 4, 4)


def test_means_are_those_of_the_reported_labels() -> None:
    truth = np.zeros((6, 6), dtype=np.uint8)
    truth[:2], truth[2:4] = 1, 2
    prediction = np.where(truth == 1, 1, 0)
    labels = {"found": (1,), "missed": (2,)}
    whole = score_masks(prediction, truth, labels, (1, 1))
    part = score_masks(prediction, truth, labels, (1, 1), ["found"])
    assert (whole["dice"], part["dice"], part["hd95_mm"], part["dice_missed"]) == (0.5, 1, 0, 0)
    summary = summarise_masks([{"id": "a", "patient": "p"} | part], list(labels), ["found"])
    assert set(summary["labels"]) == {"found", "missed"}
    assert {summary["metrics"][name] for name in summary["metrics"] if name.startswith("dice")} == {1}
    assert {summary["metrics"][name] for name in summary["metrics"] if name.startswith("hd95")} == {0}
