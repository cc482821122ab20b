"""Inputs of a prediction: files of one channel are joined by name, a folder may be a whole source."""

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from selfmae.errors import UserError
from selfmae.experiment.predict import list_inputs, predict_one
from selfmae.recipe import load_recipe
from selfmae.tasks import make_task

MRI = ("T1", "T2")


def put(folder: Path, *names: str, channels: int = 1) -> Path:
    """Write a small NIfTI file for each name, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        values = np.full((6, 6, 6, channels)[: 4 if channels > 1 else 3], place, np.float32)
        nib.save(nib.Nifti1Image(values, np.eye(4)), folder / f"{name}.nii.gz")
    return folder


def listed(*typed: Path, channels: Sequence[str] = MRI) -> dict[str, list[str]]:
    return {image.name: [path.name.split(".")[0] for path in image.files] for image in list_inputs(typed, channels)}


def test_numbered_files_are_the_channels_of_an_image(tmp_path: Path) -> None:
    folder = put(tmp_path, "b_0001", "b_0000", "a_1_0000", "a_1_0001")
    expected = {"a_1": ["a_1_0000", "a_1_0001"], "b": ["b_0000", "b_0001"]}
    assert listed(folder) == listed(*sorted(folder.iterdir(), reverse=True)) == expected


def test_files_may_be_named_after_the_models_channels(tmp_path: Path) -> None:
    assert listed(put(tmp_path, "a_T2", "a_T1")) == {"a": ["a_T1", "a_T2"]}


def test_files_of_all_channels_are_images_of_their_own(tmp_path: Path) -> None:
    assert listed(put(tmp_path, "a_0000", "a_0001", channels=2)) == {"a_0000": ["a_0000"], "a_0001": ["a_0001"]}


def test_of_one_channel_only_the_number_0000_is_none_of_the_name(tmp_path: Path) -> None:
    assert listed(put(tmp_path / "x", "a_0000", "b_0000"), channels=("CT",)) == {"a": ["a_0000"], "b": ["b_0000"]}
    frames = put(tmp_path / "y", "a_0000", "a_0001")
    assert listed(frames, channels=("CT",)) == {"a_0000": ["a_0000"], "a_0001": ["a_0001"]}


def test_gray_pictures_are_images_of_a_colour_model(tmp_path: Path) -> None:
    for place in range(3):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"a_000{place}.png")
    assert list(listed(tmp_path, channels=("red", "green", "blue"))) == ["a_0000", "a_0001", "a_0002"]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (
            ("a_0000", "a_0001", "b_0000"),
            "must hold X_0000, X_0001 for every image X, but b_0001 is missing: the model ",
        ),
        (("a_0000", "a_0001", "a_0002"), "but a_0002.nii.gz is none of these: the model has the channels T1, T2; give"),
        (("a_T1", "a"), "must hold X_T1, X_T2 for every image X, but a.nii.gz is none of these, a_T2 is missing: "),
    ],
)
def test_a_missing_channel_is_named(tmp_path: Path, names: Sequence[str], text: str) -> None:
    with pytest.raises(UserError) as caught:
        listed(put(tmp_path, *names))
    assert text in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_two_files_of_one_channel_are_an_error(tmp_path: Path) -> None:
    put(tmp_path, "a_0000", "a_0001")
    (tmp_path / "a_0000.nrrd").touch()
    with pytest.raises(UserError, match=r"but a_0000.nrrd is a second one: "):
        listed(tmp_path)


def test_a_folder_may_be_a_source(tmp_path: Path) -> None:
    put(tmp_path / "imagesTr", "x_0000", "x_0001")
    put(tmp_path / "imagesTs", "y_0000", "y_0001")
    content = {"channel_names": {"0": "T2", "1": "T1"}, "labels": {"a": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    assert listed(tmp_path) == {"x": ["x_0001", "x_0000"], "y": ["y_0001", "y_0000"]}  # by name, not by place
    with pytest.raises(UserError, match="was read as nnunet with the channels T2, T1, but the model wants CT: give"):
        listed(tmp_path, channels=("CT",))


def test_folders_of_cases_lend_the_channels_that_the_model_wants(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        put(tmp_path / name, f"{name}_T1", f"{name}_T2", f"{name}_FLAIR")
    assert listed(tmp_path) == {"p1": ["p1_T1", "p1_T2"], "p2": ["p2_T1", "p2_T2"]}


def test_a_source_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"channel_names": ')
    with pytest.raises(UserError, match="is not valid JSON"):
        listed(tmp_path)


def test_joined_files_are_predicted_as_one_file_of_all_channels(tmp_path: Path, volume_recipe: Path) -> None:
    recipe = load_recipe(str(volume_recipe), [f"data.channels={list(MRI)}", f"data.cache={tmp_path}"])
    task, values = make_task(recipe), np.random.default_rng(0).normal(size=(20, 18, 16, 2)).astype(np.float32)
    for name, array in (("a_0000", values[..., 0]), ("a_0001", values[..., 1]), ("both", values)):
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
    model = task.build().eval()
    [joined] = list_inputs([tmp_path / "a_0001.nii.gz", tmp_path / "a_0000.nii.gz"], MRI)
    with torch.no_grad():
        whole = predict_one(task, model, (tmp_path / "both.nii.gz",))
        np.testing.assert_array_equal(predict_one(task, model, joined.files), whole)
