"""Inspection: the JSON for programs, the tables for people, exit code 1 for data that cannot be used."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from selfmae.data.generated.sets import write_volumes

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
    assert (
        "What to do: replace these values, for example by 0; `selfmae inspect --fix DIR` does it in a copy."
        in captured.out
    )
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


def findings_of(call: Call, capsys: pytest.CaptureFixture[str], *words: object) -> list[dict[str, Any]]:
    """Return the findings of a source with errors, after a look at what people read."""
    assert call("inspect", *words) == 1
    said = capsys.readouterr()
    assert "Error: " not in said.err
    assert call("inspect", *words, "--json") == 1
    findings: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["findings"]
    assert f"Error ({findings[0]['code']}): {findings[0]['cause']}. What to do: {findings[0]['fix']}." in said.out
    return findings


TABLES = [
    ("file,Mass\na.npy,1\nx.npy,0", "missing_file", "lists 1 files that are not there (x.npy)"),
    ("file,Mass\na.npy,1\nb.npy,-1\nc.npy,0", "unknown_label", "has -1 (uncertain) in Mass"),
    (
        "file,Mass\na.npy,1\nb.npy,yes\nc.npy,0",
        "unknown_label",
        "has 'yes' in 1 rows (lines 3)",
    ),
    (
        "file,Mass\na.npy,1\na.npy,0\nb.npy,1",
        "duplicate_row",
        "gives 1 of them several with different labels (first: a.npy, lines 2, 3)",
    ),
    ("id,file,Mass\nx,a.npy,1\ny,a.npy,0\nz,b.npy,1", "duplicate_row", "lists 1 under several names (a.npy)"),
    ("file,Mass,split\na.npy,1,trian\nb.npy,0,test", "unknown_split", "but has 'trian'"),
    ("file,Mass,Edema\na.npy,1,\nb.npy,0,1", "empty_value", "1 rows lack some (lines 2)"),
    ("file,Mass\na.npy,1,2\nb.npy,0", "damaged_list", "has more values than columns in 1 rows (lines 2)"),
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(ord(name)).normal(size=(16, 16)))
    return tmp_path / "t.csv"


@pytest.mark.parametrize(("text", "code", "cause"), TABLES)
def test_what_is_wrong_with_a_table_is_a_finding(
    table: Path, call: Call, capsys: pytest.CaptureFixture[str], text: str, code: str, cause: str
) -> None:
    table.write_text(text)
    finding = findings_of(call, capsys, table)[0]
    assert (finding["code"], finding["severity"]) == (code, "error")
    assert cause in finding["cause"]
    assert call("run", table, "--out", table.parent / "out") == 2
    assert cause in capsys.readouterr().err
    assert not (table.parent / "out").exists()


def test_a_mask_without_an_image_is_a_finding(
    tmp_path: Path, volumes: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(volumes, tmp_path / "copy"))
    (copy / "dataset.json").unlink()
    (copy / "imagesTr" / "phantom_003.nii.gz").unlink()
    finding = findings_of(call, capsys, copy)[0]
    assert (finding["code"], finding["fix"]) == ("unpaired", "add the images or rename the masks")


def test_a_patient_in_two_parts_is_a_finding_beside_all_others(
    tmp_path: Path, volumes: Path, call: Call, capsys: pytest.CaptureFixture[str], small_volumes: list[str]
) -> None:
    rows = [f"phantom_00{place},{min(place, 7)},{'test' if place == 8 else 'train'}" for place in range(9)]
    (tmp_path / "splits.csv").write_text("\n".join(["id,patient,split", *rows]))
    words = ("--set", f"data.splits={tmp_path / 'splits.csv'}")
    findings = findings_of(call, capsys, volumes, *words)
    assert (findings[0]["code"], findings[0]["fix"]) == ("same_patient_across_parts", "give each patient one split")
    assert findings[0]["cases"] == ["phantom_007", "phantom_008"]
    assert "left_right_labels" in {finding["code"] for finding in findings}
    assert call("run", volumes, "--out", tmp_path / "out", *words, *small_volumes) == 2
    assert "but 1 stand in several (7): give each patient one split." in capsys.readouterr().err


def test_a_source_in_no_layout_is_no_finding(tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letter.txt").write_text("no scan")
    assert call("inspect", tmp_path, "--json") == 2
    assert "is in none of the layouts msd, " in capsys.readouterr().err


def test_fractions_in_a_mask_are_a_finding_of_their_own(
    tmp_path: Path, volumes: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(volumes, tmp_path / "copy"))
    mask = load(copy / "labelsTr" / "phantom_003.nii.gz")
    half = np.asanyarray(mask.dataobj).astype(np.float32) / 2
    nib.save(nib.Nifti1Image(half, mask.affine), copy / "labelsTr" / "phantom_003.nii.gz")
    finding = findings_of(call, capsys, copy)[0]
    assert (finding["code"], finding["cases"]) == ("fractional_label", ["phantom_003"])
    assert "phantom_003.nii.gz holds fractions (or NaN)" in finding["cause"]


def test_unchanged_files_are_not_read_again(
    tmp_path: Path, volumes: Path, call: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(volumes, tmp_path / "copy"))
    assert call("inspect", copy, "--json") == 0
    first = capsys.readouterr().out
    monkeypatch.setattr("selfmae.data.doctor.survey.read_image", None)
    assert call("inspect", copy, "--json") == 0
    assert capsys.readouterr().out == first


def test_values_0_and_255_come_back_in_predictions(
    tmp_path: Path, volumes: Path, call: Call, capsys: pytest.CaptureFixture[str], small_volumes: list[str]
) -> None:
    for place in range(5):
        for kind, folder in (("imagesTr", "images"), ("labelsTr", "masks")):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            volume = load(volumes / kind / f"phantom_00{place}.nii.gz")
            array = np.asanyarray(volume.dataobj)
            array = array if folder == "images" else ((array > 0) * 255).astype(np.uint8)
            nib.save(nib.Nifti1Image(array, volume.affine), tmp_path / "set" / folder / f"{place}.nii.gz")
    assert call("inspect", tmp_path / "set") == 0
    assert "Note (label_values_mapped): the label values 255 are learned as 1" in capsys.readouterr().out
    words = ("--init", "scratch", "--out", tmp_path / "run", *small_volumes)
    assert call("run", tmp_path / "set", *words, "--set", "fit.steps=30", "--set", "fit.lr=0.01") == 0
    image = tmp_path / "set" / "images" / "0.nii.gz"
    assert call("predict", tmp_path / "run" / "scratch" / "fold0" / "seed0", image, "--out", tmp_path / "masks") == 0
    predicted = np.asanyarray(load(next((tmp_path / "masks").glob("*.nii.gz"))).dataobj)
    assert set(np.unique(predicted)) == {0, 255}


def test_too_few_patients_for_three_parts_are_a_finding(
    tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    write_volumes(tmp_path, 2, 0, (16, 16, 16))
    assert call("inspect", tmp_path, "--json") == 1
    content = json.loads(capsys.readouterr().out)
    assert content["findings"][0]["code"] == "too_few_patients"
    assert content["findings"][0]["fix"] == "label at least 3 patients, one for each part"
    assert content["labels"]["liver"]["train"] == 2  # all else is said too
