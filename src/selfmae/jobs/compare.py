"""Comparison of finished runs: paired differences between starts on the same test cases, and the verdict."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from selfmae.errors import UserError
from selfmae.jobs.display import Display
from selfmae.jobs.folder import read_recipe, read_table, write_json
from selfmae.metrics.scores import Score, mean_auc_score, mean_of_scores, mean_score
from selfmae.metrics.statistics import Comparison, compare_paired
from selfmae.models.weights import read_contract
from selfmae.options import Recipe
from selfmae.tasks.base import HEADLINES


@dataclass(frozen=True)
class Cell:
    """One fine-tuned and evaluated model."""

    start: str
    fold: int
    seed: int
    folder: Path


def find_cells(folder: Path) -> list[Cell]:
    """Return the finished cells of a run folder, or the one of a fine-tuning folder."""
    if (folder / "summary-test.json").exists():
        start = json.loads((folder / "where.json").read_text())["start"]["name"]
        fold = read_table(folder / "cases.csv")[0]["fold"]
        return [Cell(start, int(fold), read_recipe(folder / "recipe.yaml").seed, folder)]
    cells = []
    for path in sorted(folder.glob("*/fold*/seed*/summary-test.json")):
        start, fold, seed = path.parts[-4:-1]
        cells.append(Cell(start, int(fold.removeprefix("fold")), int(seed.removeprefix("seed")), path.parent))
    return cells


def compare(folders: Sequence[Path]) -> dict[str, Any]:
    """Return the verdict over the cells of these folders; a single run folder gets it as `verdict.json`.

    Starts are paired in the order in which `run.json` lists them, otherwise in that of the folders. Raises `UserError`
    where the starts' test cases differ, or a model has seen a case that it is tested on.
    """
    cells = [cell for folder in folders for cell in find_cells(folder)]
    if not cells:
        raise UserError(
            f"{', '.join(map(str, folders))}: no finished run was found (summary-test.json): "
            "run `selfmae run SOURCE --out DIR` to its end first."
        )
    check_once(cells)
    for cell in cells:
        check_not_seen(cell)
    recipe = read_recipe(cells[0].folder / "recipe.yaml")
    starts = _ordered_starts(cells, folders[0])
    runs = {start: _scores([cell for cell in cells if cell.start == start], recipe) for start in starts}
    verdict = _verdict(runs, recipe)
    if len(folders) == 1 and (folders[0] / "run.json").exists():
        write_json(folders[0] / "verdict.json", verdict)
    return verdict


def check_once(cells: Sequence[Cell]) -> None:
    """Raise if two models are the same start, fold and seed: they would count as repeats of one."""
    counts = Counter((cell.start, cell.fold, cell.seed) for cell in cells)
    (start, fold, seed), count = counts.most_common(1)[0]
    if count > 1:
        raise UserError(
            f"{count} of the folders hold the start {start} with fold {fold} and seed {seed}, but each model may be "
            "there once: leave out one of these folders."
        )


def check_not_seen(cell: Cell) -> None:
    """Raise if the cell's model, or the weights it started from, saw a case that it is evaluated on."""
    seen = set(read_contract(cell.folder / "model.safetensors").get("seen", ()))
    leaked = [
        row["id"]
        for row in read_table(cell.folder / "cases.csv")
        if row["split"] in ("val", "test") and row["hash"] in seen
    ]
    if leaked:
        raise UserError(
            f"{cell.folder}: the model was trained on {len(leaked)} images of its own val or test part "
            f"({', '.join(leaked[:3])}), so its score says nothing: train it again with a clean split."
        )


@dataclass(frozen=True)
class Runs:
    """The scores of one start by seed, over the test cases of all folds, averaged over repeats."""

    scores: dict[int, Score]
    ids: tuple[str, ...]
    patients: tuple[str, ...]


def _ordered_starts(cells: Sequence[Cell], folder: Path) -> list[str]:
    """Return the starts as `run.json` lists them, otherwise as they were found."""
    path = folder / "run.json"
    wanted = json.loads(path.read_text())["starts"] if path.exists() else []
    found = dict.fromkeys(cell.start for cell in cells)
    return [name for name in wanted if name in found] + [name for name in found if name not in wanted]


Rows = list[dict[str, str]]


