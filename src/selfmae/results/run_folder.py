"""Run folders: one recipe each, one command at a time, files written at once or not at all."""

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from selfmae.errors import UserError
from selfmae.files import read_json, write_json
from selfmae.options import Recipe
from selfmae.recipe import differences, make_recipe, read_content, write_recipe

PLACES = {"data.source", "data.splits", "data.cache"}  # the content of cases is checked elsewhere (`check_cases`)
MARKS = {"run": "run.json", "training": "cases.csv", "sweep": "runs"}  # what only folders of a kind hold
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
    lock = FileLock(folder / ".lock")
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
        changed: list[str] = []
        if path.exists():
            changed = _check_same(path, recipe)
        if not path.exists() or changed:
            write_recipe(path, recipe, reasons)
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
    if not folder.exists():
        return
    others = sorted(item.name for item in folder.iterdir() if item.name not in (".lock", "recipe.yaml.part"))
    if others:
        raise UserError(
            f"{folder} is no run folder of SelfMAE but holds other things ({', '.join(others[:3])}"
            f"{', ...' if len(others) > 3 else ''}): "
            "choose a new or empty folder for --out."
        )


def _check_same(path: Path, recipe: Recipe) -> list[str]:
    """Return the keys in which the recipe of the folder differs; raise if one is more than a place of files."""
    changed = differences(recipe, read_recipe(path))
    if not {text.split()[0] for text in changed} <= PLACES:
        raise UserError(
            f"{path.parent} belongs to another recipe, which differs in {', '.join(changed)}: "
            "choose another --out, or give the recipe of this folder."
        )
    return changed


def models_below(folder: Path) -> list[Path]:
    """Return the folders of the models in a run folder or a part of it, pre-trained encoders last."""
    patterns = ("seed*", "fold*/seed*", "*/fold*/seed*")
    found = {path.parent for pattern in patterns for path in folder.glob(f"{pattern}/model.safetensors")}
    return sorted(found, key=lambda path: (any(part.startswith("pretrain") for part in path.parts), path))


def no_model(folder: Path, advice: str) -> UserError:
    """Return the error of a folder that is not that of a model; the advice is for one with no models below."""
    models = models_below(folder)
    hint = f"name one of its models, for example {models[0]}" if models else advice
    return UserError(f"{folder} holds no trained model (model.safetensors): {hint}.")


def read_recipe(path: Path) -> Recipe:
    """Return the checked recipe of a YAML file."""
    return make_recipe(read_content(path), str(path))


def where(recipe: Recipe) -> dict[str, Any]:
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
