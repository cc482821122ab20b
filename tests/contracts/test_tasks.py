"""What every task keeps to, whatever it learns: the training loop, the evaluation and the report rely on it."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from selfmae import plugins
from selfmae.augment import intensity, spatial
from selfmae.data.case import Case, Cases
from selfmae.data.generated.sets import write_radiographs, write_volumes
from selfmae.data.sampling import Draw, collate
from selfmae.data.sources import read_source
from selfmae.errors import UserError
from selfmae.methods import mae, methods_for, why_not
from selfmae.metrics.rows import HEADLINES
from selfmae.options import DataOptions, ModelOptions, OptimOptions, PredictOptions, Recipe, TargetOptions
from selfmae.tasks import make_task
from selfmae.tasks.base import Task, Trainable
from selfmae.tasks.pretraining import Pretraining

VIEW = spatial.Options(flip_axes=(0,), min_scale=0.7, foreground=0.5, rotate_degrees=5, zoom=0.1)
AUGMENT = {"spatial": VIEW, "intensity": intensity.Options(contrast=0.1)}
KINDS = ("mask", "unet", "regions", "multilabel", "multiclass")
NETWORKS = {"mask": "unetr", "unet": "dynunet", "regions": "unetr", "multilabel": "vit", "multiclass": "vit"}
MODEL = ModelOptions((), width=48, depth=2, heads=2, decoder_features=4)
MASKS = ("mask", "unet", "regions")  # of a UNETR, of a U-Net, and as regions of a UNETR


def make_recipe(kind: str, found: Cases) -> Recipe:
    num_axes = 3 if kind in MASKS else 2
    crop = (16, 16, 16) if num_axes == 3 else (32, 32)
    optim = OptimOptions(steps=1, batch=2, lr=1e-3, drop_path=0.1, augment=AUGMENT)
    target = {
        "mask": TargetOptions("mask", found.labels.names, found.labels.values),
        "unet": TargetOptions("mask", found.labels.names, found.labels.values),
        "regions": TargetOptions("mask", found.labels.names, found.labels.values, {"all": (1, 2, 3), "two": (2,)}),
        "multilabel": TargetOptions("multilabel", found.labels.names),
        "multiclass": TargetOptions("multiclass", found.labels.names),
    }[kind]
    return Recipe(
        DataOptions(str(found.source), channels=found.channels, crop=crop, intensity="zscore"),
        target,
        replace(MODEL, patch=(8,) * num_axes, network=NETWORKS[kind], features=4 if kind == "unet" else 0),
        optim,
        optim,
        {"mae": mae.Options(decoder_width=48, decoder_depth=1, decoder_heads=2)},
        predict=PredictOptions(overlap=0.25),
    )


def make(folder: Path, kind: str) -> tuple[Recipe, list[Case]]:
    if kind in MASKS:
        write_volumes(folder / "set", 2, 0, (18, 20, 16))
    else:
        write_radiographs(folder / "set", 4, 0, (32, 32))
    found = read_source(str(folder / "set"))
    cases = [case for case in found.cases if case.target is not None]
    if kind == "multiclass":
        places = np.eye(len(found.labels.names))
        cases = [replace(case, target=tuple(places[index % len(places)])) for index, case in enumerate(cases)]
    return make_recipe(kind, found), cases


@pytest.fixture(params=KINDS)
def supervised(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Task, list[Case]]:
    torch.manual_seed(0)
    recipe, cases = make(tmp_path, request.param)
    return make_task(recipe), cases


def uses_of(kind: str) -> list[tuple[str, str]]:
    """Return each method with the networks of a kind of target, masks being volumes and all else pictures."""
    num_axes = 3 if kind == "mask" else 2
    return [
        (method, network)
        for network, module in plugins.load_all("networks").items()
        for method, found in plugins.load_all("methods").items()
        if kind in module.TARGETS and not found.can_pretrain(module, num_axes)
    ]


PRETRAININGS = [(kind, *use) for kind in ("mask", "multilabel") for use in uses_of(kind)]


@pytest.fixture(params=(*KINDS, *PRETRAININGS), ids=lambda use: use if isinstance(use, str) else "-".join(use[1:]))
def trainable(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Trainable, list[Case]]:
    torch.manual_seed(0)
    kind, *use = [request.param] if isinstance(request.param, str) else request.param
    recipe, cases = make(tmp_path, kind)
    if not use:
        return make_task(recipe), cases
    method, network = use
    recipe = replace(recipe, model=replace(recipe.model, network=network))
    assert method in methods_for(recipe)
    assert why_not(recipe, method) == ""
    return Pretraining(recipe, method), cases


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[key], second[key]) for key in first)


def images_of(task: Trainable, sample: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Return what of a sample is an image: a task has one, a method may have several views."""
    return [item for item in sample.values() if item.shape == (1, *task.recipe.data.crop) and item.is_floating_point()]


