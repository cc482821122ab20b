"""Inspection: the JSON for programs, the tables for people, exit code 1 for data that cannot be used."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

Call = Callable[..., int]


def load(path: Path) -> Any:
    return nib.load(path)


def test_json_has_the_keys_of_the_contract(volumes: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("inspect", volumes, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert set(content) == {"source", "layout", "num_cases", "cases", "labels", "findings"}
    assert (content["source"], content["layout"], content["num_cases"]) == (str(volumes), "msd", 11)
    assert set(content["cases"][0]) == {"id", "patient", "split", "images", "target"}
    assert content["cases"][0]["images"] == [str(volumes / "imagesTr" / "phantom_000.nii.gz")]
    assert content["cases"][0]["target"] == str(volumes / "labelsTr" / "phantom_000.nii.gz")
    assert content["cases"][-1]["target"] is None
    assert content["labels"]["liver"] == {"train": 6, "val": 1, "test": 2}


def test_findings_are_counted_by_part(radiographs: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("inspect", radiographs, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    labelled = [case for case in content["cases"] if case["target"] is not None]
    present = sum(case["target"][0] for case in labelled)
    assert sum(content["labels"]["cardiomegaly"].values()) == present
    assert {finding["code"] for finding in content["findings"]} == {"rare_finding"}
    assert set(content["findings"][0]) == {"code", "severity", "cases", "cause", "fix"}


def test_people_see_sizes_spacings_and_labels(volumes: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("inspect", volumes) == 0
    out = capsys.readouterr().out
    for text in ("16 x 16 x 16 (all equal)", "1.5 x 1.5 x 2 (all equal)", "left kidney", "was read as msd: 11 cases."):
        assert text in out


def test_an_error_in_the_data_gives_exit_code_one(
    tmp_path: Path, volumes: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(volumes, tmp_path / "copy"))
    image = load(copy / "imagesTr" / "phantom_003.nii.gz")
    array = np.asanyarray(image.dataobj).astype(np.float32)
    array[0, 0, 0] = np.inf
    nib.save(nib.Nifti1Image(array, image.affine), copy / "imagesTr" / "phantom_003.nii.gz")
    assert call("inspect", copy) == 1
    captured = capsys.readouterr()
    assert "Error (not_finite): the image " in captured.out
    assert "What to do: replace these values, for example by 0." in captured.out
    assert "Error: " not in captured.err


def test_the_layout_can_be_told(volumes: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("inspect", volumes, "--json", "--as", "paired") == 0
    assert json.loads(capsys.readouterr().out)["layout"] == "paired"


def test_an_unknown_layout_is_an_error(volumes: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("inspect", volumes, "--as", "pared") == 2
    assert "There is no layout 'pared'" in capsys.readouterr().err


def test_data_keys_can_be_set(volumes: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("inspect", volumes, "--json", "--set", "data.test_fraction=0.5") == 0
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert sum(case["split"] == "test" for case in cases) == 4
