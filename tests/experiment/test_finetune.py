"""Fine-tuning: initializations and their report, leaks, and folders that belong to something else."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from selfmae.data.source import checked_source, load_cases
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.initialization import Initialization, find_init
from selfmae.experiment.stages import check_finetunable, validate
from selfmae.recipe import load_recipe
from selfmae.results.exposure import ExposureLog
from selfmae.tasks.classify import Classify
from selfmae.weights.file import read_metadata, save_weights

Call = Callable[..., int]


@pytest.fixture
def pretrained(volume_run: Path) -> Path:
    return volume_run / "pretrain-mae" / "fold0" / "seed0"


def init_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "environment.json").read_text())["init"]
    return report


def test_the_command_makes_what_a_run_makes(
    tmp_path: Path, volume_recipe: Path, volume_run: Path, call: Call, bytes_of: Callable[..., dict[str, bytes]]
) -> None:
    names = ("model.safetensors", "rows-val.csv", "rows-test.csv", "summary-test.json", "cases.csv")
    assert call("finetune", volume_recipe, "--out", tmp_path / "out") == 0
    assert bytes_of(tmp_path / "out", *names) == bytes_of(volume_run / "scratch/fold0/seed0", *names)


def test_an_initialization_from_mae_scores_as_it_does_in_a_run(
    tmp_path: Path, volume_recipe: Path, volume_run: Path, pretrained: Path, call: Call
) -> None:
    assert call("finetune", volume_recipe, "--out", tmp_path / "out", "--init", f"mae:{pretrained}") == 0
    ours, theirs = tmp_path / "out", volume_run / "mae" / "fold0" / "seed0"
    assert (ours / "rows-test.csv").read_bytes() == (theirs / "rows-test.csv").read_bytes()


def test_the_report_of_an_initialization_lists_every_tensor_of_the_model_and_the_file_once(
    volume_run: Path, pretrained: Path
) -> None:
    cell = volume_run / "mae" / "fold0" / "seed0"
    report = init_of(cell)
    model, given = load_file(cell / "model.safetensors"), load_file(pretrained / "model.safetensors")
    assert report["loaded"] > 20
    assert report["loaded"] + len(report["new"]) == len(set(model) | set(report["new"]))
    assert report["loaded"] + len(report["unused"]) == len(given)
    assert all(name.startswith(("decoder", "mask_token", "encoder.pos_embed")) for name in report["unused"])
    assert not any(name.startswith("encoder.blocks") for name in report["new"])


def test_training_starts_from_the_weights_of_the_initialization(
    tmp_path: Path, volume_recipe: Path, pretrained: Path, call: Call
) -> None:
    words = ("--init", f"mae:{pretrained}", "--set", "fit.lr=1e-12", "--set", "fit.weight_decay=0")
    assert call("finetune", volume_recipe, "--out", tmp_path / "out", *words) == 0
    ours, theirs = load_file(tmp_path / "out" / "model.safetensors"), load_file(pretrained / "model.safetensors")
    shared = [name for name in theirs if name.startswith("encoder.blocks")]
    assert shared
    for name in shared:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-6, rtol=0)


def test_a_scratch_start_reports_no_tensor(volume_run: Path) -> None:
    assert init_of(volume_run / "scratch" / "fold0" / "seed0") == {"kind": "scratch", "name": "scratch"}


def test_what_the_start_saw_counts_as_seen(volume_run: Path) -> None:
    def seen(init: str) -> set[str]:
        with safe_open(volume_run / init / "fold0" / "seed0" / "model.safetensors", framework="np") as file:
            return set(json.loads(file.metadata()["metadata"])["seen"])

    assert seen("mae") == seen("scratch") | seen("pretrain-mae")
    assert seen("pretrain-mae") - seen("scratch")  # the unlabelled ones


def test_weights_that_saw_a_test_image_are_refused(
    tmp_path: Path,
    volume_recipe: Path,
    volume_run: Path,
    pretrained: Path,
    call: Call,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = (pretrained / "cases.csv").read_text().splitlines()
    case, _, _, _, digest = next(row for row in rows if ",test," in row).split(",")
    weights = tmp_path / "leaky.safetensors"
    save_weights(weights, load_file(pretrained / "model.safetensors"), {"kind": "pretrain", "seen": [digest]})
    assert call("finetune", volume_recipe, "--out", tmp_path / "out", "--init", weights) == 2
    assert f"were trained on 1 image of this split's val or test part ({case})" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("init", "text"),
    [
        (
            "may",
            "--init 'may' must be scratch, imagenet, timm:NAME, mae:DIR, masked_unet:DIR, moco:DIR or an existing file "
            "of weights.",
        ),
        ("mae:{tmp}", "{tmp} holds no finished pre-training: run `selfmae pretrain"),
        ("mae:", "--init 'mae:' must be scratch, imagenet, timm:NAME, mae:DIR"),
        ("mae:{tmp}/none", "{tmp}/none holds no finished pre-training"),
    ],
)
def test_an_initialization_that_is_not_there_is_an_error(
    tmp_path: Path, volume_recipe: Path, call: Call, capsys: pytest.CaptureFixture[str], init: str, text: str
) -> None:
    words = ("--init", init.format(tmp=tmp_path))
    assert call("finetune", volume_recipe, "--out", tmp_path / "out", *words) == 2
    assert text.format(tmp=tmp_path) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("model.width=96", "do not fit: "),
        ("model.depth=3", "lack 12 of the encoder's "),
        ("model.heads=4", "were trained with 2 heads"),
    ],
)
def test_weights_that_do_not_fit_are_told_before_the_folder_is_made(
    tmp_path: Path,
    volume_recipe: Path,
    pretrained: Path,
    call: Call,
    capsys: pytest.CaptureFixture[str],
    setting: str,
    text: str,
) -> None:
    words = ("--init", f"mae:{pretrained}", "--set", setting)
    assert call("finetune", volume_recipe, "--out", tmp_path / "out", *words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("Error: The weights of mae:")
    assert text in error
    assert not (tmp_path / "out").exists()


def test_a_folder_that_began_from_another_initialization_is_refused(
    volume_recipe: Path, volume_run: Path, pretrained: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = volume_run / "scratch" / "fold0" / "seed0"
    assert call("finetune", volume_recipe, "--out", cell, "--init", f"mae:{pretrained}") == 2
    assert f"{cell} was started from scratch, not from mae:{pretrained}: choose" in capsys.readouterr().err


def test_other_weights_of_the_same_name_are_refused(
    tmp_path: Path, volume_recipe: Path, pretrained: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, file, out = load_file(pretrained / "model.safetensors"), tmp_path / "ours.safetensors", tmp_path / "out"
    words = ("finetune", volume_recipe, "--out", out, "--init", file, "--set", "fit.steps=1")
    metadata = {"metadata": json.dumps(read_metadata(pretrained / "model.safetensors"))}
    for error, text in ((0, ""), (0, ""), (2, f"{out} was started from other weights than {file} has now: choose")):
        weights["encoder.norm.bias"] = weights["encoder.norm.bias"] + (error > 0)
        save_file(weights, file, metadata)
        assert call(*words) == error
        assert text in capsys.readouterr().err


def test_a_split_without_val_is_an_error(tmp_path: Path, volume_recipe: Path) -> None:
    recipe, display = load_recipe(str(volume_recipe)), Display(quiet=True)
    source = checked_source(load_cases(recipe.data), masks=False, display=display)
    cases = replace(source.cases, cases=tuple(source.cases.part("train", "test")))
    init = Initialization("scratch", "scratch")
    with pytest.raises(UserError, match="There is no val case to choose the checkpoint on: give the source"):
        check_finetunable(recipe, replace(source, cases=cases), init, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_recipe_for_other_labels_is_an_error(
    tmp_path: Path, volume_recipe: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--set", "target.names=[heart]", "--set", "target.values=[1]", "--out", tmp_path / "out")
    assert call("finetune", volume_recipe, *words) == 2
    assert "The recipe was made for mask ['heart'], but " in capsys.readouterr().err


def test_a_recipe_for_other_mask_values_names_them(
    tmp_path: Path, volume_recipe: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("finetune", volume_recipe, "--set", "target.values=[1,2,3,4,5,9]", "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "The recipe was made for the mask values [1, 2, 3, 4, 5, 9], but " in error
    assert "has the mask values [1, 2, 3, 4, 5, 6]: make a recipe" in error


def test_a_recipe_for_other_channels_is_an_error(
    tmp_path: Path, volume_recipe: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("finetune", volume_recipe, "--set", "data.channels=[T1]", "--out", tmp_path / "out") == 2
    assert "The recipe was made for the channels ['T1'], but " in capsys.readouterr().err


def test_a_foreign_file_of_weights_lists_nothing(tmp_path: Path, volume_recipe: Path, pretrained: Path) -> None:
    save_file(load_file(pretrained / "model.safetensors"), tmp_path / "plain.safetensors")
    init = find_init(str(tmp_path / "plain.safetensors"), load_recipe(str(volume_recipe)))
    assert (init.kind, init.seen) == ("file", ExposureLog(unlisted=frozenset({"plain.safetensors"})))


def test_an_undefined_validation_score_is_the_worst(picture_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Classify(load_recipe(str(picture_recipe)))
    monkeypatch.setattr(task, "summary", lambda rows: {"metrics": {"mean_auc": None}})
    assert validate(task, [], torch.nn.Identity()) == {"score": float("-inf")}


def test_other_images_and_masks_of_the_test_part_change_no_weight(
    tmp_path: Path, volumes: Path, volume_recipe: Path, volume_run: Path, call: Call
) -> None:
    copy, cell = Path(shutil.copytree(volumes, tmp_path / "copy")), volume_run / "scratch" / "fold0" / "seed0"
    with (cell / "cases.csv").open(newline="") as file:
        tested = [row["id"] for row in csv.DictReader(file) if row["split"] == "test"]
    for path in (copy / folder / f"{name}.nii.gz" for name in tested for folder in ("imagesTr", "labelsTr")):
        image: Any = nib.load(path)  # type: ignore[attr-defined]
        nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj)[::-1] // 2, image.affine), path)  # type: ignore[attr-defined]
    assert call("finetune", volume_recipe, "--set", f"data.source={copy}", "--out", tmp_path / "out") == 0
    ours, theirs = load_file(tmp_path / "out" / "model.safetensors"), load_file(cell / "model.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (tmp_path / "out" / "rows-val.csv").read_bytes() == (cell / "rows-val.csv").read_bytes()
    assert (tmp_path / "out" / "rows-test.csv").read_bytes() != (cell / "rows-test.csv").read_bytes()
