"""Self pre-training sees the training images and nothing else: no label, no val image, no test image."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from safetensors import safe_open

from selfmae.data import images, store, survey

Call = Callable[..., int]
WEIGHTS = "model.safetensors"


def load(path: Path) -> Any:
    return nib.load(path)


@pytest.fixture
def pretrained(volume_run: Path) -> Path:
    return volume_run / "pretrain" / "fold0" / "seed0"


def own_copy(volumes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(volumes, tmp_path / "copy"))


def splits_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "cases.csv").open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def tensors(path: Path) -> dict[str, bytes]:
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


def test_the_command_makes_the_weights_that_a_run_makes(
    tmp_path: Path, volume_recipe: Path, pretrained: Path, call: Call
) -> None:
    assert call("pretrain", volume_recipe, "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (pretrained / WEIGHTS).read_bytes()


def test_only_training_and_unlabelled_images_are_seen(pretrained: Path) -> None:
    with safe_open(pretrained / WEIGHTS, framework="np") as file:
        contract = json.loads(file.metadata()["contract"])
    rows = splits_of(pretrained).values()
    assert contract["kind"] == "pretrain"
    assert contract["seen"] == sorted(row["hash"] for row in rows if row["split"] in ("train", "unlabelled"))
    assert {row["split"] for row in rows} == {"train", "val", "test", "unlabelled"}


def test_without_any_label_file_the_weights_are_the_same(
    tmp_path: Path, volumes: Path, volume_recipe: Path, call: Call
) -> None:
    copy = own_copy(volumes, tmp_path)
    words = ("pretrain", volume_recipe, "--set", f"data.source={copy}", "--out")
    assert call(*words, tmp_path / "with") == 0
    shutil.rmtree(copy / "labelsTr")
    assert call(*words, tmp_path / "without") == 0
    assert (tmp_path / "with" / WEIGHTS).read_bytes() == (tmp_path / "without" / WEIGHTS).read_bytes()


def test_no_label_file_is_opened(
    tmp_path: Path, volume_recipe: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was opened")

    for module in (images, store, survey):
        monkeypatch.setattr(module, "read_mask", refuse)
    whole = nib.load
    monkeypatch.setattr(nib, "load", lambda path: refuse(path) if "labelsTr" in str(path) else whole(path))
    assert call("pretrain", volume_recipe, "--out", tmp_path / "out") == 0


def test_other_pixels_of_val_and_test_change_no_weight(
    tmp_path: Path, volumes: Path, volume_recipe: Path, pretrained: Path, call: Call
) -> None:
    copy = own_copy(volumes, tmp_path)
    for name, row in splits_of(pretrained).items():
        if row["split"] in ("val", "test"):
            for folder in ("imagesTr", "labelsTr"):
                path = copy / folder / f"{name}.nii.gz"
                image = load(path)
                nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj)[::-1] // 2, image.affine), path)
    assert call("pretrain", volume_recipe, "--set", f"data.source={copy}", "--out", tmp_path / "out") == 0
    assert tensors(tmp_path / "out" / WEIGHTS) == tensors(pretrained / WEIGHTS)


def test_other_pixels_of_a_training_image_change_the_weights(
    tmp_path: Path, volumes: Path, volume_recipe: Path, pretrained: Path, call: Call
) -> None:
    copy = own_copy(volumes, tmp_path)
    name = next(name for name, row in splits_of(pretrained).items() if row["split"] == "train")
    path = copy / "imagesTr" / f"{name}.nii.gz"
    image = load(path)
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj)[::-1], image.affine), path)
    assert call("pretrain", volume_recipe, "--set", f"data.source={copy}", "--out", tmp_path / "out") == 0
    assert tensors(tmp_path / "out" / WEIGHTS) != tensors(pretrained / WEIGHTS)


def test_a_finished_pretraining_stays_as_it_is(
    tmp_path: Path, volume_recipe: Path, call: Call, bytes_of: Callable[..., dict[str, bytes]]
) -> None:
    words = ("pretrain", volume_recipe, "--out", tmp_path / "out")
    assert call(*words) == 0
    before = bytes_of(tmp_path / "out")
    assert call(*words) == 0
    assert bytes_of(tmp_path / "out") == before


def test_the_unlabelled_images_can_be_left_out(tmp_path: Path, volume_recipe: Path, call: Call) -> None:
    words = ("pretrain", volume_recipe, "--out", tmp_path / "out", "--set", "data.pretrain_on=[train]")
    assert call(*words) == 0
    assert json.loads((tmp_path / "out" / "where.json").read_text())["num_seen"] == 6


def test_a_part_without_images_is_an_error(
    tmp_path: Path, radiographs: Path, picture_recipe: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line for line in radiographs.read_text().splitlines() if "unlabelled" not in line]
    table = radiographs.parent / "labelled-only.csv"
    table.write_text("\n".join(lines) + "\n")
    words = ("--set", "data.pretrain_on=[unlabelled]", "--set", f"data.source={table}")
    assert call("pretrain", picture_recipe, "--out", tmp_path / "out", *words) == 2
    text = "data.pretrain_on names ['unlabelled'], but the source has no such case: add 'train'."
    assert text in capsys.readouterr().err


def test_figures_show_validation_images(pretrained: Path) -> None:
    with np.load(pretrained / "figures" / "reconstructions.npz") as arrays:
        ids = list(arrays["ids"])
        assert {splits_of(pretrained)[name]["split"] for name in ids} == {"val"}
        tiles = {name: tiles_of(arrays[name]) for name in ("original", "masked", "reconstructed")}
    shows = np.ptp(tiles["original"], axis=1) > 0  # a hidden patch of plain background looks as if it were visible
    visible = shows & (tiles["masked"] == tiles["original"]).all(axis=1)
    assert visible.any()
    assert (shows & ~visible).any()
    np.testing.assert_array_equal(tiles["reconstructed"][visible], tiles["original"][visible])
    assert (tiles["reconstructed"][shows & ~visible] != tiles["original"][shows & ~visible]).any()


def tiles_of(slices: np.ndarray) -> np.ndarray:
    """Return the patches [T, 64] of slices [N, 16, 16]."""
    return slices.reshape(-1, 2, 8, 2, 8).swapaxes(2, 3).reshape(-1, 64)


def test_a_case_added_to_the_source_is_told_not_mixed_in(
    tmp_path: Path, volumes: Path, volume_recipe: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = own_copy(volumes, tmp_path)
    words = ("pretrain", volume_recipe, "--set", f"data.source={copy}", "--out", tmp_path / "out")
    assert call(*words) == 0
    image = load(copy / "imagesTs" / "unlabelled_000.nii.gz")
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj)[::-1], image.affine), copy / "imagesTs/unlabelled_000.nii.gz")
    assert call(*words) == 2
    assert "first difference: case 'unlabelled_000', see cases.csv" in capsys.readouterr().err
