"""`selfmae export`: files that the other tool loads, equal outputs, and what is before and after the model."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer

from selfmae.experiment import export as export_job
from selfmae.experiment.evaluate import load_model
from selfmae.experiment.export import input_of, output_of
from selfmae.recipe import load_recipe

Call = Callable[..., int]


def cell(run: Path, init: str = "mae") -> Path:
    return run / init / "fold0" / "seed0"


def test_timm_loads_the_file_and_gives_equal_logits(tmp_path: Path, picture_run: Path, call: Call) -> None:
    out = tmp_path / "new" / "vit.safetensors"
    assert call("export", cell(picture_run), "--to", "timm", "--out", out) == 0
    side = json.loads(Path(f"{out}.json").read_text())
    assert side["model"] == "timm.models.vision_transformer.VisionTransformer"
    theirs = VisionTransformer(**side["arguments"])
    theirs.load_state_dict(load_file(out), strict=True)
    recipe, ours = load_model(cell(picture_run))
    images = torch.randn(2, 1, *recipe.data.crop)
    torch.testing.assert_close(theirs.eval()(images), ours(images), rtol=1e-4, atol=1e-4)
    assert side["metadata"]["kind"] == "finetune"
    assert next(iter(side)) == "input"
    assert [*side][-1] == "metadata"
    assert [*side["metadata"]][-4:] == ["chosen_on", "seen", "seen_sets", "unlisted"]  # long lists stand last


def test_monai_loads_a_torch_file(tmp_path: Path, picture_run: Path, call: Call) -> None:
    from monai.networks.nets import ViT

    out = tmp_path / "vit.pth"
    assert call("export", cell(picture_run), "--to", "monai", "--out", out) == 0
    side = json.loads(Path(f"{out}.json").read_text())
    theirs: Any = ViT(**side["arguments"])
    theirs.load_state_dict(torch.load(out, weights_only=True), strict=True)
    assert side["after_building"].endswith("module.eps = 1e-06")
    assert side["returns"] == "(output, hidden states of the blocks)"
    exec(side["after_building"], {"model": theirs, "torch": torch})
    recipe, ours = load_model(cell(picture_run))
    images = torch.randn(2, 1, *recipe.data.crop)
    torch.testing.assert_close(theirs.eval()(images)[0], ours(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("run", ["picture_run", "volume_run"])
def test_onnxruntime_gives_equal_logits_for_any_batch(
    tmp_path: Path, run: str, call: Call, request: pytest.FixtureRequest
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    folder, out = cell(request.getfixturevalue(run), "scratch"), tmp_path / "model.onnx"
    assert call("export", folder, "--to", "onnx", "--out", out) == 0
    session = onnxruntime.InferenceSession(str(out))
    recipe, ours = load_model(folder)
    for batch in (1, 3):
        images = torch.randn(batch, len(recipe.data.channels), *recipe.data.crop)
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), ours(images), rtol=1e-4, atol=1e-4)
    told = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    assert told == {"input": input_of(recipe), "output": output_of(recipe)}
    assert told.items() <= json.loads(Path(f"{out}.json").read_text()).items()


def test_the_preparation_is_told_step_by_step(volume_recipe: Path) -> None:
    sets = ("data.intensity=window", "data.window=[-175,250]", "data.spacing_mm=[1.5,1.5,2]", "data.mean=0.5")
    told = input_of(load_recipe(str(volume_recipe), [*sets, "data.crop_foreground=true", "data.equalise=true"]))
    assert told["shape"] == ["batch", 1, 16, 16, 16]
    assert told["preparation"] == [
        "bring the axes into the order and directions nearest to RAS (nibabel.as_closest_canonical), channel first",
        "equalise each channel: its cumulated histogram (256 bins, linear in a bin)",
        "resample to a spacing of [1.5, 1.5, 2.0] mm: round(size * old spacing / new spacing) voxels",
        "map [-175.0, 250.0] to 0 and 1, clip beyond",
        "round to float16, as in training, and go on in float32",
        "keep the box of all voxels that are above the lowest value of their channel, in any channel",
        "subtract 0.5, divide by 1.0",
        "pad with zeros where smaller than the crop (missing // 2 before, the rest behind)",
    ]
    assert told["interpolation"] == (
        "linear, edges aligned (align_corners=False); where one axis alone of the file (else of the new grid) is more "
        "than 3 times as coarse as the finest, the others first, then that one by nearest neighbour"
    )


def test_a_grid_at_the_origin_is_told(volume_recipe: Path) -> None:
    recipe = load_recipe(str(volume_recipe), ["data.spacing_mm=[1.5,1.5,2]", "data.anisotropy=0", "data.align=origin"])
    told = input_of(recipe)
    assert any("round((size - 1) * old / new spacing + 1) voxels" in step for step in told["preparation"])
    assert told["interpolation"] == (
        "linear, the centre of the first voxel and the spacing kept, as in monai.transforms.Spacing"
    )
    assert "resample the logits linearly to the file's grid, the first voxel kept" in output_of(recipe)["steps"]


def test_the_preparation_has_the_order_of_the_code(volume_recipe: Path, picture_recipe: Path) -> None:
    sets = ("data.intensity=zscore_nonzero", "data.normalise_crops=true", "data.crop_foreground=true")
    *_, divided, rounded, box, scaled, padded = input_of(load_recipe(str(volume_recipe), sets))["preparation"]
    assert divided == "divide each channel by the mean of its absolute values"
    assert rounded.startswith("round to float16")
    assert box.startswith("keep the box of all voxels that are not 0")
    assert scaled.startswith("subtract mean and divide by deviation")
    assert padded.startswith("pad with zeros")
    sets = ("data.size=[64,64]", "data.crop=[48,48]", "data.mean=0.5")
    *_, middle, padded, shifted = input_of(load_recipe(str(picture_recipe), sets))["preparation"]
    assert middle == "take the middle [48, 48], from (size - crop) // 2"
    assert padded.startswith("pad with zeros")
    assert shifted == "subtract 0.5, divide by 1.0"


def test_the_output_is_told_for_every_kind_of_target(volume_recipe: Path, picture_recipe: Path) -> None:
    labels = load_recipe(str(volume_recipe))
    told = output_of(labels)
    assert told["names"] == ["background", *labels.target.names]
    assert told["values"] == [0, *labels.target.values]
    assert (told["function"], told["steps"][-2]) == ("softmax", "the largest output is the label, `values` its number")
    assert told["steps"][-1] == "bring the axes back into the order of the file"
    boxed = output_of(load_recipe(str(volume_recipe), ["data.crop_foreground=true"]))["steps"]
    assert "background where the centre of a voxel lies outside that box" in boxed
    regions = output_of(load_recipe(str(volume_recipe), [f"target.regions={{all: {list(labels.target.values)}}}"]))
    assert (regions["names"], regions["function"]) == (["all"], "sigmoid")
    assert output_of(load_recipe(str(picture_recipe)))["function"] == "sigmoid"


@pytest.mark.parametrize(
    ("to", "out", "text"),
    [
        ("tim", "x.pth", "--to 'tim' is no format that models are exported to. Did you mean 'timm'?"),
        ("onnx", "x.pth", "--out {tmp}/x.pth must end with .onnx for --to onnx."),
        ("timm", "there.pth", "{tmp}/there.pth exists already, and an export overwrites nothing: choose another"),
    ],
)
def test_wrong_words_are_one_sentence(
    tmp_path: Path, picture_run: Path, call: Call, error_line: Callable[[], str], to: str, out: str, text: str
) -> None:
    (tmp_path / "there.pth").touch()
    assert call("export", cell(picture_run), "--to", to, "--out", tmp_path / out) == 2
    assert text.format(tmp=tmp_path) in error_line()


def test_a_folder_without_a_model_is_named(tmp_path: Path, call: Call, error_line: Callable[[], str]) -> None:
    assert call("export", tmp_path, "--to", "timm", "--out", tmp_path / "x.pth") == 2
    text = f"{tmp_path} holds no trained model (model.safetensors): name the folder of a finished training."
    assert text in error_line()


def test_a_run_folder_names_one_of_its_models(
    picture_run: Path, tmp_path: Path, call: Call, error_line: Callable[[], str]
) -> None:
    assert call("export", picture_run / "mae", "--to", "timm", "--out", tmp_path / "x.pth") == 2
    assert f"name one of its models, for example {picture_run / 'mae' / 'fold0' / 'seed0'}." in error_line()


def test_a_model_that_the_other_tool_has_not_is_refused_without_a_trace(
    tmp_path: Path, volume_run: Path, call: Call, error_line: Callable[[], str]
) -> None:
    assert call("export", cell(volume_run), "--to", "monai", "--out", tmp_path / "new" / "x.pth") == 2
    assert "the model is not MONAI's UNETR (model.patch [8, 8, 8] is not 16 on every axis; " in error_line()
    assert not (tmp_path / "new").exists()


def test_a_pretrained_encoder_is_no_model_for_onnx(
    tmp_path: Path, picture_run: Path, call: Call, error_line: Callable[[], str]
) -> None:
    assert call("export", cell(picture_run, "pretrain-mae"), "--to", "onnx", "--out", tmp_path / "x.onnx") == 2
    assert "holds a pre-trained encoder, but --to onnx is for models that predict: fine-tune it." in error_line()


def test_a_missing_extra_names_the_command(
    tmp_path: Path, picture_run: Path, call: Call, error_line: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_job, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert call("export", cell(picture_run), "--to", "onnx", "--out", tmp_path / "x.onnx") == 2
    assert 'needs onnx and onnxscript: run `pip install "selfmae[onnx]"`.' in error_line()
