"""Keys and values of a sweep, their combinations, and which trainings a setting changes."""

from dataclasses import replace

import pytest

from selfmae.errors import UserError
from selfmae.experiment.combinations import (
    combine,
    name_of,
    parse_axes,
    recipe_of,
    settings_of_init,
    settings_of_pretraining,
)
from selfmae.options import DataOptions, ModelOptions, OptimOptions, ProbeOptions, Recipe, TargetOptions
from selfmae.recipe import as_content, make_recipe, overlay

BASE = Recipe(
    DataOptions("here", crop=(32, 32)),
    TargetOptions("multilabel", ("a",)),
    ModelOptions((8, 8)),
    pretrain=OptimOptions(80, 4, 1e-3, warmup_steps=8),
    fit=OptimOptions(40, 4, 1e-3, warmup_steps=4, validate_every=10),
    probe=ProbeOptions(every=20),
)
ALL = {"mae.ratio": 0.5, "pretrain.steps": 8, "fit.steps": 4, "data.fraction": 0.5, "model.depth": 2}


def test_values_are_read_as_those_of_a_recipe() -> None:
    axes = parse_axes(["mae.ratio=0.25,0.5", "data.crop=[16,16],[32,32]", "mae.target=raw,patch"])
    assert axes == {
        "mae.ratio": [0.25, 0.5],
        "data.crop": [[16, 16], [32, 32]],
        "mae.target": ["raw", "patch"],
    }


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["mae.ratio"], "'mae.ratio' must look like key=value,value, for example mae.ratio=0.25,0.5,0.75."),
        (["mae.ratio="], "'mae.ratio=' must look like key=value,value"),
        (["fit.lr=1", "fit.lr=2"], "fit.lr is given twice: put all its values behind one fit.lr=."),
        (["data.split_seed=1,2"], "data.split_seed decides the cases, which all of a sweep must share"),
        (["target.kind=mask"], "target.kind decides the cases"),
        (["data.split=patient,case"], "data.split decides the cases"),
        (["mae.ratio=0.5,0.25,0.5"], "mae.ratio has the value 0.5 twice: give each value once."),
        ([], "A sweep needs a key and its values"),
    ],
)
def test_what_is_no_axis_is_said(words: list[str], text: str) -> None:
    with pytest.raises(UserError) as error:
        parse_axes(words)
    assert str(error.value).startswith(text)


def test_every_value_meets_every_other() -> None:
    found = combine({"a": [1, 2], "b": [3, 4]})
    assert found == [{"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4}]


def test_a_name_holds_the_settings_and_is_one_folder() -> None:
    assert name_of({"mae.ratio": 0.5, "data.crop": [16, 16]}) == "mae.ratio=0.5,data.crop=[16,16]"
    assert name_of({"init.pretrain": "weights/a.pt"}) == "init.pretrain=weights_a.pt"
    assert name_of({}) == "base"


def test_a_recipe_has_the_settings_and_all_else_of_the_base() -> None:
    recipe = recipe_of(BASE, {"mae.ratio": 0.25, "fit.steps": 10})
    assert recipe == make_recipe(overlay(as_content(BASE), {"mae": {"ratio": 0.25}, "fit": {"steps": 10}}), "base")


def test_a_share_of_the_budget_shortens_both_stages() -> None:
    recipe = recipe_of(BASE, {}, 0.25)
    assert (recipe.pretrain.steps, recipe.pretrain.warmup_steps, recipe.probe.every) == (20, 2, 5)
    assert (recipe.fit.steps, recipe.fit.warmup_steps, recipe.fit.validate_every) == (10, 1, 2)
    assert recipe.pretrain.validate_every == 0


def test_a_wrong_value_is_named_with_its_setting() -> None:
    with pytest.raises(UserError, match=r"mae.ratio=1.5: mae.ratio is 1.5, but must be above 0 and below 1."):
        recipe_of(BASE, {"mae.ratio": 1.5})
    with pytest.raises(UserError, match=r"unknown key 'mae.rato'. Did you mean 'mae.ratio'"):
        recipe_of(BASE, {"mae.rato": 0.5})


def test_a_pretraining_does_not_depend_on_fine_tuning() -> None:
    assert list(settings_of_pretraining(ALL, BASE)) == ["mae.ratio", "pretrain.steps", "model.depth"]


def test_a_pretraining_that_asks_labels_depends_on_how_many_there_are() -> None:
    asking = replace(BASE, probe=ProbeOptions(every=20, kind="labels"))
    assert "data.fraction" in settings_of_pretraining(ALL, asking)


def test_a_fine_tuning_from_scratch_does_not_depend_on_pretraining() -> None:
    assert list(settings_of_init(ALL, "scratch")) == ["fit.steps", "data.fraction", "model.depth"]
