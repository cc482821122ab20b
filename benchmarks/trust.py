"""Can the verdict be trusted? Training runs with a known truth, and rows simulated from the variances measured on them.

Run by hand: `python benchmarks/trust.py --out DIR [--repetitions 20] [--seeds 3] [--processes 2]`, about 15 minutes
on two cores; the same command continues. Each repetition has a generated data set of its own (radiographs of 32 pixels,
a ViT of width 48 and depth 2) and these initializations with several seeds each:

* `a` and `b`: scratch, with other seeds: nothing is there to be found, nothing should "help" or "hurt";
* `helper`: an encoder fine-tuned with labels on many cases of other patients: a true helper, should be found;
* `shuffled`: an encoder pre-trained as a masked autoencoder on images whose pixels were shuffled, and
  `destroyed`: the helper's encoder with the numbers of each tensor shuffled. Neither may ever be called helpful.
"""

import argparse
import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from selfmae.data.generated.sets import write_radiographs
from selfmae.display import Display
from selfmae.experiment.plan import resolve
from selfmae.experiment.train import Part, train_one
from selfmae.files import read_table, write_json
from selfmae.metrics.scores import mean_score
from selfmae.metrics.statistics import compare_paired
from selfmae.results.training_run import TrainingRun
from selfmae.results.verdict import compare
from selfmae.seeds import generator
from selfmae.weights.file import read_metadata, save_weights

NUM_CASES, NUM_HELPFUL = 160, 1500
SHIFT_OF_B = 1000  # of the seeds of b
SMALL = (
    "data.crop=[32, 32]",
    "data.test_fraction=0.5",
    "model.patch=[4, 4]",
    "model.width=48",
    "model.depth=2",
    "model.heads=2",
    "mae.decoder_width=48",
    "mae.decoder_depth=1",
    "mae.decoder_heads=2",
    "pretrain.steps=60",
    "pretrain.batch=16",
    "pretrain.warmup_steps=5",
    "probe.every=0",
    "fit.steps=60",
    "fit.batch=16",
    "fit.lr=0.002",
    "fit.layer_decay=1.0",
    "fit.warmup_steps=5",
    "fit.validate_every=20",
    "device.accelerator=cpu",
)
HELPFUL = ("fit.steps=1200", "fit.batch=32", "fit.validate_every=200", "data.test_fraction=0.05")
QUIET = Display(quiet=True)


def make_helper(out: Path) -> Path:
    """Fine-tune on many labelled cases of other patients; return the file of weights."""
    folder = out / "helper-data"
    if not (folder / "labels.csv").exists():
        write_radiographs(folder, NUM_HELPFUL, 10_000, (32, 32))
    recipe, _, source = resolve(str(folder / "labels.csv"), "", (*SMALL, *HELPFUL), QUIET)
    run = TrainingRun.within(out / "inits", "helper", 0, 0)
    train_one(run, Part(recipe, source, "scratch"), QUIET)
    return link(run.folder / "model.safetensors", out / "helper.safetensors")


def make_shuffled(out: Path) -> Path:
    """Pre-train a masked autoencoder on images whose pixels were shuffled; return the file of weights."""
    folder = out / "shuffled-data"
    if not (folder / "labels.csv").exists():
        write_radiographs(folder, NUM_CASES, 20_000, (32, 32))
        for place, path in enumerate(sorted((folder / "images").glob("*.png"))):
            pixels = np.array(Image.open(path))
            Image.fromarray(generator(place, "shuffle").permutation(pixels.ravel()).reshape(pixels.shape)).save(path)
    recipe, _, source = resolve(str(folder / "labels.csv"), "", SMALL, QUIET)
    run = TrainingRun.within(out / "inits", "pretrain-mae", 0, 0)
    train_one(run, Part(recipe, source, "", "mae"), QUIET)
    return link(run.folder / "model.safetensors", out / "shuffled.safetensors")


def make_destroyed(out: Path, helper: Path) -> Path:
    """Shuffle the numbers within each tensor of the helper; return the file of weights."""
    path, random = out / "destroyed.safetensors", torch.Generator().manual_seed(0)
    weights = {
        name: tensor.flatten()[torch.randperm(tensor.numel(), generator=random)].reshape(tensor.shape)
        for name, tensor in load_file(helper).items()
    }
    save_weights(path, weights, read_metadata(helper))
    return path


def link(file: Path, path: Path) -> Path:
    """Give a file another name, by which the initialization is called."""
    if not path.exists():
        path.symlink_to(file.resolve())
    return path


