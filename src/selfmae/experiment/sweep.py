"""A sweep: an experiment for every combination of settings, which share the training runs that none of them changes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from selfmae.data.folds import Folding, choose_folding
from selfmae.data.source import Source, check_crop, check_fits, checked_source, fold_of, load_cases
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.combinations import (
    Round,
    Scores,
    check_halving,
    combine,
    halve,
    recipe_of,
    settings_of_pretraining,
    settings_without_pretraining,
    val_score,
)
from selfmae.experiment.run import run_facts
from selfmae.experiment.schedule import Executor, Scheduled, check_executor, first_of, schedule
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
from selfmae.files import write_text
from selfmae.methods import EQUAL, PREFIX, is_method
from selfmae.metrics.rows import HEADLINES
from selfmae.options import Recipe
from selfmae.report.sweep import build_sweep_page, sweep_paper
from selfmae.results.formatting import plural
from selfmae.results.run_folder import check_place, open_folder
from selfmae.results.sweep_results import Settings, gather, name_of, save_sweep, show_sweep
from selfmae.results.training_run import TrainingRun

RUNS = "runs"  # the folder of all training runs; those of the combinations point into it


@dataclass(frozen=True)
class SweepContext:
    """What all training runs of a sweep share; `share` is that of the recipe's steps."""

    base: Recipe
    source: Source
    names: Mapping[str, str]
    folding: Folding
    num_seeds: int
    executor: Executor
    share: float = 1.0

    def recipe(self, settings: Settings) -> Recipe:
        """Return the recipe of a combination."""
        return recipe_of(self.base, settings, self.share)

    def fold(self, fold: int) -> Source:
        """Return the source with the split of one fold."""
        return fold_of(self.source, fold, self.folding, self.base.data)

    def runs(self, folder: Path) -> list[TrainingRun]:
        """Return the fine-tunings of one combination in a folder."""
        return list_runs(self.names, self.folding, self.num_seeds, folder)


@dataclass(frozen=True)
class Design:
    """What a sweep does beside the recipe: keys and their values, initializations, folds, seeds, halving."""

    axes: Mapping[str, Sequence[Any]]
    grid: Grid
    halving: bool = False


