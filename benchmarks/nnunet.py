"""Compare SelfMAE with the real nnU-Net on a segmentation set, at equal CPU time on one thread.

Run by hand, here with 20 training cases and 12 CPU-minutes of training; `--pairs` where the ids 2k - 1 and 2k are one
patient (Task04_Hippocampus). What stands after `--` goes to `selfmae run`, which should be given the same time:

    python benchmarks/nnunet.py DATA --out DIR --nnunet-env ENV --train 20 --minutes 12 -- --init scratch --seeds 1

DIR gets splits.csv (for `data.splits`), nnU-Net's folders, its masks and scores, and the run of SelfMAE. nnU-Net trains
on the train and the val part, for it needs no val part, in a virtual environment ENV that is made where it is absent.
The same command continues: each part that is finished is left as it is, and the CPU seconds of all are in costs.json.

nnU-Net plans, trains and predicts as it does by default, with these differences, of which none slows it down:
* its learning rate falls (poly) over the given CPU time rather than over 250,000 steps, in 100 epochs;
* it spends no time on validation, which would only choose a checkpoint that it does not use, nor on figures;
* it trains on all cases (fold "all"), augments in the training process itself, and its random numbers are seeded.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hippocampus import person_of

from selfmae.data.case import Case, Cases
from selfmae.data.files import stem_of
from selfmae.data.sources import read_source
from selfmae.files import read_table, write_json
from selfmae.seeds import generator

NNUNET = "nnunetv2==2.8.1"
NUM_TEST = 60  # cases at most
VAL_SHARE = 5  # one training case of so many is a val case of SelfMAE
FLAT = (".png", ".bmp", ".tif")  # endings of the 2-D images that nnU-Net reads
NONE: Mapping[str, str] = {}
DATASET, TRAINER = "Dataset001_benchmark", "nnUNetTrainerForTime"

# One process and one thread. nnU-Net asks for the number of cores and takes as many threads, so it is told of one.
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"),
    **{"nnUNet_def_n_proc": "1", "nnUNet_compile": "f", "CUDA_VISIBLE_DEVICES": ""},
}
CALL = "import multiprocessing, {module} as m; multiprocessing.cpu_count = lambda: 1; m.{function}()"
PLAN = "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints", "plan_and_preprocess_entry"
TRAIN = "nnunetv2.run.run_training", "run_training_entry"
PREDICT = "nnunetv2.inference.predict_from_raw_data", "predict_entry_point"

# The trainer that nnU-Net finds through nnUNet_extTrainer. `process_time` counts all threads from the process's start.
TRAINER_FILE = '''\
import os
import random
from time import process_time

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import nnUNetTrainerNoMirroring


class nnUNetTrainerForTime(nnUNetTrainer if os.environ["BENCHMARK_MIRROR"] == "1" else nnUNetTrainerNoMirroring):
    """nnU-Net's trainer for a given CPU time: each of 100 epochs lasts a hundredth of what the start leaves."""

    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cpu")):  # nnU-Net reads the names
        seed = int(os.environ["BENCHMARK_SEED"])
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.steps = 100, 0

    def run_training(self):
        self.on_train_start()
        start, budget = process_time(), float(os.environ["BENCHMARK_CPU_SECONDS"])
        for self.current_epoch in range(self.num_epochs):
            end = start + (budget - start) * (self.current_epoch + 1) / self.num_epochs
            if process_time() >= end:
                continue  # a step took longer than an epoch
            self.on_train_epoch_start()  # sets the learning rate
            losses = []
            while process_time() < end:
                losses.append(float(self.train_step(next(self.dataloader_train))["loss"]))
            self.steps += len(losses)
            self.print_to_log_file(f"{self.steps} steps, loss {np.mean(losses):.4f}, {process_time():.0f} CPU seconds")
        self.current_epoch = self.num_epochs
        self.on_train_end()

    def perform_actual_validation(self, save_probabilities=False):
        pass  # it would predict the training cases
