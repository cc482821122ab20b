"""Run folders: one recipe each, one command at a time; which training runs one holds, and what it says as a whole."""

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from selfmae.errors import UserError
from selfmae.files import read_json, write_json
from selfmae.metrics.rows import HEADLINES
from selfmae.options import Recipe
from selfmae.recipe import differences, flat, make_recipe, read_content, write_recipe
from selfmae.results.training_run import TrainingRun, is_pretraining, training_runs

PLACES = {"data.source", "data.splits", "data.unlabelled", "data.cache"}  # `check_cases` compares what is there
MARKS = {"run": "run.json", "training": "cases.csv", "sweep": "runs"}  # what only folders of a kind hold
LOCK = ".lock"  # file that a command holds while it works in a folder
EARLIER = "earlier"  # folder of what a run did with a smaller budget
PACKAGES = ("selfmae", "torch", "timm", "monai", "lightning-fabric", "numpy")


@contextmanager
def open_folder(
    folder: Path, recipe: Recipe, reasons: Mapping[str, str] | None = None, kind: str = "training"
) -> Iterator[None]:
    """Hold a run folder for one command; a new one gets `recipe.yaml`, an old one must have the same recipe.

    Raises `UserError` where another command works in the folder, its recipe differs, or it holds something else than
    what a command of this kind (see `MARKS`) makes.
    """
    path = folder / "recipe.yaml"
    with hold(folder, kind):
        if not path.exists() or _check_same(path, recipe):
            write_recipe(path, recipe, reasons)
        yield


@contextmanager
def hold(folder: Path, kind: str) -> Iterator[None]:
    """Hold a folder of a kind (see `MARKS`), which is made where there is none, for one command.

    Raises `UserError` where another command holds it, or it is of another kind (`check_place`).
    """
    lock = FileLock(folder / LOCK)
    try:
        check_place(folder, kind)
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"Another command is working in {folder}: wait for it, or choose another --out.") from error
    except OSError as error:
        raise UserError(
            f"The folder {folder} could not be made or written to ({error.strerror}): choose another --out."
        ) from error
    try:
        yield
    finally:
        lock.release()


def check_place(folder: Path, kind: str) -> None:
    """Raise if a command of this kind cannot work in `folder`, before anything that takes long.

    That is so if it is a file, a folder of another kind, or holds files but no recipe; what the first moment of a
    command leaves does not count.
    """
    if folder.is_file():
        raise UserError(f"--out {folder} is a file, but must be a folder, new or empty: choose another --out.")
    if (folder / "recipe.yaml").exists():
        kinds = [other for other, mark in MARKS.items() if other != kind and (folder / mark).exists()]
        if kinds:
            raise UserError(f"{folder} is the folder of a {kinds[0]}, not of a {kind}: choose another --out.")
        return
    names = sorted(item.name for item in folder.iterdir()) if folder.exists() else []
    others = [name for name in names if name not in (LOCK, "recipe.yaml.part", EARLIER)]
    if others:
        raise UserError(
            f"{folder} is no run folder of SelfMAE but holds other things ({', '.join(others[:3])}"
            f"{', ...' if len(others) > 3 else ''}): choose a new or empty folder for --out."
        )


def _check_same(path: Path, recipe: Recipe) -> list[str]:
    """Return the keys in which the recipe of the folder differs; raise if one is more than a path."""
    changed = differences(recipe, read_recipe(path))
    if not {text.split()[0] for text in changed} <= PLACES:
        raise UserError(
            f"{path.parent} belongs to another recipe, which differs in {', '.join(changed)}: "
            "choose another --out, or give the recipe of this folder."
        )
    return changed


def read_recipe(path: Path) -> Recipe:
    """Return the checked recipe of a YAML file."""
    return make_recipe(read_content(path), str(path))


def describe_environment(recipe: Recipe) -> dict[str, Any]:
    """Return versions, device and number format of this machine and recipe."""
    from selfmae.train.device import resolve_accelerator, resolve_precision  # seconds that `inspect` need not wait for

    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": resolve_accelerator(recipe.device),
        "devices": recipe.device.devices,
        "precision": resolve_precision(recipe.device),
    }


@contextmanager
def timed(folder: Path, facts: Mapping[str, Any]) -> Iterator[None]:
    """Keep `environment.json`: these facts, and the seconds of all the commands that worked here, interrupted ones too.

    "peak_bytes" is the most memory that the last of these commands had until here (see `peak_bytes`).
    """
    from selfmae.data.memory import peak_bytes  # loads torch, which `inspect` need not wait for

    path = folder / "environment.json"
    before = read_json(path).get("seconds", 0.0) if path.exists() else 0.0
    write_json(path, {**facts, "seconds": before})
    begin = time.monotonic()
    try:
        yield
    finally:
        seconds = round(before + time.monotonic() - begin, 1)
        write_json(path, {**facts, "seconds": seconds, "peak_bytes": peak_bytes()})


