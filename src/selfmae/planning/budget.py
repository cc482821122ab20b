"""The budget: how long a run may take, and the steps that its trainings have in that time."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from selfmae.errors import UserError
from selfmae.methods import EQUAL
from selfmae.networks import network_of
from selfmae.options import OptimOptions, Recipe
from selfmae.results.formatting import duration

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
TRAINING_SHARE = 0.8  # of a budget, before anything is measured: the rest is preparation, validation and scoring
PRETRAINING = {"vit": 2.0, "unet": 1.0, "timm": 1.0}  # seconds of a pre-training for one of fine-tuning, by encoder
NUM_VALIDATIONS = 10  # of a training
MIN_STEPS = 20  # of a fine-tuning: with fewer, a validation tells nothing
MAX_STEPS = 1_000_000  # a budget for more is left unspent


def parse_budget(text: str) -> float:
    """Return the seconds of a budget such as "30m", "4h" or "1.5h"; raise `UserError` for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip().lower())
    seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
    if seconds <= 0:
        raise UserError(f"--budget {text!r} must be a time above 0, with its unit: for example 30m, 4h or 2d.")
    return seconds


@dataclass(frozen=True)
class Budget:
    """Seconds of a run, and how many trainings must share them."""

    seconds: float
    inits: tuple[str, ...]
    methods: tuple[str, ...]  # of the initializations, those that pre-train
    num_each: int = 1  # fine-tunings of each initialization: folds x seeds (x numbers of labelled patients)
    num_pretrainings: int = 1  # of each method: folds x seeds

    def seconds_each(self, encoder: str) -> float:
        """Return about how long one fine-tuning may take, before anything but a step is measured."""
        before = PRETRAINING.get(encoder, 0.0)
        parts = self.num_each * (len(self.inits) + before * (EQUAL in self.inits))
        parts += self.num_pretrainings * before * len(self.methods)
        return TRAINING_SHARE * self.seconds / max(1.0, parts)


@dataclass(frozen=True)
class Steps:
    """Fits the steps of a recipe into a budget; keys that were `given` stay as they are."""

    seconds: float
    given: frozenset[str]

    def fit(self, recipe: Recipe, paces: tuple[float, float], total: Callable[[Recipe], float]) -> Recipe:
        """Return the recipe with as many steps as the seconds allow.

        `paces` are the seconds of a step of pre-training (0 for none) and of fine-tuning, `total(recipe)` those of a
        whole run. Raises `UserError` where there is time for fewer than `MIN_STEPS` steps of fine-tuning.
        """
        if "fit.steps" in self.given:
            return recipe
        ratio = PRETRAINING.get(network_of(recipe).ENCODER, 0.0) * paces[1] / paces[0] if paces[0] else 1.0

        def scaled(steps: int) -> Recipe:
            pretrain = self._lengthen(recipe.pretrain, max(1, round(steps * ratio)), "pretrain")
            return replace(recipe, fit=self._lengthen(recipe.fit, steps, "fit"), pretrain=pretrain)

        low, high = MIN_STEPS, MAX_STEPS
        if total(scaled(low)) > self.seconds:
            raise UserError(
                f"--budget of {duration(self.seconds)} is too small: {low} steps of every training with their "
                f"validations take about {duration(total(scaled(low)))} here; give a larger one, or fewer --seeds, "
                "--folds or initializations."
            )
        while high - low > max(1, low // 100):
            middle = (low + high) // 2
            low, high = (low, middle) if total(scaled(middle)) > self.seconds else (middle, high)
        return scaled(low)

    def _lengthen(self, options: OptimOptions, steps: int, stage: str) -> OptimOptions:
        """Return a training of so many steps, with warm-up and validations to match."""
        changes: dict[str, Any] = {"steps": steps, "warmup_steps": steps // 20}
        if stage == "fit":
            changes["validate_every"] = ceil(steps / NUM_VALIDATIONS)
        return replace(options, **{key: value for key, value in changes.items() if f"{stage}.{key}" not in self.given})
