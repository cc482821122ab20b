"""Masks of any tool: scored as our own models are, paired by name, compared with runs; refused where grids differ."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.score import pair_masks, read_labels, score
from selfmae.files import read_table
from selfmae.results.verdict import compare

Call = Callable[..., int]
QUIET = Display(quiet=True)


def write(path: Path, array: np.ndarray, spacing: tuple[float, ...] = (1.0, 1.0, 2.0), shift: float = 0.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing, 1.0])
    affine[0, 3] = shift
    nib.save(nib.Nifti1Image(array.astype(np.uint8), affine), path)


def cube(value: int, first: int = 2) -> np.ndarray:
    array = np.zeros((8, 8, 8), np.uint8)
    array[first : first + 4, 2:6, 2:6] = value
    return array


@pytest.fixture
def masks(tmp_path: Path) -> tuple[Path, Path]:
    """Return the folders of predictions (one right, one shifted by a voxel of four) and of truths."""
    for name, init in (("a", 2), ("b", 3)):
        write(tmp_path / "pred" / f"{name}.nii.gz", cube(1, init))
        write(tmp_path / "truth" / f"{name}.nii.gz", cube(1))
    return tmp_path / "pred", tmp_path / "truth"


def test_scores_are_those_that_overlap_says_in_the_files_of_a_model(masks: tuple[Path, Path], tmp_path: Path) -> None:
    summary = score(*masks, None, tmp_path / "tool", QUIET)
    rows = read_table(tmp_path / "tool" / "rows-test.csv")
    assert [(row["id"], float(row["dice_label_1"]), float(row["hd95_mm_label_1"])) for row in rows] == [
        ("a", 1.0, 0.0),
        ("b", 0.75, 1.0),
    ]
    assert summary["metrics"]["dice_per_case"] == 0.875
    assert json.loads((tmp_path / "tool" / "summary-test.json").read_text()) == summary
    where = json.loads((tmp_path / "tool" / "environment.json").read_text())
    assert where["init"] == {"kind": "score", "name": "tool"}
    assert str(tmp_path) not in (tmp_path / "tool" / "environment.json").read_text()


def test_predictions_of_our_own_model_get_the_scores_of_its_evaluation(
    volume_run: Path, volumes: Path, tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = volume_run / "scratch" / "fold0" / "seed0"
    tests = [row["id"] for row in read_table(cell / "cases.csv") if row["split"] == "test"]
    (tmp_path / "truth").mkdir()
    for name in tests:
        shutil.copy(volumes / "labelsTr" / f"{name}.nii.gz", tmp_path / "truth")
    images = [volumes / "imagesTr" / f"{name}.nii.gz" for name in tests]
    assert call("predict", cell, *images, "--out", tmp_path / "pred") == 0
    words = ("--pred", tmp_path / "pred", "--truth", tmp_path / "truth", "--labels", volumes / "dataset.json")
    assert call("score", *words, "--out", tmp_path / "unet") == 0
    assert f"test: {len(tests)} cases" in capsys.readouterr().out
    names = ("summary-test.json", "rows-test.csv")
    ours, theirs = (
        [json.loads((folder / names[0]).read_text()), read_table(folder / names[1])]
        for folder in (cell, tmp_path / "unet")
    )
    assert ours[0]["metrics"] == theirs[0]["metrics"]
    assert ours[0]["labels"] == theirs[0]["labels"]
    assert [row["dice"] for row in ours[1]] == [row["dice"] for row in theirs[1]]
    verdict = compare([tmp_path / "unet", volume_run])
    assert list(verdict["inits"]) == ["scratch", "mae", "unet"]
    pair = next(pair for pair in verdict["pairs"] if (pair["a"], pair["b"]) == ("scratch", "unet"))
    assert pair["difference"] == 0
    assert pair["num_cases"] == len(tests)


def test_masks_scored_under_the_name_of_an_initialization_are_told_apart(
    volume_run: Path, masks: tuple[Path, Path], tmp_path: Path
) -> None:
    score(*masks, None, tmp_path / "scratch", QUIET)
    with pytest.raises(
        UserError, match=r"scratch was scored on the labels \['label_1'\], but the others on \['aorta', .*"
    ):
        compare([volume_run, tmp_path / "scratch"])


def test_two_tools_can_be_compared_without_a_model_of_ours(masks: tuple[Path, Path], tmp_path: Path) -> None:
    score(*masks, None, tmp_path / "one", QUIET)
    score(masks[1], masks[1], None, tmp_path / "two", QUIET)
    verdict = compare([tmp_path / "one", tmp_path / "two"])
    assert verdict["metric"] == "dice_per_case"
    assert verdict["pairs"][0]["difference"] == 0.125


def test_masks_are_paired_with_the_first_seed_of_a_run(volume_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(volume_run, tmp_path / "run"))
    shutil.rmtree(run / "mae")
    cell = (run / "scratch" / "fold0" / "seed0").rename(run / "scratch" / "fold0" / "seed3")
    tool = tmp_path / "tool"
    tool.mkdir()
    for name in ("rows-test.csv", "summary-test.json"):
        shutil.copy(cell / name, tool)
    (tool / "environment.json").write_text(json.dumps({"init": {"kind": "score", "name": "scratch"}}))
    verdict = compare([run, tool])
    assert list(verdict["inits"]) == ["scratch (unetr)", "scratch (masks)"]
    assert verdict["pairs"][0]["num_seeds"] == 1


def test_regions_join_values(masks: tuple[Path, Path], tmp_path: Path) -> None:
    for folder in masks:
        array = cube(1)
        array[3, 3, 3] = 2
        write(folder / "b.nii.gz", array)
    (tmp_path / "labels.yaml").write_text("whole: [1, 2]\ncore: 2\n")
    summary = score(*masks, tmp_path / "labels.yaml", None, QUIET)
    assert summary["labels"]["whole"]["dice"] == 1.0
    assert summary["labels"]["core"]["num_present"] == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("liver: 6\ntumour: [1, 2]\n", {"liver": (6,), "tumour": (1, 2)}),
        ('{"liver": 6}', {"liver": (6,)}),
        ('{"labels": {"background": 0, "liver": 6}}', {"liver": (6,)}),  # nnU-Net
        ('{"labels": {"0": "background", "6": "liver"}}', {"liver": (6,)}),  # Medical Segmentation Decathlon
    ],
)
def test_labels_come_from_yaml_or_json(tmp_path: Path, text: str, expected: dict[str, tuple[int, ...]]) -> None:
    (tmp_path / "labels").write_text(text)
    assert read_labels(tmp_path / "labels") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("liver: -1\n", "must give each name a mask value above 0 or a list of them, .* but liver is there"),
        ("liver: [1, two]\n", "but liver is there"),
        ("liver: []\n", "but liver is there"),
        ("background: 0\n", "but nothing is there"),
        ("- 1\n", "The file of labels .* must hold keys and values"),
    ],
)
def test_labels_that_are_none_are_a_sentence(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "labels.yaml").write_text(text)
    with pytest.raises(UserError, match=expected):
        read_labels(tmp_path / "labels.yaml")


def test_a_missing_file_of_labels_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--labels .*none\.yaml: there is no such file: check the path"):
        read_labels(tmp_path / "none.yaml")


def test_all_missing_and_extra_predictions_are_listed(masks: tuple[Path, Path]) -> None:
    pred, truth = masks
    write(truth / "c.nii.gz", cube(1))
    write(truth / "d.nii.gz", cube(1))
    (pred / "a.nii.gz").rename(pred / "z.nii.gz")
    with pytest.raises(UserError) as caught:
        pair_masks(pred, truth)
    assert str(caught.value) == (
        f"--pred {pred}: 3 masks of {truth} have no prediction (a, c, d), and 1 predictions have no mask in {truth} "
        "(z): give each prediction the name of its truth."
    )


def test_two_files_of_one_name_are_refused(masks: tuple[Path, Path]) -> None:
    np.save(masks[0] / "a.npy", cube(1))
    with pytest.raises(UserError, match=r"holds a\.nii\.gz and a\.npy, but a case has one mask: remove one"):
        pair_masks(*masks)


def test_formats_may_differ_between_a_prediction_and_its_truth(tmp_path: Path) -> None:
    for folder, suffix in (("pred", "png"), ("truth", "npy")):
        (tmp_path / folder).mkdir()
        if suffix == "png":
            Image.fromarray(cube(1)[3]).save(tmp_path / folder / "a.png")
        else:
            np.save(tmp_path / folder / "a.npy", cube(1)[3])
    summary = score(tmp_path / "pred", tmp_path / "truth", None, None, QUIET)
    assert summary["metrics"]["dice_per_case"] == 1.0
    assert "hd95_voxels_per_case" in summary["metrics"]


@pytest.mark.parametrize(
    ("array", "spacing", "shift", "expected"),
    [
        (cube(1)[:7], (1.0, 1.0, 2.0), 0.0, r"b: its size is \[7, 8, 8\], that of the truth \[8, 8, 8\]"),
        (cube(1), (1.0, 1.0, 1.0), 0.0, r"b: its spacing is \[1.0, 1.0, 1.0\] mm, that of the truth \[1.0, 1.0, 2.0\]"),
        (cube(1), (1.0, 1.0, 2.0), 3.0, r"b: it lies 3 mm beside the truth"),
    ],
)
def test_another_grid_is_refused_with_the_reason(
    masks: tuple[Path, Path], array: np.ndarray, spacing: tuple[float, ...], shift: float, expected: str
) -> None:
    write(masks[0] / "b.nii.gz", array, spacing, shift)
    with pytest.raises(UserError, match=rf"1 of 2 predictions do not lie on the grid of their truth \({expected}"):
        score(*masks, None, None, QUIET)


def test_a_rounded_origin_is_no_other_grid(masks: tuple[Path, Path]) -> None:
    write(masks[0] / "b.nii.gz", cube(1), shift=0.01)
    assert score(*masks, None, None, QUIET)["metrics"]["dice_per_case"] == 1.0


def test_another_order_of_axes_is_the_same_grid(masks: tuple[Path, Path]) -> None:
    array = cube(1)
    array[2, 2:6, 5] = 0
    write(masks[1] / "b.nii.gz", array)
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    affine[0, 3] = 7.0
    nib.save(nib.Nifti1Image(np.ascontiguousarray(array[::-1]), affine), masks[0] / "b.nii.gz")
    assert score(*masks, None, None, QUIET)["metrics"]["dice_per_case"] == 1.0


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda pred, truth: shutil.rmtree(pred), "--pred .* must be a folder of masks, but there is none"),
        (lambda pred, truth: [path.unlink() for path in truth.iterdir()], "--truth .* holds no masks"),
        (
            lambda pred, truth: [write(truth / f"{name}.nii.gz", cube(0)) for name in "ab"],
            "The 2 masks of --truth hold no value above 0: check the path",
        ),
    ],
)
def test_folders_without_masks_are_a_sentence(
    masks: tuple[Path, Path], prepare: Callable[[Path, Path], object], expected: str
) -> None:
    prepare(*masks)
    with pytest.raises(UserError, match=expected):
        score(*masks, None, None, QUIET)


def test_scores_overwrite_nothing(masks: tuple[Path, Path], call: Call, error_line: Callable[[], str]) -> None:
    words = ("score", "--pred", masks[0], "--truth", masks[1], "--out", masks[0])
    assert call(*words) == 2
    assert "holds files already, and scores overwrite nothing: choose a new folder" in error_line()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{a: 1, c: 7}", "Note: mask values in no true mask: 7."),
        ("{a: [1, 3]}", "Note: mask values in no true mask: 3."),
        ("{a: 8, b: [7, 9]}", "--labels names the mask values 7, 8, 9, but the true masks hold 1: give the values"),
    ],
)
def test_labels_that_the_masks_do_not_hold_are_told(
    masks: tuple[Path, Path], tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str], text: str, expected: str
) -> None:
    (tmp_path / "labels.yaml").write_text(text)
    words = ("score", "--pred", masks[0], "--truth", masks[1], "--labels", tmp_path / "labels.yaml")
    assert call(*words) == (2 if expected.startswith("--labels") else 0)
    told = capsys.readouterr()
    assert expected in told.out + told.err


def test_values_of_masks_that_no_label_has_are_told(
    masks: tuple[Path, Path], tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in masks:
        write(folder / "c.nii.gz", cube(2))
    (tmp_path / "labels.yaml").write_text("a: 1")
    assert call("score", "--pred", masks[0], "--truth", masks[1], "--labels", tmp_path / "labels.yaml") == 0
    assert "Note: mask values in true masks, but not in --labels: 2." in capsys.readouterr().out
