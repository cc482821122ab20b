"""Compare samples of pictures (radiographs of 256 pixels, crops of 224) with torchvision, and threads with one thread.

Run by hand: `python benchmarks/pictures.py`. The pictures are generated PNG files. Both sides draw a crop of 8 to 100 %
of the picture, sample it at 224 pixels (bilinear, no antialiasing) and mirror half of them; ours add what the recipe
`chestxray14` does after that. Sides take turns in one process; ratios of medians are printed.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from selfmae.data.case import Case
from selfmae.data.sampling import Draw, draw_at, stream
from selfmae.recipe import load_recipe
from selfmae.tasks.pretraining import Pretraining

NUM_PICTURES, BATCH = 64, 64


def write_pictures(folder: Path) -> list[Case]:
    """Write smooth random pictures."""
    cases = []
    for number in range(NUM_PICTURES):
        coarse = np.random.default_rng(number).integers(0, 256, (16, 16), dtype=np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC).save(path)
        cases.append(Case(str(number), str(number), (path,), None, "train"))
    return cases


def torchvision_calls(cases: list[Case]) -> Mapping[str, Callable[[], object]]:
    """Return one sample by torchvision: of a picture kept in memory, and of one read from its file."""
    change = v2.Compose([v2.RandomResizedCrop(224, (0.08, 1.0), antialias=False), v2.RandomHorizontalFlip()])
    turns = count()

    def read() -> torch.Tensor:
        picture = Image.open(cases[next(turns) % len(cases)].images[0])
        return torch.from_numpy(np.array(picture))[None].float() / 255

    kept = [read() for _ in cases]
    return {
        "torchvision, from memory": lambda: change(kept[next(turns) % len(kept)]),
        "torchvision, from PNG": lambda: change(read()),
    }


def take_turns(calls: Mapping[str, tuple[Callable[[], object], int]], turns: int, clock: Callable[[], float]) -> None:
    """Print median seconds of each call, divided by its number of samples, and the ratio to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, (call, num_samples) in calls.items():
            begin = clock()
            call()
            if turn:
                seconds[name].append((clock() - begin) / num_samples)
    first = median(next(iter(seconds.values())))
    for name, values in seconds.items():
        print(f"  {name:<32} {1000 * median(values):7.2f} ms, first / this {first / median(values):.2f}", flush=True)


def repeat(call: Callable[[], object], times: int) -> None:
    """Call so many times."""
    for _ in range(times):
        call()


def read_batches(task: Pretraining, batches: list[list[Draw]], num_threads: int) -> None:
    """Make all batches."""
    for _ in stream(task.sample, batches, num_threads):
        pass


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=9, help="timed turns of each side")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cases = write_pictures(Path(folder))
        sets = ("data.source=x", f"data.cache={folder}/cache", "data.channels=[gray]", "target.kind=multilabel")
        task = Pretraining(load_recipe("chestxray14:fixed", [*sets, "target.names=[finding]"]), "mae")
        task.store.prepare(cases, masks=False)
        places = count()
        calls = {"ours": lambda: task.sample(draw_at(cases, 0, next(places))), **torchvision_calls(cases)}
        print("a sample, one thread, processor time")
        take_turns(
            {name: (partial(repeat, call, 30), 30) for name, call in calls.items()}, arguments.turns, time.process_time
        )
        batches = [[draw_at(cases, 0, BATCH * number + place) for place in range(BATCH)] for number in range(8)]
        threads = {f"{number} threads": partial(read_batches, task, batches, number) for number in (1, 2)}
        print("a sample of a batch, time of the clock")
        take_turns({name: (call, BATCH * 8) for name, call in threads.items()}, arguments.turns, time.perf_counter)


if __name__ == "__main__":
    main()
