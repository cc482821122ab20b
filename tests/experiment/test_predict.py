"""Prediction of new images: on the image's own grid, with the labels of the training masks, as evaluation does it."""

import csv
import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from selfmae.data.case import Case
from selfmae.data.files.images import read_image
from selfmae.data.files.masks import write_mask
from selfmae.data.generated.sets import write_volumes
from selfmae.experiment.predict import predict_one
from selfmae.metrics.segmentation import score_masks
from selfmae.recipe import load_recipe
from selfmae.tasks import make_task

Call = Callable[..., int]
VALUES = (3, 9)
SETTINGS = ("data.crop=[16,16,8]", "model.patch=[8,8,4]", "data.spacing_mm=[1.5,1.5,3.0]", "fit.lr=0.01")


def load(path: Path) -> Any:
    return nib.load(path)


@pytest.fixture(scope="module")
def odd_volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return paired volumes in LPS and permuted order, thick slices, not square, with the labels 3 and 9."""
    folder = tmp_path_factory.mktemp("odd")
    write_volumes(folder / "plain", 8, 0, (16, 20, 17), spacing_mm=(1.5, 1.2, 2.5))
    for path in (folder / "plain").glob("*Tr/*.nii.gz"):
        volume = load(path)
        array = np.asanyarray(volume.dataobj)
        if path.parent.name == "labelsTr":
            array = (np.isin(array, (1, 2)) * VALUES[0] + np.isin(array, (3, 4, 5)) * VALUES[1]).astype(np.uint8)
        turned = nib.Nifti1Image(array, volume.affine).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
        place = folder / "odd" / {"imagesTr": "images", "labelsTr": "labels"}[path.parent.name] / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(gzip.compress(turned.to_bytes(), mtime=0))
    return folder / "odd"


def train(call: Call, source: Path, out: Path, words: list[str], *settings: str) -> Path:
    more = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
    assert call("run", source, "--out", out, "--init", "scratch", *words, *more) == 0
    return out / "scratch" / "fold0" / "seed0"


@pytest.fixture(scope="module")
def odd_model(odd_volumes: Path, call: Call, small_volumes: list[str]) -> Path:
    return train(call, odd_volumes, odd_volumes.parent / "run", small_volumes)


@pytest.fixture(scope="module")
def predicted(odd_model: Path, odd_volumes: Path, call: Call) -> Path:
    out = odd_volumes.parent / "predicted"
    assert call("predict", odd_model, odd_volumes / "images", "--out", out) == 0
    return out


def test_each_mask_lies_on_its_images_own_grid(predicted: Path, odd_volumes: Path) -> None:
    for path in (odd_volumes / "images").iterdir():
        image, mask = load(path), load(predicted / path.name)
        assert nib.aff2axcodes(mask.affine) == nib.aff2axcodes(image.affine) != ("R", "A", "S")
        np.testing.assert_array_equal(mask.affine, image.affine)
        assert mask.shape == image.shape


def test_masks_hold_the_label_values_of_the_training_masks(predicted: Path) -> None:
    found = {int(value) for path in predicted.iterdir() for value in np.unique(np.asanyarray(load(path).dataobj))}
    assert found <= {0, *VALUES}
    assert found & set(VALUES)


def test_scores_of_predicted_files_are_those_of_the_evaluation(
    predicted: Path, odd_model: Path, odd_volumes: Path
) -> None:
    labels = {f"label_{value}": (value,) for value in VALUES}
    with (odd_model / "rows-test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        truth = load(odd_volumes / "labels" / f"{row['id']}.nii.gz")
        ours = np.asanyarray(load(predicted / f"{row['id']}.nii.gz").dataobj)
        scores = score_masks(ours, np.asanyarray(truth.dataobj), labels, truth.header.get_zooms())
        for name, score in scores.items():
            assert float(row[name] or "nan") == pytest.approx(score if score is not None else np.nan, nan_ok=True)


def test_a_model_of_two_gpus_predicts_on_a_machine_with_none(
    tmp_path: Path, predicted: Path, odd_model: Path, odd_volumes: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    model = Path(shutil.copytree(odd_model, tmp_path / "model"))
    recipe = yaml.safe_load((model / "recipe.yaml").read_text())
    recipe["device"] |= {"accelerator": "cuda", "devices": 2, "shard": True}
    (model / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert call("predict", model, odd_volumes / "images", "--out", tmp_path / "out") == 0
    for path in predicted.iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_regions_are_one_file_each(tmp_path: Path, odd_volumes: Path, call: Call, small_volumes: list[str]) -> None:
    model = train(call, odd_volumes, tmp_path / "run", small_volumes, "target.regions={all: [3, 9], tube: [9]}")
    image = next((odd_volumes / "images").iterdir())
    assert call("predict", model, image, "--out", tmp_path / "out") == 0
    stem = image.name.removesuffix(".nii.gz")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{stem}_all.nii.gz", f"{stem}_tube.nii.gz"}
    mask = load(tmp_path / "out" / f"{stem}_all.nii.gz")
    assert mask.shape == load(image).shape
    assert set(np.unique(np.asanyarray(mask.dataobj))) <= {0, 1}


def test_findings_of_pictures_are_a_table_with_a_column_each(
    tmp_path: Path, picture_run: Path, radiographs: Path, call: Call
) -> None:
    cell = picture_run / "mae" / "fold0" / "seed0"
    assert call("predict", cell, radiographs.parent / "images", "--out", tmp_path) == 0
    with (tmp_path / "predictions.csv").open(newline="") as file:
        predicted = {Path(row["image"]).stem: row for row in csv.DictReader(file)}
    with (cell / "rows-test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(predicted) == 34
    for row in rows:
        found = next(item for stem, item in predicted.items() if row["id"].endswith(stem))
        for name in ("cardiomegaly", "nodule", "pneumothorax"):
            assert float(found[name]) == pytest.approx(float(row[f"probability_{name}"]), abs=1e-6)


def test_members_of_an_archive_can_be_predicted(tmp_path: Path, picture_run: Path, call: Call) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", test_images=pixels)
    Image.fromarray(pixels[1]).save(tmp_path / "same.png")
    inputs = (tmp_path / "set.npz" / "test_images" / "1", tmp_path / "same.png")
    assert call("predict", picture_run / "mae/fold0/seed0", *inputs, "--out", tmp_path / "out") == 0
    first, second = (tmp_path / "out" / "predictions.csv").read_text().splitlines()[1:]
    assert first.split(",")[0] == str(inputs[0])
    assert first.split(",")[1:] == second.split(",")[1:]


@pytest.mark.parametrize(("name", "mask"), [("a.b.png", "a.b.png"), ("c.tif", "c.png"), ("d.npy", "d.npy")])
def test_pictures_and_arrays_get_masks_named_like_them(
    tmp_path: Path, call: Call, small_pictures: list[str], name: str, mask: str
) -> None:
    rng = np.random.default_rng(0)
    for place in range(6):
        for folder in ("images", "labels"):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 2 if folder == "labels" else 255, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / folder / f"{place}.png")
    words = ("--out", tmp_path / "run", "--init", "scratch", *small_pictures, "--set", "model.network=unetr")
    assert call("run", tmp_path / "set", *words) == 0
    pixels = rng.integers(0, 255, (24, 40), dtype=np.uint8)
    np.save(tmp_path / name, pixels) if name.endswith("npy") else Image.fromarray(pixels).save(tmp_path / name)
    assert call("predict", tmp_path / "run/scratch/fold0/seed0", tmp_path / name, "--out", tmp_path / "out") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [mask]
    assert read_image((tmp_path / "out" / mask,)).array.shape == (1, 24, 40)


def test_nothing_is_overwritten(
    predicted: Path, odd_model: Path, odd_volumes: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in predicted.iterdir()}
    assert call("predict", odd_model, odd_volumes / "images", "--out", predicted) == 2
    assert "exists already, and predictions overwrite nothing: choose another --out." in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in predicted.iterdir()} == before


def test_where_the_predictions_are_is_told(
    odd_model: Path, odd_volumes: Path, tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    image = min((odd_volumes / "images").iterdir())
    assert call("predict", odd_model, image, "--out", tmp_path / "out") == 0
    assert f"The predictions of 1 image are in {tmp_path / 'out'}." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda out: out.touch(), "Error: {out} could not be read or written (File exists): check path,"),
        (lambda out: (out.mkdir(), (out / "recipe.yaml").touch()), "--out {out} is a folder of trained models: choose"),
    ],
)
def test_a_place_for_no_predictions_is_a_sentence(
    odd_model: Path,
    odd_volumes: Path,
    tmp_path: Path,
    call: Call,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], object],
    text: str,
) -> None:
    out = tmp_path / "out"
    make(out)
    assert call("predict", odd_model, odd_volumes / "images", "--out", out) == 2
    assert text.format(out=out) in capsys.readouterr().err


def bad_input(folder: Path, kind: str, good: Path) -> list[Path]:
    path = folder / "bad.nii.gz"
    volume = load(good)
    array = np.asanyarray(volume.dataobj).astype(np.float32)
    if kind == "channels":
        nib.save(nib.Nifti1Image(np.stack([array, array], axis=-1), volume.affine), path)
    elif kind == "axes":
        path = folder / "bad.png"
        Image.fromarray(np.zeros((16, 16), dtype=np.uint8)).save(path)
    elif kind == "nan":
        array[0, 0, 0] = np.nan
        nib.save(nib.Nifti1Image(array, volume.affine), path)
    elif kind == "spacing":
        path = folder / "bad.npy"
        np.save(path, array)
    elif kind == "kind":
        path = folder / "bad.txt"
        path.write_text("no image")
    elif kind == "folder":
        path = folder / "empty"
        path.mkdir()
    elif kind == "truncated":
        path.write_bytes(good.read_bytes()[:200])
    elif kind == "twice":
        shutil.copy(good, path)
        (folder / "other").mkdir()
        shutil.copy(good, folder / "other" / path.name)
        return [path, folder / "other" / path.name]
    return [path]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("channels", "has 2 channels and 3 axes, but the model wants 1 channels ("),
        ("axes", "has 1 channels and 2 axes, but the model wants 1 channels ("),
        ("nan", "holds values that are not finite (NaN or infinite): repair the image."),
        ("spacing", "holds no spacing, but the model wants images of a known one: give a NIfTI file."),
        ("kind", "is no image file that can be read: expected .nii, .nii.gz, .nrrd"),
        ("folder", "holds no images (NIfTI, NRRD, MHA, PNG, JPEG, TIFF, .npy, DICOM): check the path."),
        ("truncated", "could not be read ("),
        ("missing", "was expected, but there is no such file: check the path."),
        ("twice", "would both be predicted into bad.nii.gz: predict them apart."),
    ],
)
def test_what_cannot_be_predicted_is_told_by_name(
    tmp_path: Path,
    odd_model: Path,
    odd_volumes: Path,
    call: Call,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    text: str,
) -> None:
    inputs = bad_input(tmp_path, kind, next((odd_volumes / "images").iterdir()))
    assert call("predict", odd_model, *inputs, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("Error: ")
    assert text in error
    assert str(inputs[0]) in error
    assert not list((tmp_path / "out").glob("*"))


def test_a_written_mask_reads_back_as_it_was(tmp_path: Path, odd_volumes: Path) -> None:
    like = next((odd_volumes / "images").iterdir())
    array = np.zeros(read_image((like,)).array.shape[1:], dtype=int)
    array[0, 1, 2] = 300
    write_mask(array, tmp_path / "mask.nii.gz", like)
    np.testing.assert_array_equal(read_image((tmp_path / "mask.nii.gz",)).array[0], array)


def test_a_file_is_cropped_to_its_foreground_as_a_case_is(volumes: Path, volume_recipe: Path, tmp_path: Path) -> None:
    words = ("data.crop_foreground=true", "data.intensity=window", "data.window=[-500, 500]", f"data.cache={tmp_path}")
    recipe = load_recipe(str(volume_recipe), words)
    task, path = make_task(recipe), next((volumes / "imagesTr").glob("*.nii.gz"))
    case, model = Case("c", "p", (path,), None, "test"), task.build().eval()
    box = task.store.box(case)
    assert box.shape != box.whole
    with torch.no_grad():
        expected = task.predict(model, task.store.image(case), (16, 16, 16), box)
    np.testing.assert_array_equal(predict_one(task, model, (path,)), expected)
