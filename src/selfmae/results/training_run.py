"""Evaluated models: the cells of run folders, single models, and masks of other tools that `selfmae score` scored."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from selfmae.errors import UserError
from selfmae.files import read_json, read_table
from selfmae.metrics.rows import Runs, Scorer, auc_scorer, dice_scorer, join_rows
from selfmae.options import TargetOptions
from selfmae.recipe import flat, read_content
from selfmae.results.run_folder import read_recipe


@dataclass(frozen=True)
class TrainingRun:
    """One training run: an initialization by its name, a fold and a seed counted from 0; `folder` holds its files."""

    init: str
    fold: int
    seed: int
    folder: Path

    @classmethod
    def within(cls, out: Path, init: str, fold: int, seed: int) -> "TrainingRun":
        """Return a training run of an experiment in `out`."""
        return cls(init, fold, seed, out / init / f"fold{fold}" / f"seed{seed}")

    @property
    def title(self) -> str:
        """Return what a user reads of it."""
        return f"{self.init} (fold {self.fold}, seed {self.seed})"


def training_runs(folder: Path) -> list[TrainingRun]:
    """Return the training runs in the folder of an experiment."""
    found = []
    for path in sorted(folder.glob("*/fold*/seed*")):
        init, fold, seed = path.parts[-3:]
        found.append(TrainingRun.within(folder, init, int(fold.removeprefix("fold")), int(seed.removeprefix("seed"))))
    return found


@dataclass(frozen=True)
class Evaluation:
    """One fine-tuned and evaluated model, or the scored masks of another tool."""

    init: str
    fold: int
    seed: int
    folder: Path

    @property
    def is_trained(self) -> bool:
        """Return whether a model of ours made the predictions."""
        return (self.folder / "recipe.yaml").exists()

    @property
    def network(self) -> str:
        """Return the recipe's `model.network`."""
        return str(flat(read_content(self.folder / "recipe.yaml")).get("model.network", "vit"))


def is_scored(folder: Path) -> bool:
    """Return whether a folder holds the scored masks of another tool."""
    return (folder / "summary-test.json").exists() and not (folder / "recipe.yaml").exists()


def find_evaluations(folder: Path) -> list[Evaluation]:
    """Return the finished cells of a run folder, or the one of a fine-tuning folder or of scored masks."""
    if (folder / "summary-test.json").exists():
        init = read_json(folder / "environment.json")["init"]["name"]
        if is_scored(folder):
            return [Evaluation(init, 0, 0, folder)]
        fold = read_table(folder / "cases.csv")[0]["fold"]
        return [Evaluation(init, int(fold), read_recipe(folder / "recipe.yaml").seed, folder)]
    cells = []
    for path in sorted(folder.glob("*/fold*/seed*/summary-test.json")):
        init, fold, seed = path.parts[-4:-1]
        cells.append(Evaluation(init, int(fold.removeprefix("fold")), int(seed.removeprefix("seed")), path.parent))
    return cells