def sweep(base: Recipe, design: Design, out: Path, display: Display) -> dict[str, Any]:
    """Train every combination in `out`, write `sweep.json`, `sweep.csv` and `sweep.html`, and return the first."""
    check_executor(design.grid.executor)
    if design.halving:
        check_halving(design.axes)
    check_place(out, "sweep")
    combinations = combine(design.axes)
    context = _set_up(base, design, combinations, display)
    if design.halving and not context.fold(0).cases.part("val"):
        raise UserError("--halving chooses by val scores, but the split has no val case: set data.val_fraction.")
    with open_folder(out, base, kind="sweep"):
        rounds: list[Round] = []
        if design.halving:
            combinations, rounds = halve(combinations, partial(_score_round, context, out, display), display)
        failures = {name: error for item in rounds for name, error in item.failed.items()}
        failures |= train(context, combinations, out, display)
        for settings in combinations:
            link_runs(context, settings, out)
        facts = run_facts(context.source, base, context.folding, context.num_seeds, context.names)
        content = gather(combinations, facts, out, design.grid.transductive)
        content |= {
            "paper": sweep_paper(content, out),
            "axes": {key: list(values) for key, values in design.axes.items()},
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
    return content


def _set_up(base: Recipe, design: Design, combinations: Sequence[Settings], display: Display) -> SweepContext:
    """Survey the source and check every combination before any training."""
    names = name_inits(design.grid)
    recipes = [recipe_of(base, settings) for settings in combinations]
    cases = load_cases(base.data)
    check_fits(base, cases)
    surveyed = replace(checked_source(cases, masks=True, display=display), transductive=design.grid.transductive)
    folding = choose_folding(surveyed.cases.cases, design.grid.num_folds)
    context = SweepContext(base, surveyed, names, folding, design.grid.num_seeds, design.grid.executor)
    folds = [context.fold(fold) for fold in range(folding.num_folds)]
    for recipe in recipes:
        check_crop(recipe, surveyed)
        check_inits(names, recipe, folds)
    return context


def train(context: SweepContext, combinations: Sequence[Settings], out: Path, display: Display) -> dict[str, str]:
    """Train what is missing of all combinations; return what failed, raise if all did."""
    works = list_works(context, combinations, out)
    num_runs = len(combinations) * len(context.runs(out))
    num_pretrainings = sum(work.folder.parents[1].name.startswith(PREFIX) for work in works)
    display.say(
        f"{plural(len(combinations), 'combination')}, {plural(num_runs, 'training run')}: "
        f"{plural(num_pretrainings, 'pre-training')} and {plural(len(works) - num_pretrainings, 'fine-tuning')}, the "
        "others are shared."
    )
    if context.executor.is_beside:
        for recipe in {context.recipe(settings).data: context.recipe(settings) for settings in combinations}.values():
            prepare_all(recipe, context.source, display)
    failures = schedule(works, context.executor, display)
    if len(failures) == len(works):
        raise UserError(
            f"Every training run of the sweep failed (first: {first_of(failures)}): fix the cause and run the same "
            "command again."
        )
    return failures


def list_works(context: SweepContext, combinations: Sequence[Settings], out: Path) -> list[Scheduled]:
    """Return all training runs that the combinations need, each once, a pre-training before what starts from it."""
    works: dict[str, Scheduled] = {}
    folds = [context.fold(fold) for fold in range(context.folding.num_folds)]
    for run in context.runs(out):
        for settings in combinations:
            for work in _works_of(context, settings, run, folds[run.fold], out / RUNS):
                works.setdefault(work.title, work)
    return list(works.values())


def _works_of(
    context: SweepContext, settings: Settings, run: TrainingRun, source: Source, shared: Path
) -> list[Scheduled]:
    """Return the training run of one combination, and before it the pre-training that it needs."""
    text = context.names[run.init]
    own = settings_of_init(settings, text)
    recipe = context.recipe(own)
    method = text if is_method(text) else compute_of(recipe, context.names) if text == EQUAL else ""
    before = settings_of_pretraining(settings, recipe)
    own_run = TrainingRun.within(shared / name_of(own), run.init, run.fold, run.seed)
    first = context.recipe(before), shared / name_of(before)
    return schedule_run(own_run, Part(recipe, source, text, method), first, f"{name_of(own)}: ")


def settings_of_init(settings: Settings, init: str) -> Settings:
    """Return the settings that the fine-tuning from an initialization depends on; pre-training is no matter to most."""
    return settings if is_method(init) or init == EQUAL else settings_without_pretraining(settings)


def link_runs(context: SweepContext, settings: Settings, out: Path) -> None:
    """Make the folder of a combination look like that of a run: its inits are links to where they were trained."""
    folder, recipe = out / name_of(settings), context.recipe(settings)
    with open_folder(folder, recipe, kind="run"):
        for name, text in context.names.items():
            link(folder / name, out / RUNS / name_of(settings_of_init(settings, text)) / name)
            if is_method(text):
                before = out / RUNS / name_of(settings_of_pretraining(settings, recipe))
                link(folder / f"{PREFIX}{text}", before / f"{PREFIX}{text}")


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
    context: SweepContext, out: Path, display: Display, combinations: Sequence[Settings], share: float, number: int
) -> tuple[Scores, dict[str, str]]:
    """Train the combinations with a share of the steps and one seed; return their val scores by name, what failed."""
    folder, short = out / "halving" / f"round{number}", replace(context, num_seeds=1, share=share)
    failures = train(short, combinations, folder, display)
    for settings in combinations:
        link_runs(short, settings, folder)
    metric = HEADLINES[context.base.target.kind]
    scores = {name_of(settings): val_score(folder / name_of(settings), metric) for settings in combinations}
    return scores, {f"round {number} of halving, {name}": error for name, error in failures.items()}
