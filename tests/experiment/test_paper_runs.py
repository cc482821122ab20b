"""Folders in the exact layout of the paper's data sets go through its recipes with one command."""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from math import isfinite
from pathlib import Path
from types import ModuleType

import pytest
import timm
from safetensors.torch import save_file

from selfmae.display import Display
from selfmae.experiment import plan
from selfmae.experiment.plan import resolve
from selfmae.planning.forecast import Forecast
from selfmae.recipe import find_recipe, read_reasons

Call = Callable[..., int]

# The smallest encoder that still has the out_indices of UNETR's four levels.
MODEL = {"model.width": 24, "model.depth": 4, "model.heads": 2, "mae.decoder_width": 24, "mae.decoder_depth": 1}
STEPS = {"mae.decoder_heads": 2, "pretrain.steps": 2, "pretrain.batch": 4, "fit.steps": 2, "fit.batch": 4}
SHORT = {"steps": 2, "batch": 1, "warmup_steps": 0}
VOLUME = {"data.crop": [32, 32, 32], "model.out_indices": [1, 2, 3], "model.decoder_features": 4}
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
    assert set(verdict["inits"]) == {"scratch", "mae"}
    assert verdict["metric"] == ("mean_auc" if name.startswith("chest") else "dice_per_case")
    assert "Comparison with the paper" in (out / "report.html").read_text()


def test_the_test_part_is_that_of_the_paper_and_chooses_nothing(finished: tuple[str, Path]) -> None:
    name, out = finished
    with (out / "mae" / "fold0" / "seed0" / "cases.csv").open() as file:
        counts = Counter(row["split"] for row in csv.DictReader(file))
    fixed = name.endswith(":fixed")
    expected = {"btcv": (18, 12, 3), "brats": (9, 3, 1), "chestxray14": (20, 10, 3)}[name.split(":")[0]]
    assert (counts["train"] + counts["val"], counts["test"]) == expected[:2]
    assert counts["val"] == (expected[2] if fixed else 0)
    for init in ("scratch", "mae"):
        assert (out / init / "fold0" / "seed0" / "summary-val.json").exists() is fixed


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
    """Neither the plan nor the machine puts in a value: a GPU's run is a CPU's. Reasons stay the recipe's."""
    name, out = finished
    ours, theirs = read_reasons(out / "recipe.yaml"), read_reasons(find_recipe(name))
    said = {"data.source", "data.channels", "target.kind", "target.names", "target.values"} - set(theirs)
    assert set(ours) - set(theirs) == said
    changed = {setting.partition("=")[0] for setting in small(name)}
    assert {key: "given" if key in changed else why for key, why in theirs.items()}.items() <= ours.items()


@pytest.mark.parametrize("name", ["btcv:paper", "brats:paper", "chestxray14:paper"])
def test_the_paper_mode_resolves(name: str, sources: dict[str, Path]) -> None:
    recipe, _, source, _ = resolve(str(sources[name.split(":")[0]]), name, small(name), Display(quiet=True))
    assert not source.cases.part("val")
    assert recipe.pretrain.crops_per_case == 1


def test_a_recipe_on_another_layout_is_one_line(
    volumes: Path, tmp_path: Path, call: Call, error_line: Callable[[], str]
) -> None:
    assert call("run", volumes, "--out", tmp_path / "out", "--recipe", "btcv") == 2
    assert "with --as or data.layout of the recipe (btcv: a folder with imagesTr/img0001.nii.gz" in error_line()
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
    assert "lacks 3 of their files (img0005, img0021, img0038)" in error_line()


def test_regions_of_other_labels_are_one_line(
    volumes: Path, tmp_path: Path, call: Call, error_line: Callable[[], str]
) -> None:
    words = ("--set", "data.layout=''", "--set", "data.crop=[16,16,16]", "--set", "data.spacing_mm=[]")
    assert call("run", volumes, "--out", tmp_path / "out", "--recipe", "brats", *words) == 2
    made = "The recipe was made for mask ['edema', 'non-enhancing tumor', 'enhancing tumour'], but"
    assert f"{made} {volumes} has mask ['liver', 'spleen', " in error_line()


# As small as the checks of the crop allow: an image may be at most a patch smaller than the crop.
FULL = {"btcv": {"shape": (84, 84, 56)}, "brats": {"num_cases": 5, "side": 116}, "chestxray14": {}}


@pytest.fixture(scope="session")
def vit_b(shared: Path) -> Path:
    """Return a file as timm's supervised ViT-B/16, with random weights."""
    save_file(dict(timm.create_model("vit_base_patch16_224").state_dict()), shared / "vit_b.safetensors")
    return shared / "vit_b.safetensors"


@pytest.mark.full
@pytest.mark.parametrize(("name", "millions"), [("btcv", 92.813), ("brats", 102.479), ("chestxray14", 85.416)])
def test_a_recipe_runs_at_full_model_size(
    name: str,
    millions: float,
    paper_data: ModuleType,
    vit_b: Path,
    tmp_path: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ViT-B with the crop, decoder and augmentation of the recipe, two steps of each stage, from the three inits.

    The forecast, which has tests of its own, would take longer than all else. ChestX-ray14 has 85.809 M parameters with
    three channels, and one here.
    """
    monkeypatch.setattr(plan, "forecast", lambda *_: Forecast(()))
    source = getattr(paper_data, f"write_{name}")(tmp_path / name, **FULL[name])
    short = {f"{stage}.{key}": value for stage in ("pretrain", "fit") for key, value in SHORT.items()}
    words = [word for key, value in short.items() for word in ("--set", f"{key}={value}")]
    words += [] if name == "chestxray14" else ["--set", "data.val_fraction=0"]
    inits = f"scratch,imagenet={vit_b},mae"
    assert call("run", source, "--out", tmp_path / "out", "--recipe", name, "--init", inits, "--seeds", 1, *words) == 0
    cells = {
        place: tmp_path / "out" / place / "fold0" / "seed0" for place in ("pretrain-mae", "scratch", "imagenet", "mae")
    }
    where = {place: json.loads((cell / "environment.json").read_text()) for place, cell in cells.items()}
    assert where["mae"]["num_parameters"] / 1e6 == pytest.approx(millions, abs=5e-4)
    assert (where["mae"]["init"]["loaded"], where["mae"]["init"]["adapted"]) == (150, {})
    assert "patch_embed.proj.weight" in where["imagenet"]["init"]["adapted"]
    for cell in cells.values():
        lines = map(json.loads, (cell / "steps.jsonl").read_text().splitlines())
        losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
        assert all(isfinite(loss) for loss in losses.values())
        assert max(losses) == 2
