"""The report: one HTML page from the files of a run folder, and of scored masks that stand beside its inits."""

from collections.abc import Sequence
from pathlib import Path

from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.files import write_json, write_text
from selfmae.report.page import build_page
from selfmae.results.exposure import check_models, models_in
from selfmae.results.training_run import find_evaluations, is_scored


def report(folders: Sequence[Path], display: Display, transductive: bool = False) -> list[Path]:
    """Write `report.html` into each folder (a run, a fine-tuning or a pre-training) and return the files.

    Scored masks of other tools among the folders stand beside the initializations of every other one; alone they have
    a page of their own. Raises `UserError` where a model knows cases that it was evaluated on, unless `transductive`
    allows it: every table and figure is then stamped.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"The run folder {folder} was expected, but there is none: check the path.")
    scored = [folder for folder in folders if is_scored(folder)]
    runs, beside = [folder for folder in folders if folder not in scored], scored
    if not runs:
        runs, beside = scored, []
    pages = []
    for folder in runs:
        page = folder / "report.html"
        leakage = check_models(models_in(folder), transductive)
        verdict = compare_beside(folder, beside, transductive) if beside else None
        write_text(page, build_page(folder, leakage, beside, verdict))
        display.say(f"The report is {page}.")
        pages.append(page)
    return pages


def compare_beside(folder: Path, scored: Sequence[Path], transductive: bool) -> Path:
    """Compare a run with scored masks; return the file in its folder that holds the verdict."""
    cells = [cell for each in (folder, *scored) for cell in find_evaluations(each)]
    names = [cell.init for cell in cells if not cell.is_trained]
    others = {cell.init for cell in cells if cell.is_trained}
    twice = next((name for name in names if name in others or names.count(name) > 1), None)
    if twice is not None:
        raise UserError(
            f"Scored masks are called {twice!r}, as an initialization of {folder} or other masks are: score them "
            "again with "
            "another folder for --out, whose name is theirs."
        )
    from selfmae.results.verdict import compare  # loads torch, which a report need not wait for

    path = folder / f"verdict-{'-'.join(names)}.json"
    write_json(path, compare([folder, *scored], transductive))
    return path
