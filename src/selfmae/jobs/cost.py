"""The cost of pre-training in steps of fine-tuning, so that scratch can be given the same compute."""

from dataclasses import dataclass, replace
from math import ceil

from torch.utils.flop_counter import FlopCounterMode

from selfmae.data.case import Case
from selfmae.data.stream import collate, draw_at
from selfmae.jobs.measure import build, fewest_samples
from selfmae.options import OptimOptions, Recipe
from selfmae.report.words import plural
from selfmae.tasks import make_pretraining, make_task
from selfmae.tasks.base import Trainable


@dataclass(frozen=True)
class EqualCompute:
    """Steps of fine-tuning from scratch that cost as much as pre-training and fine-tuning together, and the reason."""

    steps: int
    reason: str


def equal_compute(recipe: Recipe, case: Case) -> EqualCompute:
    """Return the steps for scratch with equal compute; `case` is a labelled one to count on.

    Counted are the floating-point operations of a forward and a backward pass (`torch.utils.flop_counter`), which are
    the same on every machine, unlike seconds. Pre-training that stops early is counted in full: scratch is not given
    less than it could have cost.
    """
    pretraining, task = make_pretraining(recipe), make_task(recipe)
    pretraining.store.prepare([case], masks=False, places=recipe.pretrain.augment.foreground > 0)
    masks = recipe.target.kind == "mask"
    task.store.prepare([case], masks, places=masks and recipe.fit.augment.foreground > 0)
    before = count_operations(pretraining, recipe.pretrain, case) * recipe.pretrain.steps
    step = count_operations(task, recipe.fit, case)
    more = ceil(before / step)
    return EqualCompute(
        recipe.fit.steps + more,
        f"scratch+ trains {recipe.fit.steps + more:,} steps: the {plural(recipe.fit.steps, 'step')} of every start and "
        f"{more:,} more, since the {plural(recipe.pretrain.steps, 'step')} of pre-training are "
        f"{before / 1e9:,.3g} and one of fine-tuning is {step / 1e9:,.3g} billion floating-point operations.",
    )


def count_operations(task: Trainable, options: OptimOptions, case: Case) -> int:
    """Return the floating-point operations of one optimiser step, without those of the optimiser itself."""
    model = build(task).train()
    num_samples = fewest_samples(task.recipe)
    batch = collate([task.sample(draw_at([case], task.recipe.seed, place)) for place in range(num_samples)])
    with FlopCounterMode(display=False) as counter:
        task.loss(model, batch).backward()
    return int(counter.get_total_flops()) * options.batch // num_samples


def with_equal_compute(recipe: Recipe, case: Case) -> Recipe:
    """Return the recipe of scratch with equal compute."""
    return replace(recipe, fit=replace(recipe.fit, steps=equal_compute(recipe, case).steps))
