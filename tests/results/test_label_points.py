"""The points of label curves, collected from fabricated run folders: which draws count, and at how many labels."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfmae.files import write_table
from selfmae.options import TargetOptions
from selfmae.results.label_points import label_facts
from selfmae.seeds import generator

MASKS = TargetOptions("mask", ("liver",), (1,))
NUM_TEST = 20
INITS = ("scratch", "scratch+", "mae")
GAINS = {"scratch": 0.0, "scratch+": 0.01, "mae": 0.05}
SCORES = {3: 0.5, 5: 0.6, 10: 0.7, 40: 0.8}


def write_run(
    out: Path, init: str, number: int, seed: int, fold: int = 0, num_folds: int = 1, num_train: int = 40, **keys: Any
) -> None:
    """Write an evaluated training run on some labelled patients, 0 being all; the folds share out the test cases."""
    folder = (out / "labels" / str(number) if number else out) / init / f"fold{fold}" / f"seed{seed}"
    folder.mkdir(parents=True)
    (folder / "summary-test.json").write_text("{}")
    settings = {"data.labels": number} | keys
    lines = [f"  {key.partition('.')[2]}: {value}" for key, value in settings.items()]
    (folder / "recipe.yaml").write_text("\n".join(["model: {network: dynunet}", "data:", *lines]))
    parts = [("train", num_train), ("val", 4), ("unlabelled", 9)]
    cases = [  # two images of each training patient
        {"id": f"{part}{index}-{image}", "patient": f"{part}{index}", "split": part}
        for part, count in parts
        for index in range(count)
        for image in range(2)
    ]
    write_table(folder / "cases.csv", cases)
    mean, rng = SCORES[number or 40] + GAINS[init], generator(seed, init, number)
    rows = [
        {"id": f"t{index}", "patient": f"t{index}", "dice": f"{mean + 0.01 * rng.normal():.6f}"}
        for index in range(fold, NUM_TEST, num_folds)
    ]
    write_table(folder / "rows-test.csv", rows)


def write_facts(out: Path, num_folds: int = 1) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    facts = {"inits": list(INITS), "num_folds": num_folds, "num_repeats": 1, "num_seeds": 3}
    (out / "run.json").write_text(json.dumps(facts))
    return out


def write_all(
    out: Path, inits: Sequence[str] = INITS, numbers: Sequence[int] = (3, 5, 10, 0), without: Collection[Any] = ()
) -> Path:
    """Write three draws of each number but those of (init, number, draw) in `without`."""
    write_facts(out)
    for init in inits:
        for number in numbers:
            for draw in range(3):
                if (init, number, draw) not in without:
                    write_run(out, init, number, draw)
    return out


def counted(facts: dict[str, Any]) -> dict[tuple[str, int], int]:
    """Return the number of draws of each point."""
    return {(row["init"], row["labels"]): row["num_draws"] for row in facts["labels"]["curve"]}


def test_the_curve_has_every_initialization_at_every_number_and_at_all(tmp_path: Path) -> None:
    facts = label_facts(write_all(tmp_path), MASKS)
    assert counted(facts) == {(init, number): 3 for init in INITS for number in (3, 5, 10, 40)}
    assert {row["network"] for row in facts["labels"]["curve"]} == {"dynunet"}
    for row in facts["labels"]["curve"]:
        assert row["mean"] == pytest.approx(SCORES[row["labels"]] + GAINS[row["init"]], abs=0.01)
        assert row["ci95"][0] < row["mean"] < row["ci95"][1]
    assert facts["labels"]["unfinished"] == 0


def test_worth_and_headroom_are_those_of_these_points(tmp_path: Path) -> None:
    facts = label_facts(write_all(tmp_path), MASKS)
    worth = {(row["init"], row["labels"]): row["equals"] for row in facts["labels"]["worth"]}
    assert set(worth) == {(init, number) for init in ("scratch+", "mae") for number in (3, 5, 10, 40)}
    assert worth["mae", 3] == pytest.approx((3 * 5) ** 0.5, rel=0.15)
    assert worth["mae", 40] is None
    assert facts["headroom"]["mean"] == pytest.approx(0.1, abs=0.01)
    assert (facts["headroom"]["from"], facts["headroom"]["to"]) == (10, 40)
    other = label_facts(tmp_path, MASKS, reference="scratch+")
    assert {row["init"] for row in other["labels"]["worth"]} == {"scratch", "mae"}


@pytest.mark.parametrize("number", [5, 0])
def test_a_draw_that_one_initialization_did_not_finish_does_not_count(tmp_path: Path, number: int) -> None:
    facts = label_facts(write_all(tmp_path, without={("mae", number, 1)}), MASKS)
    expected = {(init, count): 2 if count == (number or 40) else 3 for init in INITS for count in (3, 5, 10, 40)}
    assert counted(facts) == expected
    assert facts["labels"]["unfinished"] == (number > 0)


def test_a_number_that_one_initialization_has_not_begun_has_no_point(tmp_path: Path) -> None:
    facts = label_facts(write_all(tmp_path, without={("mae", 10, draw) for draw in range(3)}), MASKS)
    assert {number for _, number in counted(facts)} == {3, 5, 40}
    assert facts["labels"]["unfinished"] == 3
    assert (facts["headroom"]["from"], facts["headroom"]["to"]) == (10, 40)  # which scratch alone decides


def test_while_only_scratch_is_done_its_curve_and_the_headroom_are_told(tmp_path: Path) -> None:
    facts = label_facts(write_all(tmp_path, ["scratch"]), MASKS)
    assert counted(facts) == {("scratch", number): 3 for number in (3, 5, 10, 40)}
    assert facts["labels"]["worth"] == []
    assert facts["headroom"]["to"] == 40


def test_an_initialization_on_all_labels_only_is_no_part_of_the_curves(tmp_path: Path) -> None:
    write_all(tmp_path, ["scratch", "scratch+"])
    write_run(tmp_path, "mae", 0, 0)
    assert {init for init, _ in counted(label_facts(tmp_path, MASKS))} == {"scratch", "scratch+"}


def test_draws_need_all_folds_and_all_labels_are_the_mean_of_the_folds(tmp_path: Path) -> None:
    write_facts(tmp_path, num_folds=3)
    for fold, num_train in enumerate((39, 40, 42)):
        for draw in range(2):
            write_run(tmp_path, "scratch", 0, draw, fold, 3, num_train)
            if (fold, draw) != (2, 1):
                write_run(tmp_path, "scratch", 10, draw, fold, 3, num_train)
    facts = label_facts(tmp_path, MASKS)
    assert counted(facts) == {("scratch", 10): 1, ("scratch", 40): 2}
    assert facts["labels"]["unfinished"] == 1


@pytest.mark.parametrize(("keys", "count"), [({"data.labels": 20}, 20), ({"data.fraction": 0.5}, 20), ({}, 40)])
def test_all_are_those_that_the_recipe_lets_in(tmp_path: Path, keys: dict[str, Any], count: int) -> None:
    write_facts(tmp_path)
    write_run(tmp_path, "scratch", 5, 0)
    write_run(tmp_path, "scratch", 0, 0, **keys)
    assert {number for _, number in counted(label_facts(tmp_path, MASKS))} == {5, count}


def test_a_number_that_equals_all_is_one_point(tmp_path: Path) -> None:
    write_all(tmp_path, ["scratch"], [5, 0])
    for draw in range(2):
        write_run(tmp_path, "scratch", 40, draw)
    assert counted(label_facts(tmp_path, MASKS)) == {("scratch", 5): 3, ("scratch", 40): 3}


def test_without_fewer_labels_there_is_nothing(tmp_path: Path) -> None:
    assert label_facts(write_all(tmp_path, numbers=[0]), MASKS) == {}
    (tmp_path / "labels" / "5" / "scratch" / "fold0" / "seed0").mkdir(parents=True)  # begun, not evaluated
    assert label_facts(tmp_path, MASKS) == {}


def test_without_half_of_the_labels_the_headroom_is_not_known(tmp_path: Path) -> None:
    facts = label_facts(write_all(tmp_path, ["scratch"], [3]), MASKS)
    assert facts["headroom"] == {"mean": None, "ci95": None}


def test_findings_are_scored_by_their_auc(tmp_path: Path) -> None:
    write_all(tmp_path, ["scratch"], [5, 0])
    for path in sorted(tmp_path.rglob("rows-test.csv")):
        ids, good = [f"t{index}" for index in range(NUM_TEST)], "labels" not in path.parts
        truth = [float(index % 3 == 0) for index in range(NUM_TEST)]
        shown = truth if good else np.linspace(0, 1, NUM_TEST)
        rows = [
            {"id": name, "patient": name, "truth_nodule": str(is_true), "probability_nodule": str(value)}
            for name, is_true, value in zip(ids, truth, shown, strict=True)
        ]
        write_table(path, rows)
    curve = label_facts(tmp_path, TargetOptions("multilabel", ("nodule",)))["labels"]["curve"]
    means = {row["labels"]: row["mean"] for row in curve}
    assert means[40] == 1
    assert means[5] == pytest.approx(0.47, abs=0.05)
