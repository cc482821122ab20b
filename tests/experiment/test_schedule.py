"""Training runs one by one and side by side: order, failures, labels, interruption."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.schedule import Executor, Pool, Processes, Scheduled, caught, check_executor, first_of, schedule

Call = Callable[..., int]
SECONDS = 120


class Noted:
    """Does work at once, in this process, and notes how much was begun and not yet waited for."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []
        self.most = 0
        self.order: list[str] = []

    def start(self, work: Scheduled, display: Display) -> None:
        self.order.append(work.title)
        with caught(work) as errors:
            work.do(display)
        self.ended.append((work.title, next(iter(errors), "")))
        self.most = max(self.most, len(self.ended))

    def wait(self) -> tuple[str, str]:
        return self.ended.pop(0)

    def stop(self) -> None:
        self.order.append("stop")


FOLDER = Path("out") / "scratch" / "fold0" / "seed0"


def work(title: str, do: Callable[[Display], None], *after: str) -> Scheduled:
    return Scheduled(title, do, FOLDER, after)


def nothing(display: Display) -> None:
    display.say("working")


def fail(text: str, display: Display) -> None:
    raise UserError(text)


def break_down(display: Display) -> None:
    raise ZeroDivisionError("of ours")


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Noted:
    noted = Noted()
    monkeypatch.setattr("selfmae.experiment.schedule._make_pool", lambda executor: noted)
    return noted


WORKS = [
    work("first", nothing),
    work("second", partial(fail, "expected x, came y, do z.")),
    work("third", nothing, "first", "second"),
    work("fourth", nothing, "first"),
]


@pytest.mark.parametrize("executor", [Executor(), Executor(num_jobs=2)])
def test_a_failure_stops_only_what_comes_after_it(executor: Executor, pool: Pool) -> None:
    failures = schedule(WORKS, executor, Display(quiet=True))
    assert failures == {"second": "expected x, came y, do z.", "third": "second failed"}


def test_no_more_is_begun_at_a_time_than_asked(pool: Noted) -> None:
    schedule([work(str(number), nothing) for number in range(7)], Executor(num_jobs=3), Display(quiet=True))
    assert pool.most == 3
    assert pool.order == [*"0123456", "stop"]


def test_what_waits_is_begun_after_what_it_waits_for(pool: Noted) -> None:
    works = [work("c", nothing, "a", "b"), work("b", nothing, "a"), work("a", nothing)]
    assert schedule(works, Executor(num_jobs=2), Display(quiet=True)) == {}
    assert pool.order == ["a", "b", "c", "stop"]


def test_one_by_one_too_what_waits_is_done_after_what_it_waits_for_and_the_rest_in_order() -> None:
    done: list[str] = []

    def noting(title: str, *after: str) -> Scheduled:
        return work(title, lambda display: done.append(title), *after)

    works = [noting("c", "a", "b"), noting("b", "a"), noting("x"), noting("a"), noting("y", "done before")]
    assert schedule(works, Executor(), Display(quiet=True)) == {}
    assert "".join(done) == "xabcy"


def test_what_is_not_to_be_done_is_not_waited_for(pool: Noted) -> None:
    """The pre-training of a finished run, for example."""
    for executor in (Executor(), Executor(num_jobs=2)):
        assert schedule([work("b", nothing, "done before")], executor, Display(quiet=True)) == {}
    assert pool.order == ["b", "stop"]


def test_a_mistake_of_ours_is_one_line_and_its_traceback_lies_in_the_folder_of_the_experiment(tmp_path: Path) -> None:
    scheduled = Scheduled("x", break_down, tmp_path / "out" / "scratch" / "fold0" / "seed1")
    failures = schedule([scheduled], Executor(), Display(quiet=True))
    assert failures == {"x": "ZeroDivisionError: of ours"}
    assert first_of(failures) == "x: ZeroDivisionError: of ours"
    traceback = (tmp_path / "out" / "failures" / "scratch-fold0-seed1.txt").read_text()
    assert traceback.startswith("Traceback")
    assert not scheduled.folder.exists()  # which is to be a run folder, or nothing


def test_an_interruption_is_no_failure(pool: Noted) -> None:
    def interrupt(display: Display) -> None:
        raise KeyboardInterrupt

    for executor in (Executor(), Executor(num_jobs=2)):
        with pytest.raises(KeyboardInterrupt):
            schedule([work("x", interrupt)], executor, Display(quiet=True))


