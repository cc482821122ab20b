"""Settings, recipes, inits and folders that cannot be used: exit code 2, one sentence, and no file written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

Call = Callable[..., int]
Line = Callable[[], str]

SETTINGS = [
    ("fit.stepps=3", "--set: unknown key 'fit.stepps'. Did you mean 'fit.steps'?"),
    ("fitt.steps=3", "unknown key 'fitt'. Did you mean 'fit'?"),
    ("fit.steps", "--set 'fit.steps' must look like key=value, for example fit.steps=500."),
    ("fit.steps=many", "key 'fit.steps' has the value 'many': "),
    ("fit.steps=0", "fit.steps is 0, but must be at least 1"),
    ("model.patch=[5, 8, 8]", "data.crop [16, 16, 16] must be a multiple of model.patch [5, 8, 8]"),
    ("model.heads=5", "model.width 48 must be a multiple of its 5 heads"),
    ("mae.ratio=1.5", "mae.ratio is 1.5, but must be above 0 and below 1"),
    ("data.crop=[16, 16, 32]", "data.crop [16, 16, 32] is more than a patch larger than the largest training image"),
    ("data.intensity=bright", "key 'data.intensity' has the value 'bright'"),
    ("data.splits=none.csv", "data.splits names none.csv, but there is no such file: check the path."),
    ("data.layout=msdd", "There is no layout 'msdd' to read "),
    ("device.accelerator=gpu", "key 'device.accelerator' has the value 'gpu'"),
]


@pytest.mark.parametrize(("setting", "text"), SETTINGS)
def test_a_bad_setting_is_one_sentence_and_no_file(
    tmp_path: Path,
    volumes: Path,
    call: Call,
    small_volumes: list[str],
    error_line: Line,
    setting: str,
    text: str,
) -> None:
    assert call("run", volumes, "--out", tmp_path / "out", *small_volumes, "--set", setting) == 2
    assert text in error_line()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        ("fit: {stepps: 3}\n", "{file}: unknown key 'fit.stepps'. Did you mean 'fit.steps'?"),
        ("fit: {steps: 3}\nfit: {steps: 4}\n", "the key 'fit' stands twice in one section"),
        ("fit: [\n", "The recipe {file} is not valid YAML ("),
        ("- 3\n", "The recipe {file} must hold keys and values, but holds list: write"),
    ],
)
def test_a_bad_recipe_file_is_named(
    tmp_path: Path,
    volumes: Path,
    call: Call,
    error_line: Line,
    recipe: str,
    text: str,
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(recipe)
    assert call("run", volumes, "--out", tmp_path / "out", "--recipe", file) == 2
    assert text.format(file=file) in error_line()
    assert not (tmp_path / "out").exists()


def test_a_recipe_that_is_not_there_is_an_error(tmp_path: Path, volumes: Path, call: Call, error_line: Line) -> None:
    assert call("run", volumes, "--out", tmp_path / "out", "--recipe", "demo-volume") == 2
    text = "The recipe 'demo-volume' is neither a file nor a known name. Did you mean 'demo-volumes'?"
    assert text in error_line()


def test_another_recipe_changes_nothing_in_the_folder(
    volumes: Path,
    volume_run: Path,
    call: Call,
    small_volumes: list[str],
    error_line: Line,
    bytes_of: Callable[..., dict[str, bytes]],
) -> None:
    before = bytes_of(volume_run)
    assert call("run", volumes, "--out", volume_run, *small_volumes, "--set", "fit.steps=9") == 2
    assert f"{volume_run} belongs to another recipe, which differs in fit.steps (9, was 4)" in error_line()
    assert bytes_of(volume_run) == before


def test_a_file_of_weights_that_does_not_fit_is_told_before_any_training(
    tmp_path: Path,
    volumes: Path,
    volume_run: Path,
    call: Call,
    small_volumes: list[str],
    error_line: Line,
) -> None:
    weights = tmp_path / "ours.safetensors"
    shutil.copy(volume_run / "pretrain-mae" / "fold0" / "seed0" / "model.safetensors", weights)
    words = ("--init", f"scratch,{weights}", "--set", "model.width=96", "--out", tmp_path / "out")
    assert call("run", volumes, *small_volumes, *words) == 2
    assert "do not fit: " in error_line()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"no weights", b""])
def test_a_file_that_holds_no_weights_is_an_error(
    tmp_path: Path,
    volumes: Path,
    call: Call,
    small_volumes: list[str],
    error_line: Line,
    content: bytes,
) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    words = ("--init", tmp_path / "w.safetensors", "--out", tmp_path / "out")
    assert call("run", volumes, *small_volumes, *words) == 2
    assert "w.safetensors could not be read as safetensors (" in error_line()
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_an_error(
    tmp_path: Path, volumes: Path, call: Call, small_volumes: list[str], error_line: Line
) -> None:
    with FileLock(tmp_path / ".lock"):
        assert call("run", volumes, "--out", tmp_path, *small_volumes) == 2
    assert f"Another command is working in {tmp_path}: wait for it, or choose another --out." in error_line()
    assert not (tmp_path / "recipe.yaml").exists()


def test_a_folder_with_other_files_is_left_alone(
    tmp_path: Path, volumes: Path, call: Call, small_volumes: list[str], error_line: Line
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert call("run", volumes, "--out", tmp_path, *small_volumes) == 2
    assert f"{tmp_path} is no run folder of SelfMAE but holds other things (thesis.txt)" in error_line()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ("--init", "scratch,may"),
            "--init names 'may', but an initialization is scratch, mae, masked_unet, moco, imagenet, timm:NAME, an "
            "existing file of",
        ),
        (("--init", "mae,mae"), "two initializations would share the name 'mae': give one another, as in mine=FILE."),
        (("--folds", 0), "--folds 0 and --seeds 1 must be at least 1."),
        (
            ("--folds", 10),
            "--folds 10 needs at least 10 labelled patients, but there are 9: give fewer folds, or --folds auto.",
        ),
        (
            ("--set", "target.regions={all: [1, 77]}"),
            "target.regions.all [1, 77] must be some of the mask values [1, 2",
        ),
        (("--set", "model.out_indices=[0, 7]"), "model.out_indices [0, 7] must name"),
    ],
)
def test_what_cannot_be_run_is_said_before_any_training(
    tmp_path: Path,
    volumes: Path,
    call: Call,
    small_volumes: list[str],
    error_line: Line,
    words: tuple[object, ...],
    text: str,
) -> None:
    assert call("run", volumes, "--out", tmp_path / "out", *small_volumes, *words) == 2
    assert text in error_line()
    assert not list((tmp_path / "out").rglob("model.safetensors"))


def test_no_initialization_at_all_is_an_error(
    tmp_path: Path, volumes: Path, call: Call, small_volumes: list[str], error_line: Line
) -> None:
    assert call("run", volumes, "--out", tmp_path / "out", "--init", " , ", *small_volumes) == 2
    assert "--init names no initialization" in error_line()
    assert not (tmp_path / "out").exists()
