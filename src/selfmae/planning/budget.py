"""What a machine affords: sizes of crops and of the model, and the length of training, on a CPU and on a GPU."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil

from torch.utils.flop_counter import FlopCounterMode

from selfmae.data.case import Case
from selfmae.data.sampling.stream import collate, draw_at
from selfmae.options import OptimOptions, Recipe
from selfmae.planning.measure import build, min_samples
from selfmae.results.formatting import plural
from selfmae.tasks import make_task
from selfmae.tasks.base import Trainable
from selfmae.tasks.pretraining import Pretraining
from selfmae.train.device import unfuse_attention

# A reason must not say more than was measured: compared with another value, or only what the runs in the log had.
TUNED = "better than others in our experiments"
USED = "as in our experiments; not compared"
BTCV = "Zhou et al. 2023 for BTCV; not run here"
NIH = "Zhou et al. 2023 for ChestX-ray14; not run here"
OFTEN = "often enough to catch the best"

Schedule = Mapping[str, tuple[float, str]]  # a recipe's keys with their values and reasons

CPU_VOLUMES: Schedule = {
    "pretrain.steps": (1200, USED),
    "pretrain.batch": (8, USED),
    "pretrain.lr": (1e-3, "AdamW at this batch size"),
    "fit.steps": (400, USED),
    "fit.batch": (2, USED),
    "fit.lr": (2e-3, TUNED),
    "fit.layer_decay": (1.0, TUNED),
    "fit.validate_every": (100, OFTEN),
}
CPU_PICTURES: Schedule = {
    "pretrain.steps": (2000, USED),
    "pretrain.batch": (32, USED),
    "pretrain.lr": (1e-3, "AdamW at this batch size"),
    "fit.steps": (400, USED),
    "fit.batch": (32, USED),
    "fit.lr": (5e-4, "AdamW at this batch size"),
    "fit.layer_decay": (0.85, f"between 0.75 of Zhou et al. 2023 for a deeper encoder and none; {USED}"),
    "fit.validate_every": (50, OFTEN),
}
GPU_VOLUMES: Schedule = {
    "pretrain.steps": (30000, BTCV),
    "pretrain.batch": (24, BTCV),
    "pretrain.lr": (1.5e-4, BTCV),
    "fit.steps": (15000, BTCV),
    "fit.batch": (6, f"a quarter of the crops, for one GPU, of {BTCV}"),
    "fit.lr": (4e-4, f"half, as a quarter of the batch, of {BTCV}"),
    "fit.layer_decay": (0.75, BTCV),
    "fit.validate_every": (500, OFTEN),
}
GPU_PICTURES: Schedule = {
    "pretrain.steps": (20000, f"a thirteenth, for fewer images, of {NIH}"),
    "pretrain.batch": (256, NIH),
    "pretrain.lr": (1.5e-4, NIH),
    "fit.steps": (4000, f"an eighth, for fewer images, of {NIH}"),
    "fit.batch": (128, f"half of {NIH}"),
    "fit.lr": (5e-4, f"half, as the batch, of {NIH}"),
    "fit.layer_decay": (0.75, NIH),
    "fit.validate_every": (200, OFTEN),
}
SCHEDULES = (CPU_VOLUMES, CPU_PICTURES, GPU_VOLUMES, GPU_PICTURES)

EARLY = (
    "; where the probe ends the pre-training of a fold and seed early (probe.patience), scratch+ of that fold and seed "
    "has fewer, by the steps that were taken"
)


@dataclass(frozen=True)
class Budget:
    """What a machine affords. Widths are those of ViT-Ti and B."""

    name: str
    voxels: int  # of one crop
    pixels: int  # side of a 2-D image
    width: int
    depth: int
    features: int
    patches: tuple[int, int]  # along an axis of a whole image, and of a whole volume
    segmentation: Schedule
    classification: Schedule


@dataclass(frozen=True)
class EqualCompute:
    """Steps of fine-tuning from scratch that cost as much as pre-training and fine-tuning together, and the reason.

    Where `probe.patience` may end a pre-training early they are the most; each training has its own (`run_cell`).
    """

    steps: int
    reason: str


CPU = Budget("a CPU", 48**3, 64, 192, 6, 8, (8, 4), CPU_VOLUMES, CPU_PICTURES)
GPU = Budget("a GPU", 96**3, 224, 768, 12, 16, (14, 6), GPU_VOLUMES, GPU_PICTURES)


def equal_compute(recipe: Recipe, method: str, case: Case, num_taken: int = 0) -> EqualCompute:
    """Return the steps for scratch with the compute of a method; `case` is a labelled one to count on.

    Counted are the floating-point operations of a forward and a backward pass (`torch.utils.flop_counter`), which are
    the same on every machine, unlike seconds; validations are left out. `num_taken` are the steps that a
    pre-training took, up to the one at which its probe ended it; 0 stands for those of the recipe.
    """
    num_steps = num_taken or recipe.pretrain.steps
    pretraining, task = Pretraining(recipe, method), make_task(recipe)
    pretraining.prepare([case])
    task.prepare([case])
    before = count_operations(pretraining, recipe.pretrain, case) * num_steps
    step = count_operations(task, recipe.fit, case)
    more = ceil(before / step)
    return EqualCompute(
        recipe.fit.steps + more,
        f"scratch+ trains {recipe.fit.steps + more:,} steps: the {plural(recipe.fit.steps, 'step')} of every "
        "initialization and "
        f"{more:,} more, since the {plural(num_steps, 'step')} of pre-training are "
        f"{before / 1e9:,.3g} and one of fine-tuning is {step / 1e9:,.3g} billion floating-point operations"
        f"{EARLY if recipe.probe.ends_early else ''}.",
    )


def count_operations(task: Trainable, options: OptimOptions, case: Case) -> int:
    """Return the floating-point operations of one optimiser step, without those of the optimiser itself."""
    model = build(task).train()
    unfuse_attention(model)  # whose fused operations the counter does not know on every device
    num_samples = min_samples(task.recipe)
    batch = collate([task.sample(draw_at([case], task.recipe.seed, index)) for index in range(num_samples)])
    with FlopCounterMode(display=False) as counter:
        task.loss(model, batch).backward()
    return int(counter.get_total_flops()) * options.batch // num_samples


def with_equal_compute(recipe: Recipe, method: str, case: Case, num_taken: int) -> Recipe:
    """Return the recipe of scratch with the compute of a pre-training that took so many steps."""
    return replace(recipe, fit=replace(recipe.fit, steps=equal_compute(recipe, method, case, num_taken).steps))
