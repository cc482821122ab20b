"""Starts from the command line: pre-training that continues from weights, volumes from images, and what is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm.models.vision_transformer as timm_vit
import torch
from safetensors.torch import load_file, save_file

from selfmae.display import Display
from selfmae.experiment import initialization as start_module
from selfmae.experiment.initialization import Initialization, find_init, say_init
from selfmae.recipe import load_recipe
from selfmae.results.exposure import ExposureLog
from selfmae.weights.file import read_metadata

Call = Callable[..., int]


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    """Return a file of timm's ViT for RGB images of 32 pixels, patch 16."""
    torch.manual_seed(0)
    model = timm_vit.VisionTransformer(32, 16, 3, embed_dim=48, depth=2, num_heads=2)
    save_file(dict(model.state_dict()), tmp_path / "vit.safetensors")
    return tmp_path / "vit.safetensors"


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "environment.json").read_text())["init"]
    return report


def test_pretraining_continues_from_weights_of_images(
    tmp_path: Path, vit: Path, picture_recipe: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    still = ("--set", "pretrain.lr=1e-12", "--set", "pretrain.weight_decay=0")
    assert call("pretrain", picture_recipe, "--out", tmp_path / "out", "--init", vit, *still) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert (
        f"Initialization {vit} (timm ViT): 28 tensors of the encoder loaded as they are, 2 adapted, 0 fresh "
        "(patch_embed.proj.weight: 3 to 1 channels by their sum, patch 16x16 to 8x8 by resampling; pos_embed: 2x2 to "
        "4x4 patches by interpolation); 20 new beside the encoder, 2 of the file not used."
    ) in said
    report, ours = report_of(tmp_path / "out"), load_file(tmp_path / "out" / "model.safetensors")
    assert report["layout"] == "timm ViT"
    assert set(report["adapted"]) == {"patch_embed.proj.weight", "pos_embed"}
    for name, tensor in load_file(vit).items():
        if name.startswith("blocks"):
            torch.testing.assert_close(ours[f"encoder.{name}"], tensor, atol=1e-6, rtol=0)
    metadata = read_metadata(tmp_path / "out" / "model.safetensors")
    assert (metadata["init"], metadata["unlisted"]) == (str(vit), ["vit.safetensors"])


def test_what_a_file_of_another_tool_has_seen_stays_unknown_for_all_that_begins_from_it(
    tmp_path: Path, vit: Path, picture_recipe: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("pretrain", picture_recipe, "--out", tmp_path / "pre", "--init", vit) == 0
    assert call("finetune", picture_recipe, "--out", tmp_path / "fit", "--init", f"mae:{tmp_path / 'pre'}") == 0
    assert call("compare", tmp_path / "fit") == 0
    sentence = (
        "vit.safetensors does not list the images seen in training: if a test patient is among them, the score of mae "
        "is too good."
    )
    assert sentence in " ".join(capsys.readouterr().out.split())
    assert call("weights", tmp_path / "fit") == 0
    assert "began from files that list no images" in capsys.readouterr().out


def test_the_initialization_of_a_pretraining_belongs_to_its_recipe(
    tmp_path: Path, vit: Path, picture_recipe: Path, call: Call, error_line: Callable[[], str]
) -> None:
    assert call("pretrain", picture_recipe, "--out", tmp_path / "out", "--init", vit) == 0
    assert call("pretrain", picture_recipe, "--out", tmp_path / "out", "--init", vit) == 0
    assert call("pretrain", picture_recipe, "--out", tmp_path / "out") == 2
    assert f"another recipe, which differs in init.pretrain (scratch, was {vit})" in error_line()


def test_volumes_start_from_weights_of_images(tmp_path: Path, vit: Path, volume_recipe: Path, call: Call) -> None:
    words = ("--init", vit, "--set", "init.inflate=centre", "--set", "init.positions=factorised")
    assert call("finetune", volume_recipe, "--out", tmp_path / "out", *words) == 0
    report = report_of(tmp_path / "out")
    assert report["adapted"]["patch_embed.proj.weight"].endswith("inflated over a depth of 8 (centre)")
    assert report["fresh"] == {}
    assert not any(name.startswith("encoder.") for name in report["new"])


def test_less_than_the_encoder_needs_partial(
    tmp_path: Path, vit: Path, picture_recipe: Path, call: Call, error_line: Callable[[], str]
) -> None:
    words = ("finetune", picture_recipe, "--out", tmp_path / "out", "--init", vit, "--set", "model.depth=3")
    assert call(*words) == 2
    assert error_line().endswith("change model.depth, or give --partial to start with what there is.")
    assert not (tmp_path / "out").exists()
    assert call(*words, "--partial") == 0
    assert len(report_of(tmp_path / "out")["fresh"]) == 12


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_an_unknown_initialization_is_one_sentence(
    tmp_path: Path, picture_recipe: Path, call: Call, error_line: Callable[[], str], command: str
) -> None:
    assert call(command, picture_recipe, "--out", tmp_path / "out", "--init", "imagnet") == 2
    flag = "init.pretrain" if command == "pretrain" else "--init"
    assert error_line() == (
        f"Error: {flag} 'imagnet' must be scratch, imagenet, timm:NAME, mae:DIR, masked_unet:DIR, moco:DIR or an "
        "existing file of weights."
    )
    assert not (tmp_path / "out").exists()


def test_pretraining_refuses_weights_that_saw_a_test_image(
    tmp_path: Path, picture_recipe: Path, picture_run: Path, call: Call, error_line: Callable[[], str]
) -> None:
    from selfmae.weights.file import read_weights, save_weights

    folder = picture_run / "pretrain-mae" / "fold0" / "seed0"
    row = next(row for row in (folder / "cases.csv").read_text().splitlines() if ",test," in row)
    weights, metadata = read_weights(folder / "model.safetensors")
    save_weights(tmp_path / "leaky.safetensors", weights, metadata | {"seen": [row.split(",")[-1]]})
    words = ("--init", tmp_path / "leaky.safetensors")
    assert call("pretrain", picture_recipe, "--out", tmp_path / "out", *words) == 2
    assert "were trained on 1 image of this split's val or test part" in error_line()


def test_a_run_finds_a_wrong_initialization_of_pretraining_before_it_trains(
    tmp_path: Path, radiographs: Path, small_pictures: list[str], call: Call, error_line: Callable[[], str]
) -> None:
    words = (*small_pictures, "--set", "init.pretrain=none.pth")
    assert call("run", radiographs, "--out", tmp_path / "out", *words) == 2
    assert "init.pretrain 'none.pth' must be scratch, imagenet" in error_line()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("text", "name"), [("imagenet", "vit_tiny"), ("timm:deit_tiny_patch16_224", "deit_tiny")])
def test_timms_weights_bring_their_licence(
    picture_recipe: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str
) -> None:
    model = timm_vit.VisionTransformer(32, 16, 3, embed_dim=192, depth=12, num_heads=3)
    asked: list[str] = []

    def download(timm_name: str) -> tuple[Any, str]:
        asked.append(timm_name)
        return model.state_dict(), "some-licence"

    monkeypatch.setattr(start_module, "timm_weights", download)
    sets = ("model.width=192", "model.depth=12", "model.heads=3")
    init = find_init(text, load_recipe(str(picture_recipe), sets))
    assert asked[0].startswith(name)
    assert (init.kind, init.seen) == (text.partition(":")[0], ExposureLog())
    assert init.licence == f"some-licence ({asked[0]})"


def test_facebooks_licence_goes_with_its_weights(
    tmp_path: Path, vit: Path, picture_recipe: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"mask_token": torch.ones(1, 1, 8), "decoder_blocks.0.norm1.weight": torch.ones(8)}
    save_file(load_file(vit) | more, tmp_path / "mae.safetensors")
    known = "not stated in the file; facebook's CC BY-NC 4.0"
    assert find_init(str(tmp_path / "mae.safetensors"), load_recipe(str(picture_recipe))).licence == known
    assert find_init(str(vit), load_recipe(str(picture_recipe))).licence == "not stated"
    assert call("weights", tmp_path / "mae.safetensors") == 0
    assert known in capsys.readouterr().out


def test_random_weights_are_nothing_to_tell(capsys: pytest.CaptureFixture[str]) -> None:
    assert Initialization("scratch", "scratch").weights is None
    say_init({"kind": "scratch", "name": "scratch"}, Display())
    assert capsys.readouterr().err == ""
