"""Benchmarks and scripts are run by hand: what they import from the package must exist all the same."""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [*sorted((ROOT / "benchmarks").glob("*.py")), ROOT / "scripts" / "same_results"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_imported_exists(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("selfmae"):
            module = import_module(str(node.module))
            names = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert [name for name in names if not find_spec(f"{node.module}.{name}")] == []
