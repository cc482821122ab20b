"""Fabricated run folders: the files that `selfmae run` writes, with numbers known to the tests."""

import csv
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfmae.metrics.classification import score_multilabel, summarise_multilabel
from selfmae.metrics.segmentation import summarise_masks
from selfmae.report.page import page_facts, render
from selfmae.results.run_folder import RunFolder
from selfmae.seeds import generator

LABELS = ("spleen", "<b>liver</b>", "$x$ & kidney")
FINDINGS = ("nodule", "<i>mass</i>", "effusion")
SHAPE = (40, 48)
RECIPE = """data:
  source: /home/anna/abdomen  # as given
  channels: [CT]  # found in the source
  spacing_mm: []
  intensity: window  # values below -500: Hounsfield units
  window: [-175.0, 250.0]
  crop: [96, 96, 64]
  cache: ''
model:
  patch: [16, 16, 16]
  width: 192  # a CPU affords <small> models
  depth: 12
  heads: 3
mae:
  ratio: 0.75
pretrain:
  lr: 0.001
  batch: 8
  augment:
    flip_axes: [1]  # no label has a side
fit:
  lr: 0.002
  batch: 2
predict:
  overlap: 0.5
"""


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, sort_keys=True))


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_log(folder: Path, seed: int, scored: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = generator(seed, folder.parts[-3])
    pace = 150 + 100 * float(rng.random())
    lines: list[dict[str, float]] = []
    for step in range(10, 401, 10):
        lines.append({"step": step, "loss": float(np.exp(-step / pace) + 0.1 + 0.02 * rng.random()), "lr": 1e-3})
        if scored and step % 100 == 0:
            lines.append({"step": step, "score": 0.6 + step / 10 / pace + 0.01 * float(rng.random())})
    (folder / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def where(init: str) -> dict[str, Any]:
    report = {"kind": init, "name": init}
    if init != "scratch":
        report |= {"loaded": 74, "new": ["head.weight", "head.bias"], "unused": ["decoder.mask_token"]}
    versions = {"python": "3.12.3", "selfmae": "0.1.0", "torch": "2.14.1", "timm": "1.0.31", "monai": "1.6.1"}
    facts = {"versions": versions, "device": "cpu", "devices": 1, "precision": "fp32"}
    return facts | {"num_parameters": 5_123_456, "seconds": 312.5, "init": report}


def mask_rows(gain: float, seed: int) -> list[dict[str, Any]]:
    """Return 12 cases of 6 patients; the last case lacks the last label."""
    rows = []
    for case in range(12):
        rng, row = generator(seed, case, str(gain)), {"id": f"case{case:02d}", "patient": f"patient{case // 2}"}
        dice = [float(np.clip(0.7 + 0.02 * case + gain + 0.03 * rng.normal(), 0, 1)) for _ in LABELS]
        absent = [case == 11 and name == LABELS[-1] for name in LABELS]
        for name, value, gone in zip(LABELS, dice, absent, strict=True):
            row |= {f"dice_{name}": None if gone else value, f"hd95_mm_{name}": None if gone else 20 * (1 - value)}
            row |= {f"voxels_true_{name}": 0 if gone else 500, f"voxels_predicted_{name}": 0 if gone else 480}
        known = [value for value, gone in zip(dice, absent, strict=True) if not gone]
        rows.append(row | {"dice": float(np.mean(known)), "hd95_mm": float(20 - 20 * np.mean(known))})
    return rows


def finding_rows(gain: float, seed: int) -> list[dict[str, Any]]:
    """Return 30 cases; nobody has the last finding, so its AUC is undefined."""
    rows = []
    for case in range(30):
        rng = generator(seed, case)
        truth = [float(rng.random() < 0.4), float(case % 3 == 0), 0.0]
        probability = [float(np.clip(0.4 + (0.1 + gain) * t + 0.15 * rng.normal(), 0, 1)) for t in truth]
        rows.append({"id": f"image{case}", "patient": f"p{case // 2}"} | score_multilabel(FINDINGS, truth, probability))
    return rows


def write_cell(folder: Path, init: str, seed: int, kind: str) -> dict[str, Any]:
    """Write a fine-tuning folder and return its summary."""
    write_log(folder, seed, scored=True)
    write_json(folder / "environment.json", where(init))
    gain = {"scratch": 0.0, "mae": 0.06}.get(init, 0.03)
    rows = mask_rows(gain, seed) if kind == "mask" else finding_rows(gain, seed)
    found = summarise_masks(rows, LABELS) if kind == "mask" else summarise_multilabel(rows, FINDINGS)
    write_json(folder / "summary-test.json", {"split": "test"} | found)
    write_rows(folder / "rows-test.csv", rows)
    (folder / "recipe.yaml").write_text(RECIPE)
    write_examples(folder, rows)
    write_cases(folder)
    return found


def write_examples(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Save the pictures of three cases: of masks by their Dice, of findings the first three."""
    masks = "dice" in rows[0]
    ranked = sorted(rows, key=lambda row: -row["dice"]) if masks else rows
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    truth = np.where((y - 18) ** 2 + (x - 20) ** 2 < 90, 1, 0) + 2 * ((y > 5) & (y < 15) & (x > 32))
    image = (100 + 50 * truth + generator(1).normal(0, 20, SHAPE)).clip(0, 255).astype(np.uint8)
    layers = {"truth": truth[None].astype(np.uint8), "predicted": np.roll(truth, 2, axis=1)[None].astype(np.uint8)}
    arrays: dict[str, np.ndarray] = {}
    for rank, row in (("best", ranked[0]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[-1])):
        plane = "axial" if masks else "picture"
        found = {"id": np.array(row["id"]), f"{plane}_image": image, f"{plane}_mm": np.ones(2)}
        if masks:
            found |= {f"axial_{name}": part for name, part in layers.items()} | {
                "volume_affine": np.diag([1, 1, 3, 1.0])
            }
            found |= {"volume_image": np.stack([image] * 4, -1)}
            found |= {f"volume_{name}": np.stack([part[0]] * 4, -1) for name, part in layers.items()}
        arrays |= {f"{rank}_{key}": array for key, array in found.items()}
    (folder / "figures").mkdir(exist_ok=True)
    np.savez(folder / "figures" / "examples.npz", **arrays)


def write_cases(folder: Path) -> None:
    parts = ["train"] * 3 + ["val"] + ["test"] * 2
    rows = [
        {"id": f"c{place}", "patient": f"p{place // 2}", "split": part, "fold": 0, "hash": f"{place:032x}"}
        for place, part in enumerate(parts)
    ]
    write_rows(folder / "cases.csv", rows)


def write_pretraining(folder: Path, seed: int) -> None:
    write_log(folder, seed, scored=False)
    write_json(folder / "environment.json", where("scratch") | {"num_seen": 20})
    (folder / "figures").mkdir(exist_ok=True)
    picture = np.outer(np.linspace(0, 255, 48), np.linspace(0, 1, 48)).astype(np.uint8)
    masked = np.where(np.kron(generator(seed).random((6, 6)) > 0.25, np.ones((8, 8))) > 0, 128, picture).astype(
        np.uint8
    )
    stacks = {"masked": [[masked] * 3] * 2, "reconstructed": [[picture[::-1]] * 3] * 2, "ratios": [0.25, 0.75]}
    ids = np.array(["case20", "case21", "case22"])
    np.savez(folder / "figures" / "reconstructions.npz", ids=ids, ratio=0.75, original=[picture] * 3, **stacks)
    write_cases(folder)


def make_pair(verdict: str, num_seeds: int, a: str = "scratch", b: str = "mae") -> dict[str, Any]:
    difference, ci95 = {"helps": (0.03, [0.01, 0.05]), "hurts": (-0.03, [-0.05, -0.01])}.get(
        verdict, (0.02, [-0.02, 0.06])
    )
    counts = {"num_cases": 12, "num_patients": 6, "num_seeds": num_seeds}
    return {"a": a, "b": b, "difference": difference, "ci95": ci95, "p": 0.004, "verdict": verdict} | counts


def write_run(folder: Path, kind: str, verdict: str, num_seeds: int) -> Path:
    inits = ("scratch", "mae")
    for seed in range(num_seeds):
        write_pretraining(folder / "pretrain-mae" / "fold0" / f"seed{seed}", seed)
        for init in inits:
            write_cell(folder / init / "fold0" / f"seed{seed}", init, seed, kind)
    counts = {split: {"cases": n, "patients": n // 2} for split, n in (("train", 20), ("val", 6), ("test", 12))}
    finding = {"code": "spacing-varies", "severity": "warning", "cases": ["case03", "case07"]}
    run = {"source": "abdomen <script>alert(1)</script>", "kind": kind, "regions": False, "inits": inits}
    run |= {"names": LABELS if kind == "mask" else FINDINGS, "num_folds": 1, "num_seeds": num_seeds, "counts": counts}
    run |= {"notes": ["The source has no val part: 6 cases of 3 patients were drawn from its training patients."]}
    run |= {
        "findings": [finding | {"cause": "Spacing differs between 0.7 and 0.9 mm.", "fix": "Nothing: it is resampled."}]
    }
    write_json(folder / "run.json", run)
    means = {"scratch": {"mean": 0.81, "ci95": [0.78, 0.84]}, "mae": {"mean": 0.84, "ci95": [0.81, 0.87]}}
    metric = "dice_per_case" if kind == "mask" else "mean_auc"
    pairs = [make_pair(verdict, num_seeds)]
    write_json(folder / "verdict.json", {"metric": metric, "inits": means, "pairs": pairs, "leakage": []})
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture
def read_part() -> Callable[..., list[str]]:
    """Return a function that gives the paragraphs of a part of the page, such as "card.html", as plain text."""

    def read(template: str, folder: Path, leakage: tuple[str, ...] = ()) -> list[str]:
        text = render(template, page_facts(RunFolder.read(folder), leakage))
        parts = re.split(r"</?(?:p|h3)>", text)
        return [" ".join(html.unescape(part).split()) for part in parts if part.strip()]

    return read


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that fabricates a run folder."""

    def make(kind: str = "mask", verdict: str = "helps", num_seeds: int = 3) -> Path:
        return write_run(tmp_path / "run", kind, verdict, num_seeds)

    return make


@pytest.fixture
def make_cell(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that fabricates the folder of a single stage."""

    def make(init: str, kind: str = "mask") -> Path:
        folder = tmp_path / "single"
        write_pretraining(folder, 0) if init == "pretrain" else write_cell(folder, init, 0, kind)
        return folder

    return make
