"""The whole job: look, plan, prepare, pre-train, fine-tune every start on the same folds and seeds, compare, report."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from selfmae.data.folds import Folding, choose_folding
from selfmae.errors import UserError
from selfmae.jobs.compare import compare, show_verdict
from selfmae.jobs.display import Display
from selfmae.jobs.finetune import finetune_cell
from selfmae.jobs.folder import open_folder, write_json
from selfmae.jobs.forecast import check_space, forecast, show_forecast
from selfmae.jobs.inspect import show_source
from selfmae.jobs.plan import resolve, show_plan
from selfmae.jobs.pretrain import pretrain_cell
from selfmae.jobs.report import report
from selfmae.jobs.source import Source, check_cases, count_splits, fold_of
from selfmae.jobs.start import Start, find_start, start_report
from selfmae.jobs.trainings import count_trainings
from selfmae.options import Recipe
from selfmae.tasks import make_task

PRETRAIN = "pretrain"  # the folder of the self pre-trained encoders, which is no start's name


@dataclass(frozen=True)
class Grid:
    """Which models a run trains: every start on every fold with every seed."""

    starts: tuple[str, ...] = ("scratch", "mae")
    num_folds: int | None = 1  # None: what suits the number of patients (`choose_folding`)
    num_seeds: int = 1


def run(source: str, out: Path, grid: Grid, recipe_name: str, sets: Sequence[str], display: Display) -> dict[str, Any]:
    """Do the whole job in `out` and return the verdict; what is finished there is not done again."""
    names = name_starts(grid)
    recipe, reasons, looked = resolve(source, recipe_name, sets, display)
    folding = choose_folding(looked.cases.cases, grid.num_folds)
    show_source(looked, display)
    show_plan(recipe, reasons, display)
    for note in fold_notes(folding, recipe):
        display.say(f"Note: {note}")
    starts = _find_starts(names, recipe)
    if not (out / "recipe.yaml").exists():  # a run that goes on has been told
        trainings = count_trainings(looked, recipe, folding, list(names), grid.num_seeds)
        found = forecast(recipe, looked, trainings, out, display)
        show_forecast(found, display)
        check_space(found)
    folds = [fold_of(looked, fold, folding, recipe.data) for fold in range(folding.num_folds)]
    with open_folder(out, recipe, reasons):
        _check_begun(out, folds)
        facts = _facts(looked, recipe, folding, grid.num_seeds, names)
        write_json(out / "run.json", facts | {"recipe": Path(recipe_name).stem})
        for fold, seed in cells_of(folding, grid.num_seeds):
            _run_cells(recipe, folds[fold], out, starts, (fold, seed), display)
        verdict = compare([out])
        show_verdict(verdict, display)
        report([out], display)
    return verdict


def cells_of(folding: Folding, num_seeds: int) -> list[tuple[int, int]]:
    """Return (fold, seed) of all cells: all folds of a seed before the next seed."""
    return [(fold, seed) for seed in range(num_seeds) for fold in range(folding.num_folds)]


def _check_begun(out: Path, folds: Sequence[Source]) -> None:
    """Raise if a cell that is there was begun with other cases or folds, before anything is written over."""
    for path in sorted(out.glob("*/fold*/seed*/cases.csv")):
        fold = int(path.parts[-3].removeprefix("fold"))
        check_cases(path, folds[min(fold, len(folds) - 1)], fold)


def fold_notes(folding: Folding, recipe: Recipe) -> list[str]:
    """Return why the folds were chosen, and what the score over several folds means."""
    notes = [folding.reason] if folding.reason else []
    if folding.num_folds == 1 or recipe.target.kind == "mask":
        return notes
    return [
        *notes,
        "Over folds, AUC compares only cases that the same model scored, and repeats are averaged; a finding of which "
        "no fold tests both outcomes (always so in leave-one-out) is compared over all folds, which tends to make its "
        "AUC too small (Airola et al. 2011): trust the difference of two starts more than their values.",
    ]


def name_starts(grid: Grid) -> dict[str, str]:
    """Return folder name and text of each start; raise `UserError` where one is unknown or two share a name."""
    if (grid.num_folds is not None and grid.num_folds < 1) or grid.num_seeds < 1:
        folds = "auto" if grid.num_folds is None else grid.num_folds
        raise UserError(f"--folds {folds} and --seeds {grid.num_seeds} must be at least 1.")
    if not grid.starts:
        raise UserError("--starts names no start: give scratch, mae, imagenet or files of weights, between commas.")
    names: dict[str, str] = {}
    for text in grid.starts:
        known = text in ("scratch", "mae", "imagenet") or text.startswith("timm:")
        name = text.removeprefix("timm:") if known else Path(text).stem
        if not known and not Path(text).is_file():
            raise UserError(
                f"--starts names {text!r}, but a start is scratch, mae, imagenet, timm:NAME or an existing file of "
                "weights."
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
    if "mae" in names:
        find_start(recipe.start.pretrain, recipe, "start.pretrain")
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


def _facts(
    source: Source, recipe: Recipe, folding: Folding, num_seeds: int, names: Mapping[str, str]
) -> dict[str, Any]:
    """Return what the report tells of the run; no path, so that the same run gives the same bytes."""
    return {
        "source": source.cases.source.name,
        "kind": recipe.target.kind,
        "names": list(recipe.target.output_names),
        "regions": bool(recipe.target.regions),
        "starts": list(names),
        "num_folds": folding.num_parts,
        "num_repeats": folding.num_repeats,
        "num_seeds": num_seeds,
        "notes": [*source.cases.notes, *fold_notes(folding, recipe)],
        "counts": count_splits(source.cases),
        "findings": [asdict(finding) for finding in source.findings],
    }
