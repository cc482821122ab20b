"""Small sets, small models and the command line in process, for tests of the commands."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from selfmae.cli import main
from selfmae.data.case import Case
from selfmae.data.generated.sets import write_radiographs, write_volumes
from selfmae.display import Display
from selfmae.experiment import stages, train
from selfmae.options import OptimOptions
from selfmae.tasks.base import Trainable
from selfmae.train.loop import Training, fit

Call = Callable[..., int]

SMALL = {
    "model.width": 48,
    "model.depth": 2,
    "model.heads": 2,
    "model.decoder_features": 4,
    "mae.decoder_width": 48,
    "mae.decoder_depth": 1,
    "mae.decoder_heads": 2,
    "pretrain.steps": 4,
    "pretrain.batch": 2,
    "fit.steps": 4,
    "fit.batch": 2,
    "fit.validate_every": 2,
}


def sets(**more: object) -> list[str]:
    """Return the `--set` words of a small model; `data__crop` stands for the key data.crop."""
    values = SMALL | {key.replace("__", "."): value for key, value in more.items()}
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def invoke(*words: object) -> int:
    """Give words to the command line; a run has one seed of scratch and mae where its words do not say otherwise."""
    if words[0] == "run":
        words = ("run", "--init", "scratch,mae", "--seeds", 1, *words[1:])
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Use one thread: more are slower on models as small as these, by far where other tests run beside."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def call() -> Call:
    """Return a function that gives words to the command line and returns the exit code."""
    return invoke


@pytest.fixture(scope="session")
def small_volumes() -> list[str]:
    """Return the words of a small UNETR, which a masked autoencoder pre-trains."""
    return sets(model__network="unetr", data__crop=[16, 16, 16], model__patch=[8, 8, 8])


@pytest.fixture(scope="session")
def small_unet() -> list[str]:
    """Return the words of a small U-Net, the network that masks have by default."""
    return sets(data__crop=[16, 16, 16], model__features=4)


@pytest.fixture(scope="session")
def small_pictures() -> list[str]:
    return sets(data__crop=[32, 32], model__patch=[8, 8])


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder for what several tests read and none changes; it has a cache of its own."""
    folder = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="session")
def volumes(shared: Path) -> Path:
    """Return the folder of nine labelled and two unlabelled volumes."""
    write_volumes(shared / "volumes", 9, 0, (16, 16, 16), num_unlabelled=2)
    return shared / "volumes"


@pytest.fixture(scope="session")
def radiographs(shared: Path) -> Path:
    """Return the table of thirty labelled and four unlabelled radiographs."""
    write_radiographs(shared / "radiographs", 30, 0, (32, 32), num_unlabelled=4)
    return shared / "radiographs" / "labels.csv"


@pytest.fixture(scope="session")
def volume_recipe(shared: Path, volumes: Path, small_volumes: list[str]) -> Path:
    assert invoke("plan", volumes, "--out", shared / "volumes.yaml", *small_volumes) == 0
    return shared / "volumes.yaml"


@pytest.fixture(scope="session")
def picture_recipe(shared: Path, radiographs: Path, small_pictures: list[str]) -> Path:
    assert invoke("plan", radiographs, "--out", shared / "pictures.yaml", *small_pictures) == 0
    return shared / "pictures.yaml"


@pytest.fixture(scope="session")
def volume_run(shared: Path, volumes: Path, small_volumes: list[str]) -> Path:
    """Return the folder of a finished run (scratch and mae, one fold, one seed)."""
    assert invoke("run", volumes, "--out", shared / "volume-run", *small_volumes) == 0
    return shared / "volume-run"


@pytest.fixture(scope="session")
def picture_run(shared: Path, radiographs: Path, small_pictures: list[str]) -> Path:
    assert invoke("run", radiographs, "--out", shared / "picture-run", *small_pictures) == 0
    return shared / "picture-run"


@pytest.fixture(scope="session")
def bytes_of() -> Callable[..., dict[str, bytes]]:
    """Return a function that reads a folder's files (those of the given names, or all) as {relative path: bytes}."""

    def read(folder: Path, *names: str) -> dict[str, bytes]:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files if not names or path.name in names}

    return read


@pytest.fixture
def error_line(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Return a function that gives the one line of standard error which tells the user what is wrong."""

    def find() -> str:
        text = capsys.readouterr().err
        lines = [line for line in text.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, text
        assert lines[0].endswith((".", "?"))
        assert "Traceback" not in text
        return lines[0]

    return find


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the folders of all optimisations that initialization."""
    folders: list[Path] = []

    def note(training: Training, display: object) -> object:
        folders.append(training.folder)
        return fit(training, display)  # type: ignore[arg-type]

    for module in (stages, train):
        monkeypatch.setattr(module, "fit", note)
    return folders


class Interrupting(Display):
    """A display that sends its process SIGINT when it is told of a step; 0 is none."""

    def __init__(self, step: int) -> None:
        super().__init__(quiet=True)
        self.step = step

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Any]:
        yield SimpleNamespace(update=self.interrupt)

    def interrupt(self, step: int, loss: float | None = None) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def optimise() -> Callable[..., dict[str, Tensor]]:
    """Return a function that trains in a folder and returns the weights; it is interrupted after the step `cut`."""

    def train(task: Trainable, options: OptimOptions, folder: Path, cases: Sequence[Case], cut: int = 0) -> Any:
        folder.mkdir(exist_ok=True)
        return fit(Training("training", task, options, folder, cases, {}), Interrupting(cut)).state_dict()

    return train
