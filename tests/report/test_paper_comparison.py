"""A run beside the paper: which rows it fills, and that nothing else fills one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfmae.recipe import as_content, check_partial, find_recipe, flat, read_content
from selfmae.report.page import build_page, render
from selfmae.report.paper import paper_labels, paper_table, recipe_name
from selfmae.results.run_folder import RunFolder
from selfmae.results.training_run import TrainingRun

Make = Callable[..., Path]
MASKS = {
    "metrics": {"dice_per_case": 0.8, "hd95_mm_per_case": 9.0, "hd95_voxels_found_only": 5.5},
    "labels": {"aorta": {"dice": 0.9}, "ET": {"dice": 0.6, "hd95_mm": 8.25, "hd95_voxels": 4.0}},
}
SUMMARIES: dict[str, dict[str, Any]] = {
    "btcv": MASKS | {"num_cases": 12},
    "brats": MASKS | {"num_cases": 97},
    "chestxray14": {"metrics": {"mean_auc": 0.8}, "num_cases": 25_596},
}


def make_results(
    name: str, inits: tuple[str, ...] = ("scratch", "mae"), run: Any = None, num_cases: int = 0, **changes: Any
) -> RunFolder:
    """Return a run of a recipe with changed values (fit__steps is fit.steps), which the run knows by name."""
    settings = flat(as_content(check_partial(read_content(find_recipe(name)), name)))
    settings |= {key.replace("__", "."): value for key, value in changes.items()}
    summary = SUMMARIES[name.split(":")[0]]
    summary = summary | {"num_cases": num_cases or summary["num_cases"]}
    runs = tuple(TrainingRun(init, 0, seed, Path("none")) for init in inits for seed in range(2))
    for found in runs:
        vars(found)["summary"] = summary  # as read on first use
    facts = {"recipe": name, "num_folds": 1} if run is None else run
    return RunFolder(Path(), facts, {}, "", settings, (), runs)


def filled(*runs: RunFolder) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[2::2] for row in paper_table(*runs).rows if any(row[2::2])}


def test_own_results_stand_beside_those_of_the_paper() -> None:
    rows = {row[0]: row[1:] for row in paper_table(make_results("chestxray14")).rows}
    assert rows["ViT-B, MAE, self"] == ("81.50", "80.00")
    assert rows["ViT-B, 100 epochs"] == ("74.40", "80.00")
    assert rows["ViT-B, 400 epochs"] == ("74.90", "")
    assert rows["ViT-B, ImageNet supervised"] == ("80.70", "")
    assert rows["CheXNet"] == ("78.90", "")


@pytest.mark.parametrize("mode", ["paper", "released", "fixed"])
def test_volumes_fill_the_rows_of_their_initializations(mode: str) -> None:
    results = make_results(f"btcv:{mode}", ("scratch", "imagenet", "mae"))
    assert list(filled(results)) == ["UNETR", "UNETR + ImageNet", "UNETR + MAE, 12.5 % hidden"]
    fixed = mode == "fixed"
    assert filled(results)["UNETR"] == ("80.00", "9.00" if fixed else "5.50")
    assert paper_table(results).columns[4] == ("HD95 (mm), here" if fixed else "HD95 (voxels), here")
    assert not paper_table(results).missing


def test_only_the_row_of_the_own_mask_ratio_and_length_is_filled() -> None:
    assert list(filled(make_results("btcv", mae__ratio=0.75)))[1:] == ["UNETR + MAE, 75 % hidden"]
    longer = make_results("btcv", mae__ratio=0.75, pretrain__steps=120_000)
    assert list(filled(longer)) == ["UNETR", "UNETR + MAE, 75 % hidden, 40,000 instead of 10,000 epochs"]
    assert list(filled(make_results("btcv", mae__ratio=0.6))) == ["UNETR"]
    assert list(filled(make_results("chestxray14", fit__steps=134_800))) == ["ViT-B, 400 epochs"]


@pytest.mark.parametrize(
    "change", [{"fit__steps": 5}, {"data__fraction": 0.5}, {"model__width": 384}, {"data__splits": "mine.csv"}]
)
def test_another_experiment_fills_no_row_and_says_why(change: dict[str, Any]) -> None:
    results = make_results("brats", **change)
    assert not filled(results)
    key = next(iter(change)).replace("__", ".")
    assert paper_table(results).missing == (key,)


def test_other_test_cases_and_folds_fill_no_row() -> None:
    few = make_results("brats", num_cases=3)
    assert paper_table(few).missing == ("3 test cases instead of 97",)
    assert not filled(few)
    assert not filled(make_results("btcv", run={"recipe": "btcv", "num_folds": 5}))
    assert filled(make_results("chestxray14", num_cases=25_590))  # copies of training images are left out


@pytest.mark.parametrize("change", [{"data__cache": "/x"}, {"fit__accumulate": 4}, {"seed": 3}, {"device__devices": 2}])
def test_what_leaves_the_experiment_the_same_fills_rows(change: dict[str, Any]) -> None:
    assert len(filled(make_results("btcv", **change))) == 2


def test_what_only_pretraining_sees_does_not_change_scratch() -> None:
    assert list(filled(make_results("btcv", pretrain__lr=1e-3))) == ["UNETR"]


def test_a_recipe_of_the_paper_is_known_by_its_values() -> None:
    """As in a sweep, whose recipe is a file that `plan` wrote."""
    assert recipe_name(make_results("brats:released", run={"recipe": "mine"}, mae__ratio=0.5)) == "brats:released"
    assert recipe_name(make_results("brats", run={}, fit__lr=1.0)) == ""
    assert recipe_name(make_results("btcv", run={"recipe": "btcv-mine"})) == "btcv:fixed"
    assert recipe_name(make_results("btcv:paper", run={"recipe": "btcv"})) == "btcv:paper"  # from a file of that name
    assert recipe_name(make_results("btcv:paper", run={"recipe": "btcv-paper"}, fit__lr=1.0)) == "btcv:paper"
    assert recipe_name(make_results("btcv", run={"recipe": "btcv"}, fit__lr=1.0)) == "btcv:fixed"


def test_the_runs_of_a_sweep_fill_the_rows_together() -> None:
    runs = [make_results("btcv", run={}, mae__ratio=ratio) for ratio in (0.25, 0.5)]
    assert list(filled(*runs)) == ["UNETR", "UNETR + MAE, 25 % hidden", "UNETR + MAE, 50 % hidden"]


def test_labels_stand_below_those_of_the_paper() -> None:
    table = paper_labels(make_results("btcv", ("mae",)))
    assert table.columns[:4] == ("Method", "", "aorta, Dice (%)", "gallbladder, Dice (%)")
    rows = {row[:2]: row[2:] for row in table.rows}
    assert rows["UNETR + MAE, 12.5 % hidden", "paper"][0] == "88.92"
    assert rows["UNETR + MAE, 12.5 % hidden", "here"][:2] == ("90.00", "")
    assert not any(rows["UNETR", "here"])
    assert ("nnUNet", "here") not in rows


@pytest.mark.parametrize(("mode", "unit", "far"), [("fixed", "mm", "8.25"), ("released", "voxels", "4.00")])
def test_regions_have_distances_too(mode: str, unit: str, far: str) -> None:
    table = paper_labels(make_results(f"brats:{mode}"))
    place = table.columns.index(f"ET, HD95 ({unit})")
    rows = {row[:2]: (row[place - 1], row[place]) for row in table.rows}
    assert rows["UNETR", "paper"] == ("61.45", "8.33")
    assert rows["UNETR", "here"] == ("60.00", far)
    assert rows["UNETR + MAE, 25 % hidden", "paper"] == ("63.48", "\N{EN DASH}")
    assert paper_labels(make_results("chestxray14")).rows == ()


def test_the_page_shows_the_paper_only_for_its_recipes(make_run: Make) -> None:
    folder = make_run(num_seeds=1)
    assert "Comparison with the paper" not in build_page(RunFolder.read(folder))
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(content | {"recipe": "btcv-fixed"}))
    page = build_page(RunFolder.read(folder))
    assert "Comparison with the paper" in page
    assert "88.92" in page
    assert "No row is filled, since" in page


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("brats:released", "The released code for BraTS averages a missed region as infinite."),
        ("btcv:released", "HD95 leaves out missed organs, as the released code for BTCV does, which flatters."),
        ("brats:fixed", ""),
    ],
)
def test_what_becomes_of_missed_regions_is_said(name: str, words: str) -> None:
    text = " ".join(render("paper.html", {"paper": paper_table(make_results(name))}).split())
    assert words in text
    assert ("HD95" in text) == bool(words)
