"""Evaluation again: the same rows, on either part, and what cannot be evaluated."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from selfmae.weights.file import read_weights, save_weights

Call = Callable[..., int]


@pytest.fixture
def cell(volume_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(volume_run / "mae" / "fold0" / "seed0", tmp_path / "cell"))


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluating_again_gives_the_rows_of_the_run(cell: Path, call: Call, split: str) -> None:
    names = [f"rows-{split}.csv", f"summary-{split}.json"]
    before = [(cell / name).read_bytes() for name in names]
    for name in names:
        (cell / name).unlink()
    assert call("evaluate", cell, "--split", split) == 0
    assert [(cell / name).read_bytes() for name in names] == before


def test_a_finished_part_is_shown_and_not_scored_again(
    cell: Path, call: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfmae.experiment.evaluate.score_cases", lambda *_: pytest.fail("scored again"))
    before = {path.name: path.read_bytes() for path in cell.glob("*-test.*")}
    assert call("evaluate", cell) == 0
    assert (
        "was scored on test before; delete summary-test.json there to have it scored again." in capsys.readouterr().err
    )
    assert {path.name: path.read_bytes() for path in cell.glob("*-test.*")} == before


def test_the_split_of_the_folder_holds_not_that_of_the_source(cell: Path, call: Call) -> None:
    rows = (cell / "cases.csv").read_text()
    (cell / "cases.csv").write_text(
        rows.replace(",test,", ",other,").replace(",val,", ",test,").replace("other", "val")
    )
    old_val = (cell / "rows-val.csv").read_bytes()
    (cell / "summary-test.json").unlink()
    assert call("evaluate", cell, "--allow-transductive") == 0  # they chose the checkpoint
    assert (cell / "rows-test.csv").read_bytes() == old_val


def test_metrics_are_printed_with_their_conventions(cell: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("evaluate", cell) == 0
    out = capsys.readouterr().out
    assert "test: 2 cases of 2 patients" in out
    assert all(title in out for title in ("Dice per case", "HD95 (mm)", "missed in"))
    assert "Dice averaged over labels the case's truth has" in out
    assert "left kidney" in out


def test_another_part_is_an_error(cell: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("evaluate", cell, "--split", "train") == 2
    assert capsys.readouterr().err == "Error: --split 'train' must be val or test.\n"


def test_a_run_folder_is_no_model_but_names_one(
    volume_run: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("evaluate", volume_run) == 2
    hint = volume_run / "mae" / "fold0" / "seed0"
    text = f"holds no trained model (model.safetensors): name one of its models, for example {hint}."
    assert text in capsys.readouterr().err


def test_a_folder_without_a_model_is_an_error(tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("evaluate", tmp_path) == 2
    assert "holds no trained model (model.safetensors): run `selfmae finetune` first." in capsys.readouterr().err


def test_a_pretrained_encoder_predicts_nothing(
    volume_run: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("evaluate", volume_run / "pretrain-mae" / "fold0" / "seed0") == 2
    assert "holds a pre-trained encoder, not a model that predicts: fine-tune it first." in capsys.readouterr().err


def test_weights_that_do_not_fit_the_recipe_beside_them_are_an_error(
    cell: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = cell / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("  depth: 2", "  depth: 3"))
    (cell / "summary-test.json").unlink()
    assert call("evaluate", cell) == 2
    assert "model.safetensors do not fit the recipe beside them (" in capsys.readouterr().err


def forget_metrics(folder: Path) -> None:
    """Make a finished training one whose last step was not reached."""
    weights, metadata = read_weights(folder / "model.safetensors")
    save_weights(folder / "model.safetensors", weights, metadata | {"metrics": {}})


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_training_that_has_not_ended_is_no_model(
    cell: Path, volumes: Path, tmp_path: Path, call: Call, error_line: Callable[[], str], command: str
) -> None:
    forget_metrics(cell)
    (cell / "summary-test.json").unlink()
    words = (volumes / "imagesTr", "--out", tmp_path / "masks") if command == "predict" else ()
    assert call(command, cell, *words) == 2
    assert f"The training in {cell} has not ended: give the command that began it again." in error_line()


def test_a_pretraining_that_has_not_ended_is_no_initialization(
    volume_run: Path, volume_recipe: Path, tmp_path: Path, call: Call, error_line: Callable[[], str]
) -> None:
    folder = Path(shutil.copytree(volume_run / "pretrain-mae" / "fold0" / "seed0", tmp_path / "pretrain"))
    forget_metrics(folder)
    assert call("finetune", volume_recipe, "--out", tmp_path / "fit", "--init", f"mae:{folder}") == 2
    assert f"{folder} holds no finished pre-training: run `selfmae pretrain RECIPE --out {folder}`" in error_line()


def test_a_fine_tuned_model_is_no_pretraining(
    cell: Path, volume_recipe: Path, tmp_path: Path, call: Call, error_line: Callable[[], str]
) -> None:
    assert call("finetune", volume_recipe, "--out", tmp_path / "fit", "--init", f"mae:{cell}") == 2
    assert f"{cell} holds a fine-tuned model, no pre-training: give its file" in error_line()
