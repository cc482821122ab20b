"""`selfmae weights`: the metadata of our own files, the layout of foreign ones, and no code of a file is run."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm.models.vision_transformer as timm_vit
import torch
from safetensors.torch import save_file

from selfmae.experiment.weights import recipe_hash
from selfmae.recipe import as_content, load_recipe
from selfmae.weights.file import read_metadata

Call = Callable[..., int]
CONTRACT = {
    "kind",
    "method",
    "architecture",
    "crop",
    "grid",
    "channels",
    "size",
    "spacing_mm",
    "orientation",
    "intensity",
    "target",
    "recipe",
    "recipe_hash",
    "seen",
    "chosen_on",
    "seen_sets",
    "unlisted",
    "init",
    "init_format",
    "versions",
    "licence",
    "metrics",
}


@pytest.fixture
def told(call: Call, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Return a function that gives what `weights FILE --json` prints."""

    def read(path: Path) -> Any:
        assert call("weights", path, "--json") == 0
        return json.loads(capsys.readouterr().out)

    return read


def cell(run: Path, init: str) -> Path:
    return run / init / "fold0" / "seed0"


def test_a_fine_tuned_model_explains_itself(volume_run: Path, told: Callable[..., Any]) -> None:
    folder = cell(volume_run, "mae")
    metadata, recipe = told(folder / "model.safetensors")["metadata"], load_recipe(str(folder / "recipe.yaml"))
    assert set(metadata) == CONTRACT
    assert metadata["kind"] == "finetune"
    assert metadata["architecture"] == {
        "encoder": "Vision Transformer",
        "axes": 3,
        "patch": [8, 8, 8],
        "width": 48,
        "depth": 2,
        "heads": 2,
        "mlp_ratio": 4.0,
        "class_token": True,
        "norm_eps": 1e-06,
        "head": "unetr",
    }
    assert (metadata["crop"], metadata["grid"], metadata["orientation"]) == ([16, 16, 16], [2, 2, 2], "RAS")
    assert metadata["channels"] == list(recipe.data.channels)
    assert metadata["spacing_mm"] == list(recipe.data.spacing_mm)
    assert metadata["intensity"]["intensity"] == recipe.data.intensity
    assert metadata["target"]["names"] == list(recipe.target.names)
    assert metadata["recipe"] == as_content(recipe)
    assert metadata["recipe_hash"] == recipe_hash(recipe)
    assert metadata["init_format"] == "SelfMAE"
    assert metadata["versions"] == json.loads((folder / "environment.json").read_text())["versions"]


@pytest.mark.parametrize("init", ["scratch", "mae"])
def test_the_scores_of_both_parts_stand_in_the_weights(picture_run: Path, init: str) -> None:
    folder = cell(picture_run, init)
    metrics = {part: json.loads((folder / f"summary-{part}.json").read_text())["metrics"] for part in ("val", "test")}
    assert read_metadata(folder / "model.safetensors")["metrics"] == metrics


def test_a_pretrained_encoder_holds_its_last_loss_and_no_label(volume_run: Path) -> None:
    folder = cell(volume_run, "pretrain-mae")
    metadata = read_metadata(folder / "model.safetensors")
    last = json.loads((folder / "steps.jsonl").read_text().splitlines()[-1])
    assert metadata["metrics"] == {"train": {"loss": last["loss"]}}
    assert (metadata["target"], metadata["architecture"]["head"]) == ({}, "mae")


