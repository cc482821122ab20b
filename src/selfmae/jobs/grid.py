"""The grid of a run: which starts it trains, on which folds, with which seeds; and one cell of it."""

import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from selfmae.data.folds import Folding
from selfmae.errors import UserError
from selfmae.jobs.cost import with_equal_compute
from selfmae.jobs.display import Display
from selfmae.jobs.executors import HERE, Executor
from selfmae.jobs.finetune import finetune_cell
from selfmae.jobs.folder import write_text
from selfmae.jobs.pretrain import pretrain_cell
from selfmae.jobs.seen import check_unseen
from selfmae.jobs.source import Source
from selfmae.jobs.start import Start, check_pretrainable, find_start, start_report
from selfmae.networks import EQUAL, SELF_STARTS
from selfmae.options import Recipe
from selfmae.tasks import make_task

PRETRAIN = "pretrain"  # the folder of the self pre-trained encoders, which is no start's name
OWN = ("scratch", EQUAL, *SELF_STARTS)  # starts that no file can be
KNOWN = (*OWN, "imagenet")
FAILURES = "failures"  # tracebacks of trainings that an error of ours ended


@dataclass(frozen=True)
class Grid:
    """Which models a run trains, every start on every fold with every seed, and where it does."""

    starts: tuple[str, ...] = ("scratch", "mae")
    num_folds: int | None = 1  # None: what suits the number of patients (`choose_folding`)
    num_seeds: int = 1
    transductive: bool = False  # weights that saw val or test cases are let in
    executor: Executor = HERE


@dataclass(frozen=True)
class Place:
    """One cell of the grid: a start by its folder's name and as typed, a fold, and a seed counted from 0."""

    name: str
    start: str
    fold: int
    seed: int

    @property
    def title(self) -> str:
        """Return what a user reads of the cell."""
        return f"{self.name}, fold {self.fold}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Return the folder of the cell below that of the run."""
        return Path(self.name) / f"fold{self.fold}" / f"seed{self.seed}"


def places_of(names: Mapping[str, str], folding: Folding, num_seeds: int) -> list[Place]:
    """Return all cells: all starts of a fold, all folds of a seed, then the next seed."""
    return [
        Place(name, start, fold, seed)
        for seed in range(num_seeds)
        for fold in range(folding.num_folds)
        for name, start in names.items()
    ]


def run_cell(recipe: Recipe, source: Source, out: Path, place: Place, display: Display) -> None:
    """Train and evaluate one cell in `out`/start/fold/seed; what is finished there stays as it is.

    `source` has the split of the cell's fold (`fold_of`), `recipe` is that of the run. A start of `SELF_STARTS` is
    pre-trained first, in `out`/pretrain/fold/seed. Cells share no file, so they may run side by side, in any order, in
    other processes.
    """
    display.say(f"— {place.title}")
    recipe = replace(recipe, seed=recipe.seed + place.seed)
    start = "scratch" if place.start == EQUAL else place.start
    if place.start == EQUAL:
        recipe = with_equal_compute(recipe, source.cases.part("train")[0])
    if start in SELF_STARTS:
        pretrained = out / replace(place, name=PRETRAIN).folder
        pretrain_cell(recipe, source, pretrained, place.fold, display)
        start = f"{start}:{pretrained}"
    found = replace(find_start(start, recipe), name=place.name)
    finetune_cell(recipe, source, found, out / place.folder, place.fold, display)


def try_cell(recipe: Recipe, source: Source, out: Path, place: Place, display: Display) -> str:
    """Run a cell; return why it failed, "" if it did not. An interruption is no failure and ends the run."""
    try:
        run_cell(recipe, source, out, place, display)
    except UserError as error:
        reason = str(error)
    except Exception as error:  # whatever ended this training, the others go on
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        write_text(out / FAILURES / f"{'-'.join(place.folder.parts)}.txt", traceback.format_exc())
    else:
        return ""
    return reason


def name_starts(grid: Grid) -> dict[str, str]:
    """Return folder name and text of each start; raise `UserError` where one is unknown or two share a name."""
    if (grid.num_folds is not None and grid.num_folds < 1) or grid.num_seeds < 1:
        folds = "auto" if grid.num_folds is None else grid.num_folds
        raise UserError(f"--folds {folds} and --seeds {grid.num_seeds} must be at least 1.")
    if not grid.starts:
        raise UserError(
            "--starts names no start: give scratch, mae, moco, imagenet or files of weights, between commas."
        )
    names: dict[str, str] = {}
    for text in grid.starts:
        name, start = _name_start(text)
        if name in names or name == PRETRAIN:
            raise UserError(f"--starts: two starts would share the name {name!r}: give one another, as in mine=FILE.")
        names[name] = start
    return names


def _name_start(text: str) -> tuple[str, str]:
    """Return folder name and text of a start; "imagenet=FILE" gives the weights of a file a name."""
    if text in KNOWN or text.startswith("timm:"):
        return text.removeprefix("timm:"), text
    if Path(text).is_file():
        return Path(text).stem, text
    name, _, file = text.partition("=")
    if Path(file).is_file() and re.fullmatch(r"\w[\w.-]*", name) and name not in OWN:
        return name, file
    raise UserError(
        f"--starts names {text!r}, but a start is scratch, mae, moco, imagenet, timm:NAME, an existing file of "
        "weights, or NAME=FILE (imagenet=FILE where there is no network)."
    )


def check_starts(names: Mapping[str, str], recipe: Recipe, folds: Sequence[Source]) -> None:
    """Raise before any training if a start is not there, misfits or knows held-out cases, or no model can be built."""
    task, first = make_task(recipe), Start("scratch", "scratch")
    for name in names.keys() & {*SELF_STARTS}:
        check_pretrainable(recipe, f"--starts {name}", name)
        first = find_start(recipe.start.pretrain, recipe, "start.pretrain")
    if EQUAL in names:
        check_pretrainable(recipe, "--equal-compute")
    for name, text in names.items():
        start = Start("scratch", name) if text in (*SELF_STARTS, EQUAL) else find_start(text, recipe)
        start_report(task, start)
        for source in folds:
            check_unseen(source, first.seen if text in SELF_STARTS else start.seen, name)
