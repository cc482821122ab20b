"""`run --labels` trains on as many patients as it says, and `--until decided` adds seeds while the verdict is open."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from selfmae.experiment import run as module
from selfmae.weights.file import read_metadata

Call = Callable[..., int]
LABELS = ("--labels", "2,all", "--draws", "2")


def num_seen(folder: Path) -> int:
    """Return on how many images a model was trained."""
    return len(read_metadata(folder / "model.safetensors")["seen"])


@pytest.fixture(scope="module")
def labels_run(volumes: Path, tmp_path_factory: pytest.TempPathFactory, small_unet: list[str], call: Call) -> Path:
    out = tmp_path_factory.mktemp("few") / "labels"  # a name that the folder of fewer labels has too
    assert call("run", volumes, "--out", out, *small_unet, "--init", "scratch,mae", *LABELS) == 0
    return out


def test_fewer_labels_are_trained_on_and_pretraining_is_shared(labels_run: Path) -> None:
    every = num_seen(labels_run / "scratch" / "fold0" / "seed0")
    draws = [labels_run / "labels" / "2" / "scratch" / "fold0" / f"seed{draw}" for draw in (0, 1)]
    assert [num_seen(draw) for draw in draws] == [2, 2]
    assert every > 2
    assert not list((labels_run / "labels").glob("2/pretrain-*"))  # that of all training images serves every draw
    assert (labels_run / "pretrain-masked_unet" / "fold0" / "seed0" / "model.safetensors").is_file()


def test_the_verdict_has_the_curve_and_the_report_shows_it(labels_run: Path) -> None:
    verdict = json.loads((labels_run / "verdict.json").read_text())
    curve = {(row["init"], row["labels"]): row["num_draws"] for row in verdict["labels"]["curve"]}
    assert {number for _, number in curve} > {2}
    assert curve["scratch", 2] == curve["mae", 2] == 2
    assert {row["init"] for row in verdict["labels"]["worth"]} == {"mae"}
    assert "What labels are worth" in (labels_run / "report.html").read_text()


def test_more_labels_than_there_are_is_said_before_training(
    volumes: Path, tmp_path: Path, small_unet: list[str], call: Call, error_line: Callable[[], str]
) -> None:
    assert call("run", volumes, "--out", tmp_path / "out", *small_unet, "--labels", "99") == 2
    assert "--labels asks for 99 labelled patients, but must be from 2 to the " in error_line()
    assert not (tmp_path / "out").exists()


def test_seeds_are_added_until_there_is_an_answer(
    volumes: Path,
    tmp_path: Path,
    small_unet: list[str],
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = iter(["cannot tell", "no difference", "no difference"])

    def compare(folders: list[Path], transductive: bool = False) -> dict[str, object]:
        return {"headline": next(told)}

    monkeypatch.setattr(module, "compare", compare)
    monkeypatch.setattr(module, "show_verdict", lambda verdict, display: None)
    monkeypatch.setattr(module, "report", lambda folders, display, transductive: None)
    words = ("--init", "scratch", "--seeds", "3", "--until", "decided")
    assert call("run", volumes, "--out", tmp_path / "out", *small_unet, *words) == 0
    seeds = sorted(path.name for path in (tmp_path / "out" / "scratch" / "fold0").iterdir())
    assert seeds == ["seed0", "seed1", "seed2", "seed3"]
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (facts["num_seeds"], facts["looks"]) == (4, [2, 4])
