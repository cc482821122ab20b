"""The whole experiment: survey, plan, prepare, train each initialization on the same folds and seeds, compare."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from selfmae.data.case import patients_of
from selfmae.data.folds import LABELLED
from selfmae.data.generated.sets import write_radiographs, write_volumes
from selfmae.data.generated.volumes import PLAIN
from selfmae.data.source import check_cases, count_splits
from selfmae.display import Display
from selfmae.errors import UserError, did_you_mean
from selfmae.experiment.budgeting import (
    begun_with,
    budget_of,
    check_grid,
    check_labels,
    has_time,
    is_larger,
    put_aside,
    spending_of,
    trainings_of,
    with_added_seeds,
)
from selfmae.experiment.plan import fit_into_budget, resolve, show_plan
from selfmae.experiment.report import report
from selfmae.experiment.schedule import Scheduled, check_executor, first_of, schedule
from selfmae.experiment.stages import probe_notes
from selfmae.experiment.train import Experiment, Grid, check_inits, name_inits, prepare_all
from selfmae.files import write_json
from selfmae.methods import EQUAL, OWN, is_method
from selfmae.metrics.decisions import FIRST_LOOK
from selfmae.metrics.rows import HEADLINES
from selfmae.planning.measure import equal_compute
from selfmae.planning.planner import default_budget
from selfmae.recipe import flat, parse_sets
from selfmae.results.formatting import plural
from selfmae.results.label_points import label_facts
from selfmae.results.limitations import worth_sentences
from selfmae.results.run_folder import check_place, open_folder
from selfmae.results.subgroups import note_columns
from selfmae.results.training_run import evaluated_runs, training_runs
from selfmae.results.verdict import compare, show_verdict

FOLDS_NOTE = (
    "Folds deal the labelled patients anew, so that each is tested once in a repeat: train, val and test parts that "
    "the source has, or that were drawn for it, play no part."
)
AUC_NOTE = (
    "Over folds, AUC compares only cases that the same model scored, and repeats are averaged; a finding of which no "
    "fold tests both outcomes (always so in leave-one-out) is compared over all folds, which tends to make its AUC too "
    "small (Airola et al. 2011): trust the difference of two initializations more than their values."
)

# What the demo generates, and the file or folder of it that is the source. Few labelled images and many without: the
# case that self pre-training is for. Organs and findings stand out, so that a small model learns them in few steps.
DEMOS: dict[str, tuple[Callable[[Path], None], str]] = {
    "volumes": (lambda folder: write_volumes(folder, 48, 0, (32, 32, 24), num_unlabelled=72, style=PLAIN), "."),
    "radiographs": (lambda folder: write_radiographs(folder, 800, 0, num_unlabelled=1200, clarity=4.0), "labels.csv"),
}
ANSWERS = ("helps", "hurts", "no difference")  # others leave the question open
FINISHED = "made"  # written last: a set that an interruption left half made is made again


def demo(kind: str, out: Path, display: Display) -> None:
    """Generate scans in `out`/<kind>-data and do the whole experiment on them in `out`/<kind>-run."""
    if kind not in DEMOS:
        raise UserError(f"--kind {kind!r} is not known.{did_you_mean(kind, DEMOS)}")
    generate, name = DEMOS[kind]
    data = out / f"{kind}-data"
    if not (data / FINISHED).exists():
        display.say(f"Generating {kind} in {data}.")
        generate(data)
        (data / FINISHED).touch()
    grid = Grid(("scratch", OWN), num_seeds=1)  # a first look: minutes, not what an answer takes
    run(str(data / name), out / f"{kind}-run", grid, f"demo-{kind}", (), display)


def run(source: str, out: Path, grid: Grid, recipe_name: str, sets: Sequence[str], display: Display) -> None:
    """Do the whole experiment in `out`; what is finished there is not done again."""
    check_executor(grid.executor)
    check_grid(grid)
    check_place(out, "run")
    names = name_inits(grid)
    is_anew = is_larger(out, grid)
    grid = grid if is_anew else with_added_seeds(out, grid)
    before = out / "recipe.yaml" if (out / "recipe.yaml").exists() and not is_anew else None
    found = resolve(source, recipe_name, sets, display, partial(budget_of, grid), before)
    experiment = Experiment.of(found.recipe, found.source, names, grid)
    check_inits(experiment, found.recipe)
    check_labels(experiment)
    if before:  # a run that goes on has been told what it takes
        show_plan(found.recipe, found.reasons, display)
    else:
        trainings = trainings_of(experiment, found)
        found = fit_into_budget(found, trainings, spending_of(experiment, found), out, display)
        experiment = replace(experiment, recipe=found.recipe)
    if is_anew:
        put_aside(out, display)
    for note in _notes_of(experiment):
        display.say(f"Note: {note}")
    with open_folder(out, found.recipe, found.reasons, "run"):
        for begun in training_runs(out):  # none may have other cases or folds, before anything is written over
            if (begun.folder / "cases.csv").exists():
                fold = min(begun.fold, len(experiment.folds) - 1)
                check_cases(begun.folder / "cases.csv", experiment.folds[fold], begun.fold)
        facts = run_facts(experiment) | {"recipe": Path(recipe_name).stem, "changed": sorted(flat(parse_sets(sets)))}
        if EQUAL in names:
            case = experiment.folds[0].cases.part("train")[0]
            equal = equal_compute(found.recipe, experiment.method_of(EQUAL, found.recipe), case)
            display.say(f"Equal compute: {equal.reason}")
            facts["equal_compute"] = asdict(equal)
        facts["budget"] = grid.budget or begun_with(out) or default_budget(found.recipe.device)
        write_json(out / "run.json", facts)
        note_columns(out, experiment.source.cases)
        if grid.executor.is_beside:
            prepare_all(found.recipe, experiment.source, display)
        failures: dict[str, str] = {}
        for works in rounds(experiment, out, facts, failures, display):
            for work in works:  # a second try of one that failed counts anew
                failures.pop(work.title, None)
            failures |= schedule(works, grid.executor, display)
        finish(out, failures, grid, display)


def rounds(
    experiment: Experiment, out: Path, facts: dict[str, Any], failures: Mapping[str, str], display: Display
) -> Iterator[list[Scheduled]]:
    """Yield the training runs to be done next: all seeds and numbers of labels, then, `until_decided`, seed by seed.

    Seeds are added until there is an answer, a failure, or no time for another one. `failures` are those until now.
    """
    grid, recipe = experiment.grid, experiment.recipe
    works: list[Scheduled] = []
    for number, run in experiment.runs_with_labels(out):
        fewer = replace(recipe, data=replace(recipe.data, labels=number))
        label, seed = f"{number} labelled patients, ", run.seed % grid.first  # draws share the first pre-trainings
        works += experiment.works_for(run, fewer, (recipe, out), label, seed_before=seed)
    works += _works(experiment, out)
    if grid.labels:  # from scratch first: what more labels bring is told before the long part
        yield _once(work for work in works if work.folder.parents[1].name == "scratch")
        for text in worth_sentences({"metric": HEADLINES[recipe.target.kind], **label_facts(out, recipe.target)}):
            display.say(text)
    yield _once(works)
    while grid.until_decided and not failures:
        verdict = compare([out], grid.transductive)
        if verdict["headline"] in ANSWERS or not has_time(out, grid, facts["budget"]):
            break
        display.say(f"{verdict['headline'].capitalize()} after {grid.num_seeds} seeds: another one is added.")
        grid = replace(grid, num_seeds=grid.num_seeds + 1, first_seeds=grid.first)
        experiment = replace(experiment, grid=grid)
        write_json(out / "run.json", facts | _seeds_of(grid))
        yield _once(_works(experiment, out))


def _works(experiment: Experiment, out: Path) -> list[Scheduled]:
    """Return the training runs on all labels."""
    return [
        work
        for run in experiment.runs(out)
        for work in experiment.works_for(run, experiment.recipe, (experiment.recipe, out))
    ]


def _once(works: Iterable[Scheduled]) -> list[Scheduled]:
    """Return each training run once: several may need the same pre-training."""
    return list({work.title: work for work in works}.values())


def _seeds_of(grid: Grid) -> dict[str, Any]:
    """Return the seeds of a run, and at which look of how many it is where they are added one by one."""
    looks = [grid.num_seeds - FIRST_LOOK + 1, grid.max_seeds - FIRST_LOOK + 1] if grid.until_decided else None
    return {"num_seeds": grid.num_seeds, "looks": looks}


def finish(out: Path, failures: Mapping[str, str], grid: Grid, display: Display) -> None:
    """Compare and report what is finished in `out`; raise `UserError` if training runs failed, after the report."""
    if failures and not evaluated_runs(out):
        raise UserError(next(iter(failures.values())))
    show_verdict(compare([out], grid.transductive), display)
    report([out], display, grid.transductive)
    if failures:
        without = "it" if len(failures) == 1 else "them"
        raise UserError(
            f"{plural(len(failures), 'training run')} failed, so the verdict does without {without} (first: "
            f"{first_of(failures)}): fix the cause and run the same command again."
        )


def run_facts(experiment: Experiment) -> dict[str, Any]:
    """Return what the report tells of an experiment; no path, so that the same run gives the same bytes."""
    source, target, folding = experiment.source, experiment.recipe.target, experiment.folding
    path, counts = source.cases.source.absolute(), count_splits(source.cases)
    if folding.num_folds > 1:  # folds have no one split
        labelled = source.cases.part(*LABELLED)
        others = {part: count for part, count in counts.items() if part not in LABELLED}
        counts = {"labelled": {"cases": len(labelled), "patients": len(patients_of(labelled))}} | others
    return {
        # A file is named behind its folder, as in "cxr/labels.csv".
        "source": f"{path.parent.name}/{path.name}".lstrip("/") if path.is_file() else path.name,
        "kind": target.kind,
        "names": list(target.output_names),
        "regions": bool(target.regions),
        "inits": list(experiment.names),
        "num_folds": folding.num_parts,
        "num_repeats": folding.num_repeats,
        **_seeds_of(experiment.grid),
        "margin": experiment.grid.margin,
        "labels": list(experiment.grid.labels),
        "notes": [*source.cases.notes, *_notes_of(experiment)],
        "counts": counts,
        "findings": [asdict(finding) for finding in source.findings],
    }


def _notes_of(experiment: Experiment) -> list[str]:
    """Return why the folds were chosen, what the score over several folds means, and what the probe does."""
    folding = experiment.folding
    several = folding.num_folds > 1
    return [
        *([FOLDS_NOTE] if several else []),
        *([folding.reason] if folding.reason else []),
        *([AUC_NOTE] if several and experiment.recipe.target.kind != "mask" else []),
        *(probe_notes(experiment.recipe) if any(map(is_method, experiment.names)) else []),
    ]
