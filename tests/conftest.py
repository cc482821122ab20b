"""Fixtures of every test: where the real data is, and a cache of prepared images that no test shares with a user."""

import os
from collections.abc import Callable
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import nn

from selfmae.options import DataOptions, InitOptions, ModelOptions, OptimOptions, Recipe, TargetOptions

# Tests run side by side, one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")

MakeRecipe = Callable[..., Recipe]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def real_data() -> Path:
    """Return the folder of the real data sets; skip, saying so, where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the real data (../shared/data) is not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def dicom() -> ModuleType:
    """Return what writes DICOM files (dicom_files.py; tests are no package, so it is loaded by its path)."""
    found = spec_from_file_location("dicom_files", Path(__file__).with_name("dicom_files.py"))
    assert found
    assert found.loader
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def make_recipe() -> MakeRecipe:
    """Return a function that makes the recipe of a small model.

    `initialization` are `InitOptions`, the rest `ModelOptions`.
    """

    def make(
        crop: tuple[int, ...],
        patch: tuple[int, ...],
        channels: int = 1,
        init: dict[str, Any] | None = None,
        **model: Any,
    ) -> Recipe:
        options = replace(ModelOptions(patch, width=48, depth=2, heads=3, decoder_features=4), **model)
        names = tuple(f"c{number}" for number in range(channels))
        optim = OptimOptions(1, 1, 1.0)
        target = TargetOptions("mask", ("organ",), (1,))
        return Recipe(
            DataOptions("x", names, crop=crop), target, options, optim, optim, init=InitOptions(**(init or {}))
        )

    return make


@pytest.fixture
def randomise() -> Callable[[nn.Module], nn.Module]:
    """Return a function that gives every tensor of a model random values, as training would: none stays zero or one."""

    def fill(model: nn.Module) -> nn.Module:
        for name, parameter in model.named_parameters():
            spread = 0.3 if parameter.ndim == 1 or "token" in name or "pos" in name else parameter[0].numel() ** -0.5
            nn.init.normal_(parameter.data, mean=float(name.endswith(("norm1.weight", "norm2.weight"))), std=spread)
        return model.eval()

    return fill
