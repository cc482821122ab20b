"""Finds methods, networks, losses and augmentations by the names of their files.

A file's name is the thing's name. Adding a file is enough: it is found, and nothing else has to list it. What it leaves
out it gets from `DEFAULTS` of its folder's `__init__.py`. Files whose name begins with an underscore hold what several
share.
"""

import importlib
import pkgutil
from functools import lru_cache
from types import ModuleType

from selfmae.errors import UserError, did_you_mean


def names(folder: str) -> tuple[str, ...]:
    """Return the names of all things in a folder of the package, in alphabetical order."""
    return _names_in(tuple(importlib.import_module(f"selfmae.{folder}").__path__))


@lru_cache
def _names_in(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(found.name for found in pkgutil.iter_modules(paths) if not found.name.startswith("_")))


def load(folder: str, name: str) -> ModuleType:
    """Return the file of a thing as a module, with its folder's defaults; raise `UserError` if there is none."""
    known = names(folder)
    if name not in known:
        raise UserError(f"{name!r} is none of the {folder} of SelfMAE.{did_you_mean(name, known)}")
    module = importlib.import_module(f"selfmae.{folder}.{name}")
    for key, value in getattr(importlib.import_module(f"selfmae.{folder}"), "DEFAULTS", {}).items():
        vars(module).setdefault(key, value)
    return module


def load_all(folder: str) -> dict[str, ModuleType]:
    """Return every file of a folder by name."""
    return {name: load(folder, name) for name in names(folder)}
