"""What a run folder holds: every file the report needs, read once."""

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from selfmae.errors import UserError
from selfmae.recipe import flat, read_content

PRETRAIN = "pretrain"
HEADLINES = ("dice_per_case", "mean_auc", "macro_auc")  # of masks, findings, classes

Row = Mapping[str, str]
Curve = tuple[tuple[int, float], ...]  # steps and values


@dataclass(frozen=True)
class Cell:
    """One training: an initialization (or "pretrain"), a fold and a seed; what its folder lacks is empty.

    Or the scored masks of another tool (`is_scored`), which have no training that is known.
    """

    init: str
    fold: int
    seed: int
    folder: Path
    losses: Curve
    looks: tuple[Mapping[str, Any], ...]  # at the validation cases, or of the probe: "step", "score" and more
    where: dict[str, Any]
    summary: dict[str, Any]
    rows: tuple[Row, ...]
    cases: tuple[Row, ...]  # who is in which part, with the content hash of each image

    @property
    def is_scored(self) -> bool:
        """Return whether another tool made the masks."""
        return self.where.get("init", {}).get("kind") == "score"

    @property
    def metrics(self) -> dict[str, float | None]:
        """Return the metrics of the test part, {} before evaluation."""
        return self.summary.get("metrics", {})

    @property
    def scores(self) -> Curve:
        """Return the scores of the looks."""
        return self.curve("score")

    def curve(self, key: str) -> Curve:
        """Return what the looks found under a key, without those at which it was undefined."""
        found = ((int(look["step"]), look.get(key)) for look in self.looks)
        return tuple((step, float(value)) for step, value in found if value is not None and math.isfinite(value))

    @property
    def kept_step(self) -> int | None:
        """Return the step whose weights were kept: the first with the best score (without any, the last look)."""
        if not self.looks:
            return None
        return max(self.scores, key=lambda point: point[1])[0] if self.scores else int(self.looks[-1]["step"])

    @property
    def num_steps(self) -> int | None:
        """Return the last step of the log: of a loss, or of the look that ended the training."""
        steps = [step for step, _ in self.losses[-1:]] + [int(look["step"]) for look in self.looks[-1:]]
        return max(steps, default=None)


@dataclass(frozen=True)
class Results:
    """Everything reportable of a folder: `run.json`, the verdict and its file's name, the recipe and the cells."""

    folder: Path
    run: dict[str, Any]
    verdict: dict[str, Any]
    recipe: str
    settings: Mapping[str, Any]  # the recipe's values by dotted key, {} without a recipe
    pretrained: tuple[Cell, ...]
    cells: tuple[Cell, ...]
    verdict_file: str = "verdict.json"

    @property
    def source(self) -> str:
        """Return the name of the source, or of the folder where no `run.json` says it."""
        return str(self.run.get("source") or self.folder.resolve().name)

    @property
    def inits(self) -> list[str]:
        """Return the names of the initializations that were trained, in the order of the command."""
        given = [str(name) for name in self.run.get("inits", [])]
        found = dict.fromkeys(cell.init for cell in self.cells)
        return [name for name in given if name in found] + [name for name in found if name not in given]

    @property
    def trained(self) -> list[Cell]:
        """Return the cells that were trained here: all but scored masks."""
        return [cell for cell in self.cells if not cell.is_scored]

    @property
    def scored(self) -> list[str]:
        """Return the names of the tools whose masks were scored."""
        return list(dict.fromkeys(cell.init for cell in self.cells if cell.is_scored))

    @property
    def headline(self) -> str:
        """Return the metric that decides, "" if nothing was evaluated."""
        known = {name for cell in self.cells for name in cell.metrics}
        return str(self.verdict.get("metric") or next((name for name in HEADLINES if name in known), ""))

    def cells_of(self, init: str) -> list[Cell]:
        """Return the cells of one initialization."""
        return [cell for cell in self.cells if cell.init == init]


