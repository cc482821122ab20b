"""Baselines in the commands: the same folds, budget and report.

Names that tell them apart; initializations they have not.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from selfmae.data.source import load_cases
from selfmae.errors import UserError
from selfmae.experiment.initialization import find_init
from selfmae.recipe import load_recipe
from selfmae.results.verdict import compare
from selfmae.tasks import make_task
from selfmae.train.launch import Interrupted
from selfmae.weights import imagenet
from selfmae.weights.file import read_metadata

Call = Callable[..., int]
DYNUNET = ("--set", "model.network=dynunet", "--set", "model.features=4")
SEGRESNET = ("--set", "model.network=segresnet", "--set", "model.features=8")


@pytest.fixture(scope="session")
def dynunet_run(shared: Path, volumes: Path, small_volumes: list[str], call: Call) -> Path:
    """Return the folder of a finished run of a U-Net from scratch, on the split of `volume_run`."""
    assert call("run", volumes, "--out", shared / "dynunet-run", "--init", "scratch", *small_volumes, *DYNUNET) == 0
    return shared / "dynunet-run"


def test_a_baseline_runs_as_the_vit_does_and_its_report_names_it(dynunet_run: Path, volume_run: Path) -> None:
    cells = [run / "scratch" / "fold0" / "seed0" for run in (dynunet_run, volume_run)]
    assert (cells[0] / "cases.csv").read_bytes() == (cells[1] / "cases.csv").read_bytes()
    assert json.loads((dynunet_run / "verdict.json").read_text())["inits"].keys() == {"scratch"}
    metadata = read_metadata(cells[0] / "model.safetensors")
    assert metadata["architecture"] == {"network": "dynunet", "axes": 3, "features": 4}
    assert metadata["grid"] == []
    page = " ".join((dynunet_run / "report.html").read_text().split())
    assert "The network is dynunet of MONAI. The model was trained from scratch" in page
    assert "UNETR decoder was added" not in page


def test_networks_of_two_runs_are_told_apart_in_a_comparison(dynunet_run: Path, volume_run: Path) -> None:
    verdict = compare([volume_run, dynunet_run])
    assert list(verdict["inits"]) == ["scratch (unetr)", "scratch (dynunet)", "mae"]
    pair = next(pair for pair in verdict["pairs"] if pair["b"] == "scratch (dynunet)")
    means = {
        name: json.loads((run / "verdict.json").read_text())["inits"]["scratch"]["mean"]
        for name, run in (("unetr", volume_run), ("dynunet", dynunet_run))
    }
    assert pair["a"] == "scratch (unetr)"
    assert pair["difference"] == pytest.approx(means["dynunet"] - means["unetr"])


def test_one_network_twice_is_still_refused(dynunet_run: Path) -> None:
    with pytest.raises(UserError, match="2 of the folders hold the initialization scratch with fold 0 and seed 0"):
        compare([dynunet_run, dynunet_run])


def test_a_baseline_predicts_new_images(dynunet_run: Path, volumes: Path, tmp_path: Path, call: Call) -> None:
    images = sorted((volumes / "imagesTs").iterdir())
    assert call("predict", dynunet_run / "scratch" / "fold0" / "seed0", *images, "--out", tmp_path / "masks") == 0
    assert len(list((tmp_path / "masks").iterdir())) == len(images)


def test_mae_is_no_start_of_a_baseline(
    volumes: Path, tmp_path: Path, small_volumes: list[str], call: Call, error_line: Callable[[], str]
) -> None:
    assert call("run", volumes, "--out", tmp_path / "run", *small_volumes, *SEGRESNET) == 2
    assert error_line() == (
        "Error: --init mae: mae pre-trains a Vision Transformer, which hides patches, but model.network is segresnet: "
        "give --init scratch."
    )
    assert not (tmp_path / "run").exists()


def test_mae_is_masked_image_modelling_of_a_unet(
    volumes: Path, tmp_path: Path, small_unet: list[str], call: Call
) -> None:
    """It is the network's own method, whose pre-trainings lie in a folder of that method's name."""
    out = tmp_path / "run"
    assert call("run", volumes, "--out", out, *small_unet) == 0
    before = read_metadata(out / "pretrain-masked_unet" / "fold0" / "seed0" / "model.safetensors")
    assert (before["kind"], before["method"]) == ("pretrain", "masked_unet")
    assert before["architecture"]["network"] == "dynunet"
    init = json.loads((out / "mae" / "fold0" / "seed0" / "environment.json").read_text())["init"]
    assert (init["kind"], init["fresh"], init["loaded"] > 10) == ("masked_unet", {}, True)
    assert json.loads((out / "verdict.json").read_text())["inits"].keys() == {"scratch", "mae"}
    assert not (out / "pretrain-mae").exists()
    page = " ".join((out / "report.html").read_text().split())
    assert "It was pre-trained by masked image modelling, which fills in blocks of an image set to zero" in page


def test_the_method_of_another_network_is_refused_with_those_that_can(
    volumes: Path, tmp_path: Path, small_volumes: list[str], call: Call, error_line: Callable[[], str]
) -> None:
    words = (*small_volumes, "--init", "scratch,masked_unet")
    assert call("run", volumes, "--out", tmp_path / "run", *words) == 2
    assert error_line() == (
        "Error: --init masked_unet: masked_unet pre-trains a U-Net (dynunet), but model.network is unetr: give --init "
        "scratch,mae."
    )


def test_a_baseline_is_not_pre_trained(
    volume_recipe: Path, tmp_path: Path, call: Call, error_line: Callable[[], str]
) -> None:
    assert call("pretrain", volume_recipe, "--out", tmp_path / "mae", *SEGRESNET) == 2
    error = error_line()
    assert error.startswith(
        "Error: selfmae pretrain has no method for model.network segresnet (mae pre-trains a Vision"
    )
    assert error.endswith("): give --init scratch.")


@pytest.mark.parametrize("init", ["imagenet", "mae:somewhere", "timm:vit_base_patch16_224.mae"])
def test_other_initializations_of_the_vit_are_refused_too(volume_recipe: Path, init: str) -> None:
    recipe = load_recipe(str(volume_recipe), SEGRESNET[1::2])
    with pytest.raises(
        UserError, match=f"--init '{init}' is no initialization of model.network segresnet: give scratch."
    ):
        find_init(init, recipe)


@pytest.mark.parametrize("init", ["imagenet", "timm:vit_base_patch16_224.mae", "masked_unet"])
def test_a_unet_starts_from_its_own_pretraining_or_a_file(volume_recipe: Path, init: str) -> None:
    recipe = load_recipe(str(volume_recipe), ["model.network=dynunet"])
    with pytest.raises(UserError) as error:
        find_init(init, recipe)
    assert str(error.value) == (
        f"--init '{init}' is no initialization of model.network dynunet: give scratch, masked_unet:DIR or an existing "
        "file of weights."
    )


def test_a_misspelt_file_is_no_initialization(picture_recipe: Path) -> None:
    recipe = load_recipe(str(picture_recipe), ["model.network=resnet50"])
    with pytest.raises(UserError) as error:
        find_init("resnet50.pht", recipe)
    assert str(error.value) == (
        "--init 'resnet50.pht' is no initialization of model.network resnet50: give scratch, imagenet, moco:DIR "
        "or an existing "
        "file of timm's resnet50."
    )


def test_imagenet_is_no_start_of_a_classifier_of_volumes(volume_recipe: Path) -> None:
    sets = ("model.network=resnet50", "data.crop=[32,32,32]", "target={kind: multilabel, names: [ill]}")
    recipe = load_recipe(str(volume_recipe), list(sets))
    with pytest.raises(UserError, match=r"imagenet has weights of model\.network resnet50 for 2-D images only"):
        find_init("imagenet", recipe)


def test_a_planned_recipe_serves_a_baseline_whatever_it_plans_for_the_vit(
    volume_recipe: Path, tmp_path: Path, call: Call
) -> None:
    settings = ("--set", "fit.layer_decay=0.5", "--set", "fit.drop_path=0.3", *DYNUNET)
    assert call("finetune", volume_recipe, "--out", tmp_path / "unet", *settings) == 0
    steps = [json.loads(line) for line in (tmp_path / "unet" / "steps.jsonl").read_text().splitlines()]
    assert max(step.get("lr", 0.0) for step in steps) == load_recipe(str(volume_recipe)).fit.lr


def test_the_plan_says_what_plays_no_part_and_enlarges_the_crop(
    volumes: Path, tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, network = tmp_path / "plan.yaml", ("model.network=attentionunet", "model.features=4", "fit.steps=400")
    words = (word for setting in network for word in ("--set", setting))
    assert call("plan", volumes, "--out", plan, *words) == 0
    lines = {line.strip().split(":")[0]: line for line in plan.read_text().splitlines()}
    assert lines["layer_decay"].endswith("# plays no part in attentionunet")
    assert "crop: [32, 16, 16]" in lines["crop"]
    assert "enlarged where attentionunet must" in lines["crop"]
    assert lines["validate_every"].endswith("# often enough to catch the best")
    out = capsys.readouterr().out
    assert "For a run with scratch, one fold and 3 seeds." in out
    assert "time, pre-training" not in out


def test_strides_are_planned_from_the_spacing_of_all_images(volumes: Path, tmp_path: Path, call: Call) -> None:
    assert call("plan", volumes, "--out", tmp_path / "plan.yaml", *DYNUNET) == 0
    assert load_recipe(str(tmp_path / "plan.yaml")).data.spacing_mm == (1.5, 1.5, 2.0)


def test_imagenet_fills_the_encoder_of_a_classifier(
    picture_recipe: Path,
    tmp_path: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = timm.create_model("resnet50", pretrained=False).state_dict()
    monkeypatch.setattr(imagenet, "timm_weights", lambda name: (weights, "apache-2.0"))
    words = ("--init", "imagenet", "--set", "model.network=resnet50", "--set", "fit.steps=1")
    assert call("finetune", picture_recipe, "--out", tmp_path / "tuned", *words) == 0
    assert "317 tensors of the encoder loaded as they are, 1 adapted" in capsys.readouterr().err
    where = json.loads((tmp_path / "tuned" / "environment.json").read_text())
    assert where["init"]["new"] == ["head.weight", "head.bias"]
    metadata = read_metadata(tmp_path / "tuned" / "model.safetensors")
    assert metadata["licence"].endswith("initialization: apache-2.0 (resnet50.a1_in1k)")


def test_a_file_of_timm_is_an_initialization_too(picture_recipe: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(timm.create_model("resnet50", pretrained=False).state_dict(), tmp_path / "own.safetensors")
    recipe = load_recipe(str(picture_recipe), ["model.network=resnet50"])
    init = find_init(str(tmp_path / "own.safetensors"), recipe)
    assert init.weights is not None
    assert len(init.weights) == 318


def test_a_baseline_is_exported_as_onnx_only(
    dynunet_run: Path, tmp_path: Path, call: Call, error_line: Callable[[], str]
) -> None:
    cell = dynunet_run / "scratch" / "fold0" / "seed0"
    assert call("export", cell, "--to", "monai", "--out", tmp_path / "unet.pth") == 2
    assert "--to monai is for Vision Transformers, but model.network is dynunet" in error_line()


def test_a_forecast_gives_batch_norms_more_than_one_sample(
    radiographs: Path, tmp_path: Path, small_pictures: list[str], call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--out", tmp_path / "plan.yaml", *small_pictures, "--set", "model.network=densenet121")
    assert call("plan", radiographs, *words) == 0
    assert "memory, fine-tuning" in capsys.readouterr().out


def test_a_network_with_batch_norms_that_was_interrupted_ends_bit_identical(
    picture_recipe: Path, tmp_path: Path, optimise: Callable[..., dict[str, Tensor]]
) -> None:
    recipe = load_recipe(str(picture_recipe), ["model.network=resnet50"])
    cases = load_cases(recipe.data).part("train")[:4]
    whole = optimise(make_task(recipe), recipe.fit, tmp_path / "whole", cases)
    with pytest.raises(Interrupted):
        optimise(make_task(recipe), recipe.fit, tmp_path / "cut", cases, cut=2)
    cut = optimise(make_task(recipe), recipe.fit, tmp_path / "cut", cases)
    assert "encoder.bn1.running_mean" in whole
    assert [name for name in whole if not torch.equal(whole[name], cut[name])] == []
