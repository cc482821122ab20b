"""The cost of pre-training in steps of fine-tuning, so that scratch can be given the same compute."""

from dataclasses import dataclass, replace
from math import ceil

from torch.utils.flop_counter import FlopCounterMode

from selfmae.data.case import Case
from selfmae.data.sampling.stream import collate, draw_at
from selfmae.jobs.planning.measure import build, fewest_samples
from selfmae.options import OptimOptions, Recipe
from selfmae.report.words import plural
from selfmae.tasks import make_pretraining, make_task
from selfmae.tasks.base import Trainable
from selfmae.train.device import unfuse_attention

EARLY = (
    "; where the probe ends the pre-training of a fold and seed early (probe.patience), scratch+ of that fold and seed "
    "has fewer, by the steps that were taken"
)


@dataclass(frozen=True)
class EqualCompute:
    """Steps of fine-tuning from scratch that cost as much as pre-training and fine-tuning together, and the reason.

    Where `probe.patience` may end a pre-training early they are the most; each training has its own (`run_cell`).
    """

    steps: int
    reason: str


def equal_compute(recipe: Recipe, case: Case, num_taken: int = 0) -> EqualCompute:
    """Return the steps for scratch with equal compute; `case` is a labelled one to count on.

    Counted are the floating-point operations of a forward and a backward pass (`torch.utils.flop_counter`), which are
    the same on every machine, unlike seconds; looks at held-out cases are left out. `num_taken` are the steps that a
    pre-training took, up to the one at which its probe ended it; 0 stands for those of the recipe.
    """
    num_steps = num_taken or recipe.pretrain.steps
    pretraining, task = make_pretraining(recipe), make_task(recipe)
    pretraining.store.prepare([case], masks=False, places=recipe.pretrain.augment.foreground > 0)
    masks = recipe.target.kind == "mask"
    task.store.prepare([case], masks, places=masks and recipe.fit.augment.foreground > 0)
    before = count_operations(pretraining, recipe.pretrain, case) * num_steps
    step = count_operations(task, recipe.fit, case)
    more = ceil(before / step)
    return EqualCompute(
        recipe.fit.steps + more,
        f"scratch+ trains {recipe.fit.steps + more:,} steps: the {plural(recipe.fit.steps, 'step')} of every start and "
        f"{more:,} more, since the {plural(num_steps, 'step')} of pre-training are "
        f"{before / 1e9:,.3g} and one of fine-tuning is {step / 1e9:,.3g} billion floating-point operations"
        f"{EARLY if recipe.probe.ends_early else ''}.",
    )


def count_operations(task: Trainable, options: OptimOptions, case: Case) -> int:
    """Return the floating-point operations of one optimiser step, without those of the optimiser itself."""
    model = build(task).train()
    unfuse_attention(model)  # whose fused operations the counter does not know on every device
    num_samples = fewest_samples(task.recipe)
    batch = collate([task.sample(draw_at([case], task.recipe.seed, place)) for place in range(num_samples)])
    with FlopCounterMode(display=False) as counter:
        task.loss(model, batch).backward()
    return int(counter.get_total_flops()) * options.batch // num_samples


def with_equal_compute(recipe: Recipe, case: Case, num_taken: int) -> Recipe:
    """Return the recipe of scratch with the compute of a pre-training that took so many steps."""
    return replace(recipe, fit=replace(recipe.fit, steps=equal_compute(recipe, case, num_taken).steps))
