"""A sweep: a run for every combination of settings, of which trainings that no setting changes are shared."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from selfmae.data.folds import Folding, choose_folding
from selfmae.data.source import Source, check_crop, check_fits, fold_of, load_cases, look_at
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.combinations import (
    Round,
    Scores,
    Settings,
    check_halving,
    combine,
    halve,
    name_of,
    recipe_of,
    settings_of_pretraining,
    settings_without_pretraining,
    val_score,
)
from selfmae.experiment.pretrain import pretrain_cell
from selfmae.experiment.run import run_facts
from selfmae.experiment.schedule import Executor, Work, carry_out, check_executor, first_of
from selfmae.experiment.train import (
    PRETRAIN,
    Grid,
    Place,
    check_inits,
    name_inits,
    needs_pretraining,
    places_of,
    prepare_all,
    try_cell,
)
from selfmae.files import write_text
from selfmae.methods import EQUAL, is_method, methods_for
from selfmae.metrics.rows import HEADLINES
from selfmae.options import Recipe
from selfmae.report.sweep import build_sweep_page
from selfmae.results.formatting import plural
from selfmae.results.run_folder import check_place, open_folder
from selfmae.results.sweep_results import gather, save_sweep, show_sweep

CELLS = "cells"  # the folder of all trainings; those of the combinations point into it


@dataclass(frozen=True)
class SweepContext:
    """What all trainings of a sweep share; `share` is that of the recipe's steps."""

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

    @property
    def places(self) -> list[Place]:
        """Return the cells of one combination."""
        return places_of(self.names, self.folding, self.num_seeds)


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
            link_cells(context, settings, out)
        facts = run_facts(context.source, base, context.folding, context.num_seeds, context.names)
        content = gather(combinations, facts, out, design.grid.transductive) | {
            "axes": {key: list(values) for key, values in design.axes.items()},
            "failed": {name: error.splitlines()[-1] for name, error in failures.items()},  # a traceback has paths
            "halving": [asdict(replace(item, failed={})) for item in rounds],
        }
        save_sweep(content, out)
        show_sweep(content, display)
        write_text(out / "sweep.html", build_sweep_page(content))
        display.say(f"The sweep is in {out / 'sweep.html'}, sweep.csv and sweep.json.")
    if failures:
        raise UserError(
            f"{plural(len(failures), 'training')} of the sweep failed, and the results lack them (first: "
            f"{first_of(failures)}): mend the cause and give the same command again."
        )
    return content


def _set_up(base: Recipe, design: Design, combinations: Sequence[Settings], display: Display) -> SweepContext:
    """Look at the source and check every combination before any training."""
    names = name_inits(design.grid)
    recipes = [recipe_of(base, settings) for settings in combinations]
    cases = load_cases(base.data)
    check_fits(base, cases)
    looked = replace(look_at(cases, masks=True, display=display), transductive=design.grid.transductive)
    folding = choose_folding(looked.cases.cases, design.grid.num_folds)
    context = SweepContext(base, looked, names, folding, design.grid.num_seeds, design.grid.executor)
    folds = [context.fold(fold) for fold in range(folding.num_folds)]
    for recipe in recipes:
        check_crop(recipe, looked)
        check_inits(names, recipe, folds)
    return context


def train(context: SweepContext, combinations: Sequence[Settings], out: Path, display: Display) -> dict[str, str]:
    """Train what is missing of all combinations; return what failed, raise if all did."""
    works = list_works(context, combinations, out)
    num_cells = len(combinations) * len(context.places)
    num_pretrainings = sum(work.name.startswith(PRETRAIN) for work in works)
    display.say(
        f"{plural(len(combinations), 'combination')}, {plural(num_cells, 'cell')}: "
        f"{plural(num_pretrainings, 'pre-training')} and {plural(len(works) - num_pretrainings, 'fine-tuning')}, the "
        "others are shared."
    )
    if context.executor.is_beside:
        for recipe in {context.recipe(settings).data: context.recipe(settings) for settings in combinations}.values():
            prepare_all(recipe, context.source, display)
    failures = carry_out(works, context.executor, display)
    if len(failures) == len(works):
        raise UserError(
            f"Every training of the sweep failed (first: {first_of(failures).rstrip('.')}): mend the cause and give "
            "the same command again."
        )
    return failures


def list_works(context: SweepContext, combinations: Sequence[Settings], out: Path) -> list[Work]:
    """Return all trainings that the combinations need, each once, a pre-training before what starts from it."""
    works: dict[str, Work] = {}
    folds = {place.fold: context.fold(place.fold) for place in context.places}
    for place in context.places:
        for settings in combinations:
            for work in _works_of(context, settings, place, folds[place.fold], out):
                works.setdefault(work.name, work)
    return list(works.values())


def _works_of(context: SweepContext, settings: Settings, place: Place, source: Source, out: Path) -> list[Work]:
    """Return the training of one cell, and before it the pre-training that it starts from, if it does."""
    own = settings_of_init(settings, place.init)
    recipe, folder = context.recipe(own), out / CELLS / name_of(own)
    if not needs_pretraining(place.init, recipe):
        return [Work(_label(own, place), partial(try_cell, recipe, source, folder, place))]
    before = settings_of_pretraining(settings, recipe)
    first, place_before = out / CELLS / name_of(before), replace(place, name=PRETRAIN)
    pretraining = Work(
        _label(before, place_before), partial(pretrain_place, context.recipe(before), source, first, place_before)
    )
    started = replace(place, pretrained=first / place_before.folder)
    return [pretraining, Work(_label(own, place), partial(try_cell, recipe, source, folder, started), pretraining.name)]


def settings_of_init(settings: Settings, init: str) -> Settings:
    """Return the settings that the fine-tuning from an initialization depends on; pre-training is no matter to most."""
    return settings if is_method(init) or init == EQUAL else settings_without_pretraining(settings)


def _label(settings: Settings, place: Place) -> str:
    return f"{place.name} {name_of(settings)} fold{place.fold} seed{place.seed}"


def pretrain_place(recipe: Recipe, source: Source, out: Path, place: Place, display: Display) -> None:
    """Pre-train for one fold and seed in `out`/pretrain/fold/seed; what is finished there stays as it is."""
    recipe = replace(recipe, seed=recipe.seed + place.seed)
    method = place.init if is_method(place.init) else methods_for(recipe)[0]
    pretrain_cell(recipe, method, source, out / place.folder, place.fold, display)


def link_cells(context: SweepContext, settings: Settings, out: Path) -> None:
    """Make the folder of a combination look like that of a run: its inits are links to where they were trained."""
    folder, recipe = out / name_of(settings), context.recipe(settings)
    with open_folder(folder, recipe, kind="run"):
        for name, init in context.names.items():
            link(folder / name, out / CELLS / name_of(settings_of_init(settings, init)) / name)
            if is_method(init):
                link(folder / PRETRAIN, out / CELLS / name_of(settings_of_pretraining(settings, recipe)) / PRETRAIN)


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
        link_cells(short, settings, folder)
    metric = HEADLINES[context.base.target.kind]
    scores = {name_of(settings): val_score(folder / name_of(settings), metric) for settings in combinations}
    return scores, {f"round {number} of halving, {name}": error for name, error in failures.items()}
