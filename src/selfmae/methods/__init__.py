"""Methods of pre-training: each file is one; its name is its recipe section and its `--init`.

A file defines:

* `YIELDS`: what it gives to fine-tuning; "weights" of an encoder
* `SUBJECT`, `ORIGIN`: how a sentence names it ("self pre-training", "with self pre-training")
* `PROBED`: whether the probe can validate its encoder (`tasks/probe.py`)
* `Options`: its section of a recipe
* `can_pretrain(network, num_axes)`: "" or why it cannot pre-train a network (a file of `networks/`), as a clause
* `plan(plan, facts)`: puts values with their reasons into a plan
* `objective(recipe, store)`: how to train; only here torch, timm or MONAI are imported
* `describe(settings)`: how it trains, as the end of "It was pre-trained ..."

and, where it has some:

* `problems(recipe)`: what of a recipe does not fit, a clause for each; asked where the method is used
* `save_figure(path, recipe, store, model, cases)`: writes what the report shows of it
* `trivial_loss(settings)`: the loss of a guess without a model, by the values of a recipe; None if not known
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from selfmae import plugins
from selfmae.networks import network_of
from selfmae.options import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

OWN = "mae"  # the initialization: self pre-training by the network's own method, whichever it is
EQUAL = "scratch+"  # the initialization: scratch with the compute of self pre-training as more steps
PREFIX = "pretrain-"  # of the folder of a method's pre-trainings
DEFAULTS: dict[str, Any] = {
    "problems": lambda recipe: (),
    "save_figure": lambda path, recipe, store, model, cases: None,
    "trivial_loss": lambda settings: None,
}


class Objective(NamedTuple):
    """How a method trains: a new model, a sample of a draw (`data.sampling`), the loss of a batch of samples."""

    build: "Callable[[], nn.Module]"  # the model has an `encoder`, which fine-tuning keeps
    sample: "Callable[[Any], dict[str, Tensor]]"
    loss: "Callable[[Any, dict[str, Tensor]], Tensor]"  # a scalar, float32


@dataclass(frozen=True)
class PlanFacts:
    """What the plan of a method may depend on: the machine in words, whether it is a GPU, the set, the encoder."""

    machine: str
    is_gpu: bool
    kind: str  # of the target
    num_axes: int
    num_images: int  # to pre-train on
    width: int  # of our Vision Transformer


class Plan(Protocol):
    """Values with their reasons; what the user gave is never planned over."""

    values: dict[str, Any]

    def put(self, key: str, value: Any, reason: str) -> Any:
        """Set one key unless it was given, and return the value it has."""
        ...


def options_of(recipe: Recipe, name: str) -> Any:
    """Return a method's section of a recipe, its defaults where the recipe has none."""
    return recipe.methods[name] if name in recipe.methods else plugins.load("methods", name).Options()


def method_names() -> tuple[str, ...]:
    """Return the names of all methods, which are also initializations."""
    return plugins.names("methods")


def is_method(init: str) -> bool:
    """Return whether an initialization is a self pre-training."""
    return init in method_names()


def methods_for(recipe: Recipe) -> list[str]:
    """Return the names of the methods that can pre-train a recipe's network."""
    network, num_axes = network_of(recipe), len(recipe.data.crop)
    methods = plugins.load_all("methods").items()
    return [name for name, method in methods if not method.can_pretrain(network, num_axes)]


def method_of(init: str, recipe: Recipe) -> str:
    """Return the method that pre-trains for an initialization, "" for one that is no self pre-training.

    "mae" is the network's own: where a masked autoencoder cannot pre-train it, the first method that can.
    """
    if init != OWN or not why_not(recipe, OWN):
        return init if is_method(init) else ""
    return next(iter(methods_for(recipe)), init)


def why_not(recipe: Recipe, name: str) -> str:
    """Return why a method cannot pre-train as a recipe says, as a clause; "" if it can."""
    method = plugins.load("methods", name)
    if reason := str(method.can_pretrain(network_of(recipe), len(recipe.data.crop))):
        return reason
    if recipe.probe.every and not method.PROBED:
        return f"cannot be probed, but probe.every is {recipe.probe.every}: set probe.every=0"
    return str(next(iter(method.problems(recipe)), ""))