@pytest.mark.parametrize(
    ("executor", "text"),
    [
        (Executor("rays"), "--executor 'rays' is not known. Did you mean 'ray'?"),
        (Executor(num_jobs=-1), "--jobs -1 must be at least 1; leave it out for one training run at a time."),
        (Executor(num_cpus=0), "--cpus-per-run 0 must be above 0 and --gpus-per-run 0 at least 0."),
    ],
)
def test_an_executor_that_cannot_work_is_said(executor: Executor, text: str) -> None:
    with pytest.raises(UserError) as error:
        check_executor(executor)
    assert str(error.value) == text


def write_pid(folder: Path, display: Display) -> None:
    import torch

    display.say(f"{torch.get_num_threads()} threads")
    (folder / str(os.getpid())).touch()


def die(display: Display) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let other processes import this file, which is no module of a package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setitem(sys.modules, Path(__file__).stem, sys.modules[__name__])
    for function in (write_pid, die, fail):
        monkeypatch.setattr(function, "__module__", Path(__file__).stem)


def test_a_process_that_dies_takes_no_other_with_it(
    tmp_path: Path, importable: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfmae.experiment.schedule.num_cores", lambda: 6)
    works = [work("dies", die), work("fails", partial(fail, "why")), work("works", partial(write_pid, tmp_path))]
    failures = schedule(works, Executor(num_jobs=2), Display())
    killed = "its process ended with exit code -9 (was it out of memory, or killed?)"
    assert failures == {"dies": killed, "fails": "why"}
    (pid,) = tmp_path.iterdir()
    assert int(pid.name) != os.getpid()
    said = capfd.readouterr().err
    assert "[works] 3 threads" in said
    assert f"dies failed: {killed}" in said


def test_training_runs_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfmae.experiment.schedule.num_cores", lambda: 8)
    assert [Processes(number).threads for number in (1, 2, 3, 16)] == [8, 4, 2, 1]


def test_ray_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r'--executor ray needs Ray: pip install "selfmae\[ray\]".'):
        check_executor(Executor("ray"))


def test_a_run_side_by_side_has_the_same_bytes(
    tmp_path: Path, picture_run: Path, radiographs: Path, call: Call, small_pictures: list[str], bytes_of: Callable
) -> None:
    assert call("run", radiographs, "--out", tmp_path / "out", "--jobs", 2, *small_pictures) == 0
    names = ("model.safetensors", "rows-val.csv", "rows-test.csv", "steps.jsonl", "verdict.json", "run.json")
    assert bytes_of(tmp_path / "out", *names) == bytes_of(picture_run, *names)


def has_begun(out: Path, num_lines: int) -> bool:
    logs = list(out.glob("*/fold0/seed0/steps.jsonl"))
    return len(logs) == 2 and all(log.read_text().count("\n") >= num_lines for log in logs)


def heed_interrupt() -> None:
    """Act on Ctrl-C also where the tests run in the background of a shell, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def long_words(radiographs: Path, small_pictures: list[str]) -> list[str]:
    """Return the words of a run that lasts long enough to be interrupted, up to its folder."""
    long = ["--set", "fit.steps=300", "--set", "pretrain.steps=300"]
    few = ("--init", "scratch,mae", "--seeds", "1", "--jobs", "2")
    return ["run", str(radiographs), *few, *small_pictures, *long, "--out"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, long_words: list[str], call: Call) -> Path:
    """Return the folder of this run, never interrupted."""
    out = tmp_path_factory.mktemp("long") / "whole"
    assert call(*long_words, out) == 0
    return out


@pytest.mark.parametrize(("send", "number"), [(os.kill, signal.SIGINT), (os.killpg, signal.SIGTERM)])
def test_an_interruption_ends_all_and_the_same_command_continues(
    tmp_path: Path, long_words: list[str], whole: Path, call: Call, bytes_of: Callable, send: Callable, number: int
) -> None:
    words, stopped = long_words, tmp_path / "stopped"
    command = [sys.executable, "-m", "selfmae", *words, str(stopped)]
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, preexec_fn=heed_interrupt, start_new_session=True)
        end = time.monotonic() + SECONDS
        while not has_begun(stopped, 5) and process.poll() is None:
            assert time.monotonic() < end, "the command does not train"
            time.sleep(0.01)
        send(process.pid, number)
        assert process.wait(timeout=SECONDS) == 130, log.read_text()
    assert "Traceback" not in log.read_text()
    assert len(list(stopped.glob("*/fold0/seed0/last.ckpt"))) == 2
    assert not list(stopped.glob("*/fold0/seed0/summary-test.json"))
    assert call(*words, stopped) == 0
    assert bytes_of(stopped, "model.safetensors", "rows-test.csv") == bytes_of(
        whole, "model.safetensors", "rows-test.csv"
    )
