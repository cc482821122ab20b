"""The whole job: look, plan, prepare, pre-train, fine-tune every start on the same folds and seeds, compare, report."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from selfmae.errors import UserError
from selfmae.jobs.compare import compare, show_verdict
from selfmae.jobs.display import Display
from selfmae.jobs.finetune import Start, find_start, finetune_cell, start_report
from selfmae.jobs.folder import open_folder, write_json
from selfmae.jobs.inspect import show_source
from selfmae.jobs.plan import resolve, show_plan
from selfmae.jobs.pretrain import pretrain_cell
from selfmae.jobs.report import report
from selfmae.jobs.source import Source, count_splits, fold_of
from selfmae.options import Recipe
from selfmae.tasks import make_task

PRETRAIN = "pretrain"  # the folder of the self pre-trained encoders, which is no start's name


@dataclass(frozen=True)
class Grid:
    """Which models a run trains: every start on every fold with every seed."""

    starts: tuple[str, ...] = ("scratch", "mae")
    num_folds: int = 1
    num_seeds: int = 1

    def cells(self) -> list[tuple[int, int]]:
        """Return (fold, seed) of all cells: all folds of a seed before the next seed."""
        return [(fold, seed) for seed in range(self.num_seeds) for fold in range(self.num_folds)]


def run(source: str, out: Path, grid: Grid, recipe_name: str, sets: Sequence[str], display: Display) -> dict[str, Any]:
    """Do the whole job in `out` and return the verdict; what is finished there is not done again."""
    names = name_starts(grid)
    recipe, reasons, looked = resolve(source, recipe_name, sets, display)
    show_source(looked, display)
    show_plan(recipe, reasons, display)
    starts = _find_starts(names, recipe)
    with open_folder(out, recipe, reasons):
        write_json(out / "run.json", _facts(looked, recipe, grid, names))
        for fold, seed in grid.cells():
            folded = fold_of(looked, fold, grid.num_folds, recipe.data)
            _run_cells(recipe, folded, out, starts, (fold, seed), display)
        verdict = compare([out])
        show_verdict(verdict, display)
        report([out], display)
    return verdict


def name_starts(grid: Grid) -> dict[str, str]:
    """Return folder name and text of each start; raise `UserError` where one is unknown or two share a name."""
    if grid.num_folds < 1 or grid.num_seeds < 1:
        raise UserError(f"--folds {grid.num_folds} and --seeds {grid.num_seeds} must be at least 1.")
    if not grid.starts:
        raise UserError("--starts names no start: give scratch, mae, imagenet or files of weights, between commas.")
    names: dict[str, str] = {}
    for text in grid.starts:
        known = text in ("scratch", "mae", "imagenet")
        name = text if known else Path(text).stem
        if not known and not Path(text).is_file():
            raise UserError(
                f"--starts names {text!r}, but a start is scratch, mae, imagenet or an existing file of weights."
            )
        if name in names or name == PRETRAIN:
            raise UserError(f"--starts: two starts would share the name {name!r}: rename the file.")
        names[name] = text
    return names


def _find_starts(names: Mapping[str, str], recipe: Recipe) -> dict[str, Start | None]:
    """Return the start of each name, None for the one that is pre-trained here; raise before any training if one lacks.

    That the model can be built, and the weights fit it, is tried too.
    """
    task = make_task(recipe)
    starts: dict[str, Start | None] = {}
    for name, text in names.items():
        starts[name] = None if name == "mae" else replace(find_start(text, recipe), name=name)
        start_report(task, starts[name] or Start("scratch", name))
    return starts


def _run_cells(
    recipe: Recipe,
    source: Source,
    out: Path,
    starts: Mapping[str, Start | None],
    cell: tuple[int, int],
    display: Display,
) -> None:
    """Pre-train once and fine-tune every start for one fold and seed."""
    fold, seed = cell
    place = Path(f"fold{fold}") / f"seed{seed}"
    recipe = replace(recipe, seed=recipe.seed + seed)
    for name, start in starts.items():
        display.say(f"— {name}, fold {fold}, seed {seed}")
        if start is None:
            pretrained = out / PRETRAIN / place
            pretrain_cell(recipe, source, pretrained, fold, display)
            start = replace(find_start(f"mae:{pretrained}", recipe), name=name)
        finetune_cell(recipe, source, start, out / name / place, fold, display)


def _facts(source: Source, recipe: Recipe, grid: Grid, names: Mapping[str, str]) -> dict[str, Any]:
    """Return what the report tells of the run; no path, so that the same run gives the same bytes."""
    return {
        "source": source.cases.source.name,
        "kind": recipe.target.kind,
        "names": list(recipe.target.output_names),
        "regions": bool(recipe.target.regions),
        "starts": list(names),
        "num_folds": grid.num_folds,
        "num_seeds": grid.num_seeds,
        "notes": list(source.cases.notes),
        "counts": count_splits(source.cases),
        "findings": [asdict(finding) for finding in source.findings],
    }
