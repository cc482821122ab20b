"""The report: one HTML page from the files of a run folder, and of scored masks that stand beside its inits."""

from collections.abc import Sequence
from pathlib import Path

from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.files import write_json, write_text
from selfmae.report.page import build_page
from selfmae.results.exposure import check_models
from selfmae.results.run_folder import RunFolder
from selfmae.results.training_run import TrainingRun, evaluated_runs
from selfmae.results.verdict import compare


def report(folders: Sequence[Path], display: Display, transductive: bool = False) -> list[Path]:
    """Write `report.html` into each folder (a run, a fine-tuning or a pre-training) and return the files.

    Scored masks of other tools among the folders stand beside the initializations of every other one; alone they have
    a page of their own. Raises `UserError` where a model knows cases that it was evaluated on, unless `transductive`
    allows it: every table and figure is then stamped.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"The run folder {folder} was expected, but there is none: check the path.")
    scored = [folder for folder in folders if TrainingRun.alone(folder).is_scored]
    runs, beside = [folder for folder in folders if folder not in scored], scored
    if not runs:
        runs, beside = scored, []
    pages = []
    for folder in runs:
        leakage = check_models(evaluated_runs(folder), transductive)
        verdict_file = compare_beside(folder, beside, transductive)
        page = folder / "report.html"
        write_text(page, build_page(RunFolder.read(folder, beside, verdict_file), leakage))
        display.say(f"The report is {page}.")
        pages.append(page)
    return pages


def compare_beside(folder: Path, scored: Sequence[Path], transductive: bool) -> str:
    """Return the name of the file in a folder that holds its verdict.

    `run` wrote that of a run; a single training gets one here, and so does a comparison with scored masks.
    """
    if not scored:
        if evaluated_runs(folder) and not (folder / "run.json").exists():
            write_json(folder / "verdict.json", compare([folder], transductive))
        return "verdict.json"
    others = {run.init for run in evaluated_runs(folder)}
    names = [TrainingRun.alone(index).init for index in scored]
    twice = next((name for name in names if name in others or names.count(name) > 1), None)
    if twice is not None:
        raise UserError(
            f"Scored masks are called {twice!r}, as an initialization of {folder} or other masks are: score them again "
            "with another folder for --out, whose name is theirs."
        )
    name = f"verdict-{'-'.join(names)}.json"
    write_json(folder / name, compare([folder, *scored], transductive))
    return name
