"""The data sets on disk: the same bytes every time, layouts that others can read, no label for unlabelled images."""

import csv
import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from selfmae.data.generated.radiographs import FINDINGS
from selfmae.data.generated.sets import write_radiographs, write_volumes
from selfmae.data.generated.volumes import ORGANS

SMALL = (16, 18, 20)


def digests(folder: Path) -> dict[str, str]:
    """Return a hash of every file's bytes by its path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_volumes_are_equal_to_the_byte_whenever_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_volumes(tmp_path / "a", 2, seed=3, size=SMALL, num_unlabelled=1)
    monkeypatch.setattr("time.time", lambda: 5.0e8)
    np.random.seed(1)
    write_volumes(tmp_path / "b", 2, seed=3, size=SMALL, num_unlabelled=1)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_radiographs_are_equal_to_the_byte_whenever_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_radiographs(tmp_path / "a", 5, seed=3, num_unlabelled=2)
    monkeypatch.setattr("time.time", lambda: 5.0e8)
    write_radiographs(tmp_path / "b", 5, seed=3, num_unlabelled=2)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_a_longer_set_of_volumes_begins_with_the_shorter_one(tmp_path: Path) -> None:
    write_volumes(tmp_path / "short", 1, seed=0, size=SMALL, num_unlabelled=1)
    write_volumes(tmp_path / "long", 3, seed=0, size=SMALL, num_unlabelled=2)
    short, long = digests(tmp_path / "short"), digests(tmp_path / "long")
    short.pop("dataset.json")
    assert len(short) == 3
    assert short.items() <= long.items()


def test_a_longer_set_of_radiographs_begins_with_the_shorter_one(tmp_path: Path) -> None:
    write_radiographs(tmp_path / "short", 4, seed=0, num_unlabelled=1)
    write_radiographs(tmp_path / "long", 9, seed=0, num_unlabelled=3)
    short, long = digests(tmp_path / "short"), digests(tmp_path / "long")
    short.pop("labels.csv")
    assert short.items() <= long.items()
    assert rows_of(tmp_path / "long")[:4] == rows_of(tmp_path / "short")[:4]


def test_every_volume_and_every_radiograph_is_another(tmp_path: Path) -> None:
    write_volumes(tmp_path / "0", 2, seed=0, size=SMALL, num_unlabelled=2)
    write_volumes(tmp_path / "1", 2, seed=1, size=SMALL, num_unlabelled=2)
    write_radiographs(tmp_path / "2", 6, seed=0, num_unlabelled=6)
    write_radiographs(tmp_path / "3", 6, seed=1, num_unlabelled=6)
    scans = [digest for path, digest in digests(tmp_path).items() if path.endswith(("gz", "png"))]
    assert len(scans) == len(set(scans)) == 2 * (2 + 2 + 2) + 2 * 12


def test_dataset_json_names_exactly_the_files_that_are_there(tmp_path: Path) -> None:
    write_volumes(tmp_path, 2, seed=0, size=SMALL, num_unlabelled=3)
    text = json.loads((tmp_path / "dataset.json").read_text())
    named = [tmp_path / path for pair in text["training"] for path in (pair["image"], pair["label"])]
    named += [tmp_path / path for path in text["test"]]
    assert sorted(named) == sorted(tmp_path.rglob("*.nii.gz"))
    assert (text["numTraining"], text["numTest"]) == (2, 3)
    assert text["labels"] == {"0": "background", **{str(k + 1): name for k, name in enumerate(ORGANS)}}


def test_unlabelled_volumes_have_no_mask(tmp_path: Path) -> None:
    write_volumes(tmp_path, 1, seed=0, size=SMALL, num_unlabelled=2)
    assert [path.name for path in (tmp_path / "labelsTr").iterdir()] == ["phantom_000.nii.gz"]
    assert len(list((tmp_path / "imagesTs").iterdir())) == 2


def test_image_and_mask_share_a_grid_with_the_spacing_asked_for(tmp_path: Path) -> None:
    write_volumes(tmp_path, 1, seed=0, size=SMALL, spacing_mm=(0.8, 0.9, 2.5))
    image = nib.Nifti1Image.from_filename(tmp_path / "imagesTr/phantom_000.nii.gz")
    mask = nib.Nifti1Image.from_filename(tmp_path / "labelsTr/phantom_000.nii.gz")
    assert image.shape == mask.shape == SMALL
    assert np.allclose(image.header.get_zooms(), (0.8, 0.9, 2.5))
    assert np.allclose(image.affine, mask.affine)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert (image.get_data_dtype(), mask.get_data_dtype()) == (np.int16, np.uint8)


def test_channels_lie_on_the_fourth_axis_and_the_first_is_the_same_alone(tmp_path: Path) -> None:
    write_volumes(tmp_path / "one", 1, seed=0, size=SMALL)
    write_volumes(tmp_path / "three", 1, seed=0, size=SMALL, num_channels=3)
    one = nib.Nifti1Image.from_filename(tmp_path / "one/imagesTr/phantom_000.nii.gz").get_fdata()
    three = nib.Nifti1Image.from_filename(tmp_path / "three/imagesTr/phantom_000.nii.gz").get_fdata()
    assert three.shape == (*SMALL, 3)
    assert np.array_equal(three[..., 0], one)
    assert len(json.loads((tmp_path / "three/dataset.json").read_text())["modality"]) == 3


def test_radiographs_are_8_bit_gray_of_the_size_asked_for(tmp_path: Path) -> None:
    write_radiographs(tmp_path, 2, seed=0, size=(48, 40))
    with Image.open(tmp_path / rows_of(tmp_path)[1]["image"]) as picture:
        assert (picture.mode, picture.size) == ("L", (40, 48))
        assert np.asarray(picture).std() > 30


def test_the_table_has_a_row_for_every_image_and_no_label_for_the_unlabelled(tmp_path: Path) -> None:
    write_radiographs(tmp_path, 5, seed=0, num_unlabelled=3)
    rows = rows_of(tmp_path)
    assert list(rows[0]) == ["image", "patient_id", *FINDINGS]
    assert sorted(tmp_path / row["image"] for row in rows) == sorted((tmp_path / "images").iterdir())
    assert {row[name] for row in rows[:5] for name in FINDINGS} == {"0", "1"}
    assert {row[name] for row in rows[5:] for name in FINDINGS} == {""}
    assert not {row["patient_id"] for row in rows[:5]} & {row["patient_id"] for row in rows[5:]}


def test_a_patient_has_one_to_three_images_and_one_heart(tmp_path: Path) -> None:
    write_radiographs(tmp_path, 60, seed=0, size=(32, 32))
    patients: dict[str, list[str]] = {}
    for row in rows_of(tmp_path)[:-2]:
        patients.setdefault(row["patient_id"], []).append(row["cardiomegaly"])
    assert {len(images) for images in patients.values()} == {1, 2, 3}
    assert all(len(set(images)) == 1 for images in patients.values())
