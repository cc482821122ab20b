"""What every folder of things that a recipe can name keeps to: a file is found, a wrong name is a sentence."""

import re
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from pathlib import Path

import pytest

from selfmae import plugins
from selfmae.errors import UserError
from selfmae.options import Range, Section, range_problems

FOLDERS = ("methods", "networks", "losses", "augment")
FILES = [(folder, name) for folder in FOLDERS for name in plugins.names(folder)]
OPTIONS = [(folder, name) for folder, name in FILES if folder in ("methods", "augment")]
SOURCE = Path(plugins.__file__).parent


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_is_found_by_its_name_but_those_of_an_underscore(folder: str) -> None:
    stems = sorted(path.stem for path in (SOURCE / folder).glob("*.py") if not path.stem.startswith("_"))
    assert list(plugins.names(folder)) == stems
    assert list(plugins.load_all(folder)) == stems
    assert len(stems) > 1


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_a_file_says_in_its_first_line_what_it_is(folder: str, name: str) -> None:
    module = plugins.load(folder, name)
    assert module.__name__ == f"selfmae.{folder}.{name}"
    assert module.__doc__
    assert module.__doc__.splitlines()[0].endswith(".")


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_what_a_file_leaves_out_it_gets_from_the_defaults_of_its_folder(folder: str, name: str) -> None:
    package, path = import_module(f"selfmae.{folder}"), SOURCE / folder / f"{name}.py"
    for key, value in getattr(package, "DEFAULTS", {}).items():
        is_own = re.search(rf"^(def {key}\(|[A-Z_, ]*\b{key}\b[A-Z_, ]*=)", path.read_text(), re.MULTILINE)
        assert (getattr(plugins.load(folder, name), key) is value) == (not is_own), key


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_unknown_name_is_a_sentence_with_the_nearest_one(folder: str) -> None:
    name = plugins.names(folder)[0]
    with pytest.raises(UserError, match=rf"^'{name}x' is none of the {folder} of SelfMAE\. Did you mean '{name}'\?$"):
        plugins.load(folder, f"{name}x")


@pytest.mark.parametrize(("folder", "name"), OPTIONS)
def test_a_section_has_defaults_in_their_ranges_and_every_number_has_a_range(folder: str, name: str) -> None:
    options = plugins.load(folder, name).Options
    assert is_dataclass(options)
    assert issubclass(options, Section)
    assert options.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert options.__doc__
    assert list(range_problems(options())) == []
    for item in fields(options):
        assert (item.default, item.default_factory) != (MISSING, MISSING), item.name
        if isinstance(item.default, (int, float)) and not isinstance(item.default, bool):
            assert isinstance(item.metadata.get("range"), Range), item.name
