"""`selfmae recipes`: the list, the text, and differences with their reasons."""

from collections.abc import Callable
from pathlib import Path

import pytest

from selfmae.experiment.plan import compare_recipes
from selfmae.recipe import find_recipe, named_recipes, read_reasons

Call = Callable[..., int]


def test_all_recipes_are_listed_with_a_sentence(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("recipes") == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.strip()]
    listed = {words[0]: words[1].strip() for words in lines[2:]}
    assert list(listed) == list(named_recipes())
    assert "where it is silent" in listed["btcv:paper"]
    assert "default" in listed["btcv:fixed"]


def test_a_recipe_is_shown_as_it_stands_in_its_file(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("recipes", "show", "btcv") == 0
    assert capsys.readouterr().out.rstrip() == named_recipes()["btcv:fixed"].read_text().rstrip()


def test_differences_come_with_both_values_and_reasons(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("recipes", "diff", "btcv:paper", "btcv:released") == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("fit.lr")
    assert lines[place + 1] == "    btcv:paper: 0.0008  # section 3.1"
    assert lines[place + 2].startswith("    btcv:released: 0.00080625  # released script 3.44e-2 * 6 / 256")
    assert lines[0].startswith('Sections and tables are of Zhou et al. 2023; "released" is their repository')
    assert lines[-1] == f"{sum(not line.startswith(' ') for line in lines) - 2} keys differ."
    assert not any(line.startswith("data.window") for line in lines)


def test_every_difference_of_the_modes_has_two_reasons() -> None:
    for name in ("btcv", "brats", "chestxray14"):
        for other in ("paper", "released"):
            rows = compare_recipes(f"{name}:fixed", f"{name}:{other}")
            assert rows
            assert all("not in the recipe" not in reason for _, _, reasons in rows for reason in reasons)


def test_a_recipe_does_not_differ_from_itself(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("recipes", "diff", "brats", "brats:fixed") == 0
    assert capsys.readouterr().out == "brats and brats:fixed have the same values.\n"


def test_a_key_that_one_lacks_differs_from_its_default(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("fit: {steps: 5, batch: 2, lr: 1, clip: 3}  # all of it\n")
    (tmp_path / "other.yaml").write_text("fit: {steps: 5, batch: 2, lr: 1}\n")
    ((key, values, reasons),) = compare_recipes(str(tmp_path / "mine.yaml"), str(tmp_path / "other.yaml"))
    assert (key, values) == ("fit.clip", (3.0, 0.0))
    assert reasons[1] == "not in the recipe: the default, or what the plan chooses"


def test_reasons_are_the_comments_behind_values(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("# head\na:\n  b: 1  # one\n  c: 'x # y'\n  d: [1, 2]  # two # three\ne: 5 # five\n")
    assert read_reasons(path) == {"a.b": "one", "a.d": "two # three", "e": "five"}


def test_an_unknown_name_is_one_line_that_suggests_another(call: Call, error_line: Callable[[], str]) -> None:
    assert call("recipes", "diff", "btcv", "btcv:fixd") == 2
    assert error_line() == "Error: The recipe 'btcv:fixd' is neither a file nor a known name. Did you mean 'btcv'?"


def test_a_set_without_a_mode_is_the_fixed_one() -> None:
    for name in ("btcv", "brats", "chestxray14"):
        assert find_recipe(name) == find_recipe(f"{name}:fixed")
