"""Self pre-training, as the recipe's network has it, on the training images of a source, without its labels."""

from dataclasses import replace
from operator import itemgetter
from pathlib import Path

from selfmae import plugins
from selfmae.data.source import Source, check_crop, load_cases, look_at, write_cases
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.initialization import check_pretrainable, find_init, init_report, say_init
from selfmae.experiment.metadata import make_metadata, record_metrics
from selfmae.files import read_log
from selfmae.options import Recipe
from selfmae.results.exposure import check_unseen, exposure_of
from selfmae.results.formatting import plural
from selfmae.results.run_folder import check_place, open_folder, timed, where
from selfmae.tasks.pretraining import Pretraining
from selfmae.tasks.probe import make_probe
from selfmae.train.launch import Job, launch
from selfmae.weights.file import read_metadata

FIGURE = Path("figures") / "reconstructions.npz"


def pretrain(recipe: Recipe, folder: Path, display: Display, method: str = "") -> None:
    """Pre-train as the recipe says, or resume; without a method, the first one that suits the network is used."""
    method = check_pretrainable(recipe, "selfmae pretrain", method)
    check_place(folder, "training")
    source = look_at(load_cases(recipe.data), masks=False, display=display)
    check_crop(recipe, source)
    for note in (*source.cases.notes, *probe_notes(recipe)):
        display.say(f"Note: {note}")
    pretrain_cell(recipe, method, source, folder, 0, display)
    display.say(f"The pre-trained encoder is in {folder / 'model.safetensors'}.")


def pretrain_cell(recipe: Recipe, method: str, source: Source, folder: Path, fold: int, display: Display) -> None:
    """Pre-train on the parts that `data.pretrain_on` names and write the files; a finished cell stays as it is."""
    cases = source.cases.part(*recipe.data.pretrain_on)
    if not cases:
        raise UserError(
            f"data.pretrain_on names {list(recipe.data.pretrain_on)}, but the source has no such case: add 'train'."
        )
    probe = make_probe(recipe, source.cases)
    task, init = Pretraining(recipe, method), find_init(recipe.init.pretrain, recipe, "init.pretrain")
    check_unseen(source, init.seen, init.name)
    with open_folder(folder, recipe):
        write_cases(folder / "cases.csv", source, fold)
        if is_finished(folder):
            return
        report = init_report(task, init)
        say_init(report["init"], display)
        facts = where(recipe) | report | {"num_seen": len(cases), "method": method}
        facts |= {"probe": probe.facts()} if probe else {}
        seen = exposure_of(source, cases, probe.held_out if probe else ())
        metadata = make_metadata("pretrain", method, recipe, init, seen, facts, report["init"])
        with display.stage("preparing images", len(cases)) as stage:
            task.prepare(cases, lambda done, total: stage.update(done))
        options = replace(recipe.pretrain, validate_every=recipe.probe.every, patience=recipe.probe.patience)
        job = Job("pre-training", options, folder, cases, metadata, init.weights, probe)
        with timed(folder, facts):
            model = launch(recipe, task, job, display)
        shown = source.cases.part("val") or source.cases.part("train")
        plugins.load("methods", method).save_figure(folder / FIGURE, recipe, task.store, model, shown)
        record_metrics(folder)
        if probe:
            display.say(_kept(folder, recipe))


def is_finished(folder: Path) -> bool:
    """Return whether a pre-training is: its weights have their metrics, which are written last."""
    path = folder / "model.safetensors"
    return path.exists() and bool(read_metadata(path)["metrics"])


def steps_taken(folder: Path) -> int:
    """Return how many steps a finished pre-training took: fewer than planned where its probe ended it."""
    return max(int(line["step"]) for line in read_log(folder / "steps.jsonl"))


def _kept(folder: Path, recipe: Recipe) -> str:
    """Return which step's weights the probe kept, and where pre-training ended, as a sentence."""
    looks = [line for line in read_log(folder / "steps.jsonl") if "score" in line]
    best = max((look for look in looks if look["score"] is not None), key=itemgetter("score"), default=looks[-1])
    taken, planned = steps_taken(folder), recipe.pretrain.steps
    early = f", where it ended early: {plural(recipe.probe.patience, 'look')} without a better score"
    return (
        f"The probe kept the weights of step {best['step']:,}; pre-training took {taken:,} of {planned:,} steps"
        f"{early if taken < planned else ''}."
    )


def probe_notes(recipe: Recipe) -> list[str]:
    """Return which looks choose the weights of a pre-training, as a sentence; none where the last ones are kept."""
    probe = recipe.probe
    if not probe.every:
        return []
    best = {
        "reconstruction": "that reconstruct hidden patches of validation images best",
        "labels": "from whose frozen features a linear model reads the labels of training cases best",
    }[probe.kind]
    stop = (
        f", and pre-training stops after {plural(probe.patience, 'look')} without a better one"
        if probe.patience
        else ""
    )
    return [f"The probe looks every {probe.every} steps of pre-training and keeps the weights {best}{stop}."]
