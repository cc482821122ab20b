"""What a run may spend: its budget of time, told before it begins, and whether another seed fits into what is left."""

from dataclasses import replace
from pathlib import Path

from selfmae.data.case import patients_of
from selfmae.data.folds import choose_folding
from selfmae.data.source import Source
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.plan import Resolved, Spending
from selfmae.experiment.train import Experiment, Grid
from selfmae.files import read_json
from selfmae.methods import is_method
from selfmae.metrics.decisions import FIRST_LOOK, check_margin
from selfmae.options import DeviceOptions
from selfmae.planning.budget import Budget
from selfmae.planning.planner import default_budget
from selfmae.planning.trainings import Trainings, count_trainings
from selfmae.results.formatting import duration, listed, plural
from selfmae.results.label_points import FOLDER
from selfmae.results.run_folder import EARLIER, LOCK, hold
from selfmae.results.training_run import training_runs

FIRST_SHARE = 0.5  # of the budget for the first seeds, where more may be added
MIN_LABELS = 2  # of a draw: a single patient is no sample


def check_grid(grid: Grid) -> None:
    """Raise `UserError` where the flags of a run do not go together."""
    check_margin(grid.margin)
    if grid.until_decided and grid.num_seeds < FIRST_LOOK:
        raise UserError(
            f"--until decided looks at the verdict for the first time after {FIRST_LOOK} seeds, but --seeds is "
            f"{grid.num_seeds}: give --seeds {FIRST_LOOK} or more."
        )
    if grid.num_draws < 0:
        raise UserError(f"--draws is {grid.num_draws}, but must be at least 1: give how often patients are drawn.")
    if grid.num_draws and not grid.labels:
        raise UserError(
            "--draws is for --labels, which was not given: give numbers of labelled patients, as in 3,5,10."
        )


def check_labels(experiment: Experiment) -> None:
    """Raise `UserError` where --labels asks for a single patient, or for more than a fold has to train on."""
    fewest = min(len(patients_of(fold.cases.part("train"))) for fold in experiment.folds)
    for number in experiment.grid.labels:
        if number < MIN_LABELS or number > fewest:
            raise UserError(
                f"--labels asks for {number} labelled patients, but must be from {MIN_LABELS} to the {fewest} that "
                "there are to train on; `all` stands for these."
            )


def budget_of(grid: Grid, source: Source, device: DeviceOptions) -> Budget:
    """Return the budget of a run on a source: that of the grid, or the default of the machine."""
    num_folds = choose_folding(source.cases.cases, grid.num_folds).num_folds
    seconds = grid.budget or default_budget(device)
    return Budget(
        seconds * (FIRST_SHARE if grid.until_decided else 1.0),
        grid.inits,
        tuple(filter(is_method, grid.inits)),
        num_folds * (grid.num_seeds + grid.draws * len(grid.labels)),
        num_folds * grid.num_seeds,
    )


def trainings_of(experiment: Experiment, found: Resolved) -> Trainings:
    """Return all trainings of a run, those on fewer labelled patients too."""
    grid, names = experiment.grid, list(experiment.names)
    usual = count_trainings(experiment.source, found.recipe, experiment.folding, names, grid.num_seeds)
    more = experiment.folding.num_folds * grid.draws * len(grid.labels)
    return replace(
        usual,
        num_finetunings=usual.num_finetunings + more * len(names),
        num_equal=usual.num_equal + (more if usual.num_equal else 0),
    )


def spending_of(experiment: Experiment, found: Resolved) -> Spending:
    """Return the budget of a run, and in words for what it is."""
    grid = experiment.grid
    seconds = budget_of(grid, found.source, found.recipe.device).seconds
    what = f"{listed(list(experiment.names))} with {plural(grid.num_seeds, 'seed')}"
    if grid.until_decided:
        what += f" (as much time again is kept for more seeds, up to {grid.max_seeds})"
    return Spending(seconds, grid.budget is not None, what)


def begun_with(out: Path) -> float | None:
    """Return the budget in seconds with which a run was begun, None if it is not begun."""
    path = out / "run.json"
    budget: float | None = read_json(path).get("budget") if path.exists() else None
    return budget


def is_larger(out: Path, grid: Grid) -> bool:
    """Return whether the budget is larger than that with which the run was begun; raise `UserError` if smaller."""
    before = begun_with(out)
    if not grid.budget or before is None:
        return False
    if grid.budget < before:
        raise UserError(
            f"{out} was planned with a budget of {duration(before)}, but --budget is {duration(grid.budget)}: give as "
            "much or more, or choose another --out."
        )
    return grid.budget > before


def put_aside(out: Path, display: Display) -> None:
    """Move what a run did with a smaller budget: its learning rates fell to zero, so it cannot go on.

    Raises `UserError` where that run is still at work.
    """
    before = begun_with(out)
    aside = out / EARLIER / f"{before:.0f}s"
    with hold(out, "run"):
        aside.mkdir(parents=True, exist_ok=True)
        for path in out.iterdir():
            if path.name not in (EARLIER, LOCK):
                path.replace(aside / path.name)
    display.say(
        f"The run with a budget of {duration(before)} is now in {aside}: a larger budget trains anew, since the "
        "learning rates of finished trainings have fallen to zero."
    )


def with_added_seeds(out: Path, grid: Grid) -> Grid:
    """Return the grid with the seeds that an interrupted run had added: looks at its verdict are not taken anew."""
    path = out / "run.json"
    added = read_json(path)["num_seeds"] if grid.until_decided and path.exists() else 0
    return replace(grid, num_seeds=added, first_seeds=grid.first) if added > grid.num_seeds else grid


def has_time(out: Path, grid: Grid, seconds: float) -> bool:
    """Return whether another seed fits into the budget: it takes as long as the others did on average."""
    folders = [out, *(out / FOLDER).glob("*")]
    spent = [sum(run.environment.get("seconds", 0.0) for run in training_runs(folder)) for folder in folders]
    return grid.num_seeds < grid.max_seeds and sum(spent) + spent[0] / grid.num_seeds <= seconds
