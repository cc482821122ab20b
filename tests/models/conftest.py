"""Every test of a model starts from the same random state; recipes of small models."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from selfmae.options import DataOptions, ModelOptions, OptimOptions, Recipe, StartOptions, TargetOptions

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(autouse=True)
def same_random_state() -> None:
    torch.manual_seed(0)


@pytest.fixture
def make_recipe() -> MakeRecipe:
    """Return a function that makes the recipe of a small model; `start` are `StartOptions`, the rest `ModelOptions`."""

    def make(
        crop: tuple[int, ...],
        patch: tuple[int, ...],
        channels: int = 1,
        start: dict[str, Any] | None = None,
        **model: Any,
    ) -> Recipe:
        options = replace(ModelOptions(patch, width=48, depth=2, heads=3, decoder_features=4), **model)
        names = tuple(f"c{number}" for number in range(channels))
        optim = OptimOptions(1, 1, 1.0)
        target = TargetOptions("mask", ("organ",), (1,))
        return Recipe(
            DataOptions("x", names, crop=crop), target, options, optim, optim, start=StartOptions(**(start or {}))
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
