"""Folders in the exact layout of the paper's data sets go through its recipes with one command."""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from selfmae.jobs.display import Display
from selfmae.jobs.plan import resolve
from selfmae.recipe import read_content

Call = Callable[..., int]

# The smallest encoder that still has the taps of UNETR's four levels.
MODEL = {"model.width": 24, "model.depth": 4, "model.heads": 2, "mask.decoder_width": 24, "mask.decoder_depth": 1}
STEPS = {"mask.decoder_heads": 2, "pretrain.steps": 2, "pretrain.batch": 4, "fit.steps": 2, "fit.batch": 4}
VOLUME = {"data.crop": [32, 32, 32], "model.taps": [1, 2, 3], "model.decoder_features": 4}
RUNS = ("btcv:released", "btcv:fixed", "brats:released", "brats:fixed", "chestxray14:released", "chestxray14:fixed")


def small(name: str) -> list[str]:
    values = MODEL | STEPS | ({} if name.startswith("chestxray14") else VOLUME)
    return [f"{key}={value}" for key, value in values.items()]


@pytest.fixture(scope="session")
def paper_data() -> ModuleType:
    """Return what writes the folders (paper_data.py; tests are no package, so it is loaded by its path)."""
    found = spec_from_file_location("paper_data", Path(__file__).parents[1] / "paper_data.py")
    assert found
    assert found.loader
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def sources(shared: Path, paper_data: ModuleType) -> dict[str, Path]:
    """Return the folder of each data set, with generated images."""
    names = ("btcv", "brats", "chestxray14")
    return {name: getattr(paper_data, f"write_{name}")(shared / "paper" / name) for name in names}


@pytest.fixture(scope="session", params=RUNS)
def finished(request: pytest.FixtureRequest, sources: dict[str, Path], shared: Path, call: Call) -> tuple[str, Path]:
    """Return the name of a recipe and the folder of its run (scratch and mae)."""
    name, out = request.param, shared / "paper" / request.param.replace(":", "-")
    words = [word for setting in small(name) for word in ("--set", setting)]
    assert call("run", sources[name.split(":")[0]], "--out", out, "--recipe", name, *words) == 0
    return name, out


def test_a_run_has_a_verdict_and_stands_beside_the_paper(finished: tuple[str, Path]) -> None:
    name, out = finished
    verdict = json.loads((out / "verdict.json").read_text())
    assert set(verdict["starts"]) == {"scratch", "mae"}
    assert verdict["metric"] == ("mean_auc" if name.startswith("chest") else "dice_per_case")
    assert "Beside the paper" in (out / "report.html").read_text()


def test_the_test_part_is_that_of_the_paper_and_chooses_nothing(finished: tuple[str, Path]) -> None:
    name, out = finished
    with (out / "mae" / "fold0" / "seed0" / "cases.csv").open() as file:
        counts = Counter(row["split"] for row in csv.DictReader(file))
    fixed = name.endswith(":fixed")
    expected = {"btcv": (18, 12, 3), "brats": (9, 3, 1), "chestxray14": (20, 10, 3)}[name.split(":")[0]]
    assert (counts["train"] + counts["val"], counts["test"]) == expected[:2]
    assert counts["val"] == (expected[2] if fixed else 0)
    for start in ("scratch", "mae"):
        assert (out / start / "fold0" / "seed0" / "summary-val.json").exists() is fixed


