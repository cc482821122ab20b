"""Run folders: one recipe, one command at a time, files whole or not at all."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from selfmae.errors import UserError
from selfmae.files import read_json, read_table, write_arrays, write_json, write_table
from selfmae.options import Recipe
from selfmae.recipe import load_recipe
from selfmae.results.run_folder import describe_environment, open_folder, read_recipe, timed


@pytest.fixture(scope="session")
def recipe(volume_recipe: Path) -> Recipe:
    return load_recipe(str(volume_recipe))


def test_a_new_folder_gets_the_whole_recipe(tmp_path: Path, recipe: Recipe) -> None:
    with open_folder(tmp_path / "a" / "b", recipe, {"fit.steps": "a reason"}):
        pass
    assert read_recipe(tmp_path / "a" / "b" / "recipe.yaml") == recipe
    assert "steps: 4  # a reason" in (tmp_path / "a" / "b" / "recipe.yaml").read_text()


def test_the_same_recipe_continues(tmp_path: Path, recipe: Recipe) -> None:
    for _ in range(2):
        with open_folder(tmp_path, recipe):
            pass


def test_another_recipe_is_refused_with_the_keys_that_differ(tmp_path: Path, recipe: Recipe) -> None:
    with open_folder(tmp_path, recipe):
        pass
    other = replace(recipe, seed=7, fit=replace(recipe.fit, steps=9))
    with pytest.raises(UserError) as error, open_folder(tmp_path, other):
        pass
    assert "differs in fit.steps (9, was 4), seed (7, was 0): choose another --out" in str(error.value)
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


def test_a_folder_in_use_is_refused(tmp_path: Path, recipe: Recipe) -> None:
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(UserError, match=f"Another command is working in {tmp_path}: wait for it"),
        open_folder(tmp_path, recipe),
    ):
        pass
    assert not (tmp_path / "recipe.yaml").exists()


def test_the_lock_is_free_again_after_an_error(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(ZeroDivisionError), open_folder(tmp_path, recipe):
        raise ZeroDivisionError
    with FileLock(tmp_path / ".lock", timeout=0):
        pass


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(
        UserError, match=r"is no run folder of SelfMAE but holds other things \(thesis.txt\): choose a new"
    ):
        open_folder(tmp_path, recipe).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_the_first_moment_of_an_interrupted_command_leaves_is_no_foreign_file(
    tmp_path: Path, recipe: Recipe
) -> None:
    for name in (".lock", "recipe.yaml.part"):
        (tmp_path / name).touch()
    with open_folder(tmp_path, recipe):
        pass


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file is a file, but must be a folder, new or empty: choose another --out\."):
        open_folder(tmp_path / "file", recipe).__enter__()
    with pytest.raises(UserError, match="could not be made or written to"):
        open_folder(tmp_path / "file" / "below", recipe).__enter__()


@pytest.mark.parametrize(("mark", "found"), [("run.json", "run"), ("cases.csv", "training"), ("runs", "sweep")])
@pytest.mark.parametrize("kind", ["run", "training", "sweep"])
def test_a_folder_of_another_kind_is_refused(tmp_path: Path, recipe: Recipe, mark: str, found: str, kind: str) -> None:
    with open_folder(tmp_path, recipe, kind=found):
        (tmp_path / mark).touch()
    if kind == found:
        open_folder(tmp_path, recipe, kind=kind).__enter__()
        return
    with pytest.raises(UserError, match=f"is the folder of a {found}, not of a {kind}: choose another --out."):
        open_folder(tmp_path, recipe, kind=kind).__enter__()


def test_a_table_has_every_column_of_its_rows(tmp_path: Path) -> None:
    write_table(tmp_path / "a" / "t.csv", [{"a": 1}, {"b": None, "a": "x,y"}])
    assert read_table(tmp_path / "a" / "t.csv") == [{"a": "1", "b": ""}, {"a": "x,y", "b": ""}]


def test_json_does_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": 2})
    write_json(tmp_path / "b.json", {"a": 2, "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [1])
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", [object()])
    write_table(tmp_path / "a.csv", [{"a": 1}])

    class Stubborn:
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_table(tmp_path / "a.csv", [{"a": Stubborn()}])
    assert json.loads((tmp_path / "a.json").read_text()) == [1]
    assert read_table(tmp_path / "a.csv") == [{"a": "1"}]


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_arrays(tmp_path / f"{name}.npz", {"x": np.arange(5)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_seconds_of_several_commands_are_added(tmp_path: Path) -> None:
    write_json(tmp_path / "environment.json", {"seconds": 100.0})
    with pytest.raises(KeyboardInterrupt), timed(tmp_path, {"device": "cpu"}):
        raise KeyboardInterrupt
    content = json.loads((tmp_path / "environment.json").read_text())
    assert content["device"] == "cpu"
    assert 100 <= content["seconds"] < 101
    assert content["peak_bytes"] is None or content["peak_bytes"] > 10**7


def test_the_environment_names_versions_and_device(recipe: Recipe) -> None:
    facts = describe_environment(replace(recipe, device=replace(recipe.device, accelerator="cpu", precision="fp32")))
    assert {"python", "selfmae", "torch", "monai", "timm"} <= set(facts["versions"])
    assert (facts["device"], facts["devices"], facts["precision"]) == ("cpu", 1, "fp32")


@pytest.mark.parametrize("key", ["source", "splits", "cache"])
def test_files_that_were_moved_are_the_same_recipe(tmp_path: Path, recipe: Recipe, key: str) -> None:
    with open_folder(tmp_path / "run", recipe):
        pass
    moved = replace(recipe, data=replace(recipe.data, **{key: str(tmp_path / "elsewhere")}))
    with open_folder(tmp_path / "run", moved):
        pass


@pytest.mark.parametrize("content", ["{", "", "[1"])
def test_a_damaged_json_file_is_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json could not be read"):
        read_json(tmp_path / "run.json")
