"""The report: one HTML page from the files of a run folder."""

from collections.abc import Sequence
from pathlib import Path

from selfmae.errors import UserError
from selfmae.jobs.display import Display
from selfmae.jobs.folder import write_text
from selfmae.jobs.seen import check_models, models_in
from selfmae.report.page import build_page


def report(folders: Sequence[Path], display: Display, transductive: bool = False) -> list[Path]:
    """Write `report.html` into each folder (a run, a fine-tuning or a pre-training) and return the files.

    Raises `UserError` where a model knows cases that it was evaluated on, unless `transductive` allows it: every table
    and figure is then stamped.
    """
    pages = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"The run folder {folder} was expected, but there is none: check the path.")
        page = folder / "report.html"
        leakage = check_models(models_in(folder), transductive)
        write_text(page, build_page(folder, leakage))
        display.say(f"The report is {page}.")
        pages.append(page)
    return pages
