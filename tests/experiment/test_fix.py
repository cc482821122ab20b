"""`inspect --fix`: a repaired copy beside the data, which is sound and which `run` accepts."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from selfmae.data.case import Cases
from selfmae.data.doctor.checks import resample_onto
from selfmae.data.files.images import Image as Scan
from selfmae.data.files.images import read_image
from selfmae.data.files.masks import Mask, read_mask
from selfmae.data.sources import read_source

Call = Callable[..., int]
FIRST, SECOND, THIRD = (f"phantom_00{place}" for place in range(3))


def load(path: Path) -> Any:
    return nib.load(path)


@pytest.fixture
def spoilt(volumes: Path, tmp_path: Path) -> Path:
    """Return volumes of which one mask is too small, one is finer and turned, and one image holds NaN."""
    source = Path(shutil.copytree(volumes, tmp_path / "set"))
    small = load(source / "labelsTr" / f"{FIRST}.nii.gz")
    nib.save(small.slicer[:-2], source / "labelsTr" / f"{FIRST}.nii.gz")
    mask = load(source / "labelsTr" / f"{SECOND}.nii.gz")
    finer = np.asanyarray(mask.dataobj).repeat(2, 0)[::-1]
    affine = mask.affine @ np.array([[-0.5, 0, 0, 15.25], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(finer, affine), source / "labelsTr" / f"{SECOND}.nii.gz")
    image = load(source / "imagesTr" / f"{THIRD}.nii.gz")
    array = np.asanyarray(image.dataobj).astype(np.float32)
    array[2, 3, 4] = np.nan
    nib.save(nib.Nifti1Image(array, image.affine), source / "imagesTr" / f"{THIRD}.nii.gz")
    return source


def by_id(source: Path) -> dict[str, Any]:
    cases: Cases = read_source(str(source))
    return {case.id: case for case in cases.cases}


def test_the_copy_is_sound_and_the_data_stays(
    spoilt: Path,
    tmp_path: Path,
    call: Call,
    bytes_of: Callable[..., dict[str, bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = bytes_of(spoilt)
    assert call("inspect", spoilt, "--fix", tmp_path / "new") == 0
    said = capsys.readouterr().err
    assert f"the mask of {FIRST} on the grid of its image" in said
    assert f"{THIRD}.nii.gz with its smallest value instead of NaN and infinity." in said
    assert bytes_of(spoilt) == before
    assert call("inspect", tmp_path / "new", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["layout"] == "table"
    assert content["labels"].keys() >= {"liver", "left kidney"}
    assert {found["severity"] for found in content["findings"]} <= {"note", "warning"}


def test_masks_hold_what_they_held_where_the_image_is(spoilt: Path, volumes: Path, tmp_path: Path, call: Call) -> None:
    assert call("inspect", spoilt, "--fix", tmp_path / "new") == 0
    truth, found = by_id(volumes), by_id(tmp_path / "new")
    finer = read_mask(found[SECOND].target).array
    np.testing.assert_array_equal(finer, read_mask(truth[SECOND].target).array)
    small, whole = (read_mask(cases[FIRST].target).array for cases in (found, truth))
    assert small.shape == whole.shape
    assert (small != whole).any(axis=(1, 2)).sum() <= 2
    assert found["phantom_003"].target == (spoilt / "labelsTr" / "phantom_003.nii.gz").absolute()


def test_missing_numbers_are_the_smallest_of_the_image(spoilt: Path, volumes: Path, tmp_path: Path, call: Call) -> None:
    assert call("inspect", spoilt, "--fix", tmp_path / "new") == 0
    before, after = (read_image(by_id(place)[THIRD].images) for place in (volumes, tmp_path / "new"))
    assert (
        after.array.min()
        == np.delete(before.array.ravel(), np.ravel_multi_index((0, 2, 3, 4), before.array.shape)).min()
    )
    assert (before.array != after.array).sum() <= 1
    np.testing.assert_allclose(after.affine, before.affine)


def test_patients_and_parts_stay(spoilt: Path, tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("inspect", spoilt, "--json", "--fix", tmp_path / "new") == 0
    before = json.loads(capsys.readouterr().out)["cases"]
    with (tmp_path / "new" / "cases.csv").open(newline="") as file:
        after = list(csv.DictReader(file))
    assert [(case["id"], case["patient"], case["split"]) for case in before] == [
        (row["id"], row["patient"], row["split"]) for row in after
    ]


def test_the_copy_can_be_run(spoilt: Path, tmp_path: Path, call: Call, small_volumes: list[str]) -> None:
    assert call("inspect", spoilt, "--fix", tmp_path / "new") == 0
    assert call("run", tmp_path / "new", "--init", "scratch", "--out", tmp_path / "run", *small_volumes) == 0


@pytest.mark.parametrize("name", ["set", "file"])
def test_nothing_is_written_over(
    spoilt: Path, tmp_path: Path, call: Call, error_line: Callable[[], str], name: str
) -> None:
    (tmp_path / "file").write_text("mine")
    assert call("inspect", spoilt, "--fix", tmp_path / name) == 2
    assert f"--fix {tmp_path / name} must be a new or an empty folder, but holds files" in error_line()
    assert (tmp_path / "file").read_text() == "mine"


def test_what_cannot_be_mended_is_still_an_error(spoilt: Path, tmp_path: Path, call: Call) -> None:
    (spoilt / "imagesTr" / f"{FIRST}.nii.gz").write_bytes(b"no NIfTI")
    assert call("inspect", spoilt, "--fix", tmp_path / "new") == 1


def test_images_in_an_archive_cannot_be_mended(tmp_path: Path, call: Call, error_line: Callable[[], str]) -> None:
    images = np.random.default_rng(0).integers(0, 255, (12, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=np.arange(12)[:, None] % 2)
    assert call("inspect", tmp_path / "a.npz", "--fix", tmp_path / "new") == 2
    assert "are no files of their own (first: 'train_00000'): export them as NIfTI or PNG first." in error_line()


def test_findings_of_pictures_stay(tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    rows = ["file,Mass,Edema"]
    for place in range(12):
        np.save(tmp_path / f"{place}.npy", rng.normal(size=(16, 16)))
        rows.append(f"{place}.npy,{place % 2},{place % 3 // 2}")
    np.save(tmp_path / "0.npy", np.where(np.eye(16) > 0, np.inf, 1.0 + np.arange(16)))
    (tmp_path / "t.csv").write_text("\n".join(rows))
    assert call("inspect", tmp_path / "t.csv", "--fix", tmp_path / "new") == 0
    before, after = (read_source(str(tmp_path / name)) for name in ("t.csv", "new"))
    assert before.labels == after.labels
    assert [case.target for case in before.cases] == [case.target for case in after.cases]
    assert read_image(after.cases[0].images).array.max() == 16


def test_masks_of_pictures_are_stretched_onto_them() -> None:
    mask = np.array([[1, 2], [3, 4]], np.uint8)
    image = Scan(np.zeros((1, 4, 6), np.float32), (), None)
    np.testing.assert_array_equal(resample_onto(image, Mask(mask, (), None)), mask.repeat(2, 0).repeat(3, 1))


def test_a_mask_in_another_place_keeps_its_place(tmp_path: Path) -> None:
    image = Scan(np.zeros((1, 4, 4, 4), np.float32), (1.0, 1.0, 1.0), np.eye(4))
    affine = np.eye(4)
    affine[0, 3] = 2.0
    values = resample_onto(image, Mask(np.arange(1, 65).reshape(4, 4, 4), (1.0, 1.0, 1.0), affine))
    np.testing.assert_array_equal(values[2:], np.arange(1, 65).reshape(4, 4, 4)[:2])
    assert not values[:2].any()


def test_masks_with_other_sizes_of_pictures(tmp_path: Path, call: Call) -> None:
    for name, size in (("images", 16), ("masks", 8)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for place in range(9):
            array = np.random.default_rng(place).integers(0, 2, (size, size)) * 255
            array[0, 0] = 100 if name == "images" else 0
            Image.fromarray(array.astype(np.uint8)).save(tmp_path / "set" / name / f"{place}.png")
    assert call("inspect", tmp_path / "set") == 1
    assert call("inspect", tmp_path / "set", "--fix", tmp_path / "new") == 0
    assert call("inspect", tmp_path / "new") == 0
