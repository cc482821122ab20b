"""The points of the label curves of a run: each initialization on each number of labelled patients, by random draw.

`<init>/fold<k>/seed<d>` in a run folder are trained on all labels, `labels/<n>/<init>/fold<k>/seed<d>` on those of n
patients: draw d of these is that of seed d.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from selfmae.data.case import LABELLED
from selfmae.files import read_json
from selfmae.metrics.label_curve import SCRATCH, Point, headroom, label_curve, worth_in_labels
from selfmae.metrics.rows import Runs, Scorer, auc_scorer, dice_scorer
from selfmae.options import TargetOptions
from selfmae.results.selection import join_runs
from selfmae.results.training_run import TrainingRun, by_init, evaluated_runs

FOLDER = "labels"  # of the training runs on fewer labels

Draws = dict[str, dict[int, list[TrainingRun]]]  # by initialization and draw: a training run a fold, all of them there


def label_facts(out: Path, target: TargetOptions, reference: str = SCRATCH) -> dict[str, Any]:
    """Return "labels" and "headroom" of a run folder's verdict; {} if nothing was evaluated on fewer labels.

    "labels" are the "curve" (`label_curve`), what each initialization is "worth" in labels of the `reference`
    (`worth_in_labels`), and the number of "unfinished" draws, which do not count: at a number of labels those that one
    of the initializations did not finish. "headroom" is that of scratch, by all draws that scratch has finished.
    """
    draws, folds = _find_draws(out), _expected_folds(out)
    if not any(draws[number] for number in draws if number):
        return {}
    finished = {number: _keep_finished(found, folds) for number, found in draws.items()}
    inits = list(dict.fromkeys(init for number, found in finished.items() if number for init in found))
    shared = {number: _keep_shared(found, inits) for number, found in finished.items()}
    points, scorer = _points(shared), scorer_of(target)
    unfinished = sum(
        len({draw for by_draw in found.values() for draw in by_draw} - {*next(iter(shared[number].values()), ())})
        for number, found in draws.items()
        if number
    )
    labels = {
        "curve": label_curve(points, scorer) if points else [],
        "worth": worth_in_labels(points, scorer, reference) if points else [],
        "unfinished": unfinished,
    }
    return {"labels": labels, "headroom": _headroom(finished, scorer)}


def scorer_of(target: TargetOptions) -> Scorer:
    """Return what turns rows into the headline metric of a target."""
    return dice_scorer("dice") if target.kind == "mask" else auc_scorer(target.output_names)


def num_labelled(run: TrainingRun) -> int:
    """Return how many patients' labels a training run used: of those of its train part, as many as its recipe says."""
    num_patients = len({row["patient"] for row in run.cases if row["split"] == LABELLED[0]})
    share = float(run.settings.get("data.fraction", 1))
    return int(run.settings.get("data.labels", 0)) or max(1, round(num_patients * share))


def _find_draws(out: Path) -> dict[int, Draws]:
    """Return the evaluated training runs by the number of labelled patients in their folder; 0 is all."""
    numbers = sorted(int(path.name) for path in (out / FOLDER).glob("*") if path.is_dir() and path.name.isdigit())
    folders = {number: out / FOLDER / str(number) for number in numbers} | {0: out}
    found: dict[int, Draws] = {}
    for number, folder in folders.items():
        runs = by_init(run for run in evaluated_runs(folder) if not run.is_scored)
        found[number] = {init: {} for init in runs}
        for init, some in runs.items():
            for run in some:
                found[number][init].setdefault(run.seed, []).append(run)
    return found


def _expected_folds(out: Path) -> set[int]:
    """Return the folds that the last `run` asked for, at least the first."""
    path = out / "run.json"
    facts = read_json(path) if path.is_file() else {}
    return set(range(facts.get("num_folds", 1) * facts.get("num_repeats", 1)))


def _keep_finished(draws: Draws, folds: Collection[int]) -> Draws:
    """Return the draws of which every fold was evaluated, and the initializations that have such."""
    finished = {
        init: {draw: runs for draw, runs in by_draw.items() if {run.fold for run in runs} == set(folds)}
        for init, by_draw in draws.items()
    }
    return {init: by_draw for init, by_draw in finished.items() if by_draw}


def _keep_shared(draws: Draws, inits: Sequence[str]) -> Draws:
    """Return the draws that all these initializations have finished; nothing if there are none."""
    shared = set.intersection(*({*draws.get(init, ())} for init in inits)) if inits else set()
    return {init: {draw: draws[init][draw] for draw in sorted(shared)} for init in inits} if shared else {}


def _points(draws: Mapping[int, Draws]) -> dict[Point, Runs]:
    """Return the runs of each point of the curves; all labels count as the mean number of the folds, rounded."""
    points: dict[Point, Runs] = {}
    for number, found in sorted(draws.items(), reverse=True):  # all labels last: they stand where a number equals all
        for init, by_draw in found.items():
            runs = [run for some in by_draw.values() for run in some]
            count = number or round(mean(map(num_labelled, runs)))
            points[Point(runs[0].network, init, count)] = join_runs(runs)
    return points


def _headroom(finished: Mapping[int, Draws], scorer: Scorer) -> dict[str, Any]:
    """Return what the other half of the labels brings from scratch; "mean" None where no number is half of another."""
    points = _points({number: _keep_shared(found, [SCRATCH]) for number, found in finished.items()})
    network = next((point.network for point in points), "")
    return headroom(points, scorer, network) or {"mean": None, "ci95": None}
