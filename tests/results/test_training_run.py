"""Training runs: found in a run folder by one glob, and read file by file."""

import json
from pathlib import Path
from typing import Any

import pytest

from selfmae.errors import UserError
from selfmae.results.run_folder import models_below, no_model
from selfmae.results.selection import name_apart
from selfmae.results.training_run import TrainingRun, evaluated_runs, is_pretraining, training_runs


def write(run: TrainingRun, **files: Any) -> TrainingRun:
    """Write JSON files of a training run; environment_json is environment.json."""
    run.folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = run.folder / name.replace("__", "-").replace("_", ".")
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return run


def test_a_training_run_has_its_folder_and_title(tmp_path: Path) -> None:
    run = TrainingRun.within(tmp_path, "scratch", 1, 0)
    assert run.folder == tmp_path / "scratch" / "fold1" / "seed0"
    assert run.title == "scratch (fold 1, seed 0)"


def test_pretrainings_are_known_by_their_folder() -> None:
    assert is_pretraining("pretrain-mae")
    assert is_pretraining("pretrain-moco")
    assert not is_pretraining("pretrained")


def test_runs_are_found_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = [("mae", 0, 2), ("mae", 0, 10), ("mae", 10, 0), ("pretrain-mae", 0, 0), ("scratch", 2, 0)]
    for name in reversed(names):
        write(TrainingRun.within(tmp_path, *name), summary__test_json={})
    (tmp_path / "mae" / "fold0" / "seed0.old").mkdir()
    assert [(run.init, run.fold, run.seed) for run in training_runs(tmp_path)] == names
    assert [run.init for run in evaluated_runs(tmp_path)] == ["mae", "mae", "mae", "scratch"]
    assert training_runs(tmp_path / "mae") == training_runs(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("environment", "init"),
    [
        ({"init": {"kind": "mae", "name": "mae:/home/anna/pretrained"}}, "mae"),
        ({"init": {"kind": "file", "name": "/home/anna/vit.pth"}}, "vit.pth"),
        ({"init": {"kind": "scratch", "name": "scratch+"}}, "scratch+"),
        ({"init": {"kind": "score", "name": "nnunet"}}, "nnunet"),
        ({"init": {"kind": "scratch", "name": "scratch"}, "num_seen": 9, "method": "moco"}, "pretrain-moco"),
    ],
)
def test_a_single_training_is_named_after_what_it_began_from(
    tmp_path: Path, environment: dict[str, Any], init: str
) -> None:
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    (tmp_path / "cases.csv").write_text("id,fold\na,3\n")
    (tmp_path / "recipe.yaml").write_text("seed: 7\n")
    (run,) = training_runs(tmp_path)
    assert (run.init, run.fold, run.seed, run.folder) == (init, 3, 7, tmp_path)


def test_files_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    runs = [TrainingRun("vit.pth", 0, 0, tmp_path / name) for name in "ab"]
    for run in runs:
        write(run, environment_json={"init": {"kind": "file", "name": f"{run.folder.name}/vit.pth"}})
    assert [run.init for run in name_apart(runs)] == ["a/vit.pth", "b/vit.pth"]
    assert [run.init for run in name_apart(runs[:1])] == ["vit.pth"]


def test_networks_of_one_initialization_are_told_apart(tmp_path: Path) -> None:
    runs = [TrainingRun("scratch", 0, 0, tmp_path / name) for name in ("vit", "dynunet")]
    for run in runs:
        write(run, recipe_yaml=f"model:\n  network: {run.folder.name}\n")
    assert [run.init for run in name_apart(runs)] == ["scratch (vit)", "scratch (dynunet)"]


def test_what_is_not_there_is_empty(tmp_path: Path) -> None:
    run = TrainingRun("mae", 0, 0, tmp_path)
    assert (run.summary, run.rows, run.losses, run.kept_step, run.num_steps) == ({}, [], (), None, None)
    assert not run.is_evaluated
    assert not run.is_scored


def test_a_log_tells_losses_validations_and_the_step_that_was_kept(tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": 2.0}, {"step": 2, "score": 0.5}, {"step": 4, "score": 0.5}, {"step": 6, "score": None}]
    run = write(TrainingRun("mae", 0, 0, tmp_path), steps_jsonl="\n".join(map(json.dumps, lines)) + '\n{"step": 7')
    assert run.losses == ((1, 2.0),)
    assert run.scores == ((2, 0.5), (4, 0.5))
    assert (run.kept_step, run.num_steps) == (2, 6)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    run = write(TrainingRun("mae", 0, 0, tmp_path), summary__test_json="{")
    with pytest.raises(UserError, match=r"summary-test\.json could not be read .*: copy it again, or delete it and"):
        _ = run.summary


def test_models_below_a_part_of_a_run_are_named_pretrainings_last(tmp_path: Path) -> None:
    for init in ("mae", "pretrain-mae", "scratch"):
        write(TrainingRun.within(tmp_path, init, 0, 0), model_safetensors="")
    assert [run.init for run in models_below(tmp_path)] == ["mae", "scratch", "pretrain-mae"]
    assert [run.init for run in models_below(tmp_path / "scratch" / "fold0")] == ["scratch"]
    found = no_model(tmp_path / "mae", "train one")
    assert str(found).endswith(f"name one of its models, for example {tmp_path / 'mae' / 'fold0' / 'seed0'}.")
    assert str(no_model(tmp_path / "mae" / "fold0" / "seed0" / "none", "train one")).endswith(": train one.")
