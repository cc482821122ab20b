"""The whole job: what a run folder holds, and that it is the same however often and wherever it is made."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from selfmae.data import folds
from selfmae.data.generated.sets import write_volumes

Call = Callable[..., int]
Bytes = Callable[..., dict[str, bytes]]

COMMON = {"recipe.yaml", "cases.csv", "environment.json", "steps.jsonl", "last.ckpt", "model.safetensors"}
SCORED = {"rows-val.csv", "rows-test.csv", "summary-val.json", "summary-test.json"}
PREDICTED = {"figures/examples.npz"}
RESULTS = ("model.safetensors", "rows-val.csv", "rows-test.csv", "summary-val.json", "summary-test.json")
RESULTS_OF_RUN = (*RESULTS, "verdict.json", "run.json", "cases.csv")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def seen_by(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", framework="np") as file:
        return set(json.loads(file.metadata()["metadata"])["seen"])


def check_folder(run: Path, files: dict[str, bytes], scored: set[str]) -> None:
    cells = {
        "scratch": COMMON | scored,
        "mae": COMMON | scored,
        "pretrain-mae": COMMON | {"figures/reconstructions.npz"},
    }
    wanted = {f"{name}/fold0/seed0/{file}" for name, content in cells.items() for file in content}
    assert set(files) == wanted | {"recipe.yaml", "run.json", "verdict.json", "report.html"}


def check_rows(cell: Path) -> None:
    splits = {row["id"]: row["split"] for row in table(cell / "cases.csv")}
    for split in ("val", "test"):
        ids = [row["id"] for row in table(cell / f"rows-{split}.csv")]
        assert sorted(ids) == sorted(name for name, part in splits.items() if part == split)


def check_verdict(run: Path, metric: str) -> None:
    verdict = json.loads((run / "verdict.json").read_text())
    assert set(verdict) == {
        *("metric", "inits", "pairs", "per_label", "per_label_inits", "subgroups", "missing", "leakage", "limitations"),
        *("margin", "headline", "convergence", "converged", "recommended"),
    }
    assert verdict["metric"] == metric
    assert verdict["leakage"] == []
    assert set(verdict["inits"]) == {"scratch", "mae"}
    assert all(set(init) == {"mean", "ci95"} for init in verdict["inits"].values())
    (pair,) = verdict["pairs"]
    assert (pair["a"], pair["b"]) == ("scratch", "mae")
    keys = {
        "a",
        "b",
        "difference",
        "ci95",
        "p",
        "p_holm",
        "num_cases",
        "num_patients",
        "effective_n",
        "num_seeds",
        "verdict",
        "mean_a",
        "mean_b",
    }
    assert set(pair) == keys | {"to_tell"}
    assert pair["p_holm"] == pair["p"]
    assert verdict["missing"] == []
    assert (pair["verdict"], verdict["headline"]) == ("no verdict", "no verdict")  # one seed
    assert verdict["margin"] == 0.01
    assert set(verdict["convergence"]) == set(verdict["converged"]) == {"scratch", "mae"}
    assert set(verdict["recommended"]) == {"network", "init"}
    means = verdict["inits"]
    assert pair["difference"] == pytest.approx(means["mae"]["mean"] - means["scratch"]["mean"])
    assert (pair["mean_a"], pair["mean_b"]) == (means["scratch"]["mean"], means["mae"]["mean"])


def test_a_run_on_volumes_leaves_what_the_contract_says(volume_run: Path, bytes_of: Bytes) -> None:
    check_folder(volume_run, bytes_of(volume_run), SCORED | PREDICTED)
    check_rows(volume_run / "mae" / "fold0" / "seed0")
    check_verdict(volume_run, "dice_per_case")


def test_a_run_on_radiographs_leaves_what_the_contract_says(picture_run: Path, bytes_of: Bytes) -> None:
    check_folder(picture_run, bytes_of(picture_run), SCORED | PREDICTED)
    check_rows(picture_run / "scratch" / "fold0" / "seed0")
    check_verdict(picture_run, "mean_auc")


def test_a_run_on_volumes_of_medmnist_scores_its_one_finding(
    tmp_path: Path, call: Call, small_volumes: list[str]
) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (count, 16, 16, 16), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count)[:, None] % 2
    np.savez(tmp_path / "set.npz", **arrays)
    words = (*small_volumes, "--set", "model.network=vit")
    assert call("run", tmp_path / "set.npz", "--out", tmp_path / "out", *words) == 0
    check_verdict(tmp_path / "out", "mean_auc")
    row = table(tmp_path / "out/mae/fold0/seed0/rows-test.csv")[0]
    assert set(row) == {"id", "patient", "truth_positive", "probability_positive"}


def test_a_run_on_three_classes_has_probabilities_that_sum_to_one(
    tmp_path: Path, call: Call, small_pictures: list[str]
) -> None:
    rng = np.random.default_rng(0)
    for place in range(24):
        path = tmp_path / "set" / "abc"[place % 3] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)).save(path)
    assert call("run", tmp_path / "set", "--out", tmp_path / "out", *small_pictures) == 0
    check_verdict(tmp_path / "out", "macro_auc")
    for row in table(tmp_path / "out/scratch/fold0/seed0/rows-test.csv"):
        assert sum(float(row[f"probability_{name}"]) for name in "abc") == pytest.approx(1)


def test_the_same_command_again_trains_nothing_and_changes_no_byte(
    volumes: Path, volume_run: Path, call: Call, small_volumes: list[str], bytes_of: Bytes, launched: list[Path]
) -> None:
    before = bytes_of(volume_run)
    assert call("run", volumes, "--out", volume_run, *small_volumes) == 0
    assert bytes_of(volume_run) == before
    assert not launched


def test_a_run_in_another_folder_has_the_same_bytes(
    tmp_path: Path, volumes: Path, volume_run: Path, call: Call, small_volumes: list[str], bytes_of: Bytes
) -> None:
    assert call("run", volumes, "--out", tmp_path / "deep" / "out", *small_volumes) == 0
    ours, theirs = bytes_of(tmp_path / "deep" / "out", *RESULTS_OF_RUN), bytes_of(volume_run, *RESULTS_OF_RUN)
    assert len(ours) == 5 + 5 + 1 + 3 + 2
    assert ours == theirs


def test_results_hold_no_path(volume_run: Path, volumes: Path, bytes_of: Bytes) -> None:
    names = [name for name in RESULTS_OF_RUN if name != "model.safetensors"]
    for name, content in bytes_of(volume_run, *names).items():
        assert str(volumes.parent).encode() not in content, name


def test_one_more_seed_trains_only_what_is_missing(
    tmp_path: Path, radiographs: Path, call: Call, small_pictures: list[str], bytes_of: Bytes, launched: list[Path]
) -> None:
    out = tmp_path / "out"
    assert call("run", radiographs, "--out", out, *small_pictures) == 0
    first = bytes_of(out / "mae")
    launched.clear()
    assert call("run", radiographs, "--out", out, "--seeds", 2, *small_pictures) == 0
    assert launched == [out / name / "fold0" / "seed1" for name in ("scratch", "pretrain-mae", "mae")]
    both = bytes_of(out / "mae")
    assert {name: both[name] for name in first} == first
    weights = "fold0/seed{}/model.safetensors"
    assert both[weights.format(0)] != both[weights.format(1)]
    assert json.loads((out / "verdict.json").read_text())["pairs"][0]["num_seeds"] == 2


def test_a_run_with_two_seeds_equals_one_that_got_the_second_later(
    tmp_path: Path, radiographs: Path, call: Call, small_pictures: list[str], bytes_of: Bytes
) -> None:
    words = ("run", radiographs, "--init", "scratch", *small_pictures)
    assert call(*words, "--out", tmp_path / "a", "--seeds", 1) == call(*words, "--out", tmp_path / "a", "--seeds", 2)
    assert call(*words, "--out", tmp_path / "b", "--seeds", 2) == 0
    names = (*RESULTS_OF_RUN, "report.html")
    ours, theirs = (bytes_of(tmp_path / name, *names) for name in "ab")
    ours.pop("report.html"), theirs.pop("report.html")  # it shows seconds
    assert ours == theirs


def test_folds_test_each_patient_once_and_pretraining_sees_none_of_them(
    tmp_path: Path, radiographs: Path, call: Call, small_pictures: list[str]
) -> None:
    assert call("run", radiographs, "--out", tmp_path / "out", "--folds", 3, *small_pictures) == 0
    tested: list[str] = []
    for fold in range(3):
        cell = tmp_path / "out" / "mae" / f"fold{fold}" / "seed0"
        cases = table(cell / "cases.csv")
        test = {row["patient"] for row in cases if row["split"] == "test"}
        held_out = {row["hash"] for row in cases if row["split"] in ("val", "test")}
        assert {row["patient"] for row in table(cell / "rows-test.csv")} == test
        for init in ("pretrain-mae", "mae", "scratch"):
            seen = seen_by(tmp_path / "out" / init / f"fold{fold}" / "seed0")
            assert seen
            assert not seen & held_out
        tested += sorted(test)
    patients = {row["patient_id"] for row in table(radiographs) if row["patient_id"].startswith("patient")}
    assert sorted(tested) == sorted(patients)
    assert json.loads((tmp_path / "out" / "verdict.json").read_text())["pairs"][0]["num_cases"] == 30


def test_auto_tests_each_of_few_patients_alone_and_says_so(
    tmp_path: Path, call: Call, small_volumes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_volumes(tmp_path / "few", 3, 0, (16, 16, 16))
    words = ("run", tmp_path / "few", "--out", tmp_path / "out", "--folds", "auto", "--init", "scratch")
    assert call(*words, *small_volumes) == 0
    assert "Note: Folds: each of the 3 labelled patients is tested alone (leave-one-out)" in capsys.readouterr().err
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (facts["num_folds"], facts["num_repeats"]) == (3, 1)
    assert facts["notes"][-1].startswith("Folds: each of the 3 labelled patients is tested alone")
    tested = [table(tmp_path / f"out/scratch/fold{fold}/seed0/rows-test.csv")[0]["id"] for fold in range(3)]
    assert sorted(tested) == [f"phantom_00{number}" for number in range(3)]
    assert "3-fold patient-wise cross-validation." in (tmp_path / "out" / "report.html").read_text()


def test_repeated_folds_test_each_patient_once_a_repeat_and_count_it_once(
    tmp_path: Path,
    radiographs: Path,
    call: Call,
    small_pictures: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(folds, "NUM_PARTS", 2)
    monkeypatch.setattr(folds, "NUM_REPEATS", 2)
    out = tmp_path / "out"
    assert call("run", radiographs, "--out", out, "--folds", "auto", *small_pictures) == 0
    tested = [{row["id"] for row in table(out / f"mae/fold{fold}/seed0/rows-test.csv")} for fold in range(4)]
    assert tested[0] | tested[1] == tested[2] | tested[3]
    assert not tested[0] & tested[1]
    assert not tested[2] & tested[3]
    assert tested[0] not in (tested[2], tested[3])
    pair = json.loads((out / "verdict.json").read_text())["pairs"][0]
    assert (pair["num_cases"], pair["num_patients"], pair["num_seeds"]) == (30, 17, 1)
    assert "Over folds, AUC compares only cases" in json.loads((out / "run.json").read_text())["notes"][-1]
    assert "2-fold patient-wise cross-validation, repeated 2 times" in (out / "report.html").read_text()


def test_another_number_of_folds_in_the_same_folder_is_an_error(
    volumes: Path, volume_run: Path, call: Call, small_volumes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("run", volumes, "--out", volume_run, "--folds", 3, *small_volumes) == 2
    assert "was begun with other images, another split or another --folds" in capsys.readouterr().err


def test_a_file_of_weights_is_an_initialization_named_by_its_stem(
    tmp_path: Path, volumes: Path, volume_run: Path, call: Call, small_volumes: list[str]
) -> None:
    weights = tmp_path / "ours.safetensors"
    weights.write_bytes((volume_run / "pretrain-mae/fold0/seed0/model.safetensors").read_bytes())
    words = ("--init", f"scratch, {weights}", *small_volumes)
    assert call("run", volumes, "--out", tmp_path / "out", *words) == 0
    assert list(json.loads((tmp_path / "out" / "verdict.json").read_text())["inits"]) == ["ours", "scratch"]
    report = json.loads((tmp_path / "out/ours/fold0/seed0/environment.json").read_text())["init"]
    assert (report["kind"], report["name"]) == ("file", "ours")


def test_a_run_whose_source_was_moved_trains_nothing_again(
    volume_run: Path, volumes: Path, small_volumes: list[str], tmp_path: Path, call: Call, launched: list[Path]
) -> None:
    moved = Path(shutil.copytree(volumes, tmp_path / "moved"))
    run = Path(shutil.copytree(volume_run, tmp_path / "run"))
    assert call("run", moved, "--out", run, *small_volumes) == 0
    assert launched == []
