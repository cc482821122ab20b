"""The trainings of a run: how often each kind of them is done, and on which cases it can be measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from selfmae.data.case import Case
from selfmae.data.folds import Folding
from selfmae.data.preparation.prepare import prepared_shape
from selfmae.data.source import Source, fold_of
from selfmae.methods import EQUAL, is_method, method_of
from selfmae.options import OptimOptions, Recipe
from selfmae.tasks import make_task
from selfmae.tasks.base import Trainable
from selfmae.tasks.pretraining import Pretraining
from selfmae.tasks.probe import make_probe

PROBED = 16  # cases of a validation by the probe that is timed


@dataclass(frozen=True)
class Trainings:
    """How often a run trains, over all folds and seeds, and how many cases each fine-tuning scores."""

    methods: tuple[str, ...]  # of self pre-training
    num_each: int  # pre-trainings of each method
    num_finetunings: int
    num_val: int
    num_test: int
    num_equal: int = 0  # of the fine-tunings: of `scratch+`, which have more steps
    num_held_out: int = 0  # images, and labelled cases, that a probe of pre-training validates on
    num_labelled: int = 0


@dataclass(frozen=True)
class TrainingKind:
    """One kind of training of a run, the cases that are at hand to measure it, and how often it is done."""

    name: str
    key: str  # section of the recipe
    task: Trainable
    options: OptimOptions
    cases: Sequence[Case]
    count: int
    probed: Sequence[Case] = ()  # labelled ones, to measure the probe of a pre-training


def count_trainings(
    source: Source, recipe: Recipe, folding: Folding, inits: Sequence[str], num_seeds: int
) -> Trainings:
    """Return the trainings of a run; the cases to score are those of its first fold."""
    cases, num_each = fold_of(source, 0, folding, recipe.data).cases, folding.num_folds * num_seeds
    methods = tuple(dict.fromkeys(method_of(init, recipe) for init in inits if is_method(init)))
    probe = make_probe(recipe, cases) if methods else None
    return Trainings(
        methods,
        num_each,
        num_finetunings=num_each * len(inits),
        num_val=len(cases.part("val")),
        num_test=len(cases.part("test")),
        num_equal=num_each * inits.count(EQUAL),
        num_held_out=len(probe.filled_in) if probe else 0,
        num_labelled=len(probe.read_out) if probe else 0,
    )


def list_kinds(recipe: Recipe, source: Source, trainings: Trainings, prepared: Sequence[Case]) -> list[TrainingKind]:
    """Return the kinds that a run has; fine-tuning is measured on the labelled case of median size."""
    voxels, methods = prepared_voxels(source, recipe), trainings.methods
    labelled = sorted(source.cases.part("train"), key=lambda case: voxels[case.id])
    middle = labelled[len(labelled) // 2 :][:1]
    probed = labelled[max(0, (len(labelled) - PROBED) // 2) :][:PROBED] if recipe.probe.every else []
    kinds = []
    for method in methods:
        name = "pre-training" if len(methods) == 1 else f"pre-training ({method})"
        task, count = Pretraining(recipe, method), trainings.num_each
        kinds.append(TrainingKind(name, "pretrain", task, recipe.pretrain, prepared, count, probed))
    kinds.append(TrainingKind("fine-tuning", "fit", make_task(recipe), recipe.fit, middle, trainings.num_finetunings))
    return [kind for kind in kinds if kind.count and kind.cases]


def prepared_voxels(source: Source, recipe: Recipe) -> dict[str, int]:
    """Return how many voxels the prepared image of each case has, all channels together."""
    return {
        fact.id: prod(prepared_shape(fact.shape, fact.spacing_mm, recipe.data)) * fact.num_channels
        for fact in source.facts
    }
