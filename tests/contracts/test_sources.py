"""What every layout of data/sources keeps to; a new file is tested without a test of its own."""

from pathlib import Path
from types import ModuleType

import pytest

from selfmae.data.generated.sets import write_radiographs, write_volumes
from selfmae.data.sources import layouts, read_source
from selfmae.errors import UserError

LAYOUTS = layouts()


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> ModuleType:
    return LAYOUTS[request.param]


def test_a_layout_has_its_four_parts(layout: ModuleType) -> None:
    assert isinstance(layout.ORDER, int)
    assert isinstance(layout.EXPECTS, str)
    assert len(layout.EXPECTS) > 20
    assert callable(layout.recognises)
    assert callable(layout.read)


def test_a_layout_says_in_its_first_line_what_it_is(layout: ModuleType) -> None:
    assert layout.__doc__
    assert layout.__doc__.splitlines()[0].endswith((".", ":"))


def test_orders_are_different() -> None:
    assert len({module.ORDER for module in LAYOUTS.values()}) == len(LAYOUTS)


@pytest.mark.parametrize("content", ["nothing", "folder", "text", "bytes", "broken.npz", "broken.json"])
def test_a_layout_does_not_recognise_what_is_no_data(layout: ModuleType, tmp_path: Path, content: str) -> None:
    path = tmp_path / content
    if content == "folder":
        path.mkdir()
    elif content != "nothing":
        path.write_bytes(bytes(range(256)))
    assert layout.recognises(path) is False


@pytest.mark.parametrize("kind", ["volumes", "radiographs"])
def test_a_source_is_recognised_whatever_else_looks_at_it(tmp_path: Path, kind: str) -> None:
    if kind == "volumes":
        write_volumes(tmp_path / "set", 3, 0, (16, 16, 16))
    else:
        write_radiographs(tmp_path / "set", 6, 0, (32, 32))
    for module in LAYOUTS.values():
        assert module.recognises(tmp_path / "set") in (True, False)
    found = read_source(str(tmp_path / "set"))
    assert found.layout == {"volumes": "msd", "radiographs": "table"}[kind]
    assert all(path.exists() for case in found.cases for path in case.images)
    assert len({case.id for case in found.cases}) == len(found.cases)


def test_what_nobody_recognises_names_the_layouts_and_each_tells_what_it_expects(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UserError) as error:
        read_source(str(tmp_path))
    assert f"is in none of the layouts {', '.join(LAYOUTS)}" in str(error.value)
    for name, module in LAYOUTS.items():
        with pytest.raises(UserError) as asked:
            read_source(str(tmp_path), name)
        assert f"{name}: {module.EXPECTS}" in str(asked.value)