def test_scores_that_an_interruption_kept_out_are_added(
    tmp_path: Path, picture_recipe: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selfmae.experiment import stages

    with monkeypatch.context() as patch:
        patch.setattr(stages, "record_metrics", lambda folder: None)
        assert call("finetune", picture_recipe, "--out", tmp_path / "out") == 0
    path = tmp_path / "out" / "model.safetensors"
    assert read_metadata(path)["metrics"] == {}
    assert call("finetune", picture_recipe, "--out", tmp_path / "out") == 0
    assert set(read_metadata(path)["metrics"]) == {"val", "test"}


def test_the_recipes_hash_depends_on_what_decides_the_weights_only(picture_recipe: Path) -> None:
    def hashed(*sets: str) -> str:
        return recipe_hash(load_recipe(str(picture_recipe), sets))

    assert hashed("data.source=/elsewhere", "data.cache=/c", "device.devices=1", "data.licence=CC0") == hashed()
    assert hashed("fit.lr=0.5") != hashed()
    assert hashed("init.pretrain=imagenet") != hashed()


def test_the_licence_names_what_is_known(tmp_path: Path, picture_recipe: Path, call: Call) -> None:
    assert call("finetune", picture_recipe, "--out", tmp_path / "a", "--set", "data.licence=CC BY 4.0") == 0
    weights = tmp_path / "a" / "model.safetensors"
    assert read_metadata(weights)["licence"] == "images: CC BY 4.0"
    assert call("finetune", picture_recipe, "--out", tmp_path / "b", "--init", weights) == 0
    licence = read_metadata(tmp_path / "b" / "model.safetensors")["licence"]
    assert licence == "images: not stated; initialization: images: CC BY 4.0"


def test_weights_can_be_read_by_everyone_who_can_read_the_folder(picture_run: Path) -> None:
    folder = cell(picture_run, "mae")
    modes = {stat.S_IMODE((folder / name).stat().st_mode) for name in ("model.safetensors", "recipe.yaml")}
    assert len(modes) == 1


def test_the_table_for_people_shows_the_contract(
    volume_run: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("weights", cell(volume_run, "mae")) == 0  # a folder stands for the weights in it
    text = capsys.readouterr().out
    for words in (
        "written by",
        "SelfMAE",
        "unetr",
        "RAS",
        "images seen",
        "patients seen",
        "images that chose the checkpoint",
        "Dice per case on test",
        "images: not stated",
    ):
        assert words in text, text
    assert "encoder.blocks.*" in text


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_foreign_file_is_recognised(tmp_path: Path, told: Callable[..., Any], ending: str) -> None:
    weights = dict(timm_vit.VisionTransformer(16, 4, 3, 5, "token", 48, 2, 3).state_dict())
    path = tmp_path / f"vit.{ending}"
    (torch.save if ending == "pth" else save_file)(weights, path)
    found = told(path)
    assert (found["layout"], found["written_by"], found["metadata"]) == ("timm ViT", "another tool", {})
    assert found["num_tensors"] == len(weights) == len(found["tensors"])
    assert found["num_parameters"] == sum(tensor.numel() for tensor in weights.values())
    assert found["tensors"]["patch_embed.proj.weight"] == ["float32", 48, 3, 4, 4]
    assert found["encoder"] == {
        "axes": 2,
        "patch": [4, 4],
        "channels": 3,
        "width": 48,
        "depth": 2,
        "mlp_ratio": 4.0,
        "class_token": True,
        "positions": 17,
    }


def test_a_file_of_an_unknown_layout_still_shows_its_tensors(
    tmp_path: Path, told: Callable[..., Any], call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({"layer1.0.conv1.weight": torch.ones(2, 3)}, tmp_path / "resnet.safetensors")
    found = told(tmp_path / "resnet.safetensors")
    assert found["layout"] == "unknown: not of a tool that SelfMAE reads"
    assert (found["encoder"], found["tensors"]) == ({}, {"layer1.0.conv1.weight": ["float32", 2, 3]})
    assert call("weights", tmp_path / "resnet.safetensors") == 0
    assert "layer1.*" in capsys.readouterr().out


def test_a_layout_that_cannot_be_used_says_why(tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"eva.blocks.0.attn.q_proj.weight": torch.ones(2, 2)}, tmp_path / "nnssl.safetensors")
    assert call("weights", tmp_path / "nnssl.safetensors") == 0
    assert "it has rotary positions and gated MLPs" in capsys.readouterr().out


def test_a_missing_file_is_one_sentence(tmp_path: Path, call: Call, error_line: Callable[[], str]) -> None:
    assert call("weights", tmp_path / "no.pth") == 2
    assert error_line() == (
        f"Error: Weights were expected in {tmp_path / 'no.pth'}, but there is no such file: check the path."
    )


class Payload:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_pickle_with_code_is_one_sentence_and_is_not_run(
    tmp_path: Path, call: Call, error_line: Callable[[], str]
) -> None:
    torch.save({"w": Payload(tmp_path / "trace")}, tmp_path / "evil.pth")
    assert call("weights", tmp_path / "evil.pth") == 2
    assert error_line().endswith(
        "it is damaged or holds more than tensors, and code in a file is never run; give a .safetensors file, or a "
        ".pth file of tensors only."
    )
    assert not (tmp_path / "trace").exists()
