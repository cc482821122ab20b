"""Was training long enough? The rise of the validation score at its end, the pretext loss, and which start to take."""

from collections.abc import Mapping, Sequence
from statistics import linear_regression
from typing import Any

from selfmae import plugins
from selfmae.methods import EQUAL, is_method
from selfmae.results.formatting import mean_of
from selfmae.results.headline import SCRATCH, split_name
from selfmae.results.training_run import Curve, TrainingRun

MIN_VALIDATIONS = 3  # of a slope
UNMOVED = 0.95  # of the loss of a trivial guess: from here on a pretext task counts as not learned

ByInit = Mapping[str, Sequence[TrainingRun]]


def last_rise(scores: Curve, num_steps: int) -> float | None:
    """Return by how much a validation score rises over the last quarter of a training, in units of the score.

    It is the slope of a least-squares line through the validations from step 3/4 `num_steps` on, times that quarter.
    None where fewer than `MIN_VALIDATIONS` are there: not known.
    """
    last = [(step, score) for step, score in scores if step >= 0.75 * num_steps]
    if len(last) < MIN_VALIDATIONS:
        return None
    steps, values = zip(*last, strict=True)
    return float(linear_regression(steps, values).slope * num_steps / 4)


def measure(runs: ByInit) -> dict[str, dict[str, Any]]:
    """Return of each initialization, over its training runs, how they ended; scored masks of other tools have no entry.

    "rise" is the mean of `last_rise` (None: not known), "best_is_last" the share of runs whose best validation is the
    last (None: no validations). "pretext_loss" is the last logged loss of their pre-trainings, and "trivial_loss" that
    of a guess without a model (`methods`), both None for no self pre-training, or where not known.
    """
    trained = {init: [run for run in found if not run.is_scored] for init, found in runs.items()}
    return {init: _of_init(found) for init, found in trained.items() if found}


def _of_init(runs: Sequence[TrainingRun]) -> dict[str, Any]:
    rises = [last_rise(run.scores, run.num_steps) for run in runs if run.num_steps]
    ends = [float(run.kept_step == run.validations[-1]["step"]) for run in runs if run.scores]
    begun = {run.folder: run for run in (found.pretraining for found in runs) if run is not None and run.losses}
    guesses = [trivial_loss(run) for run in begun.values()]
    return {
        "rise": mean_of(rises),
        "best_is_last": mean_of(ends),
        "pretext_loss": mean_of([run.losses[-1][1] for run in begun.values()]),
        "trivial_loss": None if None in guesses else mean_of(guesses),
    }


def trivial_loss(pretraining: TrainingRun) -> float | None:
    """Return the loss of a pre-training's method for a guess without a model, None where it is not known."""
    method = str(pretraining.environment.get("method", ""))
    if not is_method(method):
        return None
    found: float | None = plugins.load("methods", method).trivial_loss(pretraining.settings)
    return found


def are_converged(convergence: Mapping[str, Mapping[str, Any]], margin: float) -> dict[str, bool]:
    """Return whether each initialization's score rises by less than the margin in the last quarter of training.

    False where it is not known: it was not shown.
    """
    return {init: found["rise"] is not None and found["rise"] < margin for init, found in convergence.items()}


def recommend(runs: ByInit, metric: str, margin: float) -> dict[str, str] | None:
    """Return the "network" and "init" to take: the simplest whose validation score is within the margin of the best.

    Simplest is scratch, then scratch+, then the others in their order. Validation scores are means over training runs;
    no test case has a say. None without validation scores.
    """
    scores = {init: mean_of([run.val_summary.get("metrics", {}).get(metric) for run in runs[init]]) for init in runs}
    known = {init: score for init, score in scores.items() if score is not None}
    if not known:
        return None
    best = max(known.values())
    near = [init for init, score in known.items() if score >= best - margin]
    chosen = min(near, key=lambda init: {SCRATCH: 0, EQUAL: 1}.get(split_name(init)[0], 2))
    return {"network": runs[chosen][0].network, "init": split_name(chosen)[0]}
