"""Sweeps: run folders for all combinations, shared trainings, tables, halving, label efficiency."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from selfmae.experiment import sweep, train
from selfmae.experiment.stages import begin_pretraining
from selfmae.methods import options_of
from selfmae.weights.file import read_metadata, read_weights

Call = Callable[..., int]
Bytes = Callable[..., dict[str, bytes]]


@pytest.fixture(scope="session")
def swept(shared: Path, picture_recipe: Path, call: Call) -> Iterator[Path]:
    """Return the folder of a finished sweep over the share of hidden patches."""
    out = shared / "sweep"
    assert call("sweep", picture_recipe, "--out", out, "mae.ratio=0.5,0.75") == 0
    yield out
    shutil.rmtree(out)


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def tensors(folder: Path) -> dict[str, Any]:
    return {name: value.tolist() for name, value in read_weights(folder / "model.safetensors")[0].items()}


def test_a_sweep_has_a_line_for_every_combination_and_initialization(swept: Path) -> None:
    rows = rows_of(swept)
    assert [(row["mae.ratio"], row["init"]) for row in rows] == [
        *(("0.5", "scratch"), ("0.5", "mae")),
        *(("0.75", "scratch"), ("0.75", "mae")),
    ]
    verdict = json.loads((swept / "mae.ratio=0.75" / "verdict.json").read_text())
    assert float(rows[3]["mean"]) == verdict["inits"]["mae"]["mean"]
    assert [float(rows[3][f"ci95_{end}"]) for end in ("low", "high")] == list(verdict["inits"]["mae"]["ci95"])
    tested = (swept / "mae.ratio=0.75/mae/fold0/seed0/rows-test.csv").read_text().count("\n") - 1
    assert {(row["num_cases"], row["num_seeds"], row["metric"]) for row in rows} == {(str(tested), "1", "mean_auc")}
    content = json.loads((swept / "sweep.json").read_text())
    assert (content["axes"], content["failed"], content["halving"]) == ({"mae.ratio": [0.5, 0.75]}, {}, [])
    assert content["paper"]["rows"] == []
    assert "<svg" in (swept / "sweep.html").read_text()


def test_what_the_key_does_not_change_is_trained_once(swept: Path) -> None:
    trained = {str(path.parent.relative_to(swept / "runs")) for path in (swept / "runs").rglob("steps.jsonl")}
    both = {f"mae.ratio={value}/{name}/fold0/seed0" for value in (0.5, 0.75) for name in ("mae", "pretrain-mae")}
    assert trained == {"base/scratch/fold0/seed0"} | both
    links = [swept / f"mae.ratio={value}" / "scratch" for value in (0.5, 0.75)]
    assert {str(link.readlink()) for link in links} == {"../runs/base/scratch"}


def test_a_combination_trains_what_a_run_with_its_settings_trains(
    tmp_path: Path, swept: Path, radiographs: Path, call: Call, small_pictures: list[str]
) -> None:
    setting = ("--set", "mae.ratio=0.5")
    assert call("run", radiographs, "--out", tmp_path / "run", *small_pictures, *setting) == 0
    for name in ("scratch", "pretrain-mae", "mae"):
        cell = f"{name}/fold0/seed0"
        assert tensors(swept / "mae.ratio=0.5" / cell) == tensors(tmp_path / "run" / cell)


def test_the_same_command_again_trains_nothing_and_one_more_value_only_its_own(
    tmp_path: Path, swept: Path, picture_recipe: Path, call: Call, bytes_of: Bytes, launched: list[Path]
) -> None:
    out = tmp_path / "moved"
    shutil.copytree(swept, out, symlinks=True)
    before = bytes_of(out)
    assert call("sweep", picture_recipe, "--out", out, "mae.ratio=0.5,0.75") == 0
    assert bytes_of(out) == before
    assert not launched
    assert call("sweep", picture_recipe, "--out", out, "mae.ratio=0.25,0.5", "--jobs", 1) == 0
    assert [path.relative_to(out / "runs").parts[:2] for path in launched] == [
        ("mae.ratio=0.25", "pretrain-mae"),
        ("mae.ratio=0.25", "mae"),
    ]
    assert [row["mae.ratio"] for row in rows_of(out)] == ["0.25", "0.25", "0.5", "0.5"]


def test_scratch_with_equal_compute_joins_a_finished_sweep(
    tmp_path: Path, swept: Path, picture_recipe: Path, call: Call, launched: list[Path]
) -> None:
    out = tmp_path / "moved"
    shutil.copytree(swept, out, symlinks=True)
    assert call("sweep", picture_recipe, "--out", out, "--init", "scratch,mae,scratch+", "mae.ratio=0.5,0.75") == 0
    values = (0.5, 0.75)
    assert launched == [out / f"runs/mae.ratio={value}/scratch+/fold0/seed0" for value in values]
    assert [row["init"] for row in rows_of(out)] == ["scratch", "mae", "scratch+"] * 2
    steps = [json.loads((folder / "steps.jsonl").read_text().splitlines()[-1])["step"] for folder in launched]
    assert steps[0] > steps[1] > 4  # a pre-training that sees more patches costs more


def test_scratch_of_a_sweep_is_what_its_equal_compute_is_measured_by(
    tmp_path: Path, picture_recipe: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies in another folder than scratch+, whose steps the values of pre-training change."""
    asked: list[Path] = []
    monkeypatch.setattr(train, "keep_better", lambda model, run, shorter, display: asked.append(shorter.folder))
    words = ("--init", "scratch+,scratch", "mae.ratio=0.5,0.75")
    assert call("sweep", picture_recipe, "--out", tmp_path / "out", *words) == 0
    assert asked == [tmp_path / "out/runs/base/scratch/fold0/seed0"] * 2
    assert all((folder / "summary-test.json").exists() for folder in asked)


