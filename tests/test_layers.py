"""Imports between parts point down only, and each library is used in its own places only."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "selfmae"
FILES = {path.relative_to(SOURCE).as_posix(): path for path in sorted(SOURCE.rglob("*.py"))}
LEVELS = (
    ("errors", "seeds"),
    ("options", "files", "display", "plugins"),
    ("models", "metrics", "losses", "augment"),
    ("networks",),
    ("consistency",),
    ("recipe",),
    ("data", "weights"),
    ("methods",),
    ("tasks",),
    ("train",),
    ("results",),
    ("report", "planning"),
    ("experiment",),
    ("cli",),
    ("__main__", "__init__"),
)
RANK = {part: rank for rank, parts in enumerate(LEVELS) for part in parts}
HOMES = {
    "timm": ("models/*", "networks/*", "methods/*", "weights/*", "augment/randaugment.py"),
    "monai": ("models/*", "networks/*", "losses/*", "tasks/*"),
    "lightning_fabric": ("train/*",),
    "pydantic": ("recipe.py",),
    "yaml": ("recipe.py",),
    "typer": ("cli/*",),
    "nibabel": (
        "data/files/images.py",
        "data/files/masks.py",
        "data/files/volumes.py",
        "data/generated/*",
        "report/images.py",
    ),
    "SimpleITK": ("data/files/volumes.py",),
    "pydicom": ("data/dicom/*",),
    "PIL": ("data/files/images.py", "data/files/masks.py", "data/generated/*", "augment/randaugment.py"),
    "lightly": ("models/moco.py",),
    "ray": ("experiment/schedule.py",),
    "onnx": ("experiment/export.py",),
    "huggingface_hub": ("weights/imagenet.py",),
    "matplotlib": ("report/*",),
    "jinja2": ("report/*", "results/limitations.py"),
}
WITHOUT_TORCH = (
    "cli/*",
    "plugins.py",
    "recipe.py",
    "consistency.py",
    "options.py",
    "methods/__init__.py",
    "methods/[!_]*",
    "networks/*",
    "losses/*",
    "augment/*",
    "results/*",
    "errors.py",
    "seeds.py",
    "data/sources/*",
    "report/*",
)


def imports_of(path: Path, everywhere: bool = True) -> Iterator[str]:
    """Yield the full names of imported modules; not `everywhere`: only those imported with the file itself."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name: str) -> str:
    return f"selfmae/{name}".removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module_of(name): path for name, path in FILES.items()}


def arrows() -> dict[str, set[str]]:
    """Return which of our modules each imports, at whatever place of its file."""
    found: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        given = (name if name in MODULES else name.rpartition(".")[0] for name in imports_of(path))
        found[module] = {name for name in given if name in MODULES and name != module}
    return found


def part_of(name: str) -> str:
    return name.split("/")[0].removesuffix(".py")


@pytest.mark.parametrize("name", FILES)
def test_arrows_point_down(name: str) -> None:
    here = part_of(name)
    for module in imports_of(FILES[name]):
        if module.startswith("selfmae.") and module != "selfmae.__version__":
            there = module.split(".")[1]
            assert there == here or RANK[there] < RANK[here], f"{name} imports {module}"


def test_no_modules_import_each_other_not_even_in_a_function() -> None:
    """What imports nothing that is left is taken away until nothing changes: a circle stays."""
    left = arrows()
    while free := {module for module, imported in left.items() if not imported & left.keys()}:
        left = {module: imported for module, imported in left.items() if module not in free}
    assert {module: sorted(imported & left.keys()) for module, imported in left.items()} == {}


@pytest.mark.parametrize("name", FILES)
def test_libraries_are_used_at_their_homes_only(name: str) -> None:
    for module in imports_of(FILES[name]):
        homes = HOMES.get(module.split(".")[0])
        assert homes is None or any(fnmatch(name, home) for home in homes), f"{name} imports {module}"


@pytest.mark.parametrize("name", [name for name in FILES if any(fnmatch(name, home) for home in WITHOUT_TORCH)])
def test_what_answers_at_once_does_not_reach_torch(name: str) -> None:
    """Not even through what it imports: a chain of our modules is followed."""
    seen, waiting = set(), [name]
    while waiting:
        file = waiting.pop()
        for module in imports_of(FILES[file], everywhere=False):
            assert module.split(".")[0] not in ("torch", "timm", "monai", "lightning_fabric"), f"{name}: {file}"
            places = [f"{'/'.join(module.split('.')[1:][: -cut or None])}" for cut in (0, 1)]
            files = [f"{place}{end}" for place in places for end in (".py", "/__init__.py")]
            waiting += [item for item in files if module.startswith("selfmae.") and item in FILES and item not in seen]
            seen.update(waiting)
