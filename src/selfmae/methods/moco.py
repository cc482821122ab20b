"""MoCo v2 (Chen et al. 2020) of convolutional networks for 2-D images: tell which two views come from one image."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import floor, log, log2
from types import ModuleType
from typing import TYPE_CHECKING, Any

from selfmae.augment import section
from selfmae.methods import Objective, Plan, PlanFacts, options_of
from selfmae.networks import network_name
from selfmae.options import Recipe, Section, number
from selfmae.seeds import generator

if TYPE_CHECKING:
    from selfmae.data.preparation.store import Store
    from selfmae.data.sampling import Draw, Sample

YIELDS = "weights"
SUBJECT, ORIGIN = "self pre-training with MoCo v2", "with self pre-training by MoCo v2"
PROBED = False
CHEN = "Chen et al. 2020 (MoCo v2)"
MIN_SAMPLES = 2  # of a forward pass, for batch norms


@dataclass(frozen=True)
class Options(Section):
    """How keys are compared and kept."""

    temperature: float = number(0.2, above=0)  # of the similarities
    momentum: float = number(0.999, at_least=0, below=1)  # what the slow copy keeps of itself at each step
    queue: int = number(65536, at_least=1)  # keys of other images that a query is compared with


def can_pretrain(network: ModuleType, num_axes: int) -> str:
    """Return "" or why a network is none for two views of a 2-D image."""
    if network.ENCODER != "timm":
        return "pre-trains convolutional networks of timm (resnet50, densenet121)"
    return "" if num_axes == 2 else f"pre-trains on 2-D images, but data.crop has {num_axes} axes"


def problems(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with views and batches, or that the extra is not installed."""
    from selfmae.models.moco import missing_extra

    pretrain = recipe.pretrain
    if section(pretrain.augment, "spatial").min_scale == 1:
        yield (
            "compares two views of an image, but pretrain.augment.spatial.min_scale 1.0 makes them alike: set it below "
            "1 (0.2 in Chen et al. 2020)"
        )
    share = pretrain.batch // (pretrain.accumulate * recipe.device.devices)
    if share < MIN_SAMPLES:
        yield f"needs at least {MIN_SAMPLES} samples at once for its batch norms, but pretrain.batch gives them {share}"
    if missing := missing_extra():
        yield missing


def plan(plan: Plan, facts: PlanFacts) -> None:
    """Plan MoCo v2 as in its paper, for fewer images and steps."""
    batch = plan.put("pretrain.batch", 32, "as in our experiments; not compared")
    if "pretrain.lr" not in plan.values and plan.values.get("pretrain.optimizer", "sgd") == "sgd":
        plan.put("pretrain.optimizer", "sgd", CHEN)
        plan.put("pretrain.lr", 0.03 * batch / 256, f"0.03 for a batch of 256, {CHEN}")
        plan.put("pretrain.weight_decay", 1e-4, CHEN)
    for key, value in (("spatial.min_scale", 0.2), ("spatial.flip_axes", (1,)), ("intensity.contrast", 0.4)):
        plan.put(f"pretrain.augment.{key}", value, CHEN)
    plan.put("pretrain.augment.intensity.blur", 0.5, CHEN)
    half = 2 ** floor(log2(max(2, facts.num_images / 2)))
    plan.put("moco.queue", min(65536, max(batch, half)), "at most half of the images, so that few are in it twice")
    if int(plan.values.get("pretrain.steps", 2000)) < 10000:
        plan.put("moco.momentum", 0.99, "0.999 would look back on 1,000 steps, too many of so few")


def objective(recipe: Recipe, store: "Store") -> Objective:
    """Return how to train: samples are {"query": [C, *crop], "key": [C, *crop]}, drawn apart from each other."""
    from selfmae.data.sampling import draw_unlabelled
    from selfmae.models.moco import MomentumContrast

    options = options_of(recipe, "moco")
    momentum = options.momentum ** (1 / recipe.pretrain.accumulate)  # of a forward pass, for one step in all

    def sample(draw: "Draw") -> "Sample":
        augment = recipe.pretrain.augment
        return {v: draw_unlabelled(store, draw.case, augment, generator(draw.seed, v)) for v in ("query", "key")}

    return Objective(
        build=lambda: MomentumContrast(network_name(recipe), len(recipe.data.channels), options, momentum),
        sample=sample,
        loss=lambda model, batch: model(batch["query"], batch["key"]),
    )


def trivial_loss(settings: Mapping[str, Any]) -> float | None:
    """Return the loss of guessing which key is the query's: cross-entropy over it and the queue; None if unknown."""
    queue = settings.get("moco.queue")
    return None if queue is None else log(1 + queue)


def describe(settings: Mapping[str, Any]) -> str:
    """Return how it trains, from the values of a recipe by dotted key."""
    return f"with MoCo v2 (Chen et al. 2020; {settings.get('moco.queue', 0):,} keys in the queue)"