def name_apart(cells: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the cells, trained ones first, with names that tell apart what is not the same.

    Initializations of one name but different networks have the network behind it. Masks of another tool have no seed:
    they are paired with the first one of the models.
    """
    first = min((cell.seed for cell in cells if cell.is_trained), default=0)
    kinds = {cell: cell.network if cell.is_trained else "masks" for cell in cells}
    shared: dict[str, set[str]] = {}
    for cell, kind in kinds.items():
        shared.setdefault(cell.init, set()).add(kind)
    named = [
        replace(
            cell,
            init=f"{cell.init} ({kinds[cell]})" if len(shared[cell.init]) > 1 else cell.init,
            seed=cell.seed if cell.is_trained else first,
        )
        for cell in cells
    ]
    return sorted(named, key=lambda cell: not cell.is_trained)


def target_of(cells: Sequence[Evaluation]) -> TargetOptions:
    """Return what all cells learned; raise if scored masks were scored on other labels than a model reports."""
    scored = [(cell, _labels(cell)) for cell in cells if not cell.is_trained]
    trained = next((cell for cell in cells if cell.is_trained), None)
    if trained is None:
        target = TargetOptions("mask", tuple(scored[0][1]))
    else:
        target = read_recipe(trained.folder / "recipe.yaml").target
    for cell, labels in scored:
        if target.kind != "mask" or set(labels) != set(target.reported_names):
            raise UserError(
                f"{cell.folder} was scored on the labels {sorted(labels)}, but the others on "
                f"{sorted(target.reported_names)}: score it again with --labels that have these names."
            )
    return target


def _labels(cell: Evaluation) -> list[str]:
    return list(read_json(cell.folder / "summary-test.json")["labels"])


def check_same_images(cells: Sequence[Evaluation]) -> None:
    """Raise if models were tested on different images of one id: rows of other data would be paired."""
    known: dict[str, tuple[str, Path]] = {}
    for cell in cells:
        rows = read_table(cell.folder / "cases.csv") if cell.is_trained else []
        for row in rows:
            content, folder = known.setdefault(row["id"], (row["hash"], cell.folder))
            if content != row["hash"]:
                raise UserError(
                    f"{folder} and {cell.folder} have different images for the case {row['id']!r}: compare runs on the "
                    "same data."
                )


def join_cells(cells: Sequence[Evaluation]) -> Runs:
    """Join the folds of each seed of an initialization: every test case appears once, or once in each repeat."""
    runs = join_rows({(cell.seed, cell.fold): read_table(cell.folder / "rows-test.csv") for cell in cells})
    if runs is None:
        raise UserError(
            f"The seeds of {cells[0].init} were not evaluated on the same test cases: let every fold and seed finish."
        )
    return runs


def make_scorer(target: TargetOptions, label: str = "") -> Scorer:
    """Return what turns the rows of one repeat into the headline metric, or its part of one label, by case weights."""
    if target.kind == "mask":
        return dice_scorer(f"dice_{label}" if label else "dice")
    return auc_scorer((label,) if label else target.output_names)


def expected_cells(folder: Path) -> set[tuple[str, int, int]]:
    """Return initialization, fold and seed of all cells that the last `run` in a folder asked for.

    None without `run.json`.
    """
    path = folder / "run.json"
    if not path.exists():
        return set()
    run = read_json(path)
    folds = range(run["num_folds"] * run.get("num_repeats", 1))
    return set(product(run["inits"], folds, range(run["num_seeds"])))


def missing_cells(folders: Sequence[Path], cells: Sequence[Evaluation]) -> list[dict[str, str | int]]:
    """Return init, fold and seed of the cells that the runs of these folders asked for and that did not finish."""
    places = {cell.folder for cell in cells}
    lacking = {
        cell
        for folder in folders
        for cell in expected_cells(folder)
        if folder / cell[0] / f"fold{cell[1]}" / f"seed{cell[2]}" not in places
    }
    return [{"init": init, "fold": fold, "seed": seed} for init, fold, seed in sorted(lacking)]


def keep_complete(cells: Sequence[Evaluation], folders: Sequence[Path]) -> list[Evaluation]:
    """Return the cells of the seeds of which an initialization finished every fold.

    Where an initialization has no such seed, the folds that some initialization lacks are left out for all. Scored
    masks of other tools are kept as they are. Raises `UserError` where an initialization is left with nothing.
    """
    trained = [cell for cell in cells if cell.is_trained]
    folds = {fold for folder in folders for _, fold, _ in expected_cells(folder)} | {cell.fold for cell in trained}
    whole = _of_whole_seeds(trained, folds)
    inits = {cell.init for cell in trained}
    if {cell.init for cell in whole} != inits:
        folds = set.intersection(*({cell.fold for cell in trained if cell.init == init} for init in inits))
        whole = _of_whole_seeds(trained, folds)
    lost = sorted(inits - {cell.init for cell in whole})
    if lost:
        raise UserError(
            f"The initialization {lost[0]} has no seed that finished the folds which the others finished: give "
            "the command of "
            "the run again, so that the missing cells are trained."
        )
    return [cell for cell in cells if not cell.is_trained or cell in whole]


def _of_whole_seeds(cells: Sequence[Evaluation], folds: set[int]) -> list[Evaluation]:
    """Return the cells of these folds, of each initialization's seeds that have them all."""
    done: dict[tuple[str, int], set[int]] = {}
    for cell in cells:
        done.setdefault((cell.init, cell.seed), set()).add(cell.fold)
    return [cell for cell in cells if cell.fold in folds and folds <= done[cell.init, cell.seed]]
