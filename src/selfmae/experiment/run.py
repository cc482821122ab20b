"""The whole job: look, plan, prepare, pre-train, fine-tune every init on the same folds and seeds, compare, report."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
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
from selfmae.experiment.schedule import Work, carry_out, check_executor
from selfmae.experiment.train import (
    Grid,
    Place,
    check_inits,
    name_inits,
    needs_pretraining,
    places_of,
    prepare_all,
    try_cell,
)
from selfmae.files import write_json
from selfmae.methods import EQUAL, is_method, methods_for
from selfmae.options import Recipe
from selfmae.planning.budget import equal_compute
from selfmae.planning.forecast import check_space, forecast, show_forecast
from selfmae.planning.trainings import count_trainings
from selfmae.recipe import flat, parse_sets
from selfmae.results.run_folder import check_place, open_folder
from selfmae.results.subgroups import note_columns
from selfmae.results.verdict import compare, show_verdict


def run(source: str, out: Path, grid: Grid, recipe_name: str, sets: Sequence[str], display: Display) -> dict[str, Any]:
    """Do the whole job in `out` and return the verdict; what is finished there is not done again."""
    check_executor(grid.executor)
    names = name_inits(grid)
    check_place(out, "run")
    recipe, reasons, looked = resolve(source, recipe_name, sets, display)
    looked = replace(looked, transductive=grid.transductive)
    folding = choose_folding(looked.cases.cases, grid.num_folds)
    show_plan(recipe, reasons, display)
    for note in (*fold_notes(folding, recipe), *(probe_notes(recipe) if "mae" in names else ())):
        display.say(f"Note: {note}")
    folds = [fold_of(looked, fold, folding, recipe.data) for fold in range(folding.num_folds)]
    check_inits(names, recipe, folds)
    if not (out / "recipe.yaml").exists():  # a run that goes on has been told
        trainings = count_trainings(looked, recipe, folding, list(names), grid.num_seeds)
        found = forecast(recipe, looked, trainings, out, display)
        show_forecast(found, display)
        check_space(found)
    with open_folder(out, recipe, reasons, "run"):
        _check_begun(out, folds)
        facts = run_facts(looked, recipe, folding, grid.num_seeds, names)
        facts |= {"recipe": Path(recipe_name).stem, "changed": sorted(flat(parse_sets(sets)))}
        if EQUAL in names:
            equal = equal_compute(recipe, first_method(recipe, names), folds[0].cases.part("train")[0])
            display.say(f"Equal compute: {equal.reason}")
            facts |= {"equal_compute": asdict(equal)}
        write_json(out / "run.json", facts)
        note_columns(out, looked.cases)
        places = {place.title: place for place in places_of(names, folding, grid.num_seeds)}
        works = [
            Work(title, partial(try_cell, recipe, folds[place.fold], out, place), waits_for(place, recipe, names))
            for title, place in places.items()
        ]
        if grid.executor.is_beside:
            prepare_all(recipe, looked, display)
        ended = carry_out(works, grid.executor, display)
        return finish(out, {places[title]: reason for title, reason in ended.items()}, grid, display)


def finish(out: Path, failures: Mapping[Place, str], grid: Grid, display: Display) -> dict[str, Any]:
    """Compare and report what is finished in `out`; raise `UserError` if trainings failed, after the report."""
    first = next(iter(failures.items()), None)
    if first and not any(out.glob("*/fold*/seed*/summary-test.json")):
        raise UserError(first[1])
    verdict = compare([out], grid.transductive)
    show_verdict(verdict, display)
    report([out], display, grid.transductive)
    if first:
        place, reason = first
        raise UserError(
            f"Of the trainings {len(failures)} failed, and the verdict lacks them (first: {place.name}, fold "
            f"{place.fold}, seed {place.seed}: {reason.rstrip('.')}): mend the cause and give the same command again."
        )
    return verdict


def first_method(recipe: Recipe, names: Mapping[str, str]) -> str:
    """Return the method whose compute `scratch+` has: the first of the run, or else the first that can pre-train."""
    return next((name for name in names if is_method(name)), "") or methods_for(recipe)[0]


def waits_for(place: Place, recipe: Recipe, names: Mapping[str, str]) -> str:
    """Return the title of the cell whose pre-training another one needs, "" where it needs none or does its own."""
    if is_method(place.init) or not needs_pretraining(place.init, recipe):
        return ""
    return next(replace(place, name=name).title for name in names if is_method(name))


def _check_begun(out: Path, folds: Sequence[Source]) -> None:
    """Raise if a cell that is there was begun with other cases or folds, before anything is written over."""
    for path in sorted(out.glob("*/fold*/seed*/cases.csv")):
        fold = int(path.parts[-3].removeprefix("fold"))
        check_cases(path, folds[min(fold, len(folds) - 1)], fold)


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
            *(probe_notes(recipe) if "mae" in names else ()),
        ],
        "counts": count_cases(source.cases, folding),
        "findings": [asdict(finding) for finding in source.findings],
    }
