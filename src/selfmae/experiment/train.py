"""The grid of a run: which starts it trains, on which folds, with which seeds; and one cell of it."""

import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from selfmae.data.folds import Folding
from selfmae.data.source import Source
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.finetune import finetune_cell
from selfmae.experiment.initialization import Start, check_pretrainable, find_start, start_report
from selfmae.experiment.pretrain import pretrain_cell, steps_taken
from selfmae.experiment.schedule import HERE, Executor
from selfmae.files import write_text
from selfmae.networks.registry import EQUAL, SELF_STARTS
from selfmae.options import Recipe
from selfmae.planning.budget import with_equal_compute
from selfmae.results.exposure import check_unseen
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
    """One cell of the grid: a start by its folder's name and as typed, a fold, and a seed counted from 0.

    `pretrained` is the folder of a pre-training that is done before; without it the cell does its own.
    """

    name: str
    start: str
    fold: int
    seed: int
    pretrained: Path | None = None

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

    `source` has the split of the cell's fold (`fold_of`), `recipe` is that of the run. A start that needs a
    pre-training (`needs_pretraining`) does it first, in `out`/pretrain/fold/seed, unless it is done. Other cells share
    no file, so they may run side by side, in any order, in other processes.
    """
    display.say(f"— {place.title}")
    recipe, start = replace(recipe, seed=recipe.seed + place.seed), place.start
    pretrained = place.pretrained or out / replace(place, name=PRETRAIN).folder
    if needs_pretraining(start, recipe) and not place.pretrained:
        pretrain_cell(recipe, source, pretrained, place.fold, display)
    if start in SELF_STARTS:
        start = f"{start}:{pretrained}"
    if start == EQUAL:
        num_taken = steps_taken(pretrained) if needs_pretraining(start, recipe) else 0
        recipe, start = with_equal_compute(recipe, source.cases.part("train")[0], num_taken), "scratch"
    found = replace(find_start(start, recipe), name=place.name)
    finetune_cell(recipe, source, found, out / place.folder, place.fold, display)


def needs_pretraining(start: str, recipe: Recipe) -> bool:
    """Return whether a start begins from a self pre-training, or must know how many steps it took."""
    return start in SELF_STARTS or (start == EQUAL and recipe.probe.ends_early)


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
    if text in KNOWN:
        return text, text
    name, _, file = text.partition("=")
    if text.startswith("timm:"):
        name, file = text.removeprefix("timm:").replace("/", "_").replace(":", "_"), text
    elif Path(text).is_file():
        name, file = Path(text).stem, text
    if (file == text or Path(file).is_file()) and re.fullmatch(r"\w[\w.-]*", name):
        if name in OWN:
            raise UserError(
                f"--starts {text} would be named {name!r}, which is a start of SelfMAE's own: give it another name, as "
                f"in mine={file}."
            )
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
        if recipe.probe.ends_early and not names.keys() & {*SELF_STARTS}:
            raise UserError(
                "--equal-compute needs the steps that pre-training takes, which probe.patience leaves open, and no "
                "start of this run pre-trains: add mae to --starts, or set probe.patience=0."
            )
    for name, text in names.items():
        start = Start("scratch", name) if text in (*SELF_STARTS, EQUAL) else find_start(text, recipe)
        start_report(task, start)
        for source in folds:
            check_unseen(source, first.seen if text in SELF_STARTS else start.seen, name)


def prepare_all(recipe: Recipe, source: Source, display: Display) -> None:
    """Prepare every image that takes part, and the masks of the labelled ones; what is prepared stays as it is."""
    store, masks = make_task(recipe).store, recipe.target.kind == "mask"
    labelled, others = source.cases.part("train", "val", "test"), source.cases.part("unlabelled")
    with display.stage("preparing images", len(labelled) + len(others)) as stage:
        places = masks and recipe.fit.augment.foreground > 0
        store.prepare(labelled, masks, lambda done, _: stage.update(done), places)
        store.prepare(others, False, lambda done, _: stage.update(len(labelled) + done))
