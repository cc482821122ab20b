"""Readers of data sets: each file is one layout, and its name is the layout's name (`--as NAME`).

A layout has `EXPECTS` (what it looks for, in words), `ORDER` (lower numbers are asked first: from unmistakable marks to
mere folder names), `recognises(path)`, and `read(path)`, which may take for granted that `recognises` said yes.
"""

import importlib
import pkgutil
from collections import Counter
from pathlib import Path
from types import ModuleType

from selfmae.data.case import Cases
from selfmae.data.files import ARRAYS, is_image
from selfmae.errors import UserError, did_you_mean, first_of


class SourceError(UserError):
    """A source whose layout was recognised, but whose lists or files cannot be used as they are."""

    def __init__(self, text: str, code: str, layout: str) -> None:
        super().__init__(text, code)
        self.layout = layout


def layouts() -> dict[str, ModuleType]:
    """Return every layout by name, in the order in which they are asked."""
    names = [found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")]
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return dict(sorted(modules.items(), key=lambda item: (item[1].ORDER, item[0])))


def read_source(source: str, layout: str = "") -> Cases:
    """Return the cases of a source, by the layout or else the first that recognises it; `SourceError` if unusable."""
    path, known = Path(source), layouts()
    if layout and layout not in known:
        raise UserError(f"There is no layout {layout!r} to read {source} with.{did_you_mean(layout, known)}")
    if not path.exists():
        raise UserError(f"The source {source} was expected, but there is no such file or folder: check the path.")
    asked = {layout: known[layout]} if layout else known
    for name, module in asked.items():
        if module.recognises(path):
            try:
                cases: Cases = module.read(path)
                _check_ids(cases)
            except UserError as error:
                raise SourceError(str(error), error.code or "unusable_source", name) from error
            return cases
    raise UserError(_unrecognised(path, asked))


def _unrecognised(path: Path, asked: dict[str, ModuleType]) -> str:
    content = [] if path.is_file() else sorted(item.name + "/" * item.is_dir() for item in path.iterdir())
    if path.is_dir() and not content:
        return f"The folder {path} is empty, but was expected to hold a data set: check the path."
    if len(asked) == 1:
        name, module = next(iter(asked.items()))
        return (
            f"{path} is not in the layout asked for with --as or data.layout of the recipe ({name}: {module.EXPECTS}), "
            f"it {f'holds {first_of(content, 5)}' if content else 'is a file'}: give such a source, or another recipe "
            "or layout."
        )
    if is_image(path) and not path.name.endswith(ARRAYS):  # an array may be an archive that is damaged
        return f"The source {path} is one image, but was expected to be a data set: give the folder that holds it."
    if path.suffix in (".yaml", ".yml"):
        return (
            f"The source {path} is a YAML file, but was expected to be a data set: give the folder of the images, and "
            "a recipe with --recipe."
        )
    what = f"The folder {path} holds {first_of(content, 5)} and" if content else f"The file {path}"
    return (
        f"{what} is in none of the layouts {', '.join(asked)}: put images and masks of the same names into images/ and "
        "labels/, or the images of each class into a folder, or write a table of files; `selfmae inspect SOURCE --as "
        "LAYOUT` tells what a layout expects."
    )


def _check_ids(cases: Cases) -> None:
    """Raise where two cases share an id: rows and figures could not tell them apart."""
    if not cases.cases:
        raise UserError(
            f"{cases.source} was read as {cases.layout}, but lists no image: check its content.", "unusable_source"
        )
    twice = [name for name, count in Counter(case.id for case in cases.cases).items() if count > 1]
    repeated = [files for files, count in Counter(case.images for case in cases.cases).items() if count > 1]
    if twice:
        raise UserError(
            f"Every image must be listed once under a name of its own, but {cases.source} has {len(twice)} more than "
            f"once ({first_of(twice)}): remove the repeats or rename the files.",
            "duplicate_row" if repeated else "duplicate_id",
        )
    if repeated:
        raise UserError(
            f"Every image must be listed once, but {cases.source} lists {len(repeated)} under several names "
            f"({first_of(files[0].name for files in repeated)}): remove the repeats.",
            "duplicate_row",
        )
