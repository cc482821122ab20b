"""Training runs on a local Ray cluster of two workers: the same bytes as without it, also where a worker is killed."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.schedule import Cluster, Executor, Scheduled, load_ray, schedule

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray", reason='Ray is not installed: pip install "selfmae[ray]"')
Call = Callable[..., int]
RESULTS = ("model.safetensors", "rows-val.csv", "rows-test.csv", "steps.jsonl", "verdict.json")
SECONDS = 120


@pytest.fixture(scope="module")
def two_workers() -> Iterator[None]:
    """Run a cluster of two machines, as far as Ray knows, with one core each."""
    from ray.cluster_utils import Cluster as LocalCluster

    load_ray()
    cluster = LocalCluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    yield
    ray.shutdown()
    cluster.shutdown()


def test_a_run_on_two_workers_has_the_same_bytes(
    tmp_path: Path, two_workers: None, picture_run: Path, radiographs: Path, call: Call, small_pictures: list[str],
    bytes_of: Any,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    assert call("run", radiographs, "--out", out, "--executor", "ray", *small_pictures) == 0
    assert bytes_of(out, *RESULTS) == bytes_of(picture_run, *RESULTS)


def kill_when(log: Path, notes: Path) -> None:
    """Kill the process that is noted once its step log has some lines."""
    end = time.monotonic() + SECONDS
    while not (log.exists() and log.read_text().count("\n") > 20) and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(int(notes.read_text().split()[0]), signal.SIGKILL)


def test_a_killed_worker_is_tried_again_and_goes_on_from_its_checkpoint(
    tmp_path: Path, two_workers: None, picture_recipe: Path, bytes_of: Any
) -> None:
    notes, stopped = tmp_path / "notes", tmp_path / "stopped"

    def train(folder: Path, display: Display) -> None:  # nested, so that Ray sends the code itself
        from selfmae.experiment.stages import finetune
        from selfmae.recipe import load_recipe
        from selfmae.train import loop

        loop.CHECKPOINT_SECONDS = 0.0
        with notes.open("a") as file:
            file.write(f"{os.getpid()} {(folder / 'last.ckpt').exists()}\n")
        recipe = load_recipe(str(picture_recipe), ["fit.steps=200", "fit.validate_every=50"])
        finetune(recipe, "scratch", folder, display)

    killer = threading.Thread(target=kill_when, args=(stopped / "steps.jsonl", notes))
    killer.start()
    assert schedule([Scheduled("x", partial(train, stopped), stopped)], Executor("ray"), Display()) == {}
    killer.join()
    (first, before), (second, after) = (line.split() for line in notes.read_text().splitlines())
    assert (first != second, before, after) == (True, "False", "True")
    train(tmp_path / "whole", Display())
    assert bytes_of(stopped, *RESULTS) == bytes_of(tmp_path / "whole", *RESULTS)


def test_resources_that_no_machine_has_are_said(two_workers: None) -> None:
    with pytest.raises(UserError, match="no machine of the Ray cluster has both \\(most: 1 CPUs, 0 GPUs\\): ask"):
        Cluster(Executor("ray", num_cpus=1, num_gpus=2))


def test_an_error_of_the_work_is_not_tried_again(two_workers: None, tmp_path: Path) -> None:
    def fail(display: Display) -> None:
        (tmp_path / str(time.time())).touch()
        raise UserError("why")

    works = [Scheduled("x", fail, tmp_path / "x")]
    assert schedule(works, Executor("ray"), Display(quiet=True)) == {"x": "why"}
    assert len(list(tmp_path.iterdir())) == 1