def read_results(folder: Path, scored: Sequence[Path] = (), verdict: Path | None = None) -> Results:
    """Read a run folder, or the folder of a single pre-training or fine-tuning; `UserError` if it holds no results.

    The cells of the folders of `scored` masks come behind; `verdict` is the file of a comparison with them.
    """
    places = sorted(folder.glob("*/fold*/seed*"), key=_place)
    cells = [_read_cell(place, place.parts[-3]) for place in places if place.is_dir()] or [_read_single(folder)]
    cells = [cell for cell in cells if cell.losses or cell.looks or cell.summary]
    if not cells:
        raise UserError(f"{folder} holds no results of SelfMAE: {what_instead(folder)}.")
    first = min(cell.seed for cell in cells)  # masks have no seed: they are compared with the first one
    cells += [replace(_read_single(place), seed=first) for place in scored]
    recipe, verdict = folder / "recipe.yaml", verdict or folder / "verdict.json"
    return Results(
        folder,
        _read_json(folder / "run.json"),
        _read_json(verdict),
        recipe.read_text(encoding="utf-8") if recipe.is_file() else "",
        flat(read_content(recipe)) if recipe.is_file() else {},
        tuple(cell for cell in cells if cell.init.startswith(PRETRAIN)),
        tuple(cell for cell in cells if not cell.init.startswith(PRETRAIN)),
        verdict.name,
    )


def defined(texts: Sequence[Any]) -> list[float]:
    """Return the finite numbers among numbers, texts and None; an empty text is undefined."""
    numbers = [float(text) for text in texts if text not in (None, "")]
    return [number for number in numbers if math.isfinite(number)]


def what_instead(folder: Path) -> str:
    """Return what to do where a folder holds no results of a run."""
    if (folder / "sweep.json").exists():
        runs = sorted(str(path.parent) for path in folder.glob("*/recipe.yaml"))
        return f"it is a sweep's, whose page is {folder / 'sweep.html'}; name one of its runs, as {', '.join(runs[:1])}"
    return f"run `selfmae run SOURCE --out {folder}` to its end first"


def mean_of(values: Sequence[Any]) -> float | None:
    """Return the mean of what is defined, None if nothing is."""
    numbers = defined(values)
    return mean(numbers) if numbers else None


def spread_of(values: Sequence[Any]) -> float | None:
    """Return the standard deviation of what is defined (divisor n - 1), None for fewer than two values."""
    numbers = defined(values)
    return stdev(numbers) if len(numbers) > 1 else None


def label_names(results: Results) -> list[str]:
    """Return the labels in the order of their places, which is that of the rows' columns."""
    for cell in results.cells:
        labels = cell.summary.get("labels", {})
        columns = list(cell.rows[0]) if cell.rows else []
        names = [column.partition("_")[2] for column in columns if column.startswith(("dice_", "truth_"))]
        ordered = [name for name in names if name in labels]
        if labels:
            return ordered if len(ordered) == len(labels) else list(labels)
    return []


def _place(path: Path) -> tuple[str, list[int]]:
    """Order folders by initialization, then fold and seed as numbers."""
    return path.parts[-3], [int(number) for part in path.parts[-2:] for number in re.findall(r"\d+", part)[:1]]


def _read_single(folder: Path) -> Cell:
    """Read a folder of one stage, or of scored masks: only pre-training counts the images it saw."""
    where = _read_json(folder / "environment.json")
    init = where.get("init", {})
    tuned = "num_seen" not in where and ("init" in where or (folder / "summary-test.json").is_file())
    kind = init.get("kind", "model")
    name = Path(init["name"]).name if kind in ("score", "file", "timm") else kind
    return _read_cell(folder, str(name) if tuned else PRETRAIN)


def _read_cell(folder: Path, init: str) -> Cell:
    fold, seed = ([int(n) for part in folder.parts[-2:] for n in re.findall(r"^(?:fold|seed)(\d+)$", part)] + [0, 0])[
        :2
    ]
    log = _read_log(folder / "steps.jsonl")
    losses = tuple((int(line["step"]), float(line["loss"])) for line in log if "loss" in line)
    looks = tuple(line for line in log if "score" in line)
    where, summary = _read_json(folder / "environment.json"), _read_json(folder / "summary-test.json")
    rows, cases = (_read_rows(folder / name) for name in ("rows-test.csv", "cases.csv"))
    return Cell(init, fold, seed, folder, losses, looks, where, summary, rows, cases)


def _read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file, {} if there is none."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UserError(
            f"{path} must hold a JSON object, but could not be read ({error}): delete it and give the command that "
            "wrote it again."
        ) from error


def _read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a step log, without one that a crash left unfinished."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def _read_rows(path: Path) -> tuple[Row, ...]:
    if not path.is_file():
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))