def test_a_sweep_of_a_unet_links_the_pretrainings_of_its_own_method(
    tmp_path: Path, volumes: Path, small_unet: list[str], call: Call
) -> None:
    assert call("plan", volumes, "--out", tmp_path / "unet.yaml", *small_unet) == 0
    out = tmp_path / "out"
    assert call("sweep", tmp_path / "unet.yaml", "--out", out, "--init", "mae", "masked_unet.ratio=0.4,0.6") == 0
    for value in (0.4, 0.6):
        folder = out / f"masked_unet.ratio={value}"
        assert {path.name for path in folder.iterdir() if path.is_symlink()} == {"mae", "pretrain-masked_unet"}
        assert (folder / "pretrain-masked_unet/fold0/seed0/model.safetensors").is_file()


def test_a_pretraining_is_shared_by_shares_of_the_labels_and_val_and_test_never_change(
    tmp_path: Path, picture_recipe: Path, call: Call, launched: list[Path]
) -> None:
    out = tmp_path / "out"
    assert call("sweep", picture_recipe, "--out", out, "data.fraction=0.2,0.5,1.0") == 0
    assert [path.parts[-3] for path in launched].count("pretrain-mae") == 1
    assert len(launched) == 1 + 2 * 3
    cells = [out / f"data.fraction={share}/mae/fold0/seed0" for share in (0.2, 0.5, 1.0)]
    assert len({(cell / "cases.csv").read_bytes() for cell in cells}) == 1
    with (cells[0] / "cases.csv").open(newline="") as file:
        parts = {row["hash"]: row["split"] for row in csv.DictReader(file)}
    seen = [set(read_metadata(cell / "model.safetensors")["seen"]) for cell in cells]
    assert all(parts[item] in ("train", "unlabelled", "val") for item in seen[0])
    steps = [(cell / "model.safetensors").read_bytes() for cell in cells]
    assert len(set(steps)) == 3


def test_halving_trains_only_the_better_half_to_the_end(
    tmp_path: Path, picture_recipe: Path, call: Call, monkeypatch: pytest.MonkeyPatch, launched: list[Path]
) -> None:
    monkeypatch.setattr(sweep, "val_score", lambda folder, metric: float(folder.name.partition("=")[2]))
    out, words = tmp_path / "out", ("mae.ratio=0.25,0.5,0.75", "--init", "mae", "--seeds", 2, "--halving")
    assert call("sweep", picture_recipe, "--out", out, *words) == 0
    assert [(row["mae.ratio"], row["num_seeds"]) for row in rows_of(out)] == [("0.5", "2"), ("0.75", "2")]
    assert len([path for path in launched if "halving" in path.parts]) == 2 * 3
    steps = (out / "halving/round1/mae.ratio=0.25/mae/fold0/seed0/steps.jsonl").read_text().splitlines()
    assert json.loads(steps[-1])["step"] == 2
    (first,) = json.loads((out / "sweep.json").read_text())["halving"]
    assert (first["share"], first["kept"]) == (0.5, ["mae.ratio=0.5", "mae.ratio=0.75"])
    assert "test cases were not used" in (out / "sweep.html").read_text()


def test_a_failed_training_stops_no_other_and_is_named(
    tmp_path: Path,
    picture_recipe: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(recipe: Any, *rest: Any) -> object:
        if options_of(recipe, "mae").ratio == 0.5:
            raise ZeroDivisionError("of ours")
        return begin_pretraining(recipe, *rest)

    monkeypatch.setattr(train, "begin_pretraining", fail)
    out = tmp_path / "out"
    assert call("sweep", picture_recipe, "--out", out, "mae.ratio=0.5,0.75") == 2
    assert "2 training runs of the sweep failed" in capsys.readouterr().err
    assert [(row["mae.ratio"], row["init"]) for row in rows_of(out)][1:] == [("0.75", "scratch"), ("0.75", "mae")]
    failed = json.loads((out / "sweep.json").read_text())["failed"]
    first = "mae.ratio=0.5: pretrain-mae (fold 0, seed 0)"
    assert failed["mae.ratio=0.5: mae (fold 0, seed 0)"] == f"{first} failed"
    assert failed[first] == "ZeroDivisionError: of ours"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["mae.ratio=0.5,1.5"], "mae.ratio=1.5: mae.ratio is 1.5, but must be above 0 and below 1."),
        (["data.fraction=0"], "data.fraction=0: data.fraction is 0.0, but must be above 0 and at most 1."),
        (["mae.ratio=0.5", "--halving"], "--halving chooses among 3 or more values of one key"),
        (["mae.ratio=0.5", "--executor", "slurm"], "--executor 'slurm' is not known."),
    ],
)
def test_what_cannot_be_swept_is_said_before_anything_is_made(
    tmp_path: Path, picture_recipe: Path, call: Call, error_line: Callable[[], str], words: list[str], text: str
) -> None:
    assert call("sweep", picture_recipe, "--out", tmp_path / "out", *words) == 2
    assert text in error_line()
    assert not (tmp_path / "out").exists()


def test_a_file_system_without_links_is_said(tmp_path: Path) -> None:
    (tmp_path / "runs/base/scratch").mkdir(parents=True)
    with pytest.raises(sweep.UserError, match="choose an --out on a file system with symbolic links"):
        sweep.link(tmp_path / "none" / "scratch", tmp_path / "runs/base/scratch")


def test_what_is_printed_names_the_seeds_of_each_difference(
    picture_recipe: Path, swept: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("sweep", picture_recipe, "--out", swept, "mae.ratio=0.5,0.75") == 0
    out = "".join(capsys.readouterr())
    assert out.count(", 1 seed).") == 2
    assert out.count("Each initialization was trained with one seed only") == 1
