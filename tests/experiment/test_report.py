"""The report command."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., int]


def test_the_report_of_a_run_can_be_made_again(volume_run: Path, call: Call) -> None:
    before = (volume_run / "report.html").read_bytes()
    (volume_run / "report.html").unlink()
    assert call("report", volume_run) == 0
    assert (volume_run / "report.html").read_bytes() == before


def test_the_report_says_what_the_run_found_and_needs_no_network(picture_run: Path) -> None:
    text = (picture_run / "report.html").read_text()
    for word in ("no verdict", "scratch", "cardiomegaly"):
        assert word in text
    assert 'src="http' not in text
    assert "<script src" not in text


@pytest.mark.parametrize("cell", ["mae/fold0/seed0", "pretrain-mae/fold0/seed0"])
def test_single_stages_have_a_report_too(volume_run: Path, tmp_path: Path, call: Call, cell: str) -> None:
    copy = shutil.copytree(volume_run / cell, tmp_path / "copy")
    assert call("report", copy) == 0
    assert (Path(copy) / "report.html").stat().st_size > 1000


@pytest.fixture
def tool(volume_run: Path, tmp_path: Path) -> Path:
    """Return scored masks that are those of scratch."""
    folder = tmp_path / "nnunet"
    folder.mkdir()
    for name in ("rows-test.csv", "summary-test.json"):
        shutil.copy(volume_run / "scratch" / "fold0" / "seed0" / name, folder)
    (folder / "environment.json").write_text(json.dumps({"init": {"kind": "score", "name": "nnunet"}}))
    return folder


def test_scored_masks_stand_beside_the_initializations_of_a_run(
    volume_run: Path, tool: Path, tmp_path: Path, call: Call
) -> None:
    run = Path(shutil.copytree(volume_run, tmp_path / "run"))
    assert call("report", tool, run) == 0
    text, verdict = (run / "report.html").read_text(), json.loads((run / "verdict-nnunet.json").read_text())
    assert [(pair["a"], pair["b"]) for pair in verdict["pairs"]][1:] == [("scratch", "nnunet"), ("mae", "nnunet")]
    assert verdict["pairs"][1]["difference"] == 0
    for words in ("nnunet against scratch", "Dice, nnunet", "<h3>nnunet</h3>", "<code>verdict-nnunet.json</code>"):
        assert words in text
    assert "What nnunet was trained on is not known: if a test patient was among it, its score is too good." in text
    assert "fine-tuned from scratch and with self pre-training on the same splits" in text
    assert "nnunet, fold" not in text
    assert not (tool / "report.html").exists()
    assert (run / "verdict.json").read_bytes() == (volume_run / "verdict.json").read_bytes()


def test_scored_masks_alone_are_called_no_model(tool: Path, call: Call) -> None:
    assert call("report", tool) == 0
    text = " ".join((tool / "report.html").read_text().split())
    assert "The masks of nnunet reach mean Dice" in text
    for words in ("fine-tuned", "Model card", "random weights", "were trained with"):
        assert words not in text


def test_scored_masks_with_the_name_of_an_initialization_are_refused(
    volume_run: Path, tool: Path, call: Call, error_line: Callable[[], str]
) -> None:
    (tool / "environment.json").write_text(json.dumps({"init": {"kind": "score", "name": "mae"}}))
    assert call("report", volume_run, tool) == 2
    assert error_line() == (
        f"Error: Scored masks are called 'mae', as an initialization of {volume_run} or other masks are: score "
        "them again with another folder for --out, whose name is theirs."
    )


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("report", tmp_path / "none") == 2
    text = f"Error: The run folder {tmp_path / 'none'} was expected, but there is none: check the path.\n"
    assert capsys.readouterr().err == text


def test_a_folder_without_results_is_an_error(tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("report", tmp_path) == 2
    assert capsys.readouterr().err.startswith("Error: ")
    assert not list(tmp_path.iterdir())
