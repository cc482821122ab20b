"""MoCo in the commands: planned, pre-trained without labels, resumed to the bit, started from, told and refused."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from selfmae.data.source import load_cases
from selfmae.errors import UserError
from selfmae.experiment.combinations import settings_of_init
from selfmae.experiment.initialization import check_pretrainable, find_init
from selfmae.experiment.stages import is_finished
from selfmae.recipe import load_recipe
from selfmae.tasks.pretraining import Pretraining
from selfmae.train.launch import Interrupted
from selfmae.weights.file import read_metadata, read_weights, save_weights

pytest.importorskip("lightly", reason='lightly is not installed: pip install "selfmae[moco]"')

Call = Callable[..., int]
RESNET = ("--set", "model.network=resnet50")
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module", autouse=True)
def tiny_resnet() -> Iterator[None]:
    """Let timm's smallest network stand for ResNet-50."""
    make = timm.create_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", lambda name, **how: make(name.replace("resnet50", "test_resnet"), **how))
        yield


@pytest.fixture(scope="module")
def moco_recipe(shared: Path, radiographs: Path, small_pictures: list[str], call: Call, tiny_resnet: None) -> Path:
    words = (*small_pictures, *RESNET, "--set", "pretrain.batch=4", "--set", "data.crop=[32,32]")
    assert call("plan", radiographs, "--out", shared / "moco.yaml", *words) == 0
    return shared / "moco.yaml"


@pytest.fixture(scope="module")
def moco_run(shared: Path, radiographs: Path, moco_recipe: Path, call: Call) -> Path:
    """Return the folder of a finished run with the initializations scratch, moco and scratch+."""
    words = ("--recipe", moco_recipe, "--init", "scratch,moco,scratch+")
    assert call("run", radiographs, "--out", shared / "moco-run", *words) == 0
    return shared / "moco-run"


def cell(run: Path, name: str) -> Path:
    return run / name / "fold0" / "seed0"


def test_the_plan_has_the_papers_settings_and_a_queue_for_few_images(moco_recipe: Path) -> None:
    recipe = load_recipe(str(moco_recipe))
    pretrain, moco = recipe.pretrain, recipe.methods["moco"]
    spatial, intensity = pretrain.augment["spatial"], pretrain.augment["intensity"]
    assert (pretrain.optimizer, pretrain.lr, pretrain.weight_decay) == ("sgd", 0.03 * 4 / 256, 1e-4)
    assert (spatial.min_scale, spatial.flip_axes, intensity.contrast, intensity.blur) == (0.2, (1,), 0.4, 0.5)
    assert (moco.temperature, moco.momentum, moco.queue) == (0.2, 0.99, 8)
    lines = [line for line in moco_recipe.read_text().splitlines() if "plays no part in resnet50" in line]
    assert {line.split(":")[0].strip() for line in lines} >= {"layer_decay", "drop_path"}
    assert "  ratio: 0.75\n" in moco_recipe.read_text()  # of mae, which is not planned for such a network
    assert "# 0.03 for a batch of 256, Chen et al. 2020 (MoCo v2)" in moco_recipe.read_text()


def test_a_run_pretrains_and_compares_and_its_report_says_how(moco_run: Path) -> None:
    verdict = json.loads((moco_run / "verdict.json").read_text())
    assert verdict["inits"].keys() == {"scratch", "moco", "scratch+"}
    init = json.loads((cell(moco_run, "moco") / "environment.json").read_text())["init"]
    assert (init["kind"], init["layout"], init["new"]) == ("moco", "SelfMAE resnet50", ["head.weight", "head.bias"])
    page = " ".join((moco_run / "report.html").read_text().split())
    assert "It was pre-trained with MoCo v2 (Chen et al. 2020; 8 keys in the queue) on " in page
    assert "with SGD (learning rate 0.00046875, batch size 4), without labels and without validation or test" in page
    assert "Self pre-training cost 4 steps and " in page
    assert "masked autoencoder (He" not in page


def test_fine_tuning_begins_with_the_pretrained_encoder(moco_run: Path) -> None:
    recipe = load_recipe(str(moco_run / "recipe.yaml"))
    trained, _ = read_weights(cell(moco_run, "pretrain-moco") / WEIGHTS)
    init = find_init(f"moco:{cell(moco_run, 'pretrain-moco')}", recipe)
    assert init.weights is not None
    assert all(torch.equal(tensor, trained[f"encoder.{name}"]) for name, tensor in init.weights.items())


def test_equal_compute_counts_what_moco_costs(moco_run: Path) -> None:
    equal = json.loads((moco_run / "run.json").read_text())["equal_compute"]
    # A step of pre-training shows 4 samples twice, once without a gradient; one of fine-tuning shows 2 samples once.
    assert 4 + 4 * 2 < equal["steps"] <= 4 + 4 * 4


