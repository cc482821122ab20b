"""Augmentations: each file is one, and its name is its recipe section (`fit.augment.NAME`).

A file defines:

* `Options`: a section whose defaults change nothing
* `problems(stage, options, recipe)`, where more than ranges must fit: what of a recipe does not, a clause for each;
  `stage` is pretrain or fit
* `apply(image, options, data, rng)` and `WHEN`, if it changes the values of an image [C, *crop] float32: `WHEN` is
  "prepared" (values as stored) or "normalised" (as the model sees them). It draws from `rng` alone, and nothing where
  its options change nothing, so that a sample is a pure function of its draw
* `ORDER`, where it matters what acts before: lower numbers act first (0 by default), equal ones by their names

`noise`, `blur`, `brightness`, `low_resolution` and `gamma` are those of nnU-Net's trainer (Isensee et al. 2021, version
2.8.1), in its order; they have its strengths as defaults, and a probability of 0.

`spatial` (what a sample shows) and `laterality` (labels of mirrored sides) act on image and mask together; they are
called by `data.sampling`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from selfmae import plugins
from selfmae.options import DataOptions, Recipe

DEFAULTS: dict[str, Any] = {"WHEN": "", "ORDER": 0, "problems": lambda stage, options, recipe: ()}


def section(augment: Mapping[str, Any], name: str) -> Any:
    """Return the options of one augmentation, its defaults where a recipe has none."""
    return augment[name] if name in augment else plugins.load("augment", name).Options()


def apply_all(
    when: str, image: np.ndarray, augment: Mapping[str, Any], data: DataOptions, rng: np.random.Generator
) -> np.ndarray:
    """Return an image [C, *crop] after every augmentation that acts `when`, those of lower `ORDER` first."""
    modules = plugins.load_all("augment")
    for name in sorted(modules, key=lambda name: modules[name].ORDER):  # equal ones stay in the order of their names
        if when == modules[name].WHEN:
            image = modules[name].apply(image, section(augment, name), data, rng)
    return image


def augment_problems(recipe: Recipe) -> Iterator[str]:
    """Yield what of the augmentations of both stages does not fit the recipe."""
    for stage in ("pretrain", "fit"):
        for name, module in plugins.load_all("augment").items():
            yield from module.problems(stage, section(getattr(recipe, stage).augment, name), recipe)
