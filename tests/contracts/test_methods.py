"""What every method of methods/ keeps to; a new file is tested without a test of its own.

Samples and losses are those of every task: see test_tasks.py.
"""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from selfmae import plugins
from selfmae.data.case import Case
from selfmae.data.sampling import Draw, collate
from selfmae.methods import PlanFacts, methods_for, options_of, why_not
from selfmae.options import Recipe
from selfmae.recipe import as_content, flat, make_recipe, overlay, parse_sets
from selfmae.tasks import make_task
from selfmae.tasks.pretraining import Pretraining
from selfmae.weights.file import load_encoder

METHODS, NETWORKS = plugins.load_all("methods"), plugins.load_all("networks")
AXES = (2, 3)
USES = [
    (method, network, num_axes)
    for method, module in METHODS.items()
    for network, found in NETWORKS.items()
    for num_axes in AXES
    if not module.can_pretrain(found, num_axes)
]
ONE_USE = {method: use for use in reversed(USES) for method in use[:1]}
OPTIM = {"steps": 10, "batch": 2, "lr": 1e-3}


class Plan:
    """Values by dotted key, as `planning.planner` has them."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values, self.reasons = dict(values), dict.fromkeys(values, "given")

    def put(self, key: str, value: Any, reason: str) -> Any:
        if key not in self.values:
            self.values[key], self.reasons[key] = list(value) if isinstance(value, tuple) else value, reason
        return self.values[key]


@pytest.fixture(autouse=True)
def same_random_state() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> ModuleType:
    return METHODS[request.param]


def name_of(method: ModuleType) -> str:
    return method.__name__.rpartition(".")[2]


def given(network: str, num_axes: int) -> dict[str, Any]:
    """Return the recipe of a small network that says nothing of a method."""
    kind = NETWORKS[network].TARGETS[0]
    values = [1] if kind == "mask" else []
    return {
        "data": {"source": "scans", "channels": ["ct"], "crop": [32] * num_axes, "intensity": "range"},
        "target": {"kind": kind, "names": ["liver"], "values": values},
        "model": {"patch": [16] * num_axes, "width": 48, "depth": 2, "heads": 3, "decoder_features": 4}
        | {"network": network},
        "pretrain": OPTIM,
        "fit": OPTIM,
    }


def plan(method: ModuleType, network: str, num_axes: int, *settings: str) -> Plan:
    content = overlay(given(network, num_axes), parse_sets(settings))
    found = Plan(flat(content))
    facts = PlanFacts("a toy", False, NETWORKS[network].TARGETS[0], num_axes, 20, 48)
    method.plan(found, facts)
    return found


def planned(method: ModuleType, network: str, num_axes: int, *settings: str) -> Recipe:
    found = plan(method, network, num_axes, *settings)
    return make_recipe(parse_sets(f"{key}={value}" for key, value in found.values.items()), "plan")


def test_a_method_says_what_it_is(method: ModuleType) -> None:
    assert method.YIELDS == "weights"
    assert isinstance(method.PROBED, bool)
    for words in (method.SUBJECT, method.ORIGIN):
        assert isinstance(words, str)
        assert words
        assert not words.endswith(".")


def test_a_method_can_pretrain_a_network_and_says_why_not_another(method: ModuleType) -> None:
    reasons = [method.can_pretrain(network, num_axes) for network in NETWORKS.values() for num_axes in AXES]
    assert all(isinstance(reason, str) for reason in reasons)
    assert "" in reasons
    assert not any(reason.endswith(".") for reason in reasons)


@pytest.mark.parametrize(("name", "network", "num_axes"), USES)
def test_what_a_method_plans_is_a_recipe_that_it_can_train(name: str, network: str, num_axes: int) -> None:
    recipe = planned(METHODS[name], network, num_axes)
    assert why_not(recipe, name) == ""
    assert name in methods_for(recipe)
    assert options_of(recipe, name) == recipe.methods[name]


@pytest.mark.parametrize("name", METHODS)
def test_a_plan_gives_a_reason_for_each_value_and_keeps_what_was_given(name: str) -> None:
    network, num_axes = ONE_USE[name][1:]
    found = plan(METHODS[name], network, num_axes)
    put = {key: reason for key, reason in found.reasons.items() if reason != "given"}
    assert put
    assert all(len(reason) > 3 for reason in put.values())
    for key in put:
        again = plan(METHODS[name], network, num_axes, f"{key}={found.values[key]}")
        assert again.reasons[key] == "given"
        assert again.values[key] == found.values[key]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_how_it_trains_with_and_without_its_settings(name: str) -> None:
    """The report of a folder without a recipe has none."""
    recipe = planned(METHODS[name], *ONE_USE[name][1:])
    for settings in (flat(as_content(recipe)), {}):
        text = METHODS[name].describe(settings)
        assert text
        assert not text.endswith(".")
        assert text.split()[0] in ("as", "with", "by", "to")  # the end of "It was pre-trained ..."


@pytest.mark.parametrize(("name", "network", "num_axes"), USES)
def test_the_encoder_of_a_method_is_that_of_the_network_and_learns(
    name: str, network: str, num_axes: int, tmp_path: Path
) -> None:
    recipe = planned(METHODS[name], network, num_axes, f"data.cache={tmp_path}")
    rng = np.random.default_rng(0)
    cases = []
    for number in range(2):
        np.save(tmp_path / f"{number}.npy", rng.random((40,) * num_axes))
        cases.append(Case(f"c{number}", f"p{number}", (tmp_path / f"{number}.npy",), None, "train"))
    task = Pretraining(recipe, name)
    task.prepare(cases)
    model = task.build()
    loss = task.loss(model, collate([task.sample(Draw(case, 1)) for case in cases]))
    loss.backward()
    assert (loss.shape, loss.dtype, bool(loss.isfinite())) == ((), torch.float32, True)
    encoder: Any = model.encoder
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in encoder.parameters())
    tuned = make_task(recipe).build()
    new = load_encoder(tuned, encoder.state_dict())
    assert new
    assert not any(name.startswith("encoder.") for name in new)
    theirs: Any = tuned.encoder
    for key, value in encoder.state_dict().items():
        found = theirs.state_dict()[key]
        assert torch.equal(found[:, -value.shape[1] :] if key == "pos_embed" else found, value), key


@pytest.mark.parametrize("name", METHODS)
def test_a_figure_is_arrays_or_nothing(name: str, tmp_path: Path) -> None:
    network, num_axes = ONE_USE[name][1:]
    recipe = planned(METHODS[name], network, num_axes, f"data.cache={tmp_path / 'cache'}")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((40,) * num_axes))
    task = Pretraining(recipe, name)
    (tmp_path / "figures").mkdir()
    path = tmp_path / "figures" / "figure.npz"
    case = Case("c", "p", (tmp_path / "x.npy",), None, "train")
    METHODS[name].save_figure(path, recipe, task.store, task.build().eval(), [case])
    assert [found.name for found in path.parent.iterdir()] in ([], ["figure.npz"])
    if path.exists():
        with np.load(path) as arrays:
            assert arrays.files


@pytest.mark.parametrize("name", METHODS)
def test_a_probe_that_a_method_cannot_have_is_a_reason(name: str) -> None:
    recipe = planned(METHODS[name], *ONE_USE[name][1:])
    reason = why_not(replace(recipe, probe=replace(recipe.probe, every=5)), name)
    assert reason == ("" if METHODS[name].PROBED else "cannot be probed, but probe.every is 5: set probe.every=0")
