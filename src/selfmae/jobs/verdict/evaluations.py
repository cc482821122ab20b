"""Evaluated models: the cells of run folders, single models, and masks of other tools that `selfmae score` scored."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from selfmae.errors import UserError
from selfmae.jobs.folders.folder import read_json, read_recipe, read_table
from selfmae.options import TargetOptions
from selfmae.recipe import flat, read_content


@dataclass(frozen=True)
class Evaluation:
    """One fine-tuned and evaluated model, or the scored masks of another tool."""

    start: str
    fold: int
    seed: int
    folder: Path

    @property
    def is_trained(self) -> bool:
        """Return whether a model of ours made the predictions."""
        return (self.folder / "recipe.yaml").exists()

    @property
    def network(self) -> str:
        """Return the recipe's `model.network`."""
        return str(flat(read_content(self.folder / "recipe.yaml")).get("model.network", "vit"))


def is_scored(folder: Path) -> bool:
    """Return whether a folder holds the scored masks of another tool."""
    return (folder / "summary-test.json").exists() and not (folder / "recipe.yaml").exists()


def find_evaluations(folder: Path) -> list[Evaluation]:
    """Return the finished cells of a run folder, or the one of a fine-tuning folder or of scored masks."""
    if (folder / "summary-test.json").exists():
        start = read_json(folder / "where.json")["start"]["name"]
        if is_scored(folder):
            return [Evaluation(start, 0, 0, folder)]
        fold = read_table(folder / "cases.csv")[0]["fold"]
        return [Evaluation(start, int(fold), read_recipe(folder / "recipe.yaml").seed, folder)]
    cells = []
    for path in sorted(folder.glob("*/fold*/seed*/summary-test.json")):
        start, fold, seed = path.parts[-4:-1]
        cells.append(Evaluation(start, int(fold.removeprefix("fold")), int(seed.removeprefix("seed")), path.parent))
    return cells


def name_apart(cells: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the cells, trained ones first, with names that tell apart what is not the same.

    Starts of one name but different networks have the network behind it. Masks of another tool have no seed: they are
    paired with the first one of the models.
    """
    first = min((cell.seed for cell in cells if cell.is_trained), default=0)
    kinds = {cell: cell.network if cell.is_trained else "masks" for cell in cells}
    shared: dict[str, set[str]] = {}
    for cell, kind in kinds.items():
        shared.setdefault(cell.start, set()).add(kind)
    named = [
        replace(
            cell,
            start=f"{cell.start} ({kinds[cell]})" if len(shared[cell.start]) > 1 else cell.start,
            seed=cell.seed if cell.is_trained else first,
        )
        for cell in cells
    ]
    return sorted(named, key=lambda cell: not cell.is_trained)


def target_of(cells: Sequence[Evaluation]) -> TargetOptions:
    """Return what all cells learned; raise if scored masks were scored on other labels than a model reports."""
    scored = [(cell, _labels(cell)) for cell in cells if not cell.is_trained]
    trained = next((cell for cell in cells if cell.is_trained), None)
    if trained is None:
        target = TargetOptions("mask", tuple(scored[0][1]))
    else:
        target = read_recipe(trained.folder / "recipe.yaml").target
    for cell, labels in scored:
        if target.kind != "mask" or set(labels) != set(target.reported_names):
            raise UserError(
                f"{cell.folder} was scored on the labels {sorted(labels)}, but the others on "
                f"{sorted(target.reported_names)}: score it again with --labels that have these names."
            )
    return target


def _labels(cell: Evaluation) -> list[str]:
    return list(read_json(cell.folder / "summary-test.json")["labels"])