def test_scores_are_of_the_grid_and_in_the_unit_of_the_recipe(finished: tuple[str, Path]) -> None:
    name, out = finished
    summary = json.loads((out / "mae" / "fold0" / "seed0" / "summary-test.json").read_text())
    with (out / "mae" / "fold0" / "seed0" / "rows-test.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == summary["num_cases"]
    if name.startswith("chestxray14"):
        assert len(summary["labels"]) == 14
        return
    unit, other = ("mm", "voxels") if name.endswith(":fixed") else ("voxels", "mm")
    assert f"hd95_{unit}_per_case" in summary["metrics"]
    assert not any(other in key for key in summary["metrics"])
    if name == "btcv:fixed":  # 34 x 34 x 24 voxels of 3 mm in the file, 36 slices of 2 mm after preparation
        assert {row["voxels_true_liver"] for row in rows} == {str(5 * 5 * 15)}
        reported = ["aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach"]
        dice = [float(row[f"dice_{organ}"]) for row in rows for organ in reported]
        assert summary["metrics"]["dice_per_case"] == pytest.approx(sum(dice) / len(dice))
    if name == "btcv:released":
        assert all(int(row["voxels_true_liver"]) > 5 * 5 * 15 for row in rows)


def test_the_recipe_decides_all_but_what_the_source_says(finished: tuple[str, Path]) -> None:
    """Neither the plan nor the machine puts in a value: a GPU's run is a CPU's."""
    _, out = finished
    reasons = dict(re.findall(r"^ +(\w+): .*  # (.*)$", (out / "recipe.yaml").read_text(), re.MULTILINE))
    planned = {key for key, reason in reasons.items() if reason != "given"}
    assert planned == {"source", "channels", "kind", "names", "values"}


@pytest.mark.parametrize("name", ["btcv:paper", "brats:paper", "chestxray14:paper"])
def test_the_paper_mode_resolves(name: str, sources: dict[str, Path]) -> None:
    recipe, _, source = resolve(str(sources[name.split(":")[0]]), name, small(name), Display(quiet=True))
    assert not source.cases.part("val")
    assert recipe.pretrain.crops_per_case == 1


def test_a_recipe_on_another_layout_is_one_line(
    volumes: Path, tmp_path: Path, call: Call, error_line: Callable[[], str]
) -> None:
    assert call("run", volumes, "--out", tmp_path / "out", "--recipe", "btcv") == 2
    assert "is in none of the layouts looked for (btcv: a folder with imagesTr/img0001.nii.gz" in error_line()
    assert not (tmp_path / "out").exists()


def test_scans_that_lack_are_all_named(
    sources: dict[str, Path], tmp_path: Path, call: Call, error_line: Callable[[], str]
) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / "BTCV" / folder).mkdir(parents=True)
        for file in (sources["btcv"] / folder).iterdir():
            if not re.search("00(05|21|38)", file.name):
                (tmp_path / "BTCV" / folder / file.name).symlink_to(file)
    assert call("run", tmp_path / "BTCV", "--out", tmp_path / "out", "--recipe", "btcv") == 2
    assert "lacks 3 (img0005, img0021, img0038)" in error_line()


def test_a_region_of_another_decathlon_task_is_one_line(
    volumes: Path, tmp_path: Path, call: Call, error_line: Callable[[], str]
) -> None:
    words = ("--set", "data.layout=''", "--set", "data.crop=[16,16,16]", "--set", "data.spacing_mm=[]")
    assert call("run", volumes, "--out", tmp_path / "out", "--recipe", "brats", *words) == 2
    assert error_line()


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "size"), [("btcv", {"shape": (96, 96, 64)}), ("brats", {"num_cases": 5, "side": 120}), ("chestxray14", {})]
)
def test_a_recipe_runs_at_full_model_size(
    name: str, size: dict[str, object], paper_data: ModuleType, tmp_path: Path, call: Call
) -> None:
    """ViT-B with the crop, decoder and augmentation of the recipe, for one step of each stage."""
    source = getattr(paper_data, f"write_{name}")(tmp_path / name, **size)
    settings = {"pretrain.steps": 1, "pretrain.batch": 1, "fit.steps": 1, "fit.batch": 1}
    if name != "chestxray14":
        settings["data.val_fraction"] = 0
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    assert call("run", source, "--out", tmp_path / "out", "--recipe", name, *words) == 0
    assert read_content(tmp_path / "out" / "recipe.yaml")["model"]["width"] == 768