def test_a_sample_is_a_pure_function_of_its_draw(trainable: tuple[Trainable, list[Case]]) -> None:
    task, cases = trainable
    first = task.sample(Draw(cases[0], 1))
    np.random.seed(3)  # a global state that must not matter
    torch.manual_seed(3)
    assert equal(first, task.sample(Draw(cases[0], 1)))
    for other in (Draw(cases[0], 2), Draw(cases[1], 1)):
        pairs = zip(images_of(task, first), images_of(task, task.sample(other)), strict=True)
        assert not any(torch.equal(one, another) for one, another in pairs)


def test_a_task_in_another_process_gives_the_same_samples(
    trainable: tuple[Trainable, list[Case]],
) -> None:
    """Training on several devices does so."""
    task, cases = trainable
    task.prepare(cases)
    sent = pickle.loads(pickle.dumps(task))
    assert equal(task.sample(Draw(cases[0], 1)), sent.sample(Draw(cases[0], 1)))


def test_samples_have_the_shapes_of_the_recipe(trainable: tuple[Trainable, list[Case]]) -> None:
    task, cases = trainable
    sample = task.sample(Draw(cases[0], 1))
    assert images_of(task, sample)
    assert all(image.isfinite().all() for image in images_of(task, sample))
    if not isinstance(task, Pretraining):
        assert sample["image"].shape == (1, *task.recipe.data.crop)


def test_the_loss_is_finite_and_every_weight_takes_part(trainable: tuple[Trainable, list[Case]]) -> None:
    task, cases = trainable
    model = task.build()
    loss = task.loss(model, collate([task.sample(Draw(case, 1)) for case in cases[:2]]))
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    loss.backward()
    lacking = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    assert lacking == []


def test_a_few_steps_on_one_batch_lower_the_loss(trainable: tuple[Trainable, list[Case]]) -> None:
    task, cases = trainable
    if isinstance(task, Pretraining) and task.method == "moco":
        pytest.skip("MoCo's queue then holds the very images that it must tell apart")
    model, batch = task.build(), collate([task.sample(Draw(case, 1)) for case in cases[:2]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss = task.loss(model, batch)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]


def test_rows_become_a_summary_with_the_headline_and_a_convention_for_each_metric(
    supervised: tuple[Task, list[Case]],
) -> None:
    task, cases = supervised
    model = task.build().eval()
    rows = []
    for case in cases:
        with torch.no_grad():
            prediction = task.predict(model, task.store.image(case), task.store.image(case).shape[1:])
        rows.append(task.row(case, prediction))
    assert [(row["id"], row["patient"]) for row in rows] == [(case.id, case.patient) for case in cases]
    summary = task.summary(rows)
    assert summary["num_cases"] == len(cases)
    assert task.headline == HEADLINES[task.recipe.target.kind]
    assert task.headline in summary["metrics"]
    assert set(summary["conventions"]) >= set(summary["metrics"])
    assert all(len(text) > 20 for text in summary["conventions"].values())
    assert set(summary["labels"]) == set(task.recipe.target.output_names)


def test_a_case_without_a_target_is_refused_by_name(supervised: tuple[Task, list[Case]]) -> None:
    task, cases = supervised
    with pytest.raises(UserError, match=f"Case '{cases[0].id}' has no .*: only labelled cases can be trained on"):
        task.sample(Draw(replace(cases[0], target=None), 1))
