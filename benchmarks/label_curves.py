"""How often do the intervals of a label curve hold the truth? Experiments simulated with known curves.

Run by hand: `python benchmarks/label_curves.py [--experiments 200] [--resamples 1000] [--seed 0]`, about three minutes
on one core. Scratch scores 0.85 - 0.4 n^-0.6 in the mean with n labelled patients (nearly level curves: 0.85 -
0.4 n^-1.5), and each other initialization as much as scratch with a fixed multiple of n. Scores of cases vary by
patient (the same for all), by patient and model, by draw of labelled patients (partly the same for all
initializations and numbers, less with more labels), and by case. The interval of the worth should hold the true
number of labels in 95 of 100 experiments; an open end holds all numbers beyond the curve.

Two truths: "curve" is where the true means of scratch, joined by lines in log(labels), reach the initialization's
mean, which is what an endless experiment with the same points finds; "smooth" is the multiple of n itself.
"""

import argparse
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfmae.metrics.label_curve import Point, headroom, label_curve, worth_in_labels
from selfmae.metrics.rows import Runs, dice_scorer
from selfmae.seeds import generator

COUNTS = (3, 5, 10, 20, 40)
MULTIPLES = {"scratch": 1.0, "same": 1.0, "mae": 1.7, "worse": 0.7}
DICE = dice_scorer("dice")


@dataclass(frozen=True)
class Setting:
    """A kind of experiment: standard deviations are those of Dice."""

    name: str
    num_draws: int
    num_patients: int
    power: float = 0.6
    patient: float = 0.08
    patient_and_model: float = 0.03
    draw: float = 0.03  # with 5 labels
    case: float = 0.03

    def mean(self, labels: float) -> float:
        """Return the true Dice of scratch."""
        return float(0.85 - 0.4 * labels**-self.power)


SETTINGS = (
    Setting("5 draws, 60 patients", 5, 60),
    Setting("3 draws, 20 patients", 3, 20),
    Setting("2 draws, 60 patients", 2, 60),
    Setting("5 draws, 60 patients, nearly level", 5, 60, power=1.5),
)


def simulate(setting: Setting, rng: np.random.Generator) -> dict[Point, Runs]:
    """Return the test rows of one experiment."""
    num_draws, size = setting.num_draws, setting.num_patients
    ids = tuple(f"{index:03}" for index in range(size))
    hardness = rng.normal(0, setting.patient, size)
    by_draw = rng.normal(size=num_draws)
    by_draw_and_labels = {labels: rng.normal(size=num_draws) for labels in COUNTS}
    points = {}
    for init, multiple in MULTIPLES.items():
        for labels in COUNTS:
            draws = by_draw / 2 + by_draw_and_labels[labels] / 2 + rng.normal(size=num_draws) / 2**0.5
            values = setting.mean(multiple * labels) + hardness + rng.normal(0, setting.patient_and_model, size)
            values = values + draws[:, None] * setting.draw * (5 / labels) ** 0.5
            values += rng.normal(0, setting.case, (num_draws, size))
            rows = [[[{"id": c, "dice": str(v)} for c, v in zip(ids, found, strict=True)]] for found in values]
            points[Point("unet", init, labels)] = Runs(dict(enumerate(rows)), ids, ids)
    return points


def true_labels(setting: Setting, labels: int, multiple: float) -> float:
    """Return with how many labels the true curve reaches the true mean; 0 below it, inf beyond it."""
    curve, score = [setting.mean(count) for count in COUNTS], setting.mean(multiple * labels)
    return float(np.exp(np.interp(score, curve, np.log(COUNTS), left=-np.inf, right=np.inf)))


def holds(ci95: tuple[float | None, float | None], truth: float) -> bool:
    """Return whether an interval of labels holds the truth; an open end holds what is beyond the curve."""
    low, high = ci95
    return (low is None or low * (1 - 1e-9) <= truth) and (high is None or truth <= high * (1 + 1e-9))


def measure(setting: Setting, num_experiments: int, num_resamples: int, seed: int) -> None:
    """Print how often the intervals of a setting hold the truth."""
    rows: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    curves, gains = [], []
    gain = setting.mean(COUNTS[-1]) - setting.mean(COUNTS[-2])
    for number in range(num_experiments):
        points = simulate(setting, generator(seed, "label curves", setting.name, number))
        for row in worth_in_labels(points, DICE, num_resamples=num_resamples):
            rows[row["init"], row["labels"]].append(row)
        found = headroom(points, DICE, "unet", num_resamples=num_resamples)
        assert found is not None
        gains.append(found["ci95"][0] <= gain <= found["ci95"][1])
        for row in label_curve(points, DICE, num_resamples):
            mean = setting.mean(MULTIPLES[row["init"]] * row["labels"])
            curves.append(row["ci95"][0] <= mean <= row["ci95"][1])
    print(f"\n{setting.name} ({num_experiments} experiments)")
    print(f"  headroom held {np.mean(gains):.3f}, means of the curve held {np.mean(curves):.3f}")
    print("  init   labels  truth: curve smooth   held: curve smooth   low > truth  high < truth  no number  high/low")
    total = []
    for (init, labels), found_rows in rows.items():
        total.append(show(setting, init, labels, found_rows))
    print(f"  all: curve {np.mean([t[0] for t in total]):.3f}, smooth {np.mean([t[1] for t in total]):.3f}")


def show(setting: Setting, init: str, labels: int, rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Print one point, and return how often its intervals hold both truths."""
    multiple = MULTIPLES[init]
    truth, smooth = true_labels(setting, labels, multiple), multiple * labels
    held = float(np.mean([holds(row["ci95"], truth) for row in rows]))
    held_smooth = float(np.mean([holds(row["ci95"], smooth) for row in rows]))
    over = np.mean([not holds((row["ci95"][0], None), truth) for row in rows])
    under = np.mean([not holds((None, row["ci95"][1]), truth) for row in rows])
    none = np.mean([row["equals"] is None for row in rows])
    width = np.median([row["ci95"][1] / row["ci95"][0] if None not in row["ci95"] else np.inf for row in rows])
    print(
        f"  {init:6} {labels:6} {truth:13.1f} {smooth:6.1f} {held:13.3f} {held_smooth:6.3f}"
        f" {over:13.3f} {under:13.3f} {none:10.2f} {width:9.2f}"
    )
    return held, held_smooth


def main() -> None:
    parser = argparse.ArgumentParser(description="How often the intervals of a label curve hold the truth.")
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for setting in SETTINGS:
        measure(setting, options.experiments, options.resamples, options.seed)


if __name__ == "__main__":
    main()
