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

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.doctor import survey as look
from selfmae.data.files import masks
from selfmae.data.preparation import store
from selfmae.data.source import load_cases
from selfmae.errors import UserError
from selfmae.experiment.stages import probe_notes
from selfmae.recipe import load_recipe
from selfmae.tasks.probe import make_probe

Call = Callable[..., int]
WEIGHTS = "model.safetensors"


def load(path: Path) -> Any:
    return nib.load(path)


@pytest.fixture
def pretrained(volume_run: Path) -> Path:
    return volume_run / "pretrain-mae" / "fold0" / "seed0"


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
        metadata = json.loads(file.metadata()["metadata"])
    rows = splits_of(pretrained).values()
    assert metadata["kind"] == "pretrain"
    assert metadata["seen"] == sorted(row["hash"] for row in rows if row["split"] in ("train", "unlabelled"))
    assert {row["split"] for row in rows} == {"train", "val", "test", "unlabelled"}


def test_without_any_label_file_the_weights_are_the_same(
    tmp_path: Path, volumes: Path, volume_recipe: Path, call: Call
) -> None:
    copy = own_copy(volumes, tmp_path)
    sets = ("--set", f"data.source={copy}", "--set", "pretrain.augment.spatial.foreground=0.5")
    words = ("pretrain", volume_recipe, *sets, "--out")
    assert call(*words, tmp_path / "with") == 0
    shutil.rmtree(copy / "labelsTr")
    assert call(*words, tmp_path / "without") == 0
    assert (tmp_path / "with" / WEIGHTS).read_bytes() == (tmp_path / "without" / WEIGHTS).read_bytes()


def test_no_label_file_is_opened(
    tmp_path: Path, volume_recipe: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was opened")

    for module in (look, masks, store):
        monkeypatch.setattr(module, "read_mask", refuse)
    whole = nib.load
    monkeypatch.setattr(
        nib, "load", lambda path, **how: refuse(path) if "labelsTr" in str(path) else whole(path, **how)
    )
    assert (
        call("pretrain", volume_recipe, "--set", "pretrain.augment.spatial.foreground=0.5", "--out", tmp_path / "out")
        == 0
    )


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
    assert json.loads((tmp_path / "out" / "environment.json").read_text())["num_seen"] == 6


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
        assert {splits_of(pretrained)[name]["split"] for name in arrays["ids"]} == {"val"}


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


def looks_of(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    return [line for line in lines if "score" in line]


def test_a_probe_looks_at_fixed_steps_and_keeps_the_best_weights(
    tmp_path: Path, volume_recipe: Path, call: Call
) -> None:
    words = ("--set", "probe.every=1", "--set", "probe.kind=labels")
    assert call("pretrain", volume_recipe, "--out", tmp_path / "a", *words) == 0
    looks = looks_of(tmp_path / "a")
    assert [look["step"] for look in looks] == [1, 2, 3, 4]
    assert {"probe", "reconstruction", "mean_patch", "neighbour_copy"} <= set(looks[0])
    best = max(looks, key=lambda look: look["score"])["step"]
    words = (*words, "--set", f"pretrain.steps={best}")
    assert call("pretrain", volume_recipe, "--out", tmp_path / "b", *words) == 0
    assert looks_of(tmp_path / "b")[0] == looks[0]


def test_a_probe_of_labels_opens_none_of_val_and_test_cases(
    tmp_path: Path, volumes: Path, volume_recipe: Path, pretrained: Path, call: Call
) -> None:
    copy = own_copy(volumes, tmp_path)
    parts = {name: row["split"] for name, row in splits_of(pretrained).items()}
    for name in (name for name, part in parts.items() if part in ("val", "test")):
        (copy / "labelsTr" / f"{name}.nii.gz").write_bytes(b"whoever opens this fails")
    words = (f"data.source={copy}", f"data.cache={tmp_path / 'cache'}", "probe.every=2", "probe.kind=labels")
    sets = (word for text in words for word in ("--set", text))
    assert call("pretrain", volume_recipe, "--out", tmp_path / "out", *sets) == 0
    assert all(0 <= look["probe"] <= 1 for look in looks_of(tmp_path / "out"))
    counts = json.loads((tmp_path / "out" / "environment.json").read_text())["probe"]
    numbers = {part: list(parts.values()).count(part) for part in ("train", "val")}
    assert counts == dict(zip(("num_held_out", "num_labelled"), (numbers["val"], numbers["train"]), strict=True)) | {
        "num_held_out_patients": numbers["val"],
        "num_labelled_patients": numbers["train"],
    }


def test_a_probe_is_made_of_val_images_and_train_labels(volume_recipe: Path) -> None:
    recipe = load_recipe(str(volume_recipe), ("probe.kind=labels", "probe.every=1"))
    probe = make_probe(recipe, load_cases(recipe.data))
    assert probe is not None
    assert {case.split for case in probe.held_out} == {"val"}
    assert {case.split for case in probe.labelled} == {"train"}


def test_a_probe_may_end_pretraining_early(tmp_path: Path, volume_recipe: Path, call: Call) -> None:
    words = ("probe.every=1", "probe.patience=1", "pretrain.steps=40", "pretrain.lr=100.0")
    assert call("pretrain", volume_recipe, "--out", tmp_path, *(w for word in words for w in ("--set", word))) == 0
    assert looks_of(tmp_path)[-1]["step"] < 40


@pytest.mark.parametrize(
    ("kind", "text"),
    [("labels", "probe.kind labels reads the labels of training"), ("reconstruction", "validates on val images")],
)
def test_a_probe_needs_cases_to_look_at(volume_recipe: Path, kind: str, text: str) -> None:
    recipe = load_recipe(str(volume_recipe), (f"probe.kind={kind}", "probe.every=1"))
    case = Case("a", "a", (Path("a.nii"),), None, "unlabelled")
    cases = Cases(Path(), "msd", (case,), Labels("mask", ("x",), (1,)), ("x",))
    with pytest.raises(UserError, match=text):
        make_probe(recipe, cases)
    assert make_probe(load_recipe(str(volume_recipe)), cases) is None


def test_a_run_says_what_chooses_its_pretrained_weights(volume_recipe: Path) -> None:
    def notes(*words: str) -> list[str]:
        return probe_notes(load_recipe(str(volume_recipe), words))

    assert notes() == []
    (note,) = notes("probe.every=50", "probe.patience=3")
    assert "every 50 steps" in note
    assert "reconstruct hidden patches of validation images best" in note
    assert "stops after 3 validations without a better one" in note
    assert "reads the labels of training cases best" in notes("probe.every=50", "probe.kind=labels")[0]
