"""The budget: what a user may type, its share for one training, and steps that fill it and no more."""

from collections.abc import Callable
from dataclasses import replace
from math import ceil

import numpy as np
import pytest

from selfmae.errors import UserError
from selfmae.methods import EQUAL
from selfmae.options import Recipe
from selfmae.planning.budget import MAX_STEPS, MIN_STEPS, Budget, Steps, parse_budget

MakeRecipe = Callable[..., Recipe]
NOTHING: frozenset[str] = frozenset()


@pytest.fixture
def recipe(make_recipe: MakeRecipe) -> Recipe:
    """Return the recipe of a U-Net, whose pre-training takes as long as its fine-tuning."""
    return make_recipe((32, 32), (8, 8), network="dynunet")


def linear(pretrain: float, fit: float, scoring: float = 0.0) -> Callable[[Recipe], float]:
    """Return the seconds of a recipe with these paces of a step of each stage and of a validation."""

    def total(recipe: Recipe) -> float:
        every = recipe.fit.validate_every
        validations = ceil(recipe.fit.steps / every) if every else 1
        return pretrain * recipe.pretrain.steps + fit * recipe.fit.steps + scoring * validations

    return total


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("30m", 1800), ("4h", 14400), ("2d", 172800), ("1.5h", 5400), (" 10M ", 600), ("0.5m", 30)],
)
def test_a_budget_is_a_number_with_its_unit(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "h", "0h", "0.0m", "-4h", "4 h", "1h30m", "4w", "1,5h", "1e3s", "infh", ".5h"]
)
def test_anything_else_is_no_budget(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_budget(text)
    wanted = f"--budget {text!r} must be a time above 0, with its unit: for example 30m, 4h or 2d."
    assert str(caught.value) == wanted


def test_a_training_gets_its_share_of_four_fifths_of_the_budget() -> None:
    # Three fine-tunings of each of scratch, scratch+ and mae; scratch+ takes as long as a pre-training more.
    budget = Budget(3600.0, ("scratch", EQUAL, "mae"), ("mae",), num_each=3, num_pretrainings=3)
    assert budget.seconds_each("unet") == pytest.approx(0.8 * 3600 / (3 * 4 + 3))
    assert budget.seconds_each("vit") == pytest.approx(0.8 * 3600 / (3 * 5 + 3 * 2))
    assert budget.seconds_each("") == pytest.approx(0.8 * 3600 / 9)  # nothing can be pre-trained


def test_pretrainings_are_shared_by_numbers_of_labels() -> None:
    budget = Budget(1000.0, ("scratch", "mae"), ("mae",), num_each=1 + 3, num_pretrainings=1)
    assert budget.seconds_each("unet") == pytest.approx(0.8 * 1000 / (4 * 2 + 1))


def test_without_methods_only_finetunings_share_the_budget() -> None:
    assert Budget(100.0, ("scratch",), (), num_each=4).seconds_each("unet") == pytest.approx(20.0)


@pytest.mark.parametrize("seed", range(30))
def test_steps_fill_the_budget_within_two_percent_and_not_more(recipe: Recipe, seed: int) -> None:
    rng = np.random.default_rng(seed)
    before, step, scoring = (float(10**value) for value in rng.uniform(-3, 0, 3))
    total = linear(before, step, scoring)
    # A validation is a lump of time: 2,000 steps and the ten validations of any training.
    seconds = 2000 * step * float(rng.uniform(2, 50)) + 10 * scoring
    found = Steps(seconds, NOTHING).fit(recipe, (before, step), total)
    assert 0.98 * seconds <= total(found) <= seconds
    assert MIN_STEPS <= found.fit.steps <= MAX_STEPS
    assert found.fit.warmup_steps == found.fit.steps // 20
    assert ceil(found.fit.steps / found.fit.validate_every) == 10
    assert found.pretrain.steps * before == pytest.approx(found.fit.steps * step, rel=0.01, abs=before)


def test_the_vit_pretrains_for_twice_as_long_as_it_is_finetuned(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe((32, 32), (8, 8), network="unetr")
    found = Steps(1000.0, NOTHING).fit(recipe, (0.5, 0.1), linear(0.5, 0.1))
    assert found.pretrain.steps * 0.5 == pytest.approx(2 * found.fit.steps * 0.1, rel=0.01)


def test_without_pretraining_its_steps_cost_nothing(recipe: Recipe) -> None:
    found = Steps(100.0, NOTHING).fit(recipe, (0.0, 0.1), linear(0.0, 0.1))
    assert 980 <= found.fit.steps <= 1000


@pytest.mark.parametrize("seed", range(5))
def test_a_larger_budget_never_has_fewer_steps(recipe: Recipe, seed: int) -> None:
    rng = np.random.default_rng(seed)
    before, step, scoring = rng.uniform(0.01, 1, 3)
    total = linear(before, step, scoring)
    budgets = np.sort(rng.uniform(MIN_STEPS * (before + 2 * step) + 10 * scoring, 1e5, 40)).tolist()
    found = [Steps(seconds, NOTHING).fit(recipe, (before, step), total).fit.steps for seconds in budgets]
    steps = np.array(found)
    # The search stops within 1 %, so that two nearly equal budgets may change places by that much.
    assert (steps[1:] >= 0.99 * steps[:-1]).all()
    assert steps[-1] > 5 * steps[0]


def test_so_large_a_budget_is_left_unspent(recipe: Recipe) -> None:
    found = Steps(1e12, NOTHING).fit(recipe, (0.1, 0.1), linear(0.1, 0.1))
    assert 0.98 * MAX_STEPS <= found.fit.steps <= MAX_STEPS


def test_what_was_given_stays(recipe: Recipe) -> None:
    total = linear(0.1, 0.1)
    given = replace(recipe, pretrain=replace(recipe.pretrain, steps=100, warmup_steps=7))
    given = replace(given, fit=replace(given.fit, validate_every=13, warmup_steps=3))
    keys = frozenset(("pretrain.steps", "pretrain.warmup_steps", "fit.validate_every", "fit.warmup_steps"))
    found = Steps(100.0, keys).fit(given, (0.1, 0.1), total)
    assert (found.pretrain.steps, found.pretrain.warmup_steps) == (100, 7)
    assert (found.fit.validate_every, found.fit.warmup_steps) == (13, 3)
    assert 98 <= total(found) <= 100
    assert found.fit.steps > 880  # all that the pre-training of 100 steps leaves


def test_given_steps_of_finetuning_leave_the_recipe_as_it_is(recipe: Recipe) -> None:
    assert Steps(1.0, frozenset(("fit.steps",))).fit(recipe, (9.0, 9.0), linear(9.0, 9.0)) == recipe


def test_nothing_but_lengths_is_changed(recipe: Recipe) -> None:
    found = Steps(100.0, NOTHING).fit(recipe, (0.1, 0.1), linear(0.1, 0.1))
    lengths = {"steps": 1, "warmup_steps": 0}
    assert replace(found.pretrain, **lengths) == replace(recipe.pretrain, **lengths)
    lengths["validate_every"] = 0
    assert replace(found.fit, **lengths) == replace(recipe.fit, **lengths)
    assert replace(found, fit=recipe.fit, pretrain=recipe.pretrain) == recipe


def test_too_small_a_budget_is_a_sentence_with_what_the_least_takes(recipe: Recipe) -> None:
    with pytest.raises(UserError) as caught:
        Steps(30.0, NOTHING).fit(recipe, (1.0, 1.0), linear(1.0, 1.0, 2.0))
    assert str(caught.value) == (  # 20 steps of both stages and 10 validations
        "--budget of 30 s is too small: 20 steps of every training with their validations take about 60 s here; give a "
        "larger one, or fewer --seeds, --folds or initializations."
    )
    assert Steps(60.0, NOTHING).fit(recipe, (1.0, 1.0), linear(1.0, 1.0, 2.0)).fit.steps >= MIN_STEPS
