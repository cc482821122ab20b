"""A sweep: an experiment for every combination of settings, which share the training runs that none of them changes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from selfmae.data.source import check_crop, check_fits, checked_source, load_cases
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.combinations import (
    Round,
    Scores,
    check_halving,
    combine,
    halve,
    recipe_of,
    settings_of_init,
    settings_of_pretraining,
    val_score,
)
from selfmae.experiment.run import run_facts
from selfmae.experiment.schedule import Scheduled, check_executor, first_of, schedule
from selfmae.experiment.train import Experiment, Grid, check_inits, name_inits, prepare_all
from selfmae.files import write_text
from selfmae.methods import PREFIX, is_method
from selfmae.metrics.rows import HEADLINES
from selfmae.options import Recipe
from selfmae.report.sweep import build_sweep_page, sweep_paper
from selfmae.results.formatting import plural
from selfmae.results.run_folder import check_place, open_folder
from selfmae.results.sweep_results import Settings, gather, name_of, save_sweep, show_sweep
from selfmae.results.training_run import TrainingRun

RUNS = "runs"  # the folder of all training runs; those of the combinations point into it


def sweep(
    base: Recipe, axes: Mapping[str, Sequence[Any]], grid: Grid, halving: bool, out: Path, display: Display
) -> None:
    """Train every combination of the axes in `out`, and write `sweep.json`, `sweep.csv` and a page."""
    check_executor(grid.executor)
    if halving:
        check_halving(axes)
    check_place(out, "sweep")
    combinations = combine(axes)
    experiment = _set_up(base, combinations, grid, display)
    if halving and not experiment.folds[0].cases.part("val"):
        raise UserError("--halving chooses by val scores, but the split has no val case: set data.val_fraction.")
    with open_folder(out, base, kind="sweep"):
        rounds: list[Round] = []
        if halving:
            combinations, rounds = halve(combinations, partial(_score_round, experiment, out, display), display)
        failures = {name: error for item in rounds for name, error in item.failed.items()}
        failures |= train(experiment, combinations, out, display)
        for settings in combinations:
            link_runs(experiment, settings, out)
        content = gather(combinations, run_facts(experiment), out, grid.transductive)
        content |= {
            "paper": sweep_paper(content, out),
            "axes": {key: list(values) for key, values in axes.items()},
            "failed": failures,
            "halving": [asdict(replace(item, failed={})) for item in rounds],
        }
        save_sweep(content, out)
        show_sweep(content, display)
        write_text(out / "sweep.html", build_sweep_page(content))
        display.say(f"The sweep is in {out / 'sweep.html'}, sweep.csv and sweep.json.")
    if failures:
        raise UserError(
            f"{plural(len(failures), 'training run')} of the sweep failed, and the results lack them (first: "
            f"{first_of(failures)}): fix the cause and run the same command again."
        )


def _set_up(base: Recipe, combinations: Sequence[Settings], grid: Grid, display: Display) -> Experiment:
    """Survey the source and check every combination before any training."""
    names, recipes = name_inits(grid), [recipe_of(base, settings) for settings in combinations]
    cases = load_cases(base.data)
    check_fits(base, cases)
    experiment = Experiment.of(base, checked_source(cases, masks=True, display=display), names, grid)
    for recipe in recipes:
        check_crop(recipe, experiment.source)
        check_inits(experiment, recipe)
    return experiment


def train(experiment: Experiment, combinations: Sequence[Settings], out: Path, display: Display) -> dict[str, str]:
    """Train what is missing of all combinations; return what failed, raise if all did."""
    runs = experiment.runs(out)
    found = [_works_of(experiment, settings, run, out / RUNS) for run in runs for settings in combinations]
    works = list({work.title: work for item in found for work in item}.values())
    num_pretrainings = sum(work.folder.parents[1].name.startswith(PREFIX) for work in works)
    display.say(
        f"{plural(len(combinations), 'combination')}, {plural(len(combinations) * len(runs), 'training run')}: "
        f"{plural(num_pretrainings, 'pre-training')} and {plural(len(works) - num_pretrainings, 'fine-tuning')}, the "
        "others are shared."
    )
    if experiment.grid.executor.is_beside:
        recipes = [_recipe_of(experiment, settings) for settings in combinations]
        for recipe in {recipe.data: recipe for recipe in recipes}.values():
            prepare_all(recipe, experiment.source, display)
    failures = schedule(works, experiment.grid.executor, display)
    if len(failures) == len(works):
        raise UserError(
            f"Every training run of the sweep failed (first: {first_of(failures)}): fix the cause and run the same "
            "command again."
        )
    return failures


def _recipe_of(experiment: Experiment, settings: Settings) -> Recipe:
    return recipe_of(experiment.recipe, settings, experiment.share)


def _works_of(experiment: Experiment, settings: Settings, run: TrainingRun, shared: Path) -> list[Scheduled]:
    """Return the training run of one combination, and before it the pre-training that it needs."""
    own, alone = settings_of_init(settings, experiment.names[run.init]), settings_of_init(settings, "scratch")
    recipe = _recipe_of(experiment, own)
    before = settings_of_pretraining(settings, recipe)
    own_run = TrainingRun.within(shared / name_of(own), run.init, run.fold, run.seed)
    first = _recipe_of(experiment, before), shared / name_of(before)
    scratch = f"{name_of(alone)}: ", shared / name_of(alone)
    return experiment.works_for(own_run, recipe, first, f"{name_of(own)}: ", scratch)


def link_runs(experiment: Experiment, settings: Settings, out: Path) -> None:
    """Make the folder of a combination look like that of a run: its inits are links to where they were trained."""
    folder, recipe = out / name_of(settings), _recipe_of(experiment, settings)
    with open_folder(folder, recipe, kind="run"):
        for name, text in experiment.names.items():
            link(folder / name, out / RUNS / name_of(settings_of_init(settings, text)) / name)
            if is_method(text):
                before = out / RUNS / name_of(settings_of_pretraining(settings, recipe))
                pretraining = f"{PREFIX}{experiment.method_of(text, recipe)}"
                link(folder / pretraining, before / pretraining)


def link(path: Path, target: Path) -> None:
    """Make `path` a relative link to a folder, so that the whole sweep can be moved."""
    try:
        if not path.is_symlink():
            path.symlink_to(Path("..") / target.relative_to(path.parents[1]), target_is_directory=True)
    except OSError as error:
        raise UserError(
            f"{path} could not be made a link to {target} ({error.strerror}): choose an --out on a file system with "
            "symbolic links; the trainings can be moved there."
        ) from error


def _score_round(
    experiment: Experiment, out: Path, display: Display, combinations: Sequence[Settings], share: float, number: int
) -> tuple[Scores, dict[str, str]]:
    """Train the combinations with a share of the steps and one seed; return their val scores by name, what failed."""
    folder = out / "halving" / f"round{number}"
    short = replace(experiment, grid=replace(experiment.grid, num_seeds=1), share=share)
    failures = train(short, combinations, folder, display)
    for settings in combinations:
        link_runs(short, settings, folder)
    metric = HEADLINES[experiment.recipe.target.kind]
    scores = {name_of(settings): val_score(folder / name_of(settings), metric) for settings in combinations}
    return scores, {f"round {number} of halving, {name}": error for name, error in failures.items()}
