"""The command line is a contract: names, options, exit codes, one line for an error, no model loaded for help."""

import errno
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer.main

from selfmae import cli
from selfmae.cli.flags import LAYOUTS
from selfmae.data.sources import layouts
from selfmae.errors import UserError
from selfmae.experiment import report as report_module
from selfmae.experiment import run as run_module
from selfmae.experiment.train import Grid
from selfmae.train.launch import Interrupted

FROZEN = {
    "demo": ["--kind", "--out"],
    "inspect": ["--as", "--fix", "--json", "--patient-pattern", "--set", "SOURCE"],
    "run": [
        "--allow-transductive",
        "--as",
        "--budget",
        "--cpus-per-run",
        "--draws",
        "--executor",
        "--folds",
        "--gpus-per-run",
        "--init",
        "--jobs",
        "--labels",
        "--margin",
        "--out",
        "--partial",
        "--patient-pattern",
        "--recipe",
        "--seeds",
        "--set",
        "--unlabelled",
        "--until",
        "SOURCE",
    ],
    "sweep": [
        "--allow-transductive",
        "--cpus-per-run",
        "--executor",
        "--folds",
        "--gpus-per-run",
        "--halving",
        "--init",
        "--jobs",
        "--out",
        "--seeds",
        "--set",
        "KEY=VALUE,VALUE...",
        "RECIPE",
    ],
    "plan": ["--as", "--budget", "--out", "--patient-pattern", "--recipe", "--set", "--unlabelled", "SOURCE"],
    "pretrain": ["--init", "--method", "--out", "--partial", "--set", "RECIPE"],
    "finetune": ["--allow-transductive", "--init", "--out", "--partial", "--set", "RECIPE"],
    "evaluate": ["--allow-transductive", "--split", "DIR"],
    "predict": ["--out", "DIR", "INPUT..."],
    "score": ["--labels", "--out", "--pred", "--truth"],
    "compare": ["--allow-transductive", "--margin", "--subgroups", "--table", "DIR..."],
    "report": ["--allow-transductive", "DIR..."],
    "weights": ["--json", "FILE"],
    "export": ["--out", "--to", "DIR"],
    "recipes": [],
}


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    return int(end.value.code or 0)


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_commands_and_options_are_frozen() -> None:
    group = typer.main.get_command(cli.app)
    found = {
        name: sorted(
            (item.metavar or item.name.upper()) if item.param_type_name == "argument" else item.opts[0]
            for item in command.params
        )
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }
    assert found == FROZEN
    assert list(found) == list(FROZEN)


@pytest.mark.parametrize("words", [*((name,) for name in FROZEN), ("recipes", "show"), ("recipes", "diff")])
def test_the_help_of_a_command_has_an_example_that_can_be_given(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*words, "--help") == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"Usage: selfmae {' '.join(words)}" in text
    if words == ("recipes",):
        return
    found = re.search(r"Example: selfmae ([^╭]+)", text)
    assert found is not None
    command: Any = typer.main.get_command(cli.app)
    given = found[1].split()
    for word in words:
        assert given.pop(0) == word
        command = command.commands[word]
    command.make_context(words[-1], given)


@pytest.mark.parametrize("name", FROZEN)
def test_every_flag_is_explained_in_standard_terms(name: str) -> None:
    command: Any = typer.main.get_command(cli.app)
    for item in command.commands[name].params:
        assert item.param_type_name == "argument" or item.is_flag or item.metavar
        assert item.help
        assert item.help.endswith(".")
        assert not re.search(r"\b([Cc]ells?|[Ss]tarts|[Ll]ooks?|that of)\b", item.help)


def test_the_help_names_every_layout() -> None:
    assert LAYOUTS.split(", ") == sorted(layouts())


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == f"selfmae {version('selfmae')}\n"


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["run"], ["pretrain", "none.yaml", "--out", "x"]])
def test_what_needs_no_model_does_not_import_torch(words: list[str]) -> None:
    heavy = "'torch', 'timm', 'monai', 'nibabel', 'sklearn', 'matplotlib'"
    lines = [
        "import sys",
        "from selfmae.cli import main",
        f"try: main({words})",
        f"finally: print([name for name in ({heavy}) if name in sys.modules], file=sys.stderr)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("run", "x"), "Missing option '--out'"),
        (("run", "--out", "x"), "Missing argument"),
        (("run", "x", "--out", "y", "--step", "3"), "No such option"),
        (("run", "x", "--out", "y", "--folds", "two"), "'--folds': 'two' must be a whole number or auto."),
        (("runn",), "No such command 'runn'"),
    ],
)
def test_a_usage_error_exits_with_two(words: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words) == 2
    assert text in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_user_error_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("report", str(tmp_path / "none")) == 2
    captured = capsys.readouterr()
    text = f"The run folder {tmp_path / 'none'} was expected, but there is none: check the path."
    assert tuple(captured) == ("", f"Error: {text}\n")