def repeat(job: tuple[Path, int, Sequence[Path], int]) -> dict[str, dict[str, Any]]:
    """Train all initializations on one data set and return the pair of each with `a`."""
    out, number, files, num_seeds = job
    torch.set_num_threads(1)
    data, run = out / f"data{number}", out / f"run{number}"
    if not (data / "labels.csv").exists():
        write_radiographs(data, NUM_CASES, number, (32, 32))
    recipe, _, source = resolve(str(data / "labels.csv"), "", SMALL, QUIET)
    for seed in range(num_seeds):
        train_one(TrainingRun.within(run, "a", 0, seed), Part(recipe, source, "scratch"), QUIET)
        other = replace(recipe, seed=recipe.seed + SHIFT_OF_B)
        train_one(TrainingRun.within(run, "b", 0, seed), Part(other, source, "scratch"), QUIET)
        for file in files:
            train_one(TrainingRun.within(run, file.stem, 0, seed), Part(recipe, source, str(file)), QUIET)
    return {name: compare_with_a(out / f"pair{number}-{name}", run, name) for name in ("b", *(f.stem for f in files))}


def compare_with_a(folder: Path, run: Path, name: str) -> dict[str, Any]:
    """Return the only pair of a folder that holds `a` and one other initialization."""
    folder.mkdir(exist_ok=True)
    for init in ("a", name):
        link(run / init, folder / init)
    pair: dict[str, Any] = compare([folder])["pairs"][0]
    return pair


def simulate(
    pairs: Sequence[dict[str, Any]], out: Path, num_seeds: int, num_repetitions: int = 2000
) -> dict[str, float]:
    """Return how often rows drawn with the spreads of the measured ones are told apart though nothing differs.

    A row is a patient's squared error, of `a` and `b`; its spread over patients and the spread of the mean over seeds
    are those of the real rows.
    """
    errors = [
        [brier(out / f"run{number}" / init / "fold0" / f"seed{seed}") for seed in range(num_seeds)]
        for number in range(len(pairs))
        for init in "ab"
    ]
    changes = [np.subtract(one, two) for one, two in zip(errors[::2], errors[1::2], strict=True)]  # each [seeds, cases]
    seed_spread = float(np.mean([change.mean(axis=1).std(ddof=1) for change in changes]))
    case_spread = float(np.mean([change.mean(axis=0).std(ddof=1) for change in changes]))
    rng, told = generator(0, "simulation"), 0
    num_cases = changes[0].shape[1]
    for number in range(num_repetitions):
        own = rng.normal(0, case_spread, num_cases)
        shifts = rng.normal(0, seed_spread, num_seeds)
        b = [mean_score(own + shift) for shift in shifts]
        a = [mean_score(np.zeros(num_cases))] * num_seeds
        patients = [str(place) for place in range(num_cases)]
        ci95 = compare_paired(a, b, patients, number, num_resamples=400).ci95
        told += ci95 is not None and not ci95[0] <= 0 <= ci95[1]
    return {"case_spread": case_spread, "seed_spread": seed_spread, "share_told": told / num_repetitions}


def brier(folder: Path) -> list[float]:
    """Return the mean squared error of each test case, by id."""
    rows = sorted(read_table(folder / "rows-test.csv"), key=lambda row: row["id"])
    names = [column.removeprefix("truth_") for column in rows[0] if column.startswith("truth_")]
    return [float(np.mean([(float(r[f"truth_{n}"]) - float(r[f"probability_{n}"])) ** 2 for n in names])) for r in rows]


def judge(found: Sequence[dict[str, dict[str, Any]]]) -> list[tuple[str, str, bool]]:
    """Return each claim, what was counted, and whether it holds."""
    counts = {name: Counter(pairs[name]["verdict"] for pairs in found) for name in found[0]}
    total = len(found)
    claims = [
        ("A against A cannot be told (19 of 20)", "b", counts["b"]["helps"] + counts["b"]["hurts"] <= 0.05 * total),
        ("a true helper is found (18 of 20)", "helper", counts["helper"]["helps"] >= 0.9 * total),
        ("shuffled pixels are never helpful", "shuffled", counts["shuffled"]["helps"] == 0),
        ("a destroyed encoder is never helpful", "destroyed", counts["destroyed"]["helps"] == 0),
    ]
    return [(claim, f"{dict(counts[name])} of {total}", holds) for claim, name, holds in claims]


def main() -> None:
    """Train, count, simulate, print, and write `trust.json` and `trust.csv`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3, help="training runs of each initialization")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    out = given.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    helper = make_helper(out)
    files = (helper, make_shuffled(out), make_destroyed(out, helper))
    with get_context("spawn").Pool(given.processes) as pool:
        found = pool.map(
            repeat, [(out, number, files, given.seeds) for number in range(given.repetitions)], chunksize=1
        )
    simulated = simulate([pairs["b"] for pairs in found], out, given.seeds)
    for claim, counted, holds in judge(found):
        print(f"{'yes' if holds else 'NO '}  {claim}: {counted}")
    print(f"simulated A against A, 2,000 times: told apart in {simulated['share_told']:.1%}")
    write_json(out / "trust.json", {"pairs": found, "simulated": simulated})
    with (out / "trust.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["repetition", "init", "verdict", "difference", "ci95"])
        for number, pairs in enumerate(found):
            for name, pair in pairs.items():
                writer.writerow([number, name, pair["verdict"], pair["difference"], json.dumps(pair["ci95"])])


if __name__ == "__main__":
    main()
