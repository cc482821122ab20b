"""Self pre-training by a method, on the training images of a source, without its labels."""

from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from torch import nn

from selfmae import plugins
from selfmae.data.source import Source, check_crop, checked_source, load_cases, write_cases
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.initialization import check_pretrainable, find_init, init_report, say_init
from selfmae.experiment.weights import make_metadata, record_metrics
from selfmae.files import read_log
from selfmae.options import Recipe
from selfmae.results.exposure import check_unseen, exposure_of
from selfmae.results.formatting import plural
from selfmae.results.run_folder import check_place, describe_environment, open_folder, timed
from selfmae.tasks.pretraining import Pretraining
from selfmae.tasks.probe import make_probe
from selfmae.train.loop import Training, fit
from selfmae.weights.file import read_metadata

FIGURE = Path("figures") / "reconstructions.npz"
PROBES = {
    "reconstruction": "that reconstruct hidden patches of validation images best",
    "labels": "from whose frozen features a linear model reads the labels of training cases best",
}


@dataclass(frozen=True)
class Begun:
    """A training whose folder is ready, the facts of `environment.json`, and what is done with the trained model."""

    training: Training
    facts: dict[str, Any]
    finish: "partial[None]"


def pretrain(recipe: Recipe, folder: Path, display: Display, method: str = "") -> None:
    """Pre-train as the recipe says; a folder that holds part of the training run is continued.

    Without a method, the first that can pre-train the recipe's network does.
    """
    method = check_pretrainable(recipe, "selfmae pretrain", method)
    check_place(folder, "training")
    source = checked_source(load_cases(recipe.data), masks=False, display=display)
    check_crop(recipe, source)
    find_init(recipe.init.pretrain, recipe, "init.pretrain")  # raises before there is a folder
    for note in (*source.cases.notes, *probe_notes(recipe)):
        display.say(f"Note: {note}")
    with open_folder(folder, recipe):
        begun = begin_pretraining(recipe, method, source, folder, 0, display)
        if begun:
            with timed(folder, begun.facts):
                model = fit(begun.training, display)
            begun.finish(model)
    display.say(f"The pre-trained encoder is in {folder / 'model.safetensors'}.")


def begin_pretraining(
    recipe: Recipe, method: str, source: Source, folder: Path, fold: int, display: Display
) -> Begun | None:
    """Make everything ready to pre-train on the parts that `data.pretrain_on` names, in an open folder.

    Returns None where the folder holds a finished pre-training, which stays as it is.
    """
    cases = source.cases.part(*recipe.data.pretrain_on)
    if not cases:
        raise UserError(
            f"data.pretrain_on names {list(recipe.data.pretrain_on)}, but the source has no such case: add 'train'."
        )
    probe = make_probe(recipe, source.cases)
    task, init = Pretraining(recipe, method), find_init(recipe.init.pretrain, recipe, "init.pretrain")
    check_unseen(source, init.seen, init.name)
    write_cases(folder / "cases.csv", source, fold)
    if is_finished(folder):
        return None
    report = init_report(task, init)
    say_init(report["init"], display)
    facts = describe_environment(recipe) | report | {"num_seen": len(cases), "method": method}
    facts |= {"probe": probe.facts()} if probe else {}
    seen = exposure_of(source, cases, probe.held_out if probe else ())
    metadata = make_metadata(method, recipe, init, seen, facts)
    with display.stage("preparing images", len(cases)) as stage:
        task.prepare(cases, lambda done, total: stage.update(done))
    options = replace(recipe.pretrain, validate_every=recipe.probe.every, patience=recipe.probe.patience)
    training = Training("pre-training", task, options, folder, cases, metadata, init.weights, probe)
    return Begun(training, facts, partial(_finish, task, source, folder, display))


def _finish(task: Pretraining, source: Source, folder: Path, display: Display, model: nn.Module) -> None:
    """Write the method's figure and, last, the metrics of the weights; say which step's weights the probe kept."""
    recipe, shown = task.recipe, source.cases.part("val") or source.cases.part("train")
    plugins.load("methods", task.method).save_figure(folder / FIGURE, recipe, task.store, model, shown)
    record_metrics(folder)
    if not recipe.probe.every:
        return
    found = [line for line in read_log(folder / "steps.jsonl") if "score" in line]
    best = max((line for line in found if line["score"] is not None), key=itemgetter("score"), default=found[-1])
    taken, planned = steps_taken(folder), recipe.pretrain.steps
    early = f", where it ended early: {plural(recipe.probe.patience, 'validation')} without a better score"
    display.say(
        f"The probe kept the weights of step {best['step']:,}; pre-training took {taken:,} of {planned:,} steps"
        f"{early if taken < planned else ''}."
    )


def is_finished(folder: Path) -> bool:
    """Return whether a pre-training is: its weights have their metrics, which are written last."""
    path = folder / "model.safetensors"
    return path.exists() and bool(read_metadata(path)["metrics"])


def steps_taken(folder: Path) -> int:
    """Return how many steps a finished pre-training took: fewer than planned where its probe ended it."""
    return max(int(line["step"]) for line in read_log(folder / "steps.jsonl"))


def probe_notes(recipe: Recipe) -> list[str]:
    """Return what chooses the weights of a pre-training, as a sentence; none where the last ones are kept."""
    probe = recipe.probe
    stop = f", and pre-training stops after {plural(probe.patience, 'validation')} without a better one"
    note = (
        f"The probe runs every {probe.every} steps of pre-training and keeps the weights {PROBES[probe.kind]}"
        f"{stop if probe.patience else ''}."
    )
    return [note] if probe.every else []
