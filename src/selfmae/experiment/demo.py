"""The whole job on generated scans, to see that everything works and what comes out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfmae.data.generated.sets import write_radiographs, write_volumes
from selfmae.data.generated.volumes import PLAIN
from selfmae.display import Display
from selfmae.errors import UserError, did_you_mean
from selfmae.experiment.run import run
from selfmae.experiment.train import Grid

SEED = 0
FINISHED = "made"  # written last: a set that an interruption left half made is made again

# What is generated, and the file or folder of it that is the source. Few labelled images and many without: the case
# that self pre-training is for. Organs and findings stand out, so that a small model learns them in few steps.
KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "volumes": (lambda folder: write_volumes(folder, 48, SEED, (32, 32, 24), num_unlabelled=72, style=PLAIN), "."),
    "radiographs": (
        lambda folder: write_radiographs(folder, 800, SEED, num_unlabelled=1200, clarity=4.0),
        "labels.csv",
    ),
}


def demo(kind: str, out: Path, display: Display) -> dict[str, Any]:
    """Generate scans in `out`/data, run the whole job on them in `out`/run and return the verdict."""
    if kind not in KINDS:
        raise UserError(f"--kind {kind!r} is not known.{did_you_mean(kind, KINDS)}")
    make, name = KINDS[kind]
    data = out / f"{kind}-data"
    if not (data / FINISHED).exists():
        display.say(f"Generating {kind} in {data}.")
        make(data)
        (data / FINISHED).touch()
    return run(str(data / name), out / f"{kind}-run", Grid(), f"demo-{kind}", (), display)
