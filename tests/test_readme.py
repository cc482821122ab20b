"""The map in the README names every file of the package, and no file that is not there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_map_is_the_tree() -> None:
    text = (ROOT / "README.md").read_text().split("## The map")[1].split("## Licence")[0]
    named = set(re.findall(r"^\s*([\w/-]+\.(?:py|html|yaml))\b", text, flags=re.M))
    package = ROOT / "src" / "selfmae"
    found = [path for path in package.rglob("*.*") if path.suffix in (".py", ".html", ".yaml")]
    files = {path.relative_to(package).as_posix() for path in found}
    assert named == {name for name in files if not name.endswith("__init__.py") or name in named}


def test_the_commands_are_those_of_the_command_line() -> None:
    from selfmae.cli import app

    table = re.findall(r"^\| `selfmae (\w+)", (ROOT / "README.md").read_text(), flags=re.M)
    assert table == [command.callback.__name__ for command in app.registered_commands if command.callback]
