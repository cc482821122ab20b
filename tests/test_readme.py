"""The README's map and commands are those of the package."""

import ast
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import typer.main

from selfmae.cli import app
from selfmae.data.doctor.findings import REMEDIES
from selfmae.data.sources import layouts
from selfmae.recipe import as_content, flat, load_recipe

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]
TEXTS = ("", ".html", ".md", ".py", ".toml", ".txt", ".yaml")


def test_the_map_is_the_tree() -> None:
    drawn = runpy.run_path(str(ROOT / "scripts" / "map"))["draw_map"]()
    assert f"```\n{drawn}\n```" in (ROOT / "README.md").read_text(), "run scripts/map"


def test_the_map_names_every_source_file() -> None:
    drawn = runpy.run_path(str(ROOT / "scripts" / "map"))["draw_map"]()
    words = set(re.split(r"[\s,]+", drawn.replace("/", "")))
    paths = [path for path in (ROOT / "src" / "selfmae").rglob("*") if path.suffix in (".py", ".html", ".yaml")]
    assert [path.name for path in paths if path.name[:2] != "__" and not {path.name, path.stem} & words] == []


def test_files_that_pages_name_exist() -> None:
    package = ROOT / "src" / "selfmae"
    parts = {path.name for path in [*package.iterdir(), *ROOT.iterdir()]}
    for page in PAGES:
        if page.name in ("LOG.md", "CHANGELOG.md"):  # they also tell of files that are gone
            continue
        for name in re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", page.read_text()):
            if name.split("/")[0] in parts and "NAME" not in name:
                assert (ROOT / name).exists() or (package / name).exists(), f"{page.name}: {name}"


def test_the_flow_of_a_run_names_functions_of_their_files() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([\w/]+\.py)` \|", (ROOT / "README.md").read_text(), flags=re.M)
    assert [name for name, _ in rows] == ["main", "run", "schedule", "train_one", "fit", "step"]
    for name, file in rows:
        tree = ast.parse((ROOT / "src" / "selfmae" / file).read_text())
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, f"{file}: {name}"


def test_the_order_of_imports_is_that_of_the_layers() -> None:
    levels = runpy.run_path(str(ROOT / "tests" / "test_layers.py"))["LEVELS"]
    order = " > ".join(", ".join(parts) for parts in reversed(levels[:-1]))
    assert order in " ".join((ROOT / "README.md").read_text().split())


def test_every_folder_says_what_it_is_for() -> None:
    folders = {path.parent for path in (ROOT / "src").rglob("*.py")}
    silent = [folder for folder in folders if not ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))]
    assert not silent


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for file, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
            target = (page.parent / file) if file else page
            assert target.exists(), f"{page.name}: {file}"
            assert not heading or heading in slugs_of(target), f"{page.name}: {file}#{heading}"


def slugs_of(page: Path) -> list[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.M)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_no_file_cites_a_page_that_readers_do_not_have() -> None:
    pages = ("reproduction" + ".md", "architecture" + ".md", "evidence" + ".md", "docs/" + "map.md")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    paths = [ROOT / name for name in tracked] or [
        *PAGES,
        *(ROOT / "src").rglob("*.py"),
        *(ROOT / "tests").rglob("*.py"),
    ]
    texts = [path for path in paths if path.suffix in TEXTS and path.exists()]
    citing = [f"{path.relative_to(ROOT)}: {page}" for path in texts for page in pages if page in path.read_text()]
    assert texts
    assert citing == []


def test_the_commands_are_those_of_the_command_line() -> None:
    table = re.findall(r"^\| `selfmae (\w+)", (ROOT / "README.md").read_text(), flags=re.M)
    commands = [command.callback.__name__ for command in app.registered_commands if command.callback]
    assert table == [*commands, *(group.name for group in app.registered_groups)]


def test_commands_that_pages_show_can_be_given() -> None:
    command: Any = typer.main.get_command(app)
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for line in re.findall(r"^    (selfmae .*)$", text, flags=re.M):
            words = re.split(r"  +#|  +\(| && ", line)[0].split()[1:]
            found = command
            while words and words[0] in getattr(found, "commands", {}):
                found = found.commands[words.pop(0)]
            found.make_context(f"{page.name}: {line}", words)


def test_keys_of_recipes_that_pages_name_exist() -> None:
    sets = ("data.source=x", "data.channels=[gray]", "target.kind=multilabel", "target.names=[mass]")
    keys = flat(as_content(load_recipe("chestxray14:fixed", sets)))
    sections = "data|target|model|mae|masked_unet|moco|init|pretrain|fit|probe|predict|device"
    for page in [page for page in PAGES if page.name not in ("LOG.md", "CHANGELOG.md")]:
        for key in re.findall(rf"(?<![\w./-])(?:{sections})\.[a-z][a-z_.]*[a-z]", page.read_text()):
            assert any(f"{known}.".startswith(f"{key}.") for known in [*keys, "target.regions"]), f"{page.name}: {key}"


def test_every_layout_is_explained() -> None:
    page = (ROOT / "docs" / "data.md").read_text()
    assert [name for name in layouts() if f"| `{name}` |" not in page] == []


def test_every_code_of_the_doctor_is_explained() -> None:
    page = (ROOT / "docs" / "data.md").read_text()
    assert [code for code in REMEDIES if f"`{code}`" not in page] == []
