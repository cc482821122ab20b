import json
from collections.abc import Callable
from pathlib import Path

import pytest

from selfmae.report.page import build_page
from selfmae.report.paper import paper_rows, paper_table
from selfmae.report.results import read_results

Make = Callable[..., Path]


def name_recipe(folder: Path, name: str, *changed: str) -> Path:
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(content | {"recipe": name, "changed": changed}))
    return folder


@pytest.mark.parametrize(("name", "count"), [("btcv", 14), ("btcv-released", 14), ("brats", 9), ("chestxray14", 10)])
def test_recipes_of_the_paper_have_its_rows(name: str, count: int) -> None:
    assert len(paper_rows(name)) == count


@pytest.mark.parametrize("name", ["", "demo-volumes", "btcvx"])
def test_other_recipes_have_none(name: str) -> None:
    assert paper_rows(name) == ()


def test_own_results_stand_beside_those_of_the_paper(make_run: Make) -> None:
    results = read_results(name_recipe(make_run("findings", num_seeds=1), "chestxray14"))
    rows = {row[0]: row[1:] for row in paper_table(results).rows}
    mae = 100 * results.cells_of("mae")[0].metrics["mean_auc"]
    assert rows["ViT-B, MAE, self"] == ("81.50", f"{mae:.2f}")
    assert rows["ViT-B, ImageNet supervised"] == ("80.70", "")
    assert rows["CheXNet"] == ("78.90", "")


def test_only_the_row_of_the_own_mask_ratio_is_filled(make_run: Make) -> None:
    table = paper_table(read_results(name_recipe(make_run(), "btcv")))
    rows = {row[0]: row[1:] for row in table.rows}
    assert table.columns[1:] == ("Dice (%), paper", "Dice (%), here", "HD95 (voxels), paper", "HD95 (mm), here")
    assert rows["UNETR + MAE, 75 % hidden"][0] == "82.76"
    assert float(rows["UNETR + MAE, 75 % hidden"][1]) > 50
    assert rows["UNETR + MAE, 12.5 % hidden"] == ("83.52", "", "10.24", "")
    assert rows["nnUNet"] == ("86.99", "", "10.78", "")


def test_the_page_shows_the_paper_only_for_its_recipes(make_run: Make) -> None:
    folder = make_run(num_seeds=1)
    assert "Beside the paper" not in build_page(folder)
    assert "Beside the paper" in build_page(name_recipe(folder, "btcv-fixed"))


@pytest.mark.parametrize(("changed", "filled"), [("fit.steps", False), ("data.cache", True), ("fit.accumulate", True)])
def test_a_shortened_run_fills_no_row_of_the_paper(make_run: Make, changed: str, filled: bool) -> None:
    results = read_results(name_recipe(make_run("findings", num_seeds=1), "chestxray14", changed))
    rows = {row[0]: row[1:] for row in paper_table(results).rows}
    assert (rows["ViT-B, MAE, self"][1] != "") == filled
