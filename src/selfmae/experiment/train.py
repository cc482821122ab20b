"""One training run of an experiment, and which of them an experiment consists of."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path

from torch import nn

from selfmae.data.folds import LABELLED, Folding, choose_folding
from selfmae.data.source import Source, fold_of
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.initialization import Initialization, check_pretrainable, find_init, init_report
from selfmae.experiment.schedule import HERE, Executor, Scheduled
from selfmae.experiment.stages import begin_finetuning, begin_pretraining, check_finetunable
from selfmae.methods import EQUAL, OWN, PREFIX, is_method, method_names, method_of
from selfmae.metrics.decisions import MARGIN
from selfmae.options import Recipe
from selfmae.planning.measure import equal_compute
from selfmae.results.exposure import check_unseen
from selfmae.results.label_points import FOLDER
from selfmae.results.run_folder import open_folder, timed
from selfmae.results.training_run import TrainingRun, is_pretraining
from selfmae.tasks import make_task
from selfmae.train.device import load_weights
from selfmae.train.loop import fit
from selfmae.weights.file import read_metadata, read_weights, save_weights


@dataclass(frozen=True)
class Grid:
    """Which models an experiment trains, every initialization on every fold with every seed, and where it does."""

    inits: tuple[str, ...] = ("scratch", EQUAL, OWN)
    num_folds: int | None = 1  # None: what suits the number of patients (`choose_folding`)
    num_seeds: int = 3
    transductive: bool = False  # weights that saw val or test cases are let in
    executor: Executor = HERE
    labels: tuple[int, ...] = ()  # numbers of labelled training patients to train on too, besides all
    num_draws: int = 0  # of the patients of each such number; 0 has as many as seeds
    margin: float = MARGIN  # smallest difference that matters
    until_decided: bool = False  # more seeds are added as long as the verdict is open and the budget lasts
    first_seeds: int = 0  # with which such a run began; 0 is `num_seeds`
    budget: float | None = None  # seconds of all; None is the default of the machine

    @property
    def first(self) -> int:
        """Return with how many seeds a run begins."""
        return self.first_seeds or self.num_seeds

    @property
    def draws(self) -> int:
        """Return how many draws of labelled patients each number of them has."""
        return self.num_draws or self.first

    @property
    def max_seeds(self) -> int:
        """Return up to how many seeds a run adds."""
        return 2 * self.first if self.until_decided else self.num_seeds


@dataclass(frozen=True)
class Experiment:
    """What all training runs of a `run` or a `sweep` share."""

    recipe: Recipe  # of a sweep: without the settings of a combination
    source: Source
    folding: Folding
    folds: Sequence[Source]  # the source with the split of each fold
    names: Mapping[str, str]  # folder name and text of each initialization
    grid: Grid
    share: float = 1.0  # of the recipe's steps: less in a round of a sweep's halving

    @classmethod
    def of(cls, recipe: Recipe, source: Source, names: Mapping[str, str], grid: Grid) -> "Experiment":
        """Return the experiment of a checked source, with the folds that the grid asks for."""
        source = replace(source, transductive=grid.transductive)
        folding = choose_folding(source.cases.cases, grid.num_folds)
        folds = [fold_of(source, fold, folding, recipe.data) for fold in range(folding.num_folds)]
        return cls(recipe, source, folding, folds, names, grid)

    def runs(self, out: Path) -> list[TrainingRun]:
        """Return all fine-tunings: all initializations of a fold, all folds of a seed, then the next."""
        return [
            TrainingRun.within(out, name, fold, seed)
            for seed in range(self.grid.num_seeds)
            for fold in range(self.folding.num_folds)
            for name in self.names
        ]

    def runs_with_labels(self, out: Path) -> list[tuple[int, TrainingRun]]:
        """Return all fine-tunings on fewer labelled patients, each with their number."""
        return [
            (number, TrainingRun.within(out / FOLDER / str(number), name, fold, draw))
            for number in self.grid.labels
            for draw in range(self.grid.draws)
            for fold in range(self.folding.num_folds)
            for name in self.names
        ]

    def method_of(self, init: str, recipe: Recipe) -> str:
        """Return the method that pre-trains for an initialization, or whose compute `scratch+` has; "" if none does."""
        if init == EQUAL:
            return method_of(next(filter(is_method, self.names), OWN), recipe)
        return method_of(init, recipe)

    def works_for(
        self,
        run: TrainingRun,
        recipe: Recipe,
        before: tuple[Recipe, Path],
        label: str = "",
        scratch: tuple[str, Path] | None = None,
        seed_before: int | None = None,
    ) -> list[Scheduled]:
        """Return a fine-tuning by a recipe, and before it the pre-training that it needs.

        `before` are the recipe of that pre-training and the folder that holds it (of the experiment, or of what a sweep
        shares). `label` is put before the titles of the fine-tuning. `scratch` are the label and the folder of scratch
        with the same values, where a sweep has it elsewhere. `seed_before` is the seed of the pre-training, where it is
        another than that of the fine-tuning.
        """
        text, source, (first_recipe, folder) = self.names[run.init], self.folds[run.fold], before
        method, title = self.method_of(text, recipe), f"{label}{run.title}"
        part, after = Part(recipe, source, text, method), tuple[str, ...]()
        if text == EQUAL and "scratch" in self.names:
            other, place = scratch or (label, run.folder.parents[2])
            shorter = TrainingRun.within(place, "scratch", run.fold, run.seed)
            part, after = replace(part, shorter=shorter), (f"{other}{shorter.title}",)
        if not (is_method(text) or (text == EQUAL and recipe.probe.ends_early)):
            return [Scheduled(title, partial(train_one, run, part), run.folder, after)]
        first = TrainingRun.within(
            folder, f"{PREFIX}{method}", run.fold, run.seed if seed_before is None else seed_before
        )
        shared = label if folder == run.folder.parents[2] else f"{folder.name}: "
        pretrain = partial(train_one, first, Part(first_recipe, source, "", method))
        finetune = partial(train_one, run, replace(part, pretrained=first))
        pretraining = Scheduled(f"{shared}{first.title}", pretrain, first.folder)
        return [pretraining, Scheduled(title, finetune, run.folder, (pretraining.title, *after))]


@dataclass(frozen=True)
class Part:
    """What a training run is of."""

    recipe: Recipe  # of its experiment
    source: Source  # with the split of its fold
    text: str  # the initialization as it was typed
    method: str = ""  # that pre-trains, or has pre-trained, the encoder
    pretrained: TrainingRun | None = None  # the pre-training that it begins from
    shorter: TrainingRun | None = None  # scratch, whose weights `scratch+` keeps if validation finds them better


def train_one(run: TrainingRun, part: Part, display: Display) -> None:
    """Do one training run: pre-train, or fine-tune and evaluate; what is finished in its folder stays as it is.

    Runs write no file of others, which may run side by side in other processes; what they read is finished before.
    """
    display.say(f"Training {run.title}")
    recipe, source = replace(part.recipe, seed=part.recipe.seed + run.seed), part.source
    init: Initialization | None = None
    if not is_pretraining(run.init):
        recipe, init = _initialize(run, recipe, part)
        check_finetunable(recipe, source, init, run.folder)
    with open_folder(run.folder, recipe):
        if init:
            begun = begin_finetuning(recipe, source, init, run.folder, run.fold, display)
        else:
            begun = begin_pretraining(recipe, part.method, source, run.folder, run.fold, display)
        if begun:
            with timed(run.folder, begun.facts):
                model = fit(begun.training, display)
                if part.shorter and keep_better(model, run, part.shorter, display):
                    begun.facts["weights_of"] = part.shorter.init
            begun.finish(model)


def keep_better(model: nn.Module, run: TrainingRun, shorter: TrainingRun, display: Display) -> bool:
    """Give the longer training's model the shorter one's weights where these are better on validation; return whether.

    Training on can harm with few labels: equal compute is the best of the lengths up to it.
    """
    ours, theirs = (max((score for _, score in item.scores), default=-inf) for item in (run, shorter))
    if theirs <= ours or not shorter.is_evaluated:
        return False
    weights, _ = read_weights(shorter.folder / "model.safetensors")
    load_weights(model, weights)
    save_weights(run.folder / "model.safetensors", weights, read_metadata(run.folder / "model.safetensors"))
    display.say(
        f"{run.title} keeps the weights of {shorter.title}: its validation score is {theirs:.4f}, that of the longer "
        f"training {ours:.4f}."
    )
    return True


def _initialize(run: TrainingRun, recipe: Recipe, part: Part) -> tuple[Recipe, Initialization]:
    """Return recipe and initialization of a fine-tuning; with equal compute, scratch has the steps that it costs."""
    text = part.text
    if is_method(text):
        assert part.pretrained
        text = f"{part.method}:{part.pretrained.folder}"
    elif text == EQUAL:
        num_taken = part.pretrained.num_steps if part.pretrained else None
        steps = equal_compute(recipe, part.method, part.source.cases.part("train")[0], num_taken or 0).steps
        recipe = replace(recipe, fit=replace(recipe.fit, steps=steps))
        text = "scratch"
    return recipe, replace(find_init(text, recipe), name=run.init)


def prepare_all(recipe: Recipe, source: Source, display: Display) -> None:
    """Prepare every image that takes part, before several processes would each begin with the same ones."""
    task = make_task(recipe)
    labelled, others = source.cases.part(*LABELLED), source.cases.part("unlabelled")
    with display.stage("preparing images", len(labelled) + len(others)) as stage:
        task.prepare(labelled, lambda done, _: stage.update(done))
        task.store.prepare(others, False, lambda done, _: stage.update(len(labelled) + done))


def name_inits(grid: Grid) -> dict[str, str]:
    """Return folder name and text of each init; raise `UserError` where one is unknown or two share a name."""
    if (grid.num_folds is not None and grid.num_folds < 1) or grid.num_seeds < 1:
        folds = "auto" if grid.num_folds is None else grid.num_folds
        raise UserError(f"--folds {folds} and --seeds {grid.num_seeds} must be at least 1.")
    own = ("scratch", EQUAL, *method_names())  # which no file can be
    if not grid.inits:
        raise UserError(
            f"--init names no initialization: give scratch, {', '.join(method_names())}, imagenet or files of weights, "
            "between commas."
        )
    names: dict[str, str] = {}
    for text in grid.inits:
        name, init = _name_init(text, own)
        if name in names or is_pretraining(name):
            raise UserError(
                f"--init: two initializations would share the name {name!r}: give one another, as in mine=FILE."
            )
        names[name] = init
    return names


def _name_init(text: str, own: Sequence[str]) -> tuple[str, str]:
    """Return folder name and text of an initialization; "imagenet=FILE" gives the weights of a file a name."""
    if text in (*own, "imagenet"):
        return text, text
    name, _, file = text.partition("=")
    if text.startswith("timm:"):
        name, file = text.removeprefix("timm:").replace("/", "_").replace(":", "_"), text
    elif Path(text).is_file():
        name, file = Path(text).stem, text
    if (file == text or Path(file).is_file()) and re.fullmatch(r"\w[\w.-]*", name):
        if name in own:
            raise UserError(
                f"--init {text} would be named {name!r}, which is an initialization of SelfMAE's own: give it another "
                f"name, as in mine={file}."
            )
        return name, file
    raise UserError(
        f"--init names {text!r}, but an initialization is scratch, {', '.join(method_names())}, imagenet, timm:NAME, "
        "an existing file of weights, or NAME=FILE (imagenet=FILE where there is no network)."
    )


def check_inits(experiment: Experiment, recipe: Recipe) -> None:
    """Raise before any training if an init is not there, misfits or knows held-out cases, or no model can be built."""
    names, task, first = experiment.names, make_task(recipe), Initialization("scratch", "scratch")
    for name in filter(is_method, names):
        check_pretrainable(recipe, f"--init {name}", method_of(name, recipe))
        first = find_init(recipe.init.pretrain, recipe, "init.pretrain")
    if EQUAL in names:
        check_pretrainable(recipe, "--init scratch+", method_of(OWN, recipe))
        if recipe.probe.ends_early and not any(map(is_method, names)):
            raise UserError(
                "--init scratch+ needs the steps that pre-training takes, which probe.patience leaves open, and no "
                "initialization of this run pre-trains: add mae to --init, or set probe.patience=0."
            )
    for name, text in names.items():
        init = Initialization("scratch", name) if is_method(text) or text == EQUAL else find_init(text, recipe)
        init_report(task, init)
        for source in experiment.folds:
            check_unseen(source, first.seen if is_method(text) else init.seen, name)
