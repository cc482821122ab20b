"""The grid of a run: which initializations it trains, on which folds, with which seeds; and one cell of it."""

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
from selfmae.experiment.initialization import Initialization, check_pretrainable, find_init, init_report
from selfmae.experiment.pretrain import pretrain_cell, steps_taken
from selfmae.experiment.schedule import HERE, Executor
from selfmae.files import write_text
from selfmae.methods import EQUAL, is_method, method_names, methods_for
from selfmae.options import Recipe
from selfmae.planning.budget import with_equal_compute
from selfmae.results.exposure import check_unseen
from selfmae.tasks import make_task

PRETRAIN = "pretrain"  # the folder of the self pre-trained encoders, which is no initialization's name
FAILURES = "failures"  # tracebacks of trainings that an error of ours ended


def _own() -> tuple[str, ...]:
    """Return the initializations that no file can be."""
    return ("scratch", EQUAL, *method_names())


@dataclass(frozen=True)
class Grid:
    """Which models a run trains, every initialization on every fold with every seed, and where it does."""

    inits: tuple[str, ...] = ("scratch", "mae")
    num_folds: int | None = 1  # None: what suits the number of patients (`choose_folding`)
    num_seeds: int = 1
    transductive: bool = False  # weights that saw val or test cases are let in
    executor: Executor = HERE


@dataclass(frozen=True)
class Place:
    """One cell of the grid: an initialization by its folder's name and as typed, a fold, and a seed counted from 0.

    `pretrained` is the folder of a pre-training that is done before; without it the cell does its own.
    """

    name: str
    init: str
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
    """Return all cells: all initializations of a fold, all folds of a seed, then the next seed."""
    return [
        Place(name, init, fold, seed)
        for seed in range(num_seeds)
        for fold in range(folding.num_folds)
        for name, init in names.items()
    ]


def run_cell(recipe: Recipe, source: Source, out: Path, place: Place, display: Display) -> None:
    """Train and evaluate one cell in `out`/init/fold/seed; what is finished there stays as it is.

    `source` has the split of the cell's fold (`fold_of`), `recipe` is that of the run. An initialization that needs a
    pre-training (`needs_pretraining`) does it first, in `out`/pretrain/fold/seed, unless it is done. Other cells share
    no file, so they may run side by side, in any order, in other processes.
    """
    display.say(f"— {place.title}")
    recipe, init = replace(recipe, seed=recipe.seed + place.seed), place.init
    method = init if is_method(init) else next(iter(methods_for(recipe)), "")
    pretrained = place.pretrained or out / replace(place, name=PRETRAIN).folder
    if needs_pretraining(init, recipe) and not place.pretrained:
        pretrain_cell(recipe, method, source, pretrained, place.fold, display)
    if is_method(init):
        init = f"{init}:{pretrained}"
    if init == EQUAL:
        num_taken = steps_taken(pretrained) if needs_pretraining(init, recipe) else 0
        recipe, init = with_equal_compute(recipe, method, source.cases.part("train")[0], num_taken), "scratch"
    found = replace(find_init(init, recipe), name=place.name)
    finetune_cell(recipe, source, found, out / place.folder, place.fold, display)


def needs_pretraining(init: str, recipe: Recipe) -> bool:
    """Return whether an initialization begins from a self pre-training, or must know how many steps it took."""
    return is_method(init) or (init == EQUAL and recipe.probe.ends_early)


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


def name_inits(grid: Grid) -> dict[str, str]:
    """Return folder name and text of each initialization.

    Raise `UserError` where one is unknown or two share a name.
    """
    if (grid.num_folds is not None and grid.num_folds < 1) or grid.num_seeds < 1:
        folds = "auto" if grid.num_folds is None else grid.num_folds
        raise UserError(f"--folds {folds} and --seeds {grid.num_seeds} must be at least 1.")
    if not grid.inits:
        raise UserError(
            "--init names no initialization: give scratch, mae, moco, imagenet or files of weights, between commas."
        )
    names: dict[str, str] = {}
    for text in grid.inits:
        name, init = _name_init(text)
        if name in names or name == PRETRAIN:
            raise UserError(
                f"--init: two initializations would share the name {name!r}: give one another, as in mine=FILE."
            )
        names[name] = init
    return names


def _name_init(text: str) -> tuple[str, str]:
    """Return folder name and text of an initialization; "imagenet=FILE" gives the weights of a file a name."""
    if text in (*_own(), "imagenet"):
        return text, text
    name, _, file = text.partition("=")
    if text.startswith("timm:"):
        name, file = text.removeprefix("timm:").replace("/", "_").replace(":", "_"), text
    elif Path(text).is_file():
        name, file = Path(text).stem, text
    if (file == text or Path(file).is_file()) and re.fullmatch(r"\w[\w.-]*", name):
        if name in _own():
            raise UserError(
                f"--init {text} would be named {name!r}, which is an initialization of SelfMAE's own: give it "
                "another name, as "
                f"in mine={file}."
            )
        return name, file
    raise UserError(
        f"--init names {text!r}, but an initialization is scratch, mae, moco, imagenet, timm:NAME, an existing file of "
        "weights, or NAME=FILE (imagenet=FILE where there is no network)."
    )


def check_inits(names: Mapping[str, str], recipe: Recipe, folds: Sequence[Source]) -> None:
    """Raise before any training if an init is not there, misfits or knows held-out cases, or no model can be built."""
    task, first = make_task(recipe), Initialization("scratch", "scratch")
    for name in names.keys() & {*method_names()}:
        check_pretrainable(recipe, f"--init {name}", name)
        first = find_init(recipe.init.pretrain, recipe, "init.pretrain")
    if EQUAL in names:
        check_pretrainable(recipe, "--equal-compute")
        if recipe.probe.ends_early and not names.keys() & {*method_names()}:
            raise UserError(
                "--equal-compute needs the steps that pre-training takes, which probe.patience leaves open, and no "
                "initialization of this run pre-trains: add mae to --init, or set probe.patience=0."
            )
    for name, text in names.items():
        init = Initialization("scratch", name) if text in (*method_names(), EQUAL) else find_init(text, recipe)
        init_report(task, init)
        for source in folds:
            check_unseen(source, first.seen if is_method(text) else init.seen, name)


def prepare_all(recipe: Recipe, source: Source, display: Display) -> None:
    """Prepare every image that takes part, and the masks of the labelled ones; what is prepared stays as it is."""
    task = make_task(recipe)
    labelled, others = source.cases.part("train", "val", "test"), source.cases.part("unlabelled")
    with display.stage("preparing images", len(labelled) + len(others)) as stage:
        task.prepare(labelled, lambda done, _: stage.update(done))
        task.store.prepare(others, False, lambda done, _: stage.update(len(labelled) + done))
