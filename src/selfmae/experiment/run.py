"""The whole experiment: survey, plan, prepare, train each initialization on the same folds and seeds, compare."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfmae.data.case import patients_of
from selfmae.data.folds import LABELLED
from selfmae.data.generated.sets import write_radiographs, write_volumes
from selfmae.data.generated.volumes import PLAIN
from selfmae.data.source import check_cases, count_splits
from selfmae.display import Display
from selfmae.errors import UserError, did_you_mean
from selfmae.experiment.plan import resolve, show_plan
from selfmae.experiment.report import report
from selfmae.experiment.schedule import check_executor, first_of, schedule
from selfmae.experiment.stages import probe_notes
from selfmae.experiment.train import Experiment, Grid, check_inits, name_inits, prepare_all
from selfmae.files import write_json
from selfmae.methods import EQUAL, is_method
from selfmae.planning.forecast import check_space, count_trainings, forecast, show_forecast
from selfmae.planning.measure import equal_compute
from selfmae.recipe import flat, parse_sets
from selfmae.results.formatting import plural
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
    run(str(data / name), out / f"{kind}-run", Grid(), f"demo-{kind}", (), display)


def run(source: str, out: Path, grid: Grid, recipe_name: str, sets: Sequence[str], display: Display) -> None:
    """Do the whole experiment in `out`; what is finished there is not done again."""
    check_executor(grid.executor)
    check_place(out, "run")
    names = name_inits(grid)
    recipe, reasons, surveyed = resolve(source, recipe_name, sets, display)
    experiment = Experiment.of(recipe, surveyed, names, grid)
    show_plan(recipe, reasons, display)
    for note in _notes_of(experiment):
        display.say(f"Note: {note}")
    check_inits(experiment, recipe)
    if not (out / "recipe.yaml").exists():  # a run that goes on has been told
        trainings = count_trainings(experiment.source, recipe, experiment.folding, list(names), grid.num_seeds)
        expected = forecast(recipe, experiment.source, trainings, out, display)
        show_forecast(expected, display)
        check_space(expected)
    with open_folder(out, recipe, reasons, "run"):
        for begun in training_runs(out):  # none may have other cases or folds, before anything is written over
            if (begun.folder / "cases.csv").exists():
                fold = min(begun.fold, len(experiment.folds) - 1)
                check_cases(begun.folder / "cases.csv", experiment.folds[fold], begun.fold)
        facts = run_facts(experiment) | {"recipe": Path(recipe_name).stem, "changed": sorted(flat(parse_sets(sets)))}
        if EQUAL in names:
            case = experiment.folds[0].cases.part("train")[0]
            equal = equal_compute(recipe, experiment.method_of(EQUAL, recipe), case)
            display.say(f"Equal compute: {equal.reason}")
            facts["equal_compute"] = asdict(equal)
        write_json(out / "run.json", facts)
        note_columns(out, experiment.source.cases)
        if grid.executor.is_beside:
            prepare_all(recipe, experiment.source, display)
        found = [experiment.works_for(item, recipe, (recipe, out)) for item in experiment.runs(out)]
        works = {work.title: work for item in found for work in item}  # several may need the same pre-training
        failures = schedule(list(works.values()), grid.executor, display)
        finish(out, failures, grid, display)


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
        "num_seeds": experiment.grid.num_seeds,
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
