"""The README's map and commands are those of the package."""

import re
import runpy
from pathlib import Path

from selfmae.cli import app

ROOT = Path(__file__).resolve().parents[1]


def test_the_map_is_the_tree() -> None:
    drawn = runpy.run_path(str(ROOT / "scripts" / "map"))["draw_map"]()
    assert drawn in (ROOT / "README.md").read_text(), "run scripts/map"


def test_the_commands_are_those_of_the_command_line() -> None:
    table = re.findall(r"^\| `selfmae (\w+)", (ROOT / "README.md").read_text(), flags=re.M)
    commands = [command.callback.__name__ for command in app.registered_commands if command.callback]
    assert table == [*commands, *(group.name for group in app.registered_groups)]