def test_the_contract_lists_the_images_seen_and_what_it_is(moco_run: Path) -> None:
    metadata = read_metadata(cell(moco_run, "pretrain-moco") / WEIGHTS)
    with (cell(moco_run, "pretrain-moco") / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert metadata["architecture"] == {"network": "resnet50", "axes": 2, "features": 0, "head": "moco"}
    assert metadata["seen"] == sorted({row["hash"] for row in rows if row["split"] in ("train", "unlabelled")})
    assert set(metadata["seen"]) <= set(read_metadata(cell(moco_run, "moco") / WEIGHTS)["seen"])


def test_a_pretraining_that_saw_the_test_part_is_refused(
    moco_run: Path, moco_recipe: Path, tmp_path: Path, call: Call, error_line: Callable[[], str]
) -> None:
    init, words = f"moco:{cell(moco_run, 'pretrain-moco')}", ("--set", "data.split_seed=3")
    assert call("finetune", moco_recipe, "--out", tmp_path / "leak", "--init", init, *words) == 2
    assert "were trained on" in error_line()


def test_a_finished_pretraining_is_known_as_one(moco_run: Path, tmp_path: Path) -> None:
    folder = cell(moco_run, "pretrain-moco")
    assert is_finished(folder)
    weights, metadata = read_weights(folder / WEIGHTS)
    save_weights(tmp_path / WEIGHTS, weights, metadata | {"metrics": {}})
    assert not is_finished(tmp_path)


def test_other_labels_change_no_weight(
    moco_run: Path, moco_recipe: Path, radiographs: Path, tmp_path: Path, call: Call
) -> None:
    head, *lines = radiographs.read_text().splitlines()
    names = set(load_recipe(str(moco_recipe)).target.names)
    places = [place for place, name in enumerate(head.split(",")) if name in names]
    flipped = [line.split(",") for line in lines]
    for row in flipped:
        for place in places:
            row[place] = {"0": "1", "1": "0"}.get(row[place], row[place])
    table = radiographs.with_name("flipped.csv")
    table.write_text("\n".join([head, *(",".join(row) for row in flipped)]) + "\n")
    splits = ("--set", f"data.splits={cell(moco_run, 'pretrain-moco') / 'cases.csv'}", "--set", f"data.source={table}")
    assert len(places) == len(names)
    assert call("pretrain", moco_recipe, "--out", tmp_path / "out", *splits) == 0
    ours, theirs = (read_weights(path / WEIGHTS)[0] for path in (cell(moco_run, "pretrain-moco"), tmp_path / "out"))
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_an_interrupted_pretraining_ends_bit_identical(
    moco_recipe: Path, tmp_path: Path, optimise: Callable[..., dict[str, Tensor]]
) -> None:
    recipe = load_recipe(str(moco_recipe))
    cases = load_cases(recipe.data).part("train")[:6]
    task = Pretraining(recipe, "moco")
    whole = optimise(task, recipe.pretrain, tmp_path / "whole", cases)
    with pytest.raises(Interrupted):
        optimise(task, recipe.pretrain, tmp_path / "cut", cases, cut=2)
    cut = optimise(task, recipe.pretrain, tmp_path / "cut", cases)
    assert "contrast.memory_bank.bank" in whole
    assert [name for name in whole if not torch.equal(whole[name], cut[name])] == []


def test_a_sweep_of_its_options_trains_scratch_once(
    moco_recipe: Path, tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("moco.temperature=0.1,0.2", "--init", "scratch,moco")
    assert call("sweep", moco_recipe, "--out", tmp_path / "sweep", *words) == 0
    assert "2 combinations, 4 training runs: 2 pre-trainings and 3 fine-tunings" in capsys.readouterr().err
    assert (tmp_path / "sweep" / "moco.temperature=0.1" / "pretrain-moco" / "fold0").is_dir()
    assert settings_of_init({"moco.queue": 8, "fit.lr": 1.0}, "scratch") == {"fit.lr": 1.0}


@pytest.mark.parametrize(
    ("setting", "kind", "text"),
    [
        ("model.network=resnet50", "mae", "but model.network is resnet50: give --init scratch,moco."),
        ("model.network=vit", "moco", "but model.network is vit: give --init scratch,mae."),
        ("probe.every=5", "moco", "moco cannot be probed, but probe.every is 5: set probe.every=0."),
        ("pretrain.augment.spatial.min_scale=1.0", "moco", "set it below 1 (0.2 in Chen et al. 2020)."),
        ("pretrain.batch=1", "moco", "needs at least 2 samples at once for its batch norms, but pretrain.batch"),
    ],
)
def test_what_cannot_be_pretrained_is_said(moco_recipe: Path, setting: str, kind: str, text: str) -> None:
    with pytest.raises(UserError, match=re.escape(text)):
        check_pretrainable(load_recipe(str(moco_recipe), [setting]), f"--init {kind}", kind)


def test_volumes_are_refused(volume_recipe: Path, tmp_path: Path, call: Call, error_line: Callable[[], str]) -> None:
    words = ("target.kind=multiclass", "target.values=[]", "data.crop=[32,32,32]", "model.network=resnet50")
    recipe = load_recipe(str(volume_recipe), words)
    with pytest.raises(UserError, match=r"moco pre-trains on 2-D images, but data.crop has 3 axes.*--init scratch\."):
        check_pretrainable(recipe, "--init moco", "moco")


def test_a_missing_lightly_is_said_before_any_training(
    radiographs: Path,
    moco_recipe: Path,
    tmp_path: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    error_line: Callable[[], str],
) -> None:
    monkeypatch.setattr("selfmae.models.moco.find_spec", lambda name: None)
    words = ("--recipe", moco_recipe, "--init", "scratch,moco", "--out", tmp_path / "run")
    assert call("run", radiographs, *words) == 2
    assert error_line() == 'Error: --init moco: moco needs lightly: run `pip install "selfmae[moco]"`.'
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("model.network=densenet121", "are of model.network resnet50, but the recipe's is densenet121"),
        ("data.channels=[film]", "are for the channels"),
    ],
)
def test_a_pretraining_of_another_network_or_channels_is_no_initialization(
    moco_run: Path, moco_recipe: Path, setting: str, text: str
) -> None:
    with pytest.raises(UserError, match=text):
        find_init(f"moco:{cell(moco_run, 'pretrain-moco')}", load_recipe(str(moco_recipe), [setting]))
