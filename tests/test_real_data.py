"""The whole job on each real set, one command each, with few steps; slow, and skipped where the data is absent."""

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from selfmae.cli import main

pytestmark = pytest.mark.slow

FEW = [word for key in ("pretrain.steps=20", "fit.steps=20", "fit.validate_every=20") for word in ("--set", key)]
SETS = {
    "Task04_Hippocampus": ("dice_per_case", {"train": 130, "val": 30, "test": 40}),
    "cxr14_256/labels.csv": ("mean_auc", {"train": 528, "val": 115, "test": 170}),
    # 10 training images are copies of val images and are left out.
    "medmnist/pneumoniamnist_rebuilt.npz": ("mean_auc", {"train": 4698, "val": 524, "test": 624}),
    "medmnist/adrenalmnist3d.npz": ("mean_auc", {"train": 1188, "val": 98, "test": 298}),
}


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.mark.parametrize("name", list(SETS))
def test_one_command_does_the_whole_job(real_data: Path, tmp_path: Path, name: str) -> None:
    metric, counts = SETS[name]
    words = ("--init", "scratch,mae", "--seeds", 1, *FEW)
    assert call("run", real_data / name, "--out", tmp_path / "run", *words) == 0
    verdict = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert verdict["metric"] == metric
    assert set(verdict["inits"]) == {"scratch", "mae"}
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert {part: facts["counts"][part]["cases"] for part in counts} == counts
    with (tmp_path / "run" / "mae" / "fold0" / "seed0" / "rows-test.csv").open() as file:
        assert len(list(csv.DictReader(file))) == counts["test"]
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


def test_predicted_masks_score_as_the_evaluation_said(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "Task04_Hippocampus"
    assert call("run", source, "--out", tmp_path / "run", "--init", "scratch", "--seeds", 1, *FEW) == 0
    cell = tmp_path / "run" / "scratch" / "fold0" / "seed0"
    with (cell / "rows-test.csv").open() as file:
        row = next(csv.DictReader(file))
    image = source / "imagesTr" / f"{row['id']}.nii.gz"
    assert call("predict", cell, image, "--out", tmp_path / "masks") == 0
    mask = nib.load(tmp_path / "masks" / f"{row['id']}.nii.gz")  # type: ignore[attr-defined]
    truth = nib.load(source / "labelsTr" / f"{row['id']}.nii.gz")  # type: ignore[attr-defined]
    assert np.allclose(mask.affine, truth.affine)  # type: ignore[attr-defined]
    predicted, true = (np.asarray(item.dataobj) == 1 for item in (mask, truth))  # type: ignore[attr-defined]
    dice = 2 * (predicted & true).sum() / (predicted.sum() + true.sum())
    assert dice == pytest.approx(float(row["dice_Anterior"]), abs=1e-6)