def _scores(cells: Sequence[Cell], recipe: Recipe) -> Runs:
    """Join the folds of each seed: every test case appears once, or once in each repeat."""
    tables: dict[int, Rows] = {}
    for cell in sorted(cells, key=lambda cell: cell.fold):
        rows = [{**row, "fold": str(cell.fold)} for row in read_table(cell.folder / "rows-test.csv")]
        tables.setdefault(cell.seed, []).extend(rows)
    repeats = {seed: _split_repeats(table) for seed, table in sorted(tables.items())}
    ids = {tuple(row["id"] for row in table) for seed in repeats for table in repeats[seed]}
    if len(ids) > 1 or len({len(found) for found in repeats.values()}) > 1:
        raise UserError(
            f"The seeds of {cells[0].start} were not evaluated on the same test cases: let every fold and seed finish."
        )
    make = _score_maker(recipe)
    scores = {seed: mean_of_scores([make(table) for table in found]) for seed, found in repeats.items()}
    first = next(iter(repeats.values()))[0]
    return Runs(scores, ids.pop(), tuple(row["patient"] for row in first))


def _split_repeats(rows: Rows) -> list[Rows]:
    """Return the rows of each repeat, ordered by id: rows come fold by fold, and a repeat tests every case once."""
    repeats: list[Rows] = []
    times: Counter[str] = Counter()
    for row in rows:
        if times[row["id"]] == len(repeats):
            repeats.append([])
        repeats[times[row["id"]]].append(row)
        times[row["id"]] += 1
    return [sorted(table, key=lambda row: row["id"]) for table in repeats]


def _score_maker(recipe: Recipe) -> Callable[[Rows], Score]:
    """Return what turns the rows of one repeat into the headline metric as a function of case weights.

    Dice is averaged over cases; AUC is over pairs of cases that one fold's model scored (see `mean_auc_score`).
    """
    if recipe.target.kind == "mask":
        return lambda rows: mean_score(np.array([float(row["dice"] or "nan") for row in rows]))
    names = recipe.target.output_names

    def columns(rows: Rows, prefix: str) -> np.ndarray:
        return np.array([[float(row[f"{prefix}_{name}"]) for name in names] for row in rows])

    return lambda rows: mean_auc_score(
        columns(rows, "truth"), columns(rows, "probability"), [int(row["fold"]) for row in rows]
    )


def _verdict(runs: dict[str, Runs], recipe: Recipe) -> dict[str, Any]:
    alone = {start: _pair(start, run, start, run) for start, run in runs.items()}
    return {
        "metric": HEADLINES[recipe.target.kind],
        "starts": {start: {"mean": result.mean_a, "ci95": result.ci95_a} for start, result in alone.items()},
        "pairs": [_pair_row(a, b, _pair(a, runs[a], b, runs[b])) for a, b in combinations(runs, 2)],
        "leakage": [],
    }


def _pair_row(a: str, b: str, result: Comparison) -> dict[str, Any]:
    return {
        "a": a,
        "b": b,
        "difference": result.difference,  # b - a
        "ci95": result.ci95,
        "p": result.p,
        "num_cases": result.num_cases,
        "num_patients": result.num_patients,
        "num_seeds": result.num_seeds,
        "verdict": result.verdict,
    }


def _pair(a: str, runs_a: Runs, b: str, runs_b: Runs) -> Comparison:
    if runs_a.ids != runs_b.ids:
        raise UserError(
            f"{a} and {b} were not evaluated on the same test cases: give runs with one and the same split."
        )
    seeds = sorted(runs_a.scores.keys() & runs_b.scores.keys())
    if not seeds:
        raise UserError(f"{a} and {b} have no seed in common: train both with the same seeds.")
    ours, theirs = [runs_a.scores[seed] for seed in seeds], [runs_b.scores[seed] for seed in seeds]
    return compare_paired(ours, theirs, runs_a.patients, seed=0, limits=(0.0, 1.0))


def show_verdict(verdict: dict[str, Any], display: Display) -> None:
    """Print the mean of each start and the difference of each pair, with 95 % intervals."""
    metric = verdict["metric"]
    rows = [(name, _number(item["mean"]), _interval(item["ci95"])) for name, item in verdict["starts"].items()]
    display.table(("start", metric, "95 % interval"), rows)
    for pair in verdict["pairs"]:
        display.say(
            f"{pair['b']} against {pair['a']}: {pair['verdict']}; difference of {metric} "
            f"{_number(pair['difference'], '+')} (95 % interval {_interval(pair['ci95'], '+')}, "
            f"{pair['num_cases']} test cases of {pair['num_patients']} patients, {_count(pair['num_seeds'])})."
        )
        if pair["num_seeds"] == 1:
            display.say("With one seed the interval does not cover the noise of training: use --seeds 3 or more.")


def _number(value: float | None, sign: str = "") -> str:
    return "undefined" if value is None else f"{value:{sign}.4f}"


def _interval(ends: Sequence[float] | None, sign: str = "") -> str:
    return "undefined" if ends is None else f"{ends[0]:{sign}.4f} to {ends[1]:{sign}.4f}"


def _count(num_seeds: int) -> str:
    return f"{num_seeds} seed" if num_seeds == 1 else f"{num_seeds} seeds"
