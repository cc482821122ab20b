"""Which training runs a comparison rests on: on the same images, of whole seeds, each with a name of its own."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from selfmae.errors import UserError
from selfmae.files import read_json
from selfmae.metrics.rows import Runs, join_rows
from selfmae.options import TargetOptions
from selfmae.results.run_folder import read_recipe, what_instead
from selfmae.results.training_run import TrainingRun, by_init, evaluated_runs


def find_runs(folders: Sequence[Path]) -> list[TrainingRun]:
    """Return the evaluated training runs of these folders, by initialization.

    Initializations come in the order of the first `run.json`, otherwise of the folders, scored masks last. Raises
    `UserError` where a folder has none, a run is there twice, or images of one id differ.
    """
    found = [evaluated_runs(folder) for folder in folders]
    empty = [str(folder) for folder, runs in zip(folders, found, strict=True) if not runs]
    if empty:
        raise UserError(
            f"{', '.join(empty)}: no finished run was found (summary-test.json): {what_instead(Path(empty[0]))}."
        )
    runs = name_apart([run for runs in found for run in runs])
    _check_once(runs)
    _check_same_images(runs)
    order = _order_inits(runs, folders)
    return sorted(runs, key=lambda run: order.index(run.init))


def name_apart(runs: Sequence[TrainingRun]) -> list[TrainingRun]:
    """Return the runs, trained ones first, with names that tell apart what is not the same.

    Initializations of one name but different networks have the network behind it; those of different files are named as
    they were typed. Masks of another tool have no seed: they are paired with the first one of the models.
    """
    first = min((run.seed for run in runs if not run.is_scored), default=0)
    alike, named = by_init(runs), []
    for run in runs:
        typed = {other.given_init for other in alike[run.init]}
        networks = {_network_of(other) for other in alike[run.init]}
        init = run.given_init if len(typed) > 1 else run.init
        init = f"{init} ({_network_of(run)})" if len(networks) > 1 else init
        named.append(replace(run, init=init, seed=first if run.is_scored else run.seed))
    return sorted(named, key=lambda run: run.is_scored)


def _network_of(run: TrainingRun) -> str:
    return "masks" if run.is_scored else run.network


def target_of(runs: Sequence[TrainingRun]) -> TargetOptions:
    """Return what all runs learned; raise if scored masks were scored on other labels than a model reports."""
    trained = next((run for run in runs if not run.is_scored), None)
    if trained is None:
        target = TargetOptions("mask", tuple(runs[0].summary["labels"]))
    else:
        target = read_recipe(trained.folder / "recipe.yaml").target
    for run in (run for run in runs if run.is_scored):
        labels = run.summary["labels"]
        if target.kind != "mask" or set(labels) != set(target.reported_names):
            raise UserError(
                f"{run.folder} was scored on the labels {sorted(labels)}, but the others on "
                f"{sorted(target.reported_names)}: score it again with --labels that have these names."
            )
    return target


def join_runs(runs: Sequence[TrainingRun]) -> Runs:
    """Join the folds of each seed of an initialization: every test case appears once, or once in each repeat."""
    joined = join_rows({(run.seed, run.fold): run.rows for run in runs})
    if joined is None:
        raise UserError(
            f"The seeds of {runs[0].init} were not evaluated on the same test cases: let every fold and seed finish."
        )
    return joined


def missing_runs(folders: Sequence[Path], runs: Sequence[TrainingRun]) -> list[TrainingRun]:
    """Return the training runs that the last `run` in each of these folders asked for and that did not finish."""
    done = {run.folder for run in runs}
    missing = [run for folder in folders for run in _expected_runs(folder) if run.folder not in done]
    return sorted(missing, key=lambda run: (run.init, run.fold, run.seed))


def keep_complete(runs: Sequence[TrainingRun], folders: Sequence[Path]) -> list[TrainingRun]:
    """Return the runs of the seeds of which an initialization finished every fold.

    Where an initialization has no such seed, the folds that some initialization lacks are left out for all. Scored
    masks of other tools are kept as they are. Raises `UserError` where an initialization is left with nothing.
    """
    trained = [run for run in runs if not run.is_scored]
    inits = {run.init for run in trained}
    folds = {run.fold for folder in folders for run in _expected_runs(folder)} | {run.fold for run in trained}
    whole = _of_whole_seeds(trained, folds)
    if {run.init for run in whole} != inits:
        folds = set.intersection(*({run.fold for run in trained if run.init == init} for init in inits))
        whole = _of_whole_seeds(trained, folds)
    lost = sorted(inits - {run.init for run in whole})
    if lost:
        raise UserError(
            f"The initialization {lost[0]} has no seed that finished the folds which the others finished: give the "
            "command of the run again, so that the missing training runs are done."
        )
    return [run for run in runs if run.is_scored or run in whole]


def _of_whole_seeds(runs: Sequence[TrainingRun], folds: set[int]) -> list[TrainingRun]:
    """Return the runs of these folds, of each initialization's seeds that have them all."""
    done: dict[tuple[str, int], set[int]] = {}
    for run in runs:
        done.setdefault((run.init, run.seed), set()).add(run.fold)
    return [run for run in runs if run.fold in folds and folds <= done[run.init, run.seed]]


def _expected_runs(folder: Path) -> list[TrainingRun]:
    """Return all training runs that the last `run` in a folder asked for; none without `run.json`."""
    path = folder / "run.json"
    if not path.exists():
        return []
    facts = read_json(path)
    folds = range(facts["num_folds"] * facts.get("num_repeats", 1))
    return [TrainingRun.within(folder, *found) for found in product(facts["inits"], folds, range(facts["num_seeds"]))]


def _order_inits(runs: Sequence[TrainingRun], folders: Sequence[Path]) -> list[str]:
    """Return the initializations as the first `run.json` lists them, then the others as they were found."""
    path = next((folder / "run.json" for folder in folders if (folder / "run.json").exists()), None)
    wanted: list[str] = read_json(path)["inits"] if path else []
    ranks = {name: rank for rank, name in enumerate(wanted)}
    found = dict.fromkeys(run.init for run in runs)
    return sorted(found, key=lambda name: ranks.get(name, ranks.get(name.rpartition(" (")[0], len(wanted))))


def _check_once(runs: Sequence[TrainingRun]) -> None:
    """Raise if two runs are the same initialization, fold and seed: they would count as repeats of one."""
    counts = Counter((run.init, run.fold, run.seed) for run in runs)
    (init, fold, seed), count = counts.most_common(1)[0]
    if count > 1:
        raise UserError(
            f"{count} of the folders hold the initialization {init} with fold {fold} and seed {seed}, but each model "
            "may be there once: leave out one of these folders."
        )


def _check_same_images(runs: Sequence[TrainingRun]) -> None:
    """Raise if runs were tested on different images of one id: rows of other data would be paired."""
    known: dict[str, tuple[str, Path]] = {}
    for run in runs:
        for row in run.cases:
            content, folder = known.setdefault(row["id"], (row["hash"], run.folder))
            if content != row["hash"]:
                raise UserError(
                    f"{folder} and {run.folder} have different images for the case {row['id']!r}: compare runs on the "
                    "same data."
                )