@pytest.mark.parametrize("words", [("--debug", "report", "none"), ("report", "none", "--debug")])
def test_debug_shows_the_traceback(words: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="none"):
        cli.main(words)


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "report", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["report", "x"])


def test_a_path_that_cannot_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report_module, "report", raising(PermissionError(errno.EACCES, "Permission denied", "x/a.csv")))
    assert call("report", "x") == 2
    text = "Error: x/a.csv could not be read or written (Permission denied): check path, permissions and free space.\n"
    assert capsys.readouterr().err == text
    monkeypatch.setattr(report_module, "report", raising(FileNotFoundError(errno.ENOENT, "No such file", "x")))
    with pytest.raises(FileNotFoundError):
        cli.main(["report", "x"])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted()])
def test_an_interruption_exits_with_130_and_says_how_to_go_on(
    error: KeyboardInterrupt, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report_module, "report", raising(error))
    assert call("report", "x") == 130
    assert capsys.readouterr().err.strip() == "Interrupted."
    monkeypatch.setattr(run_module, "run", raising(error))
    assert call("run", "x", "--out", "y") == 130
    assert capsys.readouterr().err.strip() == "Interrupted. The same command continues where it stopped."


def test_initializations_may_be_separated_by_spaces_too(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(run_module, "run", lambda *words: given.extend(words))
    words = ("run", "x", "--out", "y", "--init", " scratch , mae,", "--folds", "3", "--seeds", "2", "--set", "a=1")
    assert call(*words, "--set", "b=2", "--recipe", "demo-volumes") == 0
    source, out, grid, recipe, sets, _ = given
    assert (source, out, recipe, sets) == ("x", Path("y"), "demo-volumes", ["a=1", "b=2"])
    assert (grid.inits, grid.num_folds, grid.num_seeds) == (("scratch", "mae"), 3, 2)  # type: ignore[attr-defined]
    assert not grid.transductive  # type: ignore[attr-defined]


def test_a_run_without_flags_compares_equal_compute_and_self_pretraining_on_three_seeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(run_module, "run", lambda *words: given.extend(words))
    assert call("run", "x", "--out", "y") == 0
    assert given[2] == Grid(("scratch", "scratch+", "mae"), 1, 3, margin=0.01, budget=None)
    assert given[2] == Grid()
    assert (given[2].labels, given[2].until_decided) == ((), False)
    assert given[3:5] == ["", []]


def test_what_a_run_may_spend_and_when_it_ends_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(run_module, "run", lambda *words: given.extend(words))
    words = ("--budget", "1.5h", "--until", "decided", "--margin", "0.02", "--labels", "10,all,3", "--draws", "5")
    assert call("run", "x", "--out", "y", *words, "--unlabelled", "more", "--allow-transductive") == 0
    grid = given[2]
    assert (grid.budget, grid.until_decided, grid.margin) == (5400.0, True, 0.02)
    assert (grid.labels, grid.num_draws) == ((3, 10), 5)
    assert grid.transductive
    assert given[4] == ['data.unlabelled="more"']


@pytest.mark.parametrize(
    ("flag", "value", "text"),
    [
        ("--budget", "soon", "--budget 'soon' must be a time above 0, with its unit: for example 30m, 4h or 2d."),
        ("--labels", "3,0", "--labels '3,0' must be numbers of labelled patients above 0, or all, as in 3,5,10,all."),
        ("--until", "tired", "--until 'tired' must be decided, or be left out."),
    ],
)
def test_a_wrong_limit_of_a_run_is_a_sentence(
    flag: str, value: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("run", "x", "--out", "y", flag, value) == 2
    assert text in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_equal_compute_is_an_initialization_and_no_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", "x", "--out", "y", "--equal-compute") == 2
    assert "No such option" in capsys.readouterr().err


def test_a_method_of_pretraining_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr("selfmae.recipe.load_recipe", lambda *words: words)
    monkeypatch.setattr("selfmae.experiment.stages.pretrain", lambda *words: given.extend(words))
    words = ("pretrain", "recipe.yaml", "--out", "x", "--method", "moco", "--init", "imagenet", "--partial")
    assert call(*words) == 0
    assert given[0] == ("recipe.yaml", ['init.pretrain="imagenet"', "init.partial=true"])
    assert given[3] == "moco"


@pytest.mark.parametrize(("words", "num_folds"), [((), 1), (("--folds", "auto"), None), (("--folds", "7"), 7)])
def test_folds_are_a_number_or_auto(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], num_folds: int | None
) -> None:
    given: list[object] = []
    monkeypatch.setattr(run_module, "run", lambda *words: given.extend(words))
    assert call("run", "x", "--out", "y", *words) == 0
    assert given[2].num_folds == num_folds  # type: ignore[attr-defined]
