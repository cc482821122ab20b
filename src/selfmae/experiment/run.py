"""The whole experiment: survey, plan, prepare, train each initialization on the same folds and seeds, compare."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from selfmae.data.case import Cases, patients_of
from selfmae.data.folds import Folding, choose_folding
from selfmae.data.source import Source, check_cases, count_splits, fold_of
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.plan import resolve, show_plan
from selfmae.experiment.pretrain import probe_notes
from selfmae.experiment.report import report
from selfmae.experiment.schedule import Scheduled, check_executor, first_of, schedule
from selfmae.experiment.train import (
    Grid,
    Part,
    check_inits,
    compute_of,
    list_runs,
    name_inits,
    prepare_all,
    schedule_run,
)
from selfmae.files import write_json
from selfmae.methods import EQUAL, is_method
from selfmae.options import Recipe
from selfmae.planning.budget import equal_compute
from selfmae.planning.forecast import check_space, forecast, show_forecast
from selfmae.planning.trainings import count_trainings
from selfmae.recipe import flat, parse_sets
from selfmae.results.formatting import plural
from selfmae.results.run_folder import check_place, open_folder
from selfmae.results.subgroups import note_columns
from selfmae.results.training_run import evaluated_runs, training_runs
from selfmae.results.verdict import compare, show_verdict


@dataclass(frozen=True)
class Experiment:
    """What all training runs of a `run` share."""

    recipe: Recipe
    reasons: Mapping[str, str]  # of the recipe's values
    source: Source
    folding: Folding
    folds: Sequence[Source]  # the source with the split of each fold
    names: Mapping[str, str]  # folder name and text of each initialization
    num_seeds: int


def run(source: str, out: Path, grid: Grid, recipe_name: str, sets: Sequence[str], display: Display) -> dict[str, Any]:
    """Do the whole experiment in `out` and return the verdict; what is finished there is not done again."""
    check_executor(grid.executor)
    check_place(out, "run")
    experiment = _set_up(source, grid, recipe_name, sets, display)
    if not (out / "recipe.yaml").exists():  # a run that goes on has been told
        _tell_forecast(experiment, out, display)
    with open_folder(out, experiment.recipe, experiment.reasons, "run"):
        _check_begun(out, experiment.folds)
        facts = run_facts(experiment.source, experiment.recipe, experiment.folding, grid.num_seeds, experiment.names)
        facts |= {"recipe": Path(recipe_name).stem, "changed": sorted(flat(parse_sets(sets)))}
        write_json(out / "run.json", facts | _equal_compute(experiment, display))
        note_columns(out, experiment.source.cases)
        if grid.executor.is_beside:
            prepare_all(experiment.recipe, experiment.source, display)
        failures = schedule(_works_of(experiment, out), grid.executor, display)
        return finish(out, failures, grid, display)


def _set_up(source: str, grid: Grid, recipe_name: str, sets: Sequence[str], display: Display) -> Experiment:
    """Survey the source, plan, and check everything that can be before any training."""
    names = name_inits(grid)
    recipe, reasons, surveyed = resolve(source, recipe_name, sets, display)
    surveyed = replace(surveyed, transductive=grid.transductive)
    folding = choose_folding(surveyed.cases.cases, grid.num_folds)
    show_plan(recipe, reasons, display)
    for note in (*fold_notes(folding, recipe), *(probe_notes(recipe) if any(map(is_method, names)) else ())):
        display.say(f"Note: {note}")
    folds = [fold_of(surveyed, fold, folding, recipe.data) for fold in range(folding.num_folds)]
    check_inits(names, recipe, folds)
    return Experiment(recipe, reasons, surveyed, folding, folds, names, grid.num_seeds)


def _tell_forecast(experiment: Experiment, out: Path, display: Display) -> None:
    """Show what the run will take; raise `UserError` where the disk has no room for it."""
    recipe, source = experiment.recipe, experiment.source
    trainings = count_trainings(source, recipe, experiment.folding, list(experiment.names), experiment.num_seeds)
    found = forecast(recipe, source, trainings, out, display)
    show_forecast(found, display)
    check_space(found)


def _equal_compute(experiment: Experiment, display: Display) -> dict[str, Any]:
    """Return steps and reason of `scratch+` for `run.json`, {} where it is not trained."""
    if EQUAL not in experiment.names:
        return {}
    method = compute_of(experiment.recipe, experiment.names)
    equal = equal_compute(experiment.recipe, method, experiment.folds[0].cases.part("train")[0])
    display.say(f"Equal compute: {equal.reason}")
    return {"equal_compute": asdict(equal)}


def _works_of(experiment: Experiment, out: Path) -> list[Scheduled]:
    """Return all training runs, each once, a pre-training before what starts from it."""
    recipe, names = experiment.recipe, experiment.names
    works: dict[str, Scheduled] = {}
    for run in list_runs(names, experiment.folding, experiment.num_seeds, out):
        text = names[run.init]
        method = text if is_method(text) else compute_of(recipe, names) if text == EQUAL else ""
        for work in schedule_run(run, Part(recipe, experiment.folds[run.fold], text, method), (recipe, out)):
            works.setdefault(work.title, work)
    return list(works.values())


def finish(out: Path, failures: Mapping[str, str], grid: Grid, display: Display) -> dict[str, Any]:
    """Compare and report what is finished in `out`; raise `UserError` if training runs failed, after the report."""
    if failures and not evaluated_runs(out):
        raise UserError(next(iter(failures.values())))
    verdict = compare([out], grid.transductive)
    show_verdict(verdict, display)
    report([out], display, grid.transductive)
    if failures:
        without = "it" if len(failures) == 1 else "them"
        raise UserError(
            f"{plural(len(failures), 'training run')} failed, so the verdict does without {without} (first: "
            f"{first_of(failures)}): fix the cause and run the same command again."
        )
    return verdict


def _check_begun(out: Path, folds: Sequence[Source]) -> None:
    """Raise if a training run that is there was begun with other cases or folds, before anything is written over."""
    for run in training_runs(out):
        path = run.folder / "cases.csv"
        if path.exists():
            check_cases(path, folds[min(run.fold, len(folds) - 1)], run.fold)


def fold_notes(folding: Folding, recipe: Recipe) -> list[str]:
    """Return why the folds were chosen, and what the score over several folds means."""
    reasons = [folding.reason] if folding.reason else []
    if folding.num_folds == 1:
        return reasons
    notes = [
        "Folds deal the labelled patients anew, so that each is tested once in a repeat: train, val and test parts "
        "that the source has, or that were drawn for it, play no part.",
        *reasons,
    ]
    if recipe.target.kind == "mask":
        return notes
    return [
        *notes,
        "Over folds, AUC compares only cases that the same model scored, and repeats are averaged; a finding of which "
        "no fold tests both outcomes (always so in leave-one-out) is compared over all folds, which tends to make its "
        "AUC too small (Airola et al. 2011): trust the difference of two initializations more than their values.",
    ]


def count_cases(cases: Cases, folding: Folding) -> dict[str, dict[str, int]]:
    """Return cases and patients of each part of the split; of folds, which have no one split, of all labelled ones."""
    if folding.num_folds == 1:
        return count_splits(cases)
    labelled = cases.part("train", "val", "test")
    counts = {"labelled": {"cases": len(labelled), "patients": len(patients_of(labelled))}}
    return counts | {part: count for part, count in count_splits(cases).items() if part not in ("train", "val", "test")}


def title_of(source: Path) -> str:
    """Return what the report calls a source: the folder's name, and of a file its own behind it ("cxr/labels.csv")."""
    source = source.absolute()
    return f"{source.parent.name}/{source.name}".lstrip("/") if source.is_file() else source.name


def run_facts(
    source: Source, recipe: Recipe, folding: Folding, num_seeds: int, names: Mapping[str, str]
) -> dict[str, Any]:
    """Return what the report tells of the run; no path, so that the same run gives the same bytes."""
    return {
        "source": title_of(source.cases.source),
        "kind": recipe.target.kind,
        "names": list(recipe.target.output_names),
        "regions": bool(recipe.target.regions),
        "inits": list(names),
        "num_folds": folding.num_parts,
        "num_repeats": folding.num_repeats,
        "num_seeds": num_seeds,
        "notes": [
            *source.cases.notes,
            *fold_notes(folding, recipe),
            *(probe_notes(recipe) if any(map(is_method, names)) else ()),
        ],
        "counts": count_cases(source.cases, folding),
        "findings": [asdict(finding) for finding in source.findings],
    }
