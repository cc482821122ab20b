"""What every recipe that comes with SelfMAE keeps to."""

from pathlib import Path

import pytest

from selfmae.recipe import check_partial, find_recipe, flat, named_recipes, read_content

RECIPES = named_recipes()


def test_there_are_recipes() -> None:
    assert {"demo-volumes", "demo-radiographs"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_every_key_is_known_and_has_a_value_of_its_type(name: str) -> None:
    content = read_content(RECIPES[name])
    assert flat(content)
    check_partial(content, name)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_found_by_its_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe(name) == RECIPES[name]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is_for_and_names_no_source(name: str) -> None:
    assert RECIPES[name].read_text().startswith("# ")
    assert "data.source" not in flat(read_content(RECIPES[name]))