def models_below(folder: Path) -> list[TrainingRun]:
    """Return the training runs with weights in a run folder or a part of it, pre-trainings last."""
    around = (folder, *list(folder.parents)[:2])
    below = ([run for run in training_runs(path) if folder in run.folder.parents] for path in around)
    models = [run for run in next(filter(None, below), []) if (run.folder / "model.safetensors").is_file()]
    return sorted(models, key=lambda run: is_pretraining(run.init))


def no_model(folder: Path, advice: str) -> UserError:
    """Return the error of a folder that is not that of a model; the advice is for one with no models below."""
    models = models_below(folder)
    hint = f"name one of its models, for example {models[0].folder}" if models else advice
    return UserError(f"{folder} holds no trained model (model.safetensors): {hint}.")


def what_instead(folder: Path) -> str:
    """Return what to do where a folder holds no results of a run."""
    if (folder / "sweep.json").exists():
        runs = sorted(str(path.parent) for path in folder.glob("*/recipe.yaml"))
        return f"it is a sweep's, whose page is {folder / 'sweep.html'}; name one of its runs, as {', '.join(runs[:1])}"
    return f"run `selfmae run SOURCE --out {folder}` to its end first"


@dataclass(frozen=True)
class RunFolder:
    """What a run folder holds, or the folder of a single training or of scored masks.

    `facts` are those of `run.json`; `settings` the recipe's values by dotted key; `runs` the training runs from each
    initialization, scored masks last. What the folder lacks is empty.
    """

    folder: Path
    facts: Mapping[str, Any]
    verdict: Mapping[str, Any]
    recipe: str
    settings: Mapping[str, Any]
    pretrainings: tuple[TrainingRun, ...]
    runs: tuple[TrainingRun, ...]
    verdict_file: str = "verdict.json"

    @classmethod
    def read(cls, folder: Path, scored: Sequence[Path] = (), verdict_file: str = "verdict.json") -> "RunFolder":
        """Read a folder, with folders of `scored` masks beside it; raise `UserError` if it holds no results.

        `verdict_file` lies in the folder and compares its initializations, and the scored masks.
        """
        runs = [run for run in training_runs(folder) if run.log or run.is_evaluated]
        if not runs:
            raise UserError(f"{folder} holds no results of SelfMAE: {what_instead(folder)}.")
        first = min(run.seed for run in runs)  # masks have no seed: they are compared with the first one
        runs += [replace(TrainingRun.alone(path), seed=first) for path in scored]
        recipe, facts, verdict = (folder / name for name in ("recipe.yaml", "run.json", verdict_file))
        return cls(
            folder,
            read_json(facts) if facts.is_file() else {},
            read_json(verdict) if verdict.is_file() else {},
            recipe.read_text(encoding="utf-8") if recipe.is_file() else "",
            flat(read_content(recipe)) if recipe.is_file() else {},
            tuple(run for run in runs if is_pretraining(run.init)),
            tuple(run for run in runs if not is_pretraining(run.init)),
            verdict_file,
        )

    @property
    def source(self) -> str:
        """Return the name of the source, or of the folder where no `run.json` says it."""
        return str(self.facts.get("source") or self.folder.resolve().name)

    @property
    def kind(self) -> str:
        """Return mask, regions, multilabel or multiclass, "" where neither `run.json` nor the recipe says it."""
        kind = str(self.facts.get("kind") or self.settings.get("target.kind", ""))
        has_regions = self.facts.get("regions") or any(key.startswith("target.regions.") for key in self.settings)
        return "regions" if kind == "mask" and has_regions else kind

    @property
    def inits(self) -> list[str]:
        """Return the names of the initializations, in the order of the command, scored masks last."""
        given = [str(name) for name in self.facts.get("inits", [])]
        found = dict.fromkeys(run.init for run in self.runs)
        return [name for name in given if name in found] + [name for name in found if name not in given]

    @property
    def trained(self) -> list[TrainingRun]:
        """Return the runs that were trained here: all but scored masks."""
        return [run for run in self.runs if not run.is_scored]

    @property
    def scored(self) -> list[str]:
        """Return the names of the tools whose masks were scored."""
        return list(dict.fromkeys(run.init for run in self.runs if run.is_scored))

    @property
    def headline(self) -> str:
        """Return the metric that decides, "" if nothing was evaluated."""
        known = {name for run in self.runs for name in run.metrics}
        return str(self.verdict.get("metric") or next((name for name in HEADLINES.values() if name in known), ""))

    @property
    def labels(self) -> list[str]:
        """Return the labels in the order of the rows' columns."""
        run = next((run for run in self.runs if run.summary.get("labels")), None)
        if run is None:
            return []
        columns = [column for column in (run.rows[0] if run.rows else ()) if column.startswith(("dice_", "truth_"))]
        ordered = [name for column in columns if (name := column.partition("_")[2]) in run.summary["labels"]]
        return ordered if len(ordered) == len(run.summary["labels"]) else list(run.summary["labels"])

    def runs_of(self, init: str) -> list[TrainingRun]:
        """Return the training runs from one initialization."""
        return [run for run in self.runs if run.init == init]
