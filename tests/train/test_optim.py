import dataclasses
from math import cos, pi

import pytest
import torch

from selfmae.models.vit import Classifier
from selfmae.options import ModelOptions, OptimOptions
from selfmae.train.optimisation import layer_of, lr_factor, make_optimizer, set_lr

OPTIONS = OptimOptions(steps=100, batch=1, lr=1e-3, warmup_steps=10, weight_decay=0.05, layer_decay=0.75)


def deep_model() -> Classifier:
    return Classifier(ModelOptions(patch=(4, 4), width=8, depth=12, heads=1), 1, (8, 8), 3)


def rates_by_layer(optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> dict[int, float]:
    """Return the learning rate that the optimiser would use now for each layer, from the parameters themselves."""
    rate = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    return {layer_of(name, 12): rate[id(parameter)] for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("step", [1, 5, 9, 10, 40, 77, 99])
def test_each_of_the_14_layers_has_its_own_rate_in_the_ratio_of_the_decay(step: int) -> None:
    model = deep_model()
    optimizer = make_optimizer(model, 12, OPTIONS)
    set_lr(optimizer, step, OPTIONS)
    rates = rates_by_layer(optimizer, model)
    assert sorted(rates) == list(range(14))
    assert len({group["lr"] for group in optimizer.param_groups}) == 14
    assert [rates[layer] / rates[layer + 1] for layer in range(13)] == pytest.approx([0.75] * 13)
    factor = step / 10 if step < 10 else 0.5 * (1 + cos(pi * (step - 10) / 90))
    assert rates[13] == pytest.approx(1e-3 * factor)


def test_steps_of_the_optimiser_move_weights_as_the_rates_say() -> None:
    """With a constant gradient AdamW moves each weight by its rate, so the sum of rates shows in the weights."""
    model, options = deep_model(), dataclasses.replace(OPTIONS, weight_decay=0.0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = make_optimizer(model, 12, options)
    total = 0.0
    for step in range(30):
        total += set_lr(optimizer, step, options)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    for name, parameter in model.named_parameters():
        moved = float((before[name] - parameter.detach()).mean())
        assert moved == pytest.approx(total * 0.75 ** (13 - layer_of(name, 12)), rel=1e-2), name


def test_only_weight_matrices_are_decayed_and_each_parameter_stands_in_one_group() -> None:
    model = deep_model()
    optimizer = make_optimizer(model, 12, OPTIONS)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    listed = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
    decayed = {names[id(p)] for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert sorted(listed) == sorted(names.values())
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.05}
    assert {name.rsplit(".", 1)[-1] for name in decayed} == {"weight"}
    assert not any("norm" in name for name in decayed)
    assert "encoder.patch_embed.proj.weight" in decayed
    assert not {"encoder.cls_token", "encoder.pos_embed"} & decayed


def test_layers_are_those_of_the_released_code() -> None:
    places = {
        "encoder.cls_token": 0,
        "encoder.pos_embed": 0,
        "encoder.patch_embed.proj.bias": 0,
        "encoder.blocks.0.norm1.weight": 1,
        "encoder.blocks.11.mlp.fc2.weight": 12,
        "encoder.norm.weight": 13,
        "head.weight": 13,
        "decoder_blocks.3.norm1.bias": 13,
    }
    assert {name: layer_of(name, 12) for name in places} == places


def test_warm_up_starts_at_zero_reaches_one_and_the_cosine_ends_near_zero() -> None:
    factors = [lr_factor(step, OPTIONS) for step in range(100)]
    assert factors[0] == 0
    assert factors[10] == max(factors) == 1
    assert factors[:11] == pytest.approx([step / 10 for step in range(11)])
    assert factors[55] == pytest.approx(0.5)
    assert 0 < factors[99] < 1e-3
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_without_warm_up_the_first_rate_is_the_peak() -> None:
    assert lr_factor(0, dataclasses.replace(OPTIONS, warmup_steps=0)) == 1


def test_the_betas_reach_the_optimiser() -> None:
    optimizer = make_optimizer(deep_model(), 12, dataclasses.replace(OPTIONS, betas=(0.8, 0.88)))
    assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.88)}


def test_tokens_and_positions_are_decayed_only_if_asked() -> None:
    model = deep_model()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed = [
        {
            names[id(parameter)]
            for group in make_optimizer(model, 12, dataclasses.replace(OPTIONS, decay_tokens=asked)).param_groups
            for parameter in group["params"]
            if group["weight_decay"]
        }
        for asked in (True, False)
    ]
    assert decayed[0] - decayed[1] == {"encoder.cls_token", "encoder.pos_embed"}
    assert decayed[1] < decayed[0]


def test_a_first_step_that_the_loss_scaler_skips_leaves_no_momentum() -> None:
    model, options = torch.nn.Linear(64, 4), dataclasses.replace(OPTIONS, optimizer="sgd", warmup_steps=0)
    optimizer, scaler = make_optimizer(model, 1, options, scaled=True), torch.amp.GradScaler("cpu")
    for size in (1e38, 1.0):
        scaler.scale(model(torch.ones(2, 64)).square().mean() * size).backward()
        scaler.step(optimizer)
        assert bool(optimizer.state) == (size == 1.0)
        scaler.update()
        optimizer.zero_grad()
