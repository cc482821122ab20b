"""One training run: an initialization, a fold and a seed, and what the files of its folder hold."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from selfmae.files import read_json, read_log, read_table
from selfmae.methods import PREFIX, is_method
from selfmae.networks import default_network
from selfmae.recipe import flat, read_content

OF_ONE_TRAINING = ("environment.json", "summary-test.json", "steps.jsonl")

Row = Mapping[str, str]
Curve = tuple[tuple[int, float], ...]  # steps and values


def is_pretraining(init: str) -> bool:
    """Return whether a folder of this name holds pre-trainings: "pretrain-" and a method."""
    return init.startswith(PREFIX)


@dataclass(frozen=True)
class TrainingRun:
    """One training run: an initialization by its name, a fold and a seed counted from 0; `folder` holds its files.

    Pre-trainings are training runs too (`is_pretraining`), and so are masks that another tool made and `selfmae score`
    scored (`is_scored`). Files are read on first use; one that is not there reads as empty. Raises `UserError` where
    one is damaged.
    """

    init: str
    fold: int
    seed: int
    folder: Path

    @classmethod
    def within(cls, out: Path, init: str, fold: int, seed: int) -> "TrainingRun":
        """Return the training run whose folder lies in the run folder `out`."""
        return cls(init, fold, seed, out / init / f"fold{fold}" / f"seed{seed}")

    @classmethod
    def alone(cls, folder: Path) -> "TrainingRun":
        """Return the training run of a folder that no run folder holds, named after its initialization."""
        found = cls("", 0, 0, folder)
        begun = found.environment.get("init", {})
        is_tuned = "num_seen" not in found.environment and ("init" in found.environment or found.is_evaluated)
        name, kind = str(begun.get("name", "model")), begun.get("kind", "")
        own = is_method(kind) and name.startswith(f"{kind}:")
        init = (kind if own else Path(name).name) if is_tuned else f"{PREFIX}{found.environment.get('method', 'mae')}"
        fold = int(found.cases[0].get("fold", 0)) if found.cases else 0
        return cls(init, fold, int(found.settings.get("seed", 0)), folder)

    @property
    def title(self) -> str:
        """Return what a user reads of it: "scratch (fold 0, seed 0)"."""
        return f"{self.init} (fold {self.fold}, seed {self.seed})"

    @property
    def is_evaluated(self) -> bool:
        """Return whether test cases were scored."""
        return (self.folder / "summary-test.json").is_file()

    @property
    def is_scored(self) -> bool:
        """Return whether another tool made the masks; how it was trained is not known."""
        return bool(self.environment.get("init", {}).get("kind") == "score")

    @property
    def given_init(self) -> str:
        """Return the initialization as it was typed, with the path that `init` leaves out."""
        return str(self.environment.get("init", {}).get("name", self.init))

    @property
    def pretraining(self) -> "TrainingRun | None":
        """Return the self pre-training that a run folder holds for it: of its seed, or the first one of its fold."""
        method = str(self.environment.get("init", {}).get("kind", ""))
        parents = self.folder.absolute().parents
        if not is_method(method) or len(parents) < 3:
            return None
        fold = parents[2] / f"{PREFIX}{method}" / f"fold{self.fold}"
        folders = [fold / f"seed{self.seed}", *sorted(fold.glob("seed*"))]
        found = next((folder for folder in folders if (folder / "steps.jsonl").is_file()), None)
        return None if found is None else TrainingRun(f"{PREFIX}{method}", self.fold, self.seed, found)

    @property
    def network(self) -> str:
        """Return the recipe's `model.network`."""
        return str(self.settings.get("model.network") or default_network(self.settings.get("target.kind", "")))

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The values of the recipe by dotted key."""
        path = self.folder / "recipe.yaml"
        return flat(read_content(path)) if path.is_file() else {}

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, device, seconds, and what became of the initialization."""
        return self._json("environment.json")

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The metrics of the test part with their conventions, and the scores of its labels."""
        return self._json("summary-test.json")

    @cached_property
    def val_summary(self) -> dict[str, Any]:
        """The same of the validation part."""
        return self._json("summary-val.json")

    @property
    def metrics(self) -> dict[str, float | None]:
        """Return the metrics of the test part."""
        return self.summary.get("metrics", {})

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """The scores of each test case."""
        return self._table("rows-test.csv")

    @cached_property
    def cases(self) -> list[dict[str, str]]:
        """Who is in which part of the split, with the content hash of each image."""
        return self._table("cases.csv")

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """The lines of the step log."""
        return read_log(self.folder / "steps.jsonl")

    @cached_property
    def losses(self) -> Curve:
        """The training loss."""
        return tuple((int(line["step"]), float(line["loss"])) for line in self.log if "loss" in line)

    @cached_property
    def validations(self) -> list[dict[str, Any]]:
        """What each validation found: "step", "score" and, of a probe, more."""
        return [line for line in self.log if "score" in line]

    @property
    def scores(self) -> Curve:
        """Return the validation scores."""
        return self.curve("score")

    def curve(self, key: str) -> Curve:
        """Return what the validations found under a key, without those at which it was undefined."""
        found = ((int(line["step"]), line.get(key)) for line in self.validations)
        return tuple((step, float(value)) for step, value in found if value is not None and math.isfinite(value))

    @property
    def kept_step(self) -> int | None:
        """Return the step whose weights were kept: the first of the best score, the last validation without a score."""
        if not self.validations:
            return None
        return max(self.scores, key=lambda point: point[1])[0] if self.scores else int(self.validations[-1]["step"])

    @property
    def choice(self) -> str:
        """Return what chose the weights of a pre-training: "probe" (its read-out), "reconstruction" or nothing ("")."""
        if not self.validations:
            return ""
        return "probe" if any("probe" in line for line in self.validations) else "reconstruction"

    @property
    def num_steps(self) -> int | None:
        """Return the last step of the log, None where there is none."""
        return max((int(line["step"]) for line in self.log), default=None)

    def _json(self, name: str) -> dict[str, Any]:
        return read_json(self.folder / name) if (self.folder / name).is_file() else {}

    def _table(self, name: str) -> list[dict[str, str]]:
        return read_table(self.folder / name) if (self.folder / name).is_file() else []


def training_runs(folder: Path) -> list[TrainingRun]:
    """Return all training runs of a run folder, pre-trainings too, by initialization, fold and seed.

    The folder of a single training or of scored masks has one; a folder of anything else has none.
    """
    found = []
    for path in folder.glob("*/fold*/seed*"):
        match = re.fullmatch(r"fold(\d+)/seed(\d+)", "/".join(path.parts[-2:]))
        if match and path.is_dir():
            found.append(TrainingRun(path.parts[-3], int(match[1]), int(match[2]), path))
    if not found and any((folder / name).is_file() for name in OF_ONE_TRAINING):
        return [TrainingRun.alone(folder)]
    return sorted(found, key=lambda run: (run.init, run.fold, run.seed))


def evaluated_runs(folder: Path) -> list[TrainingRun]:
    """Return the training runs of a folder that scored its test cases."""
    return [run for run in training_runs(folder) if run.is_evaluated and not is_pretraining(run.init)]


def by_init(runs: Iterable[TrainingRun]) -> dict[str, list[TrainingRun]]:
    """Return the training runs of each initialization, in their order."""
    found: dict[str, list[TrainingRun]] = {}
    for run in runs:
        found.setdefault(run.init, []).append(run)
    return found