'''

Rows = list[tuple[str, str, str]]


def draw_split(patients: Mapping[str, str], num_train: int, seed: int) -> Rows:
    """Return (id, patient, split) of `num_train` cases to train on, a fifth of them val, and of the test cases.

    `patients` gives the patient of each case. Patients come in random order and stay whole: each goes to the first of
    train, val and test that has room for all its cases, or is left out.
    """
    names = sorted(set(patients.values()))
    room = {"train": num_train - num_train // VAL_SHARE, "val": num_train // VAL_SHARE, "test": NUM_TEST}
    rows: Rows = []
    for place in generator(seed, "benchmark nnunet").permutation(len(names)):
        own = [case for case, patient in patients.items() if patient == names[place]]
        part = next((part for part, left in room.items() if len(own) <= left), None)
        if part:
            room[part] -= len(own)
            rows += [(case, names[place], part) for case in own]
    return sorted(rows)


def write_split(path: Path, cases: Iterable[Case], num_train: int, seed: int, pairs: bool) -> None:
    """Write the table of the split: columns id, patient, split."""
    patients = {case.id: f"person_{person_of(case.id):03d}" if pairs else case.patient for case in cases if case.target}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "patient", "split"), *draw_split(patients, num_train, seed)])


def write_dataset(folder: Path, cases: Cases, split: Mapping[str, str]) -> None:
    """Write nnU-Net's raw data as links: imagesTr, labelsTr (train and val), imagesTs, labelsTs, dataset.json."""
    values = cases.labels.values
    if cases.labels.kind != "mask" or values != tuple(range(1, len(values) + 1)):
        raise SystemExit(f"nnU-Net needs masks with the values 1 to n, but the labels are {cases.labels}.")
    listed = [case for case in cases.cases if case.id in split]
    for case in listed:
        part = "Ts" if split[case.id] == "test" else "Tr"
        for channel, image in enumerate(case.images):
            link(folder / f"images{part}" / f"{case.id}_{channel:04d}{ending(image)}", image)
        link(folder / f"labels{part}" / f"{case.id}{ending(case.target)}", case.target)
    content = {
        "channel_names": {str(number): name for number, name in enumerate(cases.channels)},
        "labels": {"background": 0, **dict(zip(cases.labels.names, values, strict=True))},
        "numTraining": sum(split[case.id] != "test" for case in listed),
        "file_ending": ending(listed[0].images[0]),
    }
    write_json(folder / "dataset.json", content)


def write_labels(path: Path, cases: Cases) -> None:
    """Write names and mask values of the labels for `selfmae score`."""
    pairs = zip(cases.labels.names, cases.labels.values, strict=True)
    write_json(path, {name: [value] for name, value in pairs})


def ending(path: Path) -> str:
    """Return what follows the stem: ".nii.gz"."""
    return path.name[len(stem_of(path)) :]


def link(place: Path, file: Path) -> None:
    """Make `place` a link to a file, if it is none yet."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(file.resolve())


class Parts:
    """The parts of a comparison: commands that run once, one after the other, with their CPU and wall seconds."""

    def __init__(self, out: Path) -> None:
        self.out, self.path = out, out / "costs.json"
        self.costs: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def run(
        self, name: str, command: Sequence[str | Path], settings: Sequence[str], variables: Mapping[str, str] = NONE
    ) -> None:
        """Run a command on one thread, unless it has already run; its output goes to NAME.log.

        `variables` are added to the environment; raise if the part was made with other `settings`.
        """
        words = [str(word) for word in command]
        if name in self.costs:
            then = self.costs[name].get("settings", settings)
            if then != settings:
                raise SystemExit(f"{name} of {self.out} was made with {then}, not {settings}: choose another folder.")
            return print(f"{name}: is there ({self.costs[name]['cpu_s']:.0f} CPU seconds)", flush=True)
        before, start = cpu_seconds(), time.monotonic()
        with (self.out / f"{name}.log").open("w") as log:
            code = subprocess.run(
                words, env=os.environ | ONE_THREAD | variables, stdout=log, stderr=subprocess.STDOUT, check=False
            ).returncode
        if code:
            raise SystemExit(f"{name} ended with exit code {code}: see {self.out / name}.log")
        spent = {"cpu_s": round(cpu_seconds() - before, 1), "wall_s": round(time.monotonic() - start, 1)}
        self.costs[name] = spent | {"command": words, "settings": settings}
        write_json(self.path, self.costs)
        return print(f"{name}: {spent['cpu_s']:.0f} CPU seconds, {spent['wall_s']:.0f} seconds", flush=True)


def cpu_seconds() -> float:
    """Return user and system seconds of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_nnunet(parts: Parts, given: argparse.Namespace, configuration: str) -> None:
    """Plan, train, predict and score: masks in nnunet/masks, scores in nnunet/nnunet."""
    home, python = given.out / "nnunet", given.nnunet_env / "bin" / "python"
    raw = home / "raw" / DATASET
    (home / "trainers").mkdir(parents=True, exist_ok=True)
    (home / "trainers" / f"{TRAINER}.py").write_text(TRAINER_FILE)
    variables = {f"nnUNet_{name}": str((home / name).resolve()) for name in ("raw", "preprocessed", "results")}
    variables["nnUNet_extTrainer"] = str((home / "trainers").resolve())
    choices = {"SEED": given.seed, "CPU_SECONDS": 60 * given.minutes, "MIRROR": int(not given.no_mirroring)}
    variables |= {f"BENCHMARK_{name}": str(value) for name, value in choices.items()}
    settings = [f"{name}={value}" for name, value in choices.items()]

    def call(name: str, entry: tuple[str, str], *words: str | Path, workers: int = 1) -> None:
        code = CALL.format(module=entry[0], function=entry[1])
        parts.run(name, [python, "-c", code, *words], settings, variables | {"nnUNet_n_proc_DA": str(workers)})

    if not (given.nnunet_env / "bin" / "nnUNetv2_train").exists():
        subprocess.run([sys.executable, "-m", "venv", str(given.nnunet_env)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", NNUNET], check=True)
    call("nnunet-plan", PLAN, "-d", "1", "-c", configuration, "-npfp", "1", "-np", "1", "--verify_dataset_integrity")
    call("nnunet-train", TRAIN, "1", configuration, "all", "-tr", TRAINER, "-device", "cpu", workers=0)
    folders = ("-i", raw / "imagesTs", "-o", home / "masks")
    model = ("-d", "1", "-c", configuration, "-f", "all", "-tr", TRAINER)
    call("nnunet-predict", PREDICT, *folders, *model, "-device", "cpu", "-npp", "1", "-nps", "1")
    masks = ("--pred", home / "masks", "--truth", raw / "labelsTs", "--labels", given.out / "labels.json")
    parts.run("nnunet-score", [sys.executable, "-m", "selfmae", "score", *masks, "--out", home / "nnunet"], settings)


def run_selfmae(parts: Parts, given: argparse.Namespace) -> Path:
    """Run SelfMAE on the split with the arguments given for it; return its folder."""
    folder: Path = given.out / given.name
    words = ["run", given.data, "--out", folder, "--set", f"data.splits={given.splits}", *given.selfmae]
    parts.run(given.name, [sys.executable, "-m", "selfmae", *words], given.selfmae)
    return folder


def show(parts: Parts, scores: Path, run: Path) -> None:
    """Print what both cost, and the comparison: means and paired difference with its interval."""
    print("CPU seconds (wall seconds): nnU-Net's training includes its start, SelfMAE's run its test predictions")
    for name, spent in parts.costs.items():
        print(f"  {name:16} {spent['cpu_s']:8.1f} ({spent['wall_s']:.1f})")
    subprocess.run([sys.executable, "-m", "selfmae", "compare", str(run), str(scores)], check=True)


def read_arguments(words: list[str]) -> argparse.Namespace:
    """Return the arguments; `selfmae` holds those after `--`, or asks for one run from scratch."""
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a source that `selfmae inspect` reads, with masks")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nnunet-env", type=Path, required=True, help="virtual environment, made where it is absent")
    parser.add_argument("--train", type=int, required=True, help="training cases, of which a fifth is val")
    parser.add_argument("--minutes", type=float, required=True, help="CPU minutes of nnU-Net's training")
    parser.add_argument("--pairs", action="store_true", help="ids 2k - 1 and 2k are one patient")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--splits", type=Path, help="table of the split, drawn if absent (default: DIR/splits.csv)")
    parser.add_argument("--no-mirroring", action="store_true", help="nnUNetTrainerNoMirroring (left and right labels)")
    parser.add_argument("--name", default="selfmae", help="folder of SelfMAE's run in DIR (default: selfmae)")
    parser.add_argument("--stop-after", choices=("split", "nnunet", "selfmae"), default="selfmae")
    given = parser.parse_args(words[:cut])
    given.selfmae = words[cut + 1 :] or ["--init", "scratch", "--seeds", "1"]
    given.splits = given.splits or given.out / "splits.csv"
    return given


if __name__ == "__main__":
    given = read_arguments(sys.argv[1:])
    cases = read_source(str(given.data))
    if not given.splits.exists():
        write_split(given.splits, cases.cases, given.train, given.seed, given.pairs)
    split = {row["id"]: row["split"] for row in read_table(given.splits)}
    print(f"{given.splits}: {dict(Counter(split.values()))}")
    given.out.mkdir(parents=True, exist_ok=True)
    parts = Parts(given.out)
    if given.stop_after != "split":
        write_dataset(given.out / "nnunet" / "raw" / DATASET, cases, split)
        write_labels(given.out / "labels.json", cases)
        run_nnunet(parts, given, "2d" if ending(cases.cases[0].images[0]) in FLAT else "3d_fullres")
    if given.stop_after == "selfmae":
        show(parts, given.out / "nnunet" / "nnunet", run_selfmae(parts, given))
