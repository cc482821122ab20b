"""The report command."""

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
    for word in ("cannot tell", "scratch", "cardiomegaly"):
        assert word in text
    assert 'src="http' not in text
    assert "<script src" not in text


@pytest.mark.parametrize("cell", ["mae/fold0/seed0", "pretrain/fold0/seed0"])
def test_single_stages_have_a_report_too(volume_run: Path, tmp_path: Path, call: Call, cell: str) -> None:
    copy = shutil.copytree(volume_run / cell, tmp_path / "copy")
    assert call("report", copy) == 0
    assert (Path(copy) / "report.html").stat().st_size > 1000


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("report", tmp_path / "none") == 2
    text = f"Error: The run folder {tmp_path / 'none'} was expected, but there is none: check the path.\n"
    assert capsys.readouterr().err == text


def test_a_folder_without_results_is_an_error(tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("report", tmp_path) == 2
    assert capsys.readouterr().err.startswith("Error: ")
    assert not list(tmp_path.iterdir())
